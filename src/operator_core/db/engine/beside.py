"""Connections beside the pool: for a stop, which nothing may block, and for whoever waits to be notified."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from operator_core.db.engine import is_sqlite
from operator_core.db.engine.urls import file_of

NOTIFICATIONS = ("operator_core", "operator_core_steps")
"""The channels on which PostgreSQL's guards tell of a changed latch, and of steps of proposals."""

_RECONNECT_SECONDS = 2.0


def beside(engine: AsyncEngine) -> AsyncEngine:
    """Return an engine with connections of its own to the same database, which an exhausted pool cannot block.

    The pool keeps its creator and its listeners; the dialect is shared, so that nothing is looked up again. A database
    in memory has one connection, so there the engine itself is returned.
    """
    if is_sqlite(engine) and file_of(engine.url) is None:
        return engine
    sync = engine.sync_engine
    return AsyncEngine(Engine(sync.pool.recreate(), sync.dialect, sync.url))


def without_waiting(connection: sa.Connection) -> None:
    """Have SQLite say at once that a lock is taken."""
    cursor = connection.connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 0")
    cursor.close()


def hang_up(driver: Any) -> None:
    """End the connection of a driver at once, without a word to a server that may not answer."""
    end = getattr(driver, "terminate", None) or getattr(getattr(driver, "pgconn", None), "finish", None)
    if end is not None:
        end()


class Bell:
    """Wakes whoever waits when PostgreSQL tells of a change: one listening connection for all who wait.

    It is asyncpg's LISTEN, on a connection of its own; elsewhere, and while it is broken, nobody is woken.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = None if is_sqlite(engine) or engine.dialect.driver != "asyncpg" else engine
        self._waiting: set[asyncio.Event] = set()
        self._own: AsyncEngine | None = None
        self._connection: AsyncConnection | None = None
        self._dead: AsyncConnection | None = None
        self._connecting = asyncio.Lock()
        self._tried = -_RECONNECT_SECONDS

    @asynccontextmanager
    async def heard(self) -> AsyncGenerator[Callable[[float], Awaitable[None]]]:
        """Give a function that waits so many seconds, or less when the bell rings."""
        rung = asyncio.Event()
        self._waiting.add(rung)

        async def wait(seconds: float) -> None:
            await self._listen()
            with suppress(TimeoutError):
                await asyncio.wait_for(rung.wait(), seconds)
            rung.clear()

        try:
            await self._listen()
            yield wait
        finally:
            self._waiting.discard(rung)

    def _ring(self, *_: object) -> None:
        for rung in self._waiting:
            rung.set()

    async def _listen(self) -> None:
        """Listen, where nobody does yet; who waits looks once more afterwards, for what was missed meanwhile."""
        if self._engine is None or self._connection is not None:
            return
        async with self._connecting:
            if self._connection is not None or time.monotonic() - self._tried < _RECONNECT_SECONDS:
                return
            self._tried = time.monotonic()
            await self._hang_up()
            # Whatever is wrong with the listener, who waits goes on without it.
            with suppress(Exception):
                self._own = self._own or beside(self._engine)
                connection = await self._own.connect()
                driver: Any = (await connection.get_raw_connection()).driver_connection
                driver.add_termination_listener(self._broken)
                for channel in NOTIFICATIONS:
                    await driver.add_listener(channel, self._ring)
                self._connection = connection
                self._ring()

    def _broken(self, *_: object) -> None:
        self._dead, self._connection = self._connection or self._dead, None

    async def _hang_up(self) -> None:
        self._broken()
        dead, self._dead = self._dead, None
        with suppress(Exception):  # it is broken, whatever else is wrong with it
            if dead is not None:
                await dead.invalidate()
                await dead.close()

    async def close(self) -> None:
        """Listen no more."""
        self._engine = None
        await self._hang_up()
        if self._own is not None:
            await self._own.dispose()
