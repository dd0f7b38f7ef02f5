"""The notifier: wakes the tasks that wait for a change in the ledger, on a connection outside the pool."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from operator_core.db.engine.capabilities import behind_pgbouncer
from operator_core.db.engine.dedicated import dedicated_engine
from operator_core.db.engine.drivers import NotifyingDriver, driver_named
from operator_core.db.engine.home import Home
from operator_core.db.engine.sockets import abort_connection

STOP_CHANNEL, STEP_CHANNEL = "operator_core", "operator_core_steps"
"""PostgreSQL's channels: its guard announces a changed latch on the first, clients announce steps on the second."""

RECONNECT_INTERVAL_SECONDS = 2.0
NOTIFY_INTERVAL_SECONDS = 0.02
CONNECT_TIMEOUT_SECONDS = 2.0
"""How long to wait for a listener that is still connecting after its last waiter has left."""


class Notifier:
    """A notifier for waiting tasks: in this process at once, elsewhere through PostgreSQL's LISTEN and NOTIFY.

    One connection, open only while a task waits, both listens and notifies (with asyncpg, but not behind PgBouncer). A
    process with no waiters sends no notifications, and while the connection is down, changes in other processes are
    noticed by polling. It notifies after the commit: a NOTIFY inside a transaction takes a server-wide lock until its
    commit is on the disk and on the standbys, so that all commits would queue, and a stop behind them.
    """

    def __init__(self, engine: AsyncEngine, home: Home) -> None:
        self._home = home
        self._notifying: asyncio.Task[None] | None = None
        driver = driver_named(engine.dialect.driver)
        self._driver = driver if isinstance(driver, NotifyingDriver) and not behind_pgbouncer(engine) else None
        self._engine = engine
        self._waiters: set[asyncio.Event] = set()
        self._dedicated_engine: AsyncEngine | None = None
        self._connection: AsyncConnection | None = None
        self._pending: AsyncConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._last_attempt = -RECONNECT_INTERVAL_SECONDS

    @asynccontextmanager
    async def subscribe(self) -> AsyncGenerator[Callable[[float], Awaitable[None]]]:
        """Yield a function that waits some seconds, or less if there is a notification."""
        rung = asyncio.Event()
        self._waiters.add(rung)

        async def wait(seconds: float) -> None:
            self._home.require()
            self._listen()
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

    def notify(self) -> None:
        """Notify the waiters here and elsewhere, without waiting for delivery."""
        self._wake_waiters()
        idle = self._notifying is None or self._notifying.done()
        if self._driver is not None and self._connection is not None and idle:
            self._notifying = asyncio.create_task(self._notify_others(self._driver, self._connection))

    @staticmethod
    async def _notify_others(driver: NotifyingDriver, connection: AsyncConnection) -> None:
        await asyncio.sleep(NOTIFY_INTERVAL_SECONDS)  # one for many steps
        with suppress(Exception):  # it is a hint
            await driver.notify((await connection.get_raw_connection()).driver_connection, STEP_CHANNEL)

    def _wake_waiters(self, *_: object) -> None:
        for rung in self._waiters:
            rung.set()

    def _listen(self) -> None:
        """Start listening in the background, unless it is under way; a failure is retried after a while."""
        waiting = self._connecting is not None and not self._connecting.done()
        if self._driver is None or self._connection is not None or waiting:
            return
        if time.monotonic() - self._last_attempt >= RECONNECT_INTERVAL_SECONDS:
            self._last_attempt = time.monotonic()
            self._connecting = asyncio.create_task(self._connect(self._driver))

    async def _connect(self, driver: NotifyingDriver) -> None:
        # Whatever is wrong with the listener, waiters continue without it.
        with suppress(Exception):
            await self._abort_connection()
            self._dedicated_engine = self._dedicated_engine or dedicated_engine(self._engine)
            self._pending = await self._dedicated_engine.connect()  # as long as it does not listen
            connection = (await self._pending.get_raw_connection()).driver_connection
            channels = (STOP_CHANNEL, STEP_CHANNEL)
            await driver.listen(connection, channels, self._wake_waiters, self._broken)
            self._connection, self._pending = self._pending, None
            self._wake_waiters()  # for what has happened meanwhile

    def _broken(self, *_: object) -> None:
        self._pending, self._connection = self._connection or self._pending, None

    async def _abort_connection(self) -> None:
        self._broken()
        dead, self._pending = self._pending, None
        with suppress(Exception):  # it is broken, whatever else is wrong with it
            if dead is not None:
                abort_connection((await dead.get_raw_connection()).driver_connection)  # the server may not answer
                await dead.invalidate()
                await dead.close()

    async def _stop_listening(self) -> None:
        """Stop listening, until the next waiter comes."""
        busy = {task for task in (self._connecting, self._notifying) if task is not None}
        self._connecting = self._notifying = None
        await self._abort_connection()
        if busy:
            # A driver that is cancelled while it connects leaves its socket open.
            _, still_busy = await asyncio.wait(busy, timeout=CONNECT_TIMEOUT_SECONDS)
            for task in still_busy:
                task.cancel()
            await asyncio.wait(busy, timeout=CONNECT_TIMEOUT_SECONDS)
            await self._abort_connection()
        own, self._dedicated_engine = self._dedicated_engine, None
        self._last_attempt = -RECONNECT_INTERVAL_SECONDS
        if own is not None:
            await own.dispose()

    async def close(self) -> None:
        """Stop listening for good."""
        self._driver = None
        await self._stop_listening()
