"""Connections beside the pool: for a stop, which nothing may block, and for whoever waits to be notified."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from operator_core.db.engine import is_sqlite
from operator_core.db.engine.urls import file_of

NOTIFICATIONS = "operator_core"
"""The channel on which PostgreSQL's guard tells of a changed latch."""


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


@asynccontextmanager
async def notified(engine: AsyncEngine) -> AsyncGenerator[Callable[[float], Awaitable[None]]]:
    """Give a function that waits so many seconds, or less when the kill switch has changed.

    The hint is asyncpg's LISTEN, on a connection of its own; without it, or when it breaks, the wait is a plain one.
    """
    rung = asyncio.Event()

    def _ring(*_: object) -> None:
        rung.set()

    async def wait(seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(rung.wait(), seconds)
        rung.clear()

    if is_sqlite(engine) or engine.dialect.driver != "asyncpg":
        yield wait
        return
    own = beside(engine)
    connection: AsyncConnection | None = None
    try:
        # Whatever is wrong with the listener, the wait goes on without it.
        with suppress(Exception):
            connection = await own.connect()
            driver: Any = (await connection.get_raw_connection()).driver_connection
            await driver.add_listener(NOTIFICATIONS, _ring)
        yield wait
    finally:
        if connection is not None:
            await connection.invalidate()
            await connection.close()
        await own.dispose()
