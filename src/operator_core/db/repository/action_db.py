"""`ActionDB`: the repository with an engine and transactions of its own."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal, ParamSpec, Self, TypeVar

from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from operator_core.actions.errors import (
    DatabaseUnavailableError,
    DatabaseUrlError,
    InvalidArgumentError,
    NotOpenError,
    RetryTransactionError,
)
from operator_core.actions.kill_switch import KillSwitchStatus, Scope, Stop, StopReceipt
from operator_core.actions.validation import check_integer, check_name, check_seconds, check_text
from operator_core.db.engine.capabilities import is_sqlite, mark_behind_pgbouncer
from operator_core.db.engine.factory import (
    create_engine,
    owned_engine_options,
    require_session_state,
    with_transactions,
)
from operator_core.db.engine.home import Home
from operator_core.db.engine.notifier import Notifier
from operator_core.db.engine.urls import (
    display_url,
    require_ledger_file,
    resolve_url,
    sqlite_path,
    with_absolute_path,
    with_pgbouncer,
)
from operator_core.db.errors import translating_errors
from operator_core.db.migrations.commands import upgrade
from operator_core.db.migrations.status import require_free_file
from operator_core.db.modes import Unit
from operator_core.db.repository.action_repository import ActionRepository
from operator_core.db.repository.opening import prepare, upgrade_on
from operator_core.db.repository.transaction import Transaction
from operator_core.db.repository.unreadable_rows import OnUnreadable, UnreadableRows
from operator_core.db.repository.waiting import WaitMixin
from operator_core.db.stop.command import StopCommand
from operator_core.db.stop.engage import engage
from operator_core.db.stores import kill_switch
from operator_core.db.stores.executions import Claim
from operator_core.db.transactions.in_flight import InFlight
from operator_core.db.transactions.owned import TransactionRunner, close_pool
from operator_core.db.transactions.shield import shielded

OPEN_TIMEOUT_SECONDS = 30.0
"""How long opening a ledger on a server may take, in which it only reads."""

_OPEN_CANCEL_SECONDS = 2.0

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", bound=Claim | None)


class ActionDB(WaitMixin):
    """Keeps a ledger in a database of its own or beside a host's tables; each call is a transaction of its own.

    Use it as an async context manager, or call `open` and `close`. Leaving it disposes of an engine that it made, and
    of no other. A call that is cancelled is settled first: what was done is recorded, nothing is left half done.

    Args:
        target: A `Path` (a SQLite file), a URL (`sqlite://` is in memory), or an `AsyncEngine`; nothing means the
            environment variable `OPERATOR_CORE_DATABASE_URL`, else `ops.db` in the current folder.
        migrate: `auto` creates and upgrades a SQLite ledger on open, and only checks PostgreSQL, where an upgrade is
            part of a deploy; `check` only checks, and creates nothing.
        lock_timeout: Seconds to wait for somebody else's lock, or for one of its 15 connections, before
            `DatabaseLockedError`.
        on_unreadable: Is called once for each row that a call passes over because it cannot be read, with the
            `UnreadableRowError`; by default the log has a warning.
        pgbouncer: Whether PgBouncer, in transaction mode, stands in front of PostgreSQL; `pgbouncer=true` in the URL
            says so too. Then the role's settings are checked on open, `lock_timeout` is the role's, nobody is notified.

    Raises:
        DatabaseUrlError: The target is a text that is no URL, or a database that this library does not work with.
    """

    _joins_transaction = False

    def __init__(
        self,
        target: Path | str | URL | AsyncEngine | None = None,
        *,
        migrate: Literal["auto", "check"] = "auto",
        lock_timeout: float = 10.0,
        pgbouncer: bool = False,
        on_unreadable: OnUnreadable | None = None,
    ) -> None:
        if not isinstance(target, Path | str | URL | AsyncEngine | None):  # pyright: ignore[reportUnnecessaryIsInstance] - a caller may be untyped
            raise DatabaseUrlError(f"a {type(target).__name__} is no target: give a Path, a URL or an AsyncEngine")
        if migrate not in ("auto", "check"):
            raise InvalidArgumentError(path="migrate", reason=f"is {migrate!a}; it is 'auto' or 'check'")
        self._host_engine = target if isinstance(target, AsyncEngine) else None
        self._url = with_absolute_path(target.url) if isinstance(target, AsyncEngine) else resolve_url(target)
        if pgbouncer:
            self._url = with_pgbouncer(self._url)
            self._host_engine = self._host_engine and mark_behind_pgbouncer(self._host_engine)
        self._migrate = migrate
        self._lock_timeout = check_seconds(lock_timeout, "lock_timeout")
        self._transactions: TransactionRunner | None = None
        self._unreadable = UnreadableRows(on_unreadable)

    def __repr__(self) -> str:
        return f"ActionDB({display_url(self._url)!r})"

    # -- open and close ------------------------------------------------------------------------------------------------

    async def open(self) -> Self:
        """Connect, see that the database can be worked with, and return self; a second call does nothing.

        Raises:
            MissingDriverError, EngineVersionError, EngineNotConfiguredError: The engine cannot be used.
            SchemaOutOfDateError, SchemaTooNewError, GuardMissingError: The schema cannot be used.
            DatabaseUnavailableError: It cannot be reached or worked with.
            OpenedElsewhereError: It is open in another event loop, or was when this process was forked.
        """
        if self._home is None or (self._transactions is None and self._home.is_gone):
            self._home = Home(repr(self))
        home = self._home
        home.require()
        home.opening += 1
        try:
            async with home.lock:
                if self._transactions is None:
                    await self._open_in_time(home)
        finally:
            home.opening -= 1
            if self._transactions is None and not home.opening:
                self._home = None  # it may be opened elsewhere
        return self

    async def _open_in_time(self, home: Home) -> None:
        is_file = is_sqlite(self._url)
        limit = InFlight(None if is_file else _OPEN_CANCEL_SECONDS, connecting=_OPEN_CANCEL_SECONDS)
        try:
            async with asyncio.timeout(None if is_file else OPEN_TIMEOUT_SECONDS):
                await shielded(self._open(home, limit), limit)
        except TimeoutError as error:
            detail = f"no answer within {OPEN_TIMEOUT_SECONDS:g} s"
            raise DatabaseUnavailableError(url=display_url(self._url), detail=detail) from error

    async def _open(self, home: Home, limit: InFlight) -> None:
        if self._host_engine is None:
            require_free_file(self._url)
        if self._migrate == "check":
            require_ledger_file(self._url)
        engine = self._host_engine or create_engine(
            self._url, lock_timeout=self._lock_timeout, needs_session_state=False, **owned_engine_options(self._url)
        )
        try:
            with translating_errors(self._url):
                autocommit = await prepare(
                    engine, self._url, limit, is_host=self._host_engine is not None, may_migrate=self._migrate == "auto"
                )
            limit.require_awaited()
        except BaseException:
            if self._host_engine is None:
                await close_pool(engine)
            raise
        ours = self._host_engine is None
        self._transactions = TransactionRunner(
            engine, self._url, self._lock_timeout, autocommit=autocommit, owns_engine=ours
        )
        self._notifier = Notifier(engine, home)

    async def migrate(self) -> None:
        """Upgrade the schema to the revision of this version; for PostgreSQL, a step of a deploy.

        A host's engine migrates what it connects to, on one of its connections, whose settings are put back.

        Raises:
            DatabaseError: It cannot be reached or worked with; nothing was changed.
        """
        if self._host_engine is None:
            await shielded(asyncio.to_thread(upgrade, self._url))
            return
        require_session_state(self._url)
        with translating_errors(self._url):
            await shielded(upgrade_on(self._host_engine))

    async def close(self) -> None:
        """Close all connections, unless the engine is a host's; a second call does nothing.

        Calls under way come to their end first, on PostgreSQL for as long as a cancelled call may take. In a forked
        child, and once the event loop of `open` is closed, nothing is said on any connection: they are let go.

        Raises:
            OpenedElsewhereError: It was opened in another event loop, which must close it.
        """
        home, own, bell = self._home, self._transactions, self._notifier
        if home is None or own is None or bell is None:
            return
        if not home.is_gone:
            home.require()
        self._home = self._transactions = self._notifier = None
        if not home.is_gone:
            await shielded(self._close(bell, own))
        elif self._host_engine is None:
            own.forget()

    async def _close(self, bell: Notifier, own: TransactionRunner) -> None:
        await bell.close()
        if self._host_engine is None:
            await own.dispose()

    async def __aenter__(self) -> Self:
        try:
            return await self.open()
        except asyncio.CancelledError:
            await self.close()  # it was opened all the same, and nobody will leave the block
            raise

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    # -- transactions --------------------------------------------------------------------------------------------------

    def _unreadable_rows(self) -> UnreadableRows:
        return self._unreadable

    async def _run(self, unit: Unit[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._require_open().run(unit, *args, **kwargs)

    async def _run_claim(self, unit: Unit[P, C], *args: P.args, **kwargs: P.kwargs) -> C:
        return await self._require_open().run_or_undo(self._fail_abandoned_claim, unit, *args, **kwargs)

    def _require_open(self) -> TransactionRunner:
        if self._transactions is None or self._home is None:
            raise NotOpenError(target=repr(self))
        self._home.require()
        return self._transactions

    # -- kill switch ---------------------------------------------------------------------------------------------------

    async def engage_kill_switch(
        self,
        *,
        by: str,
        reason: str,
        scope: Scope | str | None = None,
        timeout: float = 5.0,  # noqa: ASYNC109 - it bounds every phase, and ends with a receipt
        terminate_blockers: bool = False,
    ) -> StopReceipt:
        """Stop everything, or what `scope` covers: once this returns, nothing of it starts until a release.

        Engaging again is harmless, takes a new generation, and makes the number of the stop before it stale.

        Args:
            by: Who stops.
            reason: Why; whoever is refused reads it.
            scope: What is stopped; everything by default.
            timeout: Seconds for all of it.
            terminate_blockers: End the connections of clients that hold a start open or the latch locked (PostgreSQL).

        Raises:
            StopFailedError: The stop is NOT engaged, after tries until the deadline; the error holds the SQL statement
                for doing it by hand.
            StopUnconfirmedError: It is engaged, but a start that was under way could still get through; the error
                holds the receipt and says who is in the way.
        """
        who, why, seconds = check_name(by, "by"), check_text(reason, "reason"), check_seconds(timeout, "timeout")
        order = StopCommand(Scope.coerce(scope), who, why, seconds, terminate_blockers)
        own = self._require_open()
        if sqlite_path(self._url) is None and is_sqlite(own.engine):
            async with own.reserve():
                return await shielded(engage(own.engine, self._url, order))
        return await shielded(self._engage(own, order))

    async def _engage(self, own: TransactionRunner, order: StopCommand) -> StopReceipt:
        with suppress(SQLAlchemyError):
            await (
                own.release_idle_connections()
            )  # where the server gives no more connections, a stop takes one of the pool
        return await engage(own.engine, self._url, order)

    async def release_kill_switch(self, *, by: str, reason: str, generation: int) -> Stop:
        """Release the one stop that `generation` names, and return it; revives nothing that was pending.

        Raises:
            StopNotEngagedError: That stop is not engaged, or somebody has engaged its scope again since.
        """
        name, why = check_name(by, "by"), check_text(reason, "reason")
        number = check_integer(generation, "generation")
        return await self._run(kill_switch.release, name, why, number)

    async def kill_switch_status(self) -> KillSwitchStatus:
        """Return what is engaged, what runs, and who has answered; sweeps what was in flight across a stop."""
        status = await super().kill_switch_status()
        if not status.not_yet_cancelled:
            return status
        try:
            await self._run(kill_switch.sweep_all)
        except (DatabaseUnavailableError, RetryTransactionError):
            return status  # a role that may only read still gets the status; what is not cancelled yet cannot start
        return await super().kill_switch_status()

    # -- several calls in one transaction ------------------------------------------------------------------------------

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[ActionRepository]:
        """Group several calls, which are kept together or not at all: `async with db.transaction() as tx`.

        Call the methods of `tx` within; calls at the same moment run one after another. Leaving the block commits, an
        exception rolls back. A call that runs then comes to its end first; one that has not begun, or whose block was
        left with an exception, raises `NotOpenError`. On SQLite the block holds the one write lock of the file from its
        first call on.
        """
        own, home = self._require_open(), self._home
        async with own.reserve():
            session = AsyncSession(AsyncEngine(with_transactions(own.engine.sync_engine)), expire_on_commit=False)
            tx = Transaction(session, self._unreadable, own.settle_timeout, home)
            try:
                yield tx
                await tx.commit()
                if tx.changed:
                    self._notify()
            finally:
                await tx.close()
