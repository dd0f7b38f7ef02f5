"""The notifier: wakes the tasks that wait for a change in the ledger, here and in other processes."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncEngine

from operator_core.db.engine.capabilities import behind_pgbouncer, is_sqlite
from operator_core.db.engine.drivers import NotifyingDriver, driver_named
from operator_core.db.engine.home import Home
from operator_core.db.engine.listeners import FileListener, Listener, ServerListener
from operator_core.db.engine.urls import sqlite_path

RECONNECT_INTERVAL_SECONDS = 2.0
NOTIFY_INTERVAL_SECONDS = 0.02
"""The least time between two notifications of a process: one is enough for many steps."""

POLL_INTERVAL_SECONDS, RARE_POLL_INTERVAL_SECONDS = 1.0, 5.0
"""How long a waiter waits by default where no notification can reach it, and where one ends the wait."""

ANNOUNCE_TIMEOUT_SECONDS = 1.0

CLOSE_TIMEOUT_SECONDS = 2.0
"""How long closing waits for a listener that still connects, and for the last notification."""

Hint = Callable[[float | None], Awaitable[None]]
"""Waits some seconds, or less if something happens; None waits as long as is sensible."""


class Notifier:
    """A notifier for waiting tasks: in this process at once, elsewhere through the database.

    On PostgreSQL every process notifies the others after its commits, at most once in `NOTIFY_INTERVAL_SECONDS`, and a
    process in which a task waits listens on a connection outside the pool (with asyncpg, but not behind PgBouncer). On
    SQLite such a process looks at the file's counter of changes. A notification is a hint, and a lost one costs a poll.

    It notifies after the commit: a NOTIFY inside a transaction takes a server-wide lock until its commit is on the disk
    and on the standbys, so that all commits would queue, and a stop behind them.

    Args:
        engine: The engine of the ledger.
        home: Where the ledger was opened.
        announce: Sends a notification with the given text to the other processes.
    """

    def __init__(self, engine: AsyncEngine, home: Home, announce: Callable[[str], Awaitable[object]]) -> None:
        self._home, self._announce = home, announce
        self._id = uuid4().hex  # so that its own notifications wake nobody twice
        self._waiters: set[asyncio.Event] = set()
        self._announces = not is_sqlite(engine) and not behind_pgbouncer(engine)
        self._listener = self._new_listener(engine)
        self._connecting: asyncio.Task[None] | None = None
        self._last_attempt = -RECONNECT_INTERVAL_SECONDS
        self._announcing: asyncio.Task[None] | None = None
        self._must_announce = False
        self._closing = asyncio.Event()

    def _new_listener(self, engine: AsyncEngine) -> Listener | None:
        driver = driver_named(engine.dialect.driver)
        if isinstance(driver, NotifyingDriver) and self._announces:
            return ServerListener(engine, driver, self._heard, self._wake_waiters)
        if is_sqlite(engine) and sqlite_path(engine.url) is not None:
            return FileListener(engine, self._wake_waiters)
        return None

    # -- waiting -------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def subscribe(self) -> AsyncGenerator[Hint]:
        """Yield a function that waits some seconds, or less if there is a notification."""
        rung = asyncio.Event()
        self._waiters.add(rung)

        async def wait(seconds: float | None) -> None:
            self._home.require()
            self._listen()
            if seconds is None:
                is_heard = self._listener is not None and self._listener.is_listening
                seconds = RARE_POLL_INTERVAL_SECONDS if is_heard else POLL_INTERVAL_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):  # Python 3.11's `wait_for` can lose a cancellation
                    await rung.wait()
            rung.clear()

        try:
            yield wait
        finally:
            self._waiters.discard(rung)
            self._home.require()
            if not self._waiters:
                await self._stop_listening()

    def _wake_waiters(self) -> None:
        for rung in self._waiters:
            rung.set()

    def _heard(self, sender: str) -> None:
        if sender != self._id:
            self._wake_waiters()

    def _listen(self) -> None:
        """Start listening in the background, unless it is under way; a failure is retried after a while."""
        listener = self._listener
        is_under_way = self._connecting is not None and not self._connecting.done()
        if listener is None or listener.is_listening or is_under_way:
            return
        if time.monotonic() - self._last_attempt >= RECONNECT_INTERVAL_SECONDS:
            self._last_attempt = time.monotonic()
            self._connecting = asyncio.create_task(self._connect(listener))

    async def _connect(self, listener: Listener) -> None:
        with suppress(Exception):  # whatever is wrong with the listener, waiters go on without it
            await listener.start()
            self._wake_waiters()  # for what has happened meanwhile

    async def _stop_listening(self) -> None:
        """Stop listening, until the next waiter comes."""
        connecting, self._connecting = self._connecting, None
        self._last_attempt = -RECONNECT_INTERVAL_SECONDS
        if self._listener is not None:
            await self._listener.stop()
            await _ended(connecting)  # a driver that is cancelled while it connects leaves its socket open
            await self._listener.stop()

    # -- notifying -----------------------------------------------------------------------------------------------------

    def notify(self) -> None:
        """Notify the waiters here and elsewhere, without waiting for delivery."""
        self._wake_waiters()
        if self._announces:
            self._must_announce = True
            if self._announcing is None or self._announcing.done():
                self._announcing = asyncio.create_task(self._announce_all())

    async def _announce_all(self) -> None:
        """Notify at once, and again after the interval if there was something more."""
        while self._must_announce:
            self._must_announce = False
            with suppress(Exception):  # it is a hint
                async with asyncio.timeout(ANNOUNCE_TIMEOUT_SECONDS):  # a silent server must not keep a connection
                    await self._announce(self._id)
            with suppress(TimeoutError):
                async with asyncio.timeout(NOTIFY_INTERVAL_SECONDS):
                    await self._closing.wait()

    async def close(self) -> None:
        """Send the last notification, and stop listening for good."""
        self._closing.set()
        await _ended(self._announcing)
        self._announces = False
        await self._stop_listening()
        self._listener = None


async def _ended(task: "asyncio.Task[None] | None") -> None:
    """Wait for the end of a task for a while, then cancel it."""
    if task is None or task.done():
        return
    await asyncio.wait({task}, timeout=CLOSE_TIMEOUT_SECONDS)
    if not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=CLOSE_TIMEOUT_SECONDS)
