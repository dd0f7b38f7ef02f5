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
from operator_core.db.engine import CONNECTIONS, autocommitting, is_sqlite, reading, stepping, transacting
from operator_core.db.engine.kept import KeptConnections
from operator_core.db.engine.urls import file_of, shown
from operator_core.db.transitions import RefusedError
from operator_core.db.units import Kind, translated

T = TypeVar("T")
_ATTEMPTS = 5
_BUSY = "all its places are taken, as by an open transaction(); within it, call the methods of what it gave you"


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
        self._on_server = not is_sqlite(engine)
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
        places = 1 if is_sqlite(engine) else CONNECTIONS if ours else None  # a host's pool has a queue of its own
        self._gate = None if places is None else asyncio.Semaphore(places)
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
            if self._gate is None or self._is_free(kind):
                return await self._bridge.run_sync(whole)
            await self._enter(self._gate)
            try:
                return await self._bridge.run_sync(whole)
            finally:
                self._gate.release()

    @asynccontextmanager
    async def transacting(self) -> AsyncGenerator[None]:
        """Wait until a transaction can begin, and keep its place until it ends."""
        if self._gate is None:
            yield
            return
        await self._enter(self._gate)
        try:
            await self.spare()
            yield
        finally:
            self._gate.release()

    def _is_free(self, kind: Kind) -> bool:
        """Tell whether a unit needs no place: whoever reads a SQLite file waits for nobody."""
        return not self._on_server and not self._in_memory and kind in (Kind.READ, Kind.SNAPSHOT)

    async def _enter(self, gate: asyncio.Semaphore) -> None:
        """Queue for SQLite's one write lock, or for a connection: in its pool nobody would hear of one that is kept."""
        if not gate.locked():
            await gate.acquire()
            return
        try:
            async with asyncio.timeout(self._lock_timeout):
                await gate.acquire()
        except TimeoutError as error:
            raise DatabaseLockedError(url=self._shown, detail=_BUSY) from error

    async def spare(self) -> None:
        """Give the pool back what is kept of its connections: somebody is to take one out of it, or to close it."""
        kept = self._kept
        if kept is not None:
            await settled(self._bridge.run_sync(lambda _session: kept.give_back()))

    async def dispose(self) -> None:
        """Let the calls under way come to their end, then close all: a connection in use would be left open."""
        while self._under_way:
            await asyncio.wait(set(self._under_way))
        await self.spare()
        await self.engine.dispose()
