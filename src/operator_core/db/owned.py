"""`ActionDB`: the repository with an engine and transactions of its own."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from operator_core.actions.errors import (
    DatabaseLockedError,
    DatabaseUnavailableError,
    DatabaseUrlError,
    NotOpenError,
    RetryTransactionError,
    SchemaOutOfDateError,
    ValueNotStorableError,
)
from operator_core.actions.stops import KillSwitchChange, KillSwitchStatus, Scope, Stop, StopReceipt
from operator_core.actions.values import check_integer, check_name, check_seconds, check_text
from operator_core.db import kill_switch, migrate, stop_status
from operator_core.db.actions import ActionRepository
from operator_core.db.engage import Order, engage
from operator_core.db.engine import (
    BEGIN,
    autocommitting,
    check_version,
    create_engine,
    is_sqlite,
    notified,
    reading,
    require_configured,
    transacting,
    writer_lock,
)
from operator_core.db.joined import run_joined
from operator_core.db.transitions import RefusedError
from operator_core.db.units import Kind, translated
from operator_core.db.urls import file_of, require_ledger_file, shown, target_url

P = ParamSpec("P")
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


class _Transaction(ActionRepository):
    """Is the repository within `ActionDB.transaction`: its calls are settled before a cancellation is delivered."""

    ended = False

    async def _run(
        self, kind: Kind, unit: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        if self.ended:
            raise NotOpenError(target="the transaction, whose block has ended,")
        return await settled(run_joined(self._session, kind, unit, *args, **kwargs))


class ActionDB(ActionRepository):
    """Keeps a ledger in a database of its own or beside a host's tables; each call is a transaction of its own.

    Use it as an async context manager, or call `open` and `close`. Leaving it disposes of an engine that it made, and
    of no other. A call that is cancelled is settled first: what was done is recorded, nothing is left half done.

    Args:
        target: A `Path` (a SQLite file), a URL (`sqlite://` is in memory), or an `AsyncEngine`; nothing means the
            environment variable `OPERATOR_CORE_DATABASE_URL`, else `ops.db` in the current folder.
        migrate: `auto` creates and upgrades a SQLite ledger on open, and only checks PostgreSQL, where an upgrade is
            part of a deploy; `check` only checks, and creates nothing.
        lock_timeout: Seconds to wait for somebody else's lock before `DatabaseLockedError`.

    Raises:
        DatabaseUrlError: The target is a text that is no URL, or a database that this library does not work with.
    """

    def __init__(
        self,
        target: Path | str | URL | AsyncEngine | None = None,
        *,
        migrate: Literal["auto", "check"] = "auto",
        lock_timeout: float = 10.0,
    ) -> None:
        if not isinstance(target, Path | str | URL | AsyncEngine | None):  # pyright: ignore[reportUnnecessaryIsInstance] - a caller may be untyped
            raise DatabaseUrlError(f"a {type(target).__name__} is no target: give a Path, a URL or an AsyncEngine")
        if migrate not in ("auto", "check"):
            raise ValueNotStorableError(path="migrate", why=f"is {migrate!a}; it is 'auto' or 'check'")
        self._given = target if isinstance(target, AsyncEngine) else None
        self._url = target.url if isinstance(target, AsyncEngine) else target_url(target)
        self._migrate = migrate
        self._lock_timeout = check_seconds(lock_timeout, "lock_timeout")
        self._engine: AsyncEngine | None = None
        self._engines: dict[Kind, Engine] = {}
        self._writers: asyncio.Lock | None = None
        self._opening = asyncio.Lock()
        self._under_way: set[asyncio.Future[Any]] = set()

    def __repr__(self) -> str:
        return f"ActionDB({shown(self._url)!r})"

    # -- open and close ------------------------------------------------------------------------------------------------

    async def open(self) -> Self:
        """Connect, see that the database can be worked with, and return self; a second call does nothing.

        Raises:
            MissingDriverError, EngineVersionError, EngineNotConfiguredError: The engine cannot be used.
            SchemaOutOfDateError, SchemaTooNewError, GuardMissingError: The schema cannot be used.
            DatabaseUnavailableError: It cannot be reached or worked with.
        """
        async with self._opening:
            if self._engine is None:
                await settled(self._open())
        return self

    async def _open(self) -> None:
        if self._migrate == "check":
            require_ledger_file(self._url)
        engine = self._given or create_engine(self._url, lock_timeout=self._lock_timeout)
        try:
            with translated(shown(self._url)):
                await self._prepare(engine)
        except BaseException:
            if self._given is None:
                await engine.dispose()
            raise
        self._engine = engine
        single, several = autocommitting(engine.sync_engine), transacting(engine.sync_engine)
        snapshot = reading(engine.sync_engine)
        self._engines = {Kind.READ: single, Kind.WRITE: single, Kind.TRANSACTION: several, Kind.SNAPSHOT: snapshot}
        self._writers = writer_lock(engine)

    async def _prepare(self, engine: AsyncEngine) -> None:
        """Check the ledger, and migrate one on SQLite that is behind."""

        def look(connection: sa.Connection) -> None:
            check_version(connection)
            if self._given is not None:
                require_configured(connection)
            migrate.check(connection, self._url)

        try:
            await self._look(engine, look)
        except SchemaOutOfDateError:
            if self._migrate != "auto" or not is_sqlite(engine):
                raise
        else:
            return
        if file_of(self._url) is None:
            async with engine.connect() as connection:
                await connection.run_sync(migrate.upgrade_on)
        else:
            await asyncio.to_thread(migrate.upgrade, self._url)
        await self._look(engine, look)

    @staticmethod
    async def _look(engine: AsyncEngine, look: Callable[[sa.Connection], None]) -> None:
        """Look as a reader: a ledger can be opened while somebody writes to it."""
        async with engine.connect() as connection:
            await connection.execution_options(**{BEGIN: "DEFERRED"})
            await connection.run_sync(look)

    async def migrate(self) -> None:
        """Upgrade the schema to the revision of this version; for PostgreSQL, a step of a deploy.

        Raises:
            DatabaseError: It cannot be reached or worked with; nothing was changed.
        """
        await settled(asyncio.to_thread(migrate.upgrade, self._url))

    async def close(self) -> None:
        """Close all connections, unless the engine is a host's; a second call does nothing."""
        engine, self._engine = self._engine, None
        if engine is not None and self._given is None:
            await settled(self._dispose(engine))

    async def _dispose(self, engine: AsyncEngine) -> None:
        """Let the calls under way come to their end: a connection that is in use would be left open."""
        while self._under_way:
            await asyncio.wait(set(self._under_way))
        await engine.dispose()

    async def __aenter__(self) -> Self:
        try:
            return await self.open()
        except asyncio.CancelledError:
            await self.close()  # it was opened all the same, and nobody will leave the block
            raise

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    # -- transactions --------------------------------------------------------------------------------------------------

    async def _run(
        self, kind: Kind, unit: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        self._opened()
        work = asyncio.ensure_future(self._repeated(kind, lambda connection: unit(connection, *args, **kwargs)))
        self._under_way.add(work)
        work.add_done_callback(self._under_way.discard)
        return await settled(work)

    async def _repeated(self, kind: Kind, unit: Callable[[sa.Connection], T]) -> T:
        """Run a unit again that met another transaction: nothing of it was kept."""
        engine = self._opened()  # now: `close` waits for what has begun
        for attempt in range(1, _ATTEMPTS):
            try:
                return await self._once(engine, kind, unit)
            except RetryTransactionError:
                await asyncio.sleep(0.01 * attempt)
        return await self._once(engine, kind, unit)

    async def _once(self, engine: AsyncEngine, kind: Kind, unit: Callable[[sa.Connection], T]) -> T:

        def whole(_session: Session) -> T:
            bind = self._engines[kind]
            try:
                with bind.begin() as connection:
                    return unit(connection)
            except RefusedError as refused:
                with bind.begin() as connection:
                    raise refused.explain(connection) from refused.__cause__

        async with self._writing(kind):
            with translated(shown(self._url)):
                return await AsyncSession(engine).run_sync(whole)

    def _opened(self) -> AsyncEngine:
        if self._engine is None:
            raise NotOpenError(target=repr(self))
        return self._engine

    @asynccontextmanager
    async def _writing(self, kind: Kind) -> AsyncGenerator[None]:
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

    # -- kill switch ---------------------------------------------------------------------------------------------------

    async def engage_kill_switch(
        self, *, by: str, reason: str, scope: Scope | str | None = None, wait: float = 5.0, terminate: bool = False
    ) -> StopReceipt:
        """Stop everything, or what `scope` covers: once this returns, nothing of it starts until a release.

        Engaging again is harmless, takes a new generation, and makes the number of the stop before it stale.

        Args:
            by: Who stops.
            reason: Why; whoever is refused reads it.
            scope: What is stopped; everything by default.
            wait: Seconds for all of it.
            terminate: End the connections of clients that hold a start open or the latch locked (PostgreSQL).

        Raises:
            StopFailedError: The stop is NOT engaged, after tries until the deadline; the error holds the SQL statement
                for doing it by hand.
            StopUnconfirmedError: It is engaged, but a start that was under way could still get through; the error
                holds the receipt and says who is in the way.
        """
        who, why, seconds = check_name(by, "by"), check_text(reason, "reason"), check_seconds(wait, "wait")
        order = Order(Scope.of(scope), who, why, seconds, terminate)
        engine = self._opened()
        if file_of(self._url) is None and is_sqlite(engine):
            async with self._writing(Kind.TRANSACTION):
                return await settled(engage(engine, self._url, order))
        return await settled(engage(engine, self._url, order))

    async def release_kill_switch(self, *, by: str, reason: str, generation: int) -> Stop:
        """Release the one stop that `generation` names, and return it; revives nothing that was pending.

        Raises:
            StopNotEngagedError: That stop is not engaged, or somebody has engaged its scope again since.
        """
        name, why = check_name(by, "by"), check_text(reason, "reason")
        number = check_integer(generation, "generation")
        return await self._run(Kind.TRANSACTION, kill_switch.release, name, why, number)

    async def kill_switch_status(self) -> KillSwitchStatus:
        """Return what is engaged, what runs, and who has answered; sweeps what was in flight across a stop."""
        status = await super().kill_switch_status()
        if not status.unswept:
            return status
        try:
            await self._run(Kind.TRANSACTION, kill_switch.sweep_leftovers)
        except (DatabaseUnavailableError, RetryTransactionError):
            return status  # who may only look still sees; what is unswept cannot start
        return await super().kill_switch_status()

    async def watch_kill_switch(self, *, poll: float = 0.25) -> AsyncGenerator[KillSwitchChange]:
        """Iterate over every engage and release from now on; what is engaged already comes first.

        Asks the database every `poll` seconds; on PostgreSQL with asyncpg, a notification makes it sooner.
        """
        engaged, seen = await self._run(Kind.SNAPSHOT, stop_status.changes_so_far)
        for change in engaged:
            yield change
        async with notified(self._opened()) as hint:
            while True:
                for change in await self._run(Kind.READ, stop_status.changes, seen):
                    seen = change.id
                    yield change
                await hint(poll)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[ActionRepository]:
        """Group several calls, which are kept together or not at all: `async with db.transaction() as tx`.

        Call the methods of `tx` within. Leaving the block commits, an exception rolls back. On SQLite it holds the one
        write lock of the file from its first call on.
        """
        engine = self._opened()
        async with self._writing(Kind.TRANSACTION):
            session = AsyncSession(AsyncEngine(transacting(engine.sync_engine)), expire_on_commit=False)
            tx = _Transaction(session)
            try:
                yield tx
                with translated(shown(self._url)):
                    await settled(session.commit())
            finally:
                tx.ended = True
                try:
                    await settled(session.close())
                except SQLAlchemyError:  # the connection is lost; what broke it is under way to the caller
                    await settled(session.invalidate())
