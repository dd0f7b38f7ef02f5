"""How a unit of work runs in a transaction of its own: settled when it is cancelled, repeated when it met another."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from operator_core.actions.errors import DatabaseLockedError, RetryTransactionError
from operator_core.db.engine import autocommitting, is_sqlite, reading, stepping, transacting, writer_lock
from operator_core.db.engine.kept import KeptConnections
from operator_core.db.engine.urls import file_of, shown
from operator_core.db.transitions import RefusedError
from operator_core.db.units import Kind, translated

T = TypeVar("T")
_ATTEMPTS = 5


async def settled(
    work: Awaitable[T],
    *,
    lost: Callable[[T], Awaitable[None]] | None = None,
    under_way: set[asyncio.Task[Any]] | None = None,
) -> T:
    """Run `work` in a task of its own and wait until it is settled, also when the caller is cancelled.

    A task that is cancelled inside SQLAlchemy and aiosqlite can leave SQLite's write lock held, so the cancellation is
    delivered afterwards. Cancelled does not mean undone.

    Args:
        work: What to run.
        lost: What to do with a result that a cancelled caller will not see.
        under_way: Where the task is kept while it runs.
    """
    end = asyncio.get_running_loop().create_future()

    def wake(_task: object = None) -> None:
        if not end.done():
            end.set_result(None)

    async def run() -> T:
        try:
            return await work
        finally:
            wake()  # `asyncio.shield` would hear of it one turn of the loop later

    task = asyncio.create_task(run())
    task.add_done_callback(wake)  # it is cancelled before it ran
    if under_way is not None:
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    try:
        await end
    except asyncio.CancelledError:
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                continue  # asked again: it is still not settled
        # Its error is seen: the caller wants to hear of its cancellation.
        if not task.cancelled() and task.exception() is None and lost is not None:
            await settled(lost(task.result()))
        raise
    return task.result()


class _Run(Protocol):
    def __call__(self, unit: Callable[[sa.Connection], T], /) -> T: ...


def _transact(engine: Engine, unit: Callable[[sa.Connection], T]) -> T:
    with engine.begin() as connection:
        return unit(connection)


class OwnTransactions:
    """Runs units on an open engine, each in a transaction of its own.

    Args:
        engine: An open engine.
        url: What it is shown as.
        lock_timeout: How many seconds a writer of this process waits for the others.
        autocommit: Whether a single statement needs no transaction around it.
        ours: Whether the engine was made with the options of `autocommits`.
    """

    def __init__(self, engine: AsyncEngine, url: URL, lock_timeout: float, *, autocommit: bool, ours: bool) -> None:
        self.engine = engine
        self._lock_timeout, self._shown = lock_timeout, shown(url)
        self._in_memory = is_sqlite(engine) and file_of(url) is None
        self._bridge = AsyncSession(engine)  # leads into SQLAlchemy's greenlet; nothing is ever kept in it
        self._kept = KeptConnections(engine.sync_engine) if ours and not is_sqlite(engine) else None
        single = engine.sync_engine if self._kept else autocommitting(engine.sync_engine)
        several = transacting(engine.sync_engine)
        self._run = {
            Kind.READ: self._running(single),
            Kind.SNAPSHOT: self._running(reading(engine.sync_engine)),
            Kind.WRITE: self._running(single if autocommit else several),
            Kind.STEPS: self._running(single if autocommit and not is_sqlite(engine) else stepping(engine.sync_engine)),
            Kind.TRANSACTION: self._running(several),
        }
        self._writers = writer_lock(engine)
        self._under_way: set[asyncio.Task[Any]] = set()

    def _running(self, engine: Engine) -> "_Run":
        if self._kept is None:
            return partial(_transact, engine)
        return self._kept.run if engine is self.engine.sync_engine else partial(self._kept.transact, engine)

    async def run(
        self, kind: Kind, unit: Callable[[sa.Connection], T], lost: Callable[[T], Awaitable[None]] | None = None
    ) -> T:
        """Run a unit, and again when it met another transaction; it is settled before a cancellation is delivered.

        Args:
            kind: What it needs.
            unit: The function of a store.
            lost: What to do with a result that a cancelled caller will not see.
        """
        return await settled(self._repeated(kind, unit), lost=lost, under_way=self._under_way)

    async def _repeated(self, kind: Kind, unit: Callable[[sa.Connection], T]) -> T:
        for attempt in range(1, _ATTEMPTS):
            try:
                return await self._once(kind, unit)
            except RetryTransactionError:
                await asyncio.sleep(0.01 * attempt)  # nothing of it was kept
        return await self._once(kind, unit)

    async def _once(self, kind: Kind, unit: Callable[[sa.Connection], T]) -> T:
        run = self._run[kind]

        def whole(_session: Session) -> T:
            try:
                return run(unit)
            except RefusedError as refused:
                raise run(refused.explain) from refused.__cause__

        with translated(self._shown):
            if self._writers is None:
                return await self._bridge.run_sync(whole)
            async with self.writing(kind):
                return await self._bridge.run_sync(whole)

    @asynccontextmanager
    async def writing(self, kind: Kind) -> AsyncGenerator[None]:
        """Let the writers of this process queue for SQLite's one write lock, and everybody for one in memory."""
        lock = self._writers
        if lock is None or (kind in (Kind.READ, Kind.SNAPSHOT) and not self._in_memory):
            yield
            return
        try:
            async with asyncio.timeout(self._lock_timeout):
                await lock.acquire()
        except TimeoutError as error:
            detail = "a transaction() of this ActionDB is open; within it, call the methods of what it gave you"
            raise DatabaseLockedError(url=self._shown, detail=detail) from error
        try:
            yield
        finally:
            lock.release()

    async def spare(self) -> None:
        """Give the pool back what is kept of its connections: somebody is to take one out of it, or to close it."""
        kept = self._kept
        if kept is not None:
            await self._bridge.run_sync(lambda _session: kept.give_back())

    async def dispose(self) -> None:
        """Let the calls under way come to their end, then close all: a connection in use would be left open."""
        while self._under_way:
            await asyncio.wait(set(self._under_way))
        await self.spare()
        await self.engine.dispose()
