"""How a unit of work runs in a transaction of its own: settled when it is cancelled, repeated when it met another."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from operator_core.actions.errors import DatabaseLockedError, RetryTransactionError
from operator_core.db.engine.capabilities import is_sqlite
from operator_core.db.engine.factory import CONNECTIONS, autocommitting, reading, require_configured, transacting
from operator_core.db.engine.forks import forget
from operator_core.db.engine.pinned import KeptConnections
from operator_core.db.engine.urls import file_of, shown
from operator_core.db.errors import RefusedError, translated
from operator_core.db.modes import READING, Kind
from operator_core.db.transactions.in_flight import HANG_UP_TIMEOUT_SECONDS, WRITE_MARGIN_SECONDS, ClosingPool, InFlight
from operator_core.db.transactions.shield import SETTLE_TIMEOUT_SECONDS, Limit, in_time, settled
from operator_core.db.transactions.sqlite_thread import InThread

T = TypeVar("T")
_ATTEMPTS = 5
_BUSY = "all its places are taken, as by an open transaction(); within it, call the methods of what it gave you"


class _Run(Protocol):
    def __call__(self, unit: Callable[[sa.Connection], T], /) -> T: ...


def _transact(engine: Engine, unit: Callable[[sa.Connection], T]) -> T:
    with engine.begin() as connection:
        require_configured(connection)
        return unit(connection)


class OwnTransactions:
    """Runs units on an open engine, each in a transaction of its own.

    Args:
        engine: An open engine.
        url: What it is shown as.
        lock_timeout: How many seconds a call waits for others of this process.
        autocommit: Whether a single statement needs no transaction around it.
        ours: Whether the engine was made with the options of `for_calls`.
    """

    def __init__(self, engine: AsyncEngine, url: URL, lock_timeout: float, *, autocommit: bool, ours: bool) -> None:
        self.engine = engine
        self._lock_timeout, self._url = lock_timeout, url
        self._bridge = AsyncSession(engine)  # leads into SQLAlchemy's greenlet; nothing is ever kept in it
        self._threads = InThread(engine) if ours and is_sqlite(engine) else None
        self._kept = KeptConnections(engine.sync_engine) if ours and not is_sqlite(engine) else None
        single = engine.sync_engine if self._kept else autocommitting(engine.sync_engine)
        several = transacting(engine.sync_engine)
        self._run = {
            Kind.READ: self._running(single),
            Kind.SNAPSHOT: self._running(reading(engine.sync_engine)),
            Kind.WRITE: self._running(single if autocommit else several),
            Kind.STEPS: self._running(single if autocommit and not is_sqlite(engine) else several),
            Kind.TRANSACTION: self._running(several),
        }
        self._gates, self._gates_of_open = _gates(engine, in_memory=file_of(url) is None, ours=ours)
        self.settle_timeout = None if is_sqlite(engine) else lock_timeout + WRITE_MARGIN_SECONDS
        self._under_way: set[InFlight] = set()
        self._all_over = asyncio.Event()

    def _running(self, engine: Engine) -> "_Run":
        if self._kept is None:
            return partial(_transact, engine)
        return self._kept.run if engine is self.engine.sync_engine else partial(self._kept.transact, engine)

    async def run(
        self, kind: Kind, unit: Callable[[sa.Connection], T], lost: Callable[[T], Awaitable[None]] | None = None
    ) -> T:
        """Run a unit, and again when it met another transaction; it is settled before a cancellation is delivered.

        On a server a call that only reads is not settled: where it does not end at once, its connection is closed.

        Args:
            kind: What it needs.
            unit: The function of a store.
            lost: What to do with a result that a cancelled caller will not see.
        """
        results: list[T] = []
        call = InFlight(self.settle_timeout, reads=kind in READING)
        self._under_way.add(call)
        try:
            await self._enter(self._gates[kind])  # a call that is cancelled in the queue has done nothing
        except BaseException:
            self._is_over(call)
            raise
        work = self._to_its_end(kind, unit, results, call)
        try:
            await (work if self._threads else settled(work, call))  # a thread settles by itself what it has begun
        except asyncio.CancelledError:
            if results and lost is not None:
                with suppress(TimeoutError):
                    await in_time(lost(results[0]), Limit(SETTLE_TIMEOUT_SECONDS))
            raise
        return results[0]

    async def _to_its_end(
        self, kind: Kind, unit: Callable[[sa.Connection], T], results: list[T], call: InFlight
    ) -> None:
        try:
            await self._repeated(kind, unit, results, call)
        finally:
            _leave(self._gates[kind])
            self._is_over(call)

    def _is_over(self, call: InFlight) -> None:
        self._under_way.discard(call)
        if not self._under_way:
            self._all_over.set()

    async def _repeated(self, kind: Kind, unit: Callable[[sa.Connection], T], results: list[T], call: InFlight) -> None:
        for attempt in range(1, _ATTEMPTS):
            try:
                return await self._once(kind, unit, results, call)
            except RetryTransactionError:
                await asyncio.sleep(0.01 * attempt)  # nothing of it was kept
        return await self._once(kind, unit, results, call)

    async def _once(self, kind: Kind, unit: Callable[[sa.Connection], T], results: list[T], call: InFlight) -> None:
        with translated(self._url):
            if self._threads is not None:
                await self._threads.run(kind, unit, results)
            else:
                results.append(await self._bridge.run_sync(partial(_explained, self._run[kind], unit, call)))

    async def _enter(self, gates: Sequence[asyncio.Semaphore]) -> None:
        """Queue for SQLite's one write lock and for a connection: in its pool nobody would hear of one that is kept."""
        for number, gate in enumerate(gates):
            try:
                if gate.locked():
                    async with asyncio.timeout(self._lock_timeout):
                        await gate.acquire()
                else:
                    await gate.acquire()
            except BaseException as error:
                _leave(gates[:number])
                if isinstance(error, TimeoutError):
                    raise DatabaseLockedError(url=shown(self._url), detail=_BUSY) from error
                raise

    @asynccontextmanager
    async def transacting(self) -> AsyncGenerator[None]:
        """Wait until a transaction can begin, and keep its place until it ends."""
        await self._enter(self._gates_of_open)
        try:
            await self.spare()
            yield
        finally:
            _leave(self._gates_of_open)

    async def spare(self) -> None:
        """Give the pool back what is kept of its connections: somebody is to take one out of it, or to close it."""
        if self._threads is not None:
            await settled(self._threads.give_back())
        kept = self._kept
        if kept is not None:
            await settled(self._bridge.run_sync(lambda _session: kept.give_back()))

    async def dispose(self) -> None:
        """Let the calls under way come to their end, then close all: a connection in use would be left open."""
        await self._all_calls(self.settle_timeout)
        for call in self._under_way:
            call.hang_up()
        await self._all_calls(HANG_UP_TIMEOUT_SECONDS)
        await self.spare()
        await close_pool(self.engine)

    def forget(self) -> None:
        """Let all connections go without their event loop: it is closed, or the parent's."""
        for kept in (self._threads, self._kept):
            if kept is not None:
                kept.forget()
        forget(self.engine.sync_engine)

    async def _all_calls(self, seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._under_way:
                    self._all_over.clear()
                    await self._all_over.wait()


async def close_pool(engine: AsyncEngine) -> None:
    """Close the idle connections of an engine of ours; a server that does not answer keeps nobody waiting for long."""
    if is_sqlite(engine):
        await engine.dispose()
        return
    with suppress(TimeoutError):
        await in_time(engine.dispose(), ClosingPool(engine))


def _leave(gates: Sequence[asyncio.Semaphore]) -> None:
    for gate in gates:
        gate.release()


def _explained(run: _Run, unit: Callable[[sa.Connection], T], call: InFlight, _session: Session) -> T:
    try:
        return run(call.beginning(unit))
    except RefusedError as refused:
        raise run(call.beginning(refused.explain)) from refused.__cause__
    finally:
        call.end()


_Gates = tuple[asyncio.Semaphore, ...]


def _gates(engine: AsyncEngine, *, in_memory: bool, ours: bool) -> tuple[dict[Kind, _Gates], _Gates]:
    """Return what a unit of each kind queues at, and what an open transaction does; a host's pool has its own queue."""
    if not is_sqlite(engine):
        places = (asyncio.Semaphore(CONNECTIONS),) if ours else ()
        return dict.fromkeys(Kind, places), places
    if in_memory or not ours:
        writer = (asyncio.Semaphore(1),)
        return {kind: writer if in_memory or kind not in READING else () for kind in Kind}, writer
    # All who write share one connection: while one is in its thread, the next one may queue there.
    readers, writers, alone = asyncio.Semaphore(CONNECTIONS - 1), asyncio.Semaphore(2), asyncio.Semaphore(1)
    return {kind: (readers,) if kind in READING else (writers,) for kind in Kind}, (alone, writers, writers)
