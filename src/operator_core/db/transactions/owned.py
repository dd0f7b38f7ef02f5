"""The library's own transactions: queued, retried, and finished before a cancellation is delivered."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from operator_core.actions.errors import DatabaseLockedError, RetryTransactionError
from operator_core.db.engine.capabilities import is_sqlite
from operator_core.db.engine.factory import POOL_SIZE, read_only, require_configured, with_autocommit, with_transactions
from operator_core.db.engine.forks import forget
from operator_core.db.engine.pinned import PinnedConnections
from operator_core.db.engine.urls import display_url, sqlite_path
from operator_core.db.errors import GuardRefusal, translating_errors
from operator_core.db.modes import READING, TransactionMode, Unit
from operator_core.db.transactions.in_flight import (
    HANG_UP_TIMEOUT_SECONDS,
    WRITE_MARGIN_SECONDS,
    ClosingPool,
    InFlight,
    UnitCall,
)
from operator_core.db.transactions.shield import SETTLE_TIMEOUT_SECONDS, Limit, in_time, shielded
from operator_core.db.transactions.sqlite_thread import SqliteThreadRunner

MAX_ATTEMPTS = 5
RETRY_INTERVAL_SECONDS = 0.01
"""How long the first retry waits; each further one waits that much longer."""

P = ParamSpec("P")
T = TypeVar("T")
_BUSY = "all its places are taken, as by an open transaction(); within it, call the methods of what it gave you"
_Slots = tuple[asyncio.Semaphore, ...]
_Begin = Callable[[], AbstractContextManager[sa.Connection]]


@contextmanager
def _transaction(engine: Engine) -> Generator[sa.Connection]:
    with engine.begin() as connection:
        require_configured(connection)
        yield connection


class TransactionRunner:
    """A runner of units on an open engine, each in its own transaction.

    Args:
        engine: An open engine.
        url: The URL that messages show.
        lock_timeout: How many seconds a call waits for others of this process.
        autocommit: Whether a single statement needs no transaction around it.
        owns_engine: Whether the engine was made with `owned_engine_options`.
    """

    def __init__(
        self, engine: AsyncEngine, url: URL, lock_timeout: float, *, autocommit: bool, owns_engine: bool
    ) -> None:
        self.engine = engine
        self._lock_timeout, self._url = lock_timeout, url
        self._greenlet_session = AsyncSession(engine)  # leads into SQLAlchemy's greenlet; never holds any object
        self._threads = SqliteThreadRunner(engine) if owns_engine and is_sqlite(engine) else None
        self._pinned = PinnedConnections(engine.sync_engine) if owns_engine and not is_sqlite(engine) else None
        single = engine.sync_engine if self._pinned else with_autocommit(engine.sync_engine)
        several = with_transactions(engine.sync_engine)
        self._begin_in = {
            TransactionMode.READ: self._beginning_on(single),
            TransactionMode.SNAPSHOT: self._beginning_on(read_only(engine.sync_engine)),
            TransactionMode.WRITE: self._beginning_on(single if autocommit else several),
            TransactionMode.MULTI_WRITE: self._beginning_on(
                single if autocommit and not is_sqlite(engine) else several
            ),
            TransactionMode.TRANSACTION: self._beginning_on(several),
        }
        in_memory = sqlite_path(url) is None
        self._slots, self._slots_of_block = _slots(engine, in_memory=in_memory, owns_engine=owns_engine)
        self.settle_timeout = None if is_sqlite(engine) else lock_timeout + WRITE_MARGIN_SECONDS
        self._in_flight: set[InFlight] = set()
        self._idle = asyncio.Event()

    def _beginning_on(self, engine: Engine) -> _Begin:
        if self._pinned is None:
            return partial(_transaction, engine)
        if engine is self.engine.sync_engine:
            return self._pinned.autocommitting
        return partial(self._pinned.transaction, engine)

    def run(self, unit: Unit[P, T], *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        """Run a unit in the mode that it declares, and let it finish before a cancellation is delivered.

        A unit that conflicts with another transaction is run again. On a server, a cancelled call that only reads need
        not finish: if it does not end at once, its connection is closed.
        """
        return self._run_queued(UnitCall(self.settle_timeout, unit, args, kwargs))

    def run_or_undo(
        self, on_cancelled: Callable[[T], Awaitable[None]], unit: Unit[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]:
        """Run a unit like `run`; if the caller is cancelled, pass the result that it missed to `on_cancelled`."""
        return self._run_queued(UnitCall(self.settle_timeout, unit, args, kwargs), on_cancelled)

    async def _run_queued(self, call: UnitCall[T], on_cancelled: Callable[[T], Awaitable[None]] | None = None) -> T:
        self._in_flight.add(call)
        try:
            await self._acquire(self._slots[call.mode])  # a call that is cancelled in the queue has done nothing
        except BaseException:
            self._ended(call)
            raise
        running = self._run_to_its_end(call)
        try:
            await (running if self._threads else shielded(running, call))  # a thread finishes what it has begun
        except asyncio.CancelledError:
            if call.is_done and on_cancelled is not None:
                with suppress(TimeoutError):
                    await in_time(on_cancelled(call.result), Limit(SETTLE_TIMEOUT_SECONDS))
            raise
        return call.result

    async def _run_to_its_end(self, call: UnitCall[Any]) -> None:
        """Run a call, again if it conflicts with another transaction, and free its slots."""
        try:
            for attempt in range(1, MAX_ATTEMPTS + 1):
                try:
                    with translating_errors(self._url):
                        if self._threads is not None:
                            return await self._threads.run(call)
                        return await self._greenlet_session.run_sync(self._run_once, call)
                except RetryTransactionError:
                    if attempt == MAX_ATTEMPTS:
                        raise
                    await asyncio.sleep(RETRY_INTERVAL_SECONDS * attempt)  # nothing of it was kept
        finally:
            _release(self._slots[call.mode])
            self._ended(call)

    def _run_once(self, _session: Session, call: UnitCall[Any]) -> None:
        begin = self._begin_in[call.mode]
        try:
            with begin() as connection:
                call.attach(connection)
                result = call.unit(connection, *call.args, **call.kwargs)
        except GuardRefusal as refusal:
            with begin() as connection:
                call.attach(connection)
                reason = refusal.diagnose(connection)
            raise reason from refusal.__cause__
        finally:
            call.detach()
        call.set_result(result)

    def _ended(self, call: InFlight) -> None:
        self._in_flight.discard(call)
        if not self._in_flight:
            self._idle.set()

    async def _acquire(self, slots: Sequence[asyncio.Semaphore]) -> None:
        """Wait for SQLite's write lock and for a free connection.

        We queue here because SQLAlchemy's pool cannot see the connections that we keep.
        """
        for position, slot in enumerate(slots):
            try:
                if slot.locked():
                    async with asyncio.timeout(self._lock_timeout):
                        await slot.acquire()
                else:
                    await slot.acquire()
            except BaseException as error:
                _release(slots[:position])
                if isinstance(error, TimeoutError):
                    raise DatabaseLockedError(url=display_url(self._url), detail=_BUSY) from error
                raise

    @asynccontextmanager
    async def reserve(self) -> AsyncGenerator[None]:
        """Wait until a block of several calls can begin, and keep its slots until it ends."""
        await self._acquire(self._slots_of_block)
        try:
            await self.release_idle_connections()
            yield
        finally:
            _release(self._slots_of_block)

    async def release_idle_connections(self) -> None:
        """Return our idle connections to the pool, for a caller that checks one out or closes the pool."""
        if self._threads is not None:
            await shielded(self._threads.release_idle())
        pinned = self._pinned
        if pinned is not None:
            await shielded(self._greenlet_session.run_sync(lambda _session: pinned.release_idle()))

    async def dispose(self) -> None:
        """Let the calls in flight end, then close all connections: one in use would stay open."""
        await self._wait_until_idle(self.settle_timeout)
        for call in self._in_flight:
            call.hang_up()
        await self._wait_until_idle(HANG_UP_TIMEOUT_SECONDS)
        await self.release_idle_connections()
        await close_pool(self.engine)

    def forget(self) -> None:
        """Drop all connections without using their event loop, which is closed or belongs to the parent process."""
        for kept in (self._threads, self._pinned):
            if kept is not None:
                kept.forget()
        forget(self.engine.sync_engine)

    async def _wait_until_idle(self, seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._in_flight:
                    self._idle.clear()
                    await self._idle.wait()


async def close_pool(engine: AsyncEngine) -> None:
    """Close the idle connections of an owned engine, within a bound even if the server does not answer."""
    if is_sqlite(engine):
        await engine.dispose()
        return
    with suppress(TimeoutError):
        await in_time(engine.dispose(), ClosingPool(engine))


def _release(slots: Sequence[asyncio.Semaphore]) -> None:
    for slot in slots:
        slot.release()


def _slots(engine: AsyncEngine, *, in_memory: bool, owns_engine: bool) -> tuple[dict[TransactionMode, _Slots], _Slots]:
    """Return the slots that each mode and a block of calls need; a host's pool has its own queue."""
    if not is_sqlite(engine):
        connections = (asyncio.Semaphore(POOL_SIZE),) if owns_engine else ()
        return dict.fromkeys(TransactionMode, connections), connections
    if in_memory or not owns_engine:
        writer = (asyncio.Semaphore(1),)
        return {mode: writer if in_memory or mode not in READING else () for mode in TransactionMode}, writer
    # Writers share one connection: while one of them is in its thread, the next one may queue there.
    readers, writers, alone = asyncio.Semaphore(POOL_SIZE - 1), asyncio.Semaphore(2), asyncio.Semaphore(1)
    return {mode: (readers,) if mode in READING else (writers,) for mode in TransactionMode}, (alone, writers, writers)
