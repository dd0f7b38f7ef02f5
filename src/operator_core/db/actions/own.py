"""How a unit of work runs in a transaction of its own: settled when it is cancelled, repeated when it met another."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from operator_core.actions.errors import DatabaseLockedError, RetryTransactionError
from operator_core.db.engine import autocommitting, is_sqlite, reading, transacting, writer_lock
from operator_core.db.engine.urls import file_of, shown
from operator_core.db.transitions import RefusedError
from operator_core.db.units import Kind, translated

T = TypeVar("T")
_ATTEMPTS = 5


async def settled(work: Awaitable[T]) -> T:
    """Run `work` in a task of its own and wait until it is settled, also when the caller is cancelled.

    A task that is cancelled inside SQLAlchemy and aiosqlite can leave SQLite's write lock held, so the cancellation is
    delivered afterwards. Cancelled does not mean undone.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                continue  # asked again: it is still not settled
        if not task.cancelled():
            task.exception()  # seen: the caller wants to hear of its cancellation
        raise


class OwnTransactions:
    """Runs units on an open engine, each in a transaction of its own.

    Args:
        engine: An open engine.
        url: What it is shown as.
        lock_timeout: How many seconds a writer of this process waits for the others.
        autocommit: Whether a single statement needs no transaction around it.
    """

    def __init__(self, engine: AsyncEngine, url: URL, lock_timeout: float, *, autocommit: bool = True) -> None:
        self.engine = engine
        self._url, self._lock_timeout, self._shown = url, lock_timeout, shown(url)
        single, several = autocommitting(engine.sync_engine), transacting(engine.sync_engine)
        self._engines = {
            Kind.READ: single,
            Kind.SNAPSHOT: reading(engine.sync_engine),
            Kind.WRITE: single if autocommit else several,
            Kind.STEPS: single if autocommit and not is_sqlite(engine) else several,
            Kind.TRANSACTION: several,
        }
        self._writers = writer_lock(engine)
        self._under_way: set[asyncio.Future[Any]] = set()

    async def run(self, kind: Kind, unit: Callable[[sa.Connection], T]) -> T:
        """Run a unit, and again when it met another transaction; it is settled before a cancellation is delivered."""
        work = asyncio.ensure_future(self._repeated(kind, unit))
        self._under_way.add(work)
        work.add_done_callback(self._under_way.discard)
        return await settled(work)

    async def _repeated(self, kind: Kind, unit: Callable[[sa.Connection], T]) -> T:
        for attempt in range(1, _ATTEMPTS):
            try:
                return await self._once(kind, unit)
            except RetryTransactionError:
                await asyncio.sleep(0.01 * attempt)  # nothing of it was kept
        return await self._once(kind, unit)

    async def _once(self, kind: Kind, unit: Callable[[sa.Connection], T]) -> T:

        def whole(_session: Session) -> T:
            bind = self._engines[kind]
            try:
                with bind.begin() as connection:
                    return unit(connection)
            except RefusedError as refused:
                with bind.begin() as connection:
                    raise refused.explain(connection) from refused.__cause__

        async with self.writing(kind):
            with translated(self._shown):
                return await AsyncSession(self.engine).run_sync(whole)

    @asynccontextmanager
    async def writing(self, kind: Kind) -> AsyncGenerator[None]:
        """Let the writers of this process queue for SQLite's one write lock, and everybody for one in memory."""
        lock = self._writers
        if lock is None or (kind in (Kind.READ, Kind.SNAPSHOT) and file_of(self._url) is not None):
            yield
            return
        try:
            async with asyncio.timeout(self._lock_timeout):
                await lock.acquire()
        except TimeoutError as error:
            detail = "a transaction() of this ActionDB is open; within it, call the methods of what it gave you"
            raise DatabaseLockedError(url=shown(self._url), detail=detail) from error
        try:
            yield
        finally:
            lock.release()

    async def dispose(self) -> None:
        """Let the calls under way come to their end, then close all: a connection in use would be left open."""
        while self._under_way:
            await asyncio.wait(set(self._under_way))
        await self.engine.dispose()
