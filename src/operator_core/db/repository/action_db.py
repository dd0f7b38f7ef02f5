"""`ActionDB`: the repository that owns its engine and its transactions."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal, ParamSpec, Self, TypeVar

from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from operator_core.actions.approvals import ApprovalPolicy
from operator_core.actions.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    DatabaseUrlError,
    InvalidArgumentError,
    NotOpenError,
    PolicyUnconfirmedError,
    UnreadableRowError,
)
from operator_core.actions.kill_switch import KillSwitchStatus, Scope, Stop, StopReceipt
from operator_core.actions.types import StoredRecord
from operator_core.actions.validation import check_integer, check_name, check_seconds, check_text
from operator_core.db.engine.capabilities import is_sqlite, mark_behind_pgbouncer
from operator_core.db.engine.compiled import share_compiled
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
from operator_core.db.repository.claim_pointers import ClaimPointers
from operator_core.db.repository.ending_queue import EndingQueue
from operator_core.db.repository.opening import prepare, upgrade_on
from operator_core.db.repository.transaction import Transaction
from operator_core.db.repository.unreadable_rows import OnUnreadable, UnreadableRows
from operator_core.db.repository.waiting import WaitMixin
from operator_core.db.stop.barrier import pass_barrier
from operator_core.db.stop.command import StopCommand
from operator_core.db.stop.engage import engage
from operator_core.db.stores import kill_switch
from operator_core.db.stores.announcement import announce
from operator_core.db.stores.ending_batches import Ending
from operator_core.db.stores.executions import Claim
from operator_core.db.transactions.block import TransactionBlock
from operator_core.db.transactions.in_flight import InFlight
from operator_core.db.transactions.owned import TransactionRunner, close_pool
from operator_core.db.transactions.shield import shielded

OPEN_TIMEOUT_SECONDS = 30.0
"""How long opening a ledger on a server may take. Opening only reads."""

_OPEN_CANCEL_SECONDS = 2.0

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", Claim, list[Claim])


class ActionDB(WaitMixin):
    """A ledger in a database of its own or next to a host's tables. Each call is its own transaction.

    Use it as an async context manager, or call `open` and `close`. Closing disposes of the engine only if `ActionDB`
    created it. A cancelled call finishes first: its work is recorded, and nothing is left half done.

    Args:
        target: A `Path` (a SQLite file), a URL (`sqlite://` is in memory), or an `AsyncEngine`. If omitted, the
            environment variable `OPERATOR_CORE_DATABASE_URL`, else `ops.db` in the current folder.
        migrate: `auto` creates and upgrades a SQLite ledger on open, but only checks PostgreSQL, where an upgrade is
            part of a deploy. `check` only checks, and creates nothing.
        lock_timeout: Seconds to wait for another client's lock, or for one of its 15 connections, before
            `DatabaseLockedError`.
        on_unreadable: Called with the `UnreadableRowError` of each row that a call skips because it cannot be read,
            once per row. By default a warning is logged.
        pgbouncer: Whether PgBouncer, in transaction mode, stands in front of PostgreSQL; `pgbouncer=true` in the URL
            does the same. Then the role's settings are checked on open, the role's `lock_timeout` applies, and there
            are no notifications.

    Raises:
        DatabaseUrlError: The target is not a valid URL, or names a database that this library does not support.
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
        self._ends: EndingQueue | None = None
        self._unreadable = UnreadableRows(on_unreadable)
        self._claim_pointers = ClaimPointers()

    def __repr__(self) -> str:
        return f"ActionDB({display_url(self._url)!r})"

    # -- open and close ------------------------------------------------------------------------------------------------

    async def open(self) -> Self:
        """Connect, check that the database is usable, and return self; a second call does nothing.

        Raises:
            MissingDriverError, EngineVersionError, EngineNotConfiguredError: The engine cannot be used.
            SchemaOutOfDateError, SchemaTooNewError, GuardMissingError: The schema cannot be used.
            DatabaseUnavailableError: The database cannot be reached or used.
            OpenedElsewhereError: It is open in another event loop, or was open when this process was forked.
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
                self._home = None  # now it may be opened elsewhere
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
        if ours:
            share_compiled(engine.sync_engine)
        self._transactions = TransactionRunner(
            engine, self._url, self._lock_timeout, autocommit=autocommit, owns_engine=ours
        )
        self._ends = EndingQueue(self._transactions)
        own = self._transactions
        self._notifier = Notifier(engine, home, lambda sender: own.run(announce, sender))

    async def migrate(self) -> None:
        """Upgrade the schema to the revision of this version; on PostgreSQL, run this as a step of a deploy.

        With a host's engine, the database that the engine connects to is migrated, on one of its connections, whose
        settings are restored afterwards.

        Raises:
            DatabaseError: The database cannot be reached or used; nothing was changed.
        """
        if self._host_engine is None:
            await shielded(asyncio.to_thread(upgrade, self._url))
            return
        require_session_state(self._url)
        with translating_errors(self._url):
            await shielded(upgrade_on(self._host_engine))

    async def close(self) -> None:
        """Close all connections, unless the engine is a host's; a second call does nothing.

        Calls in flight finish first, on PostgreSQL within the time that a cancelled call may take. In a forked child,
        and once the event loop of `open` is closed, the connections are dropped without sending anything on them.

        Raises:
            OpenedElsewhereError: It was opened in another event loop, which must close it.
        """
        home, own, bell, ends = self._home, self._transactions, self._notifier, self._ends
        if home is None or own is None or bell is None or ends is None:
            return
        if not home.is_gone:
            home.require()
        self._home = self._transactions = self._notifier = self._ends = self._status_watch = None
        if not home.is_gone:
            await shielded(self._close(bell, ends, own))
        elif self._host_engine is None:
            own.forget()

    async def _close(self, bell: Notifier, ends: EndingQueue, own: TransactionRunner) -> None:
        await bell.close()
        await ends.drain()
        if self._host_engine is None:
            await own.dispose()

    async def __aenter__(self) -> Self:
        try:
            return await self.open()
        except asyncio.CancelledError:
            await self.close()  # it was opened all the same, and `__aexit__` will not run
            raise

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    # -- transactions --------------------------------------------------------------------------------------------------

    def _unreadable_rows(self) -> UnreadableRows:
        return self._unreadable

    def _run(self, unit: Unit[P, T], *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        return self._require_open().run(unit, *args, **kwargs)

    async def _finish(self, ending: Ending) -> StoredRecord | UnreadableRowError:
        self._require_open()
        assert self._ends is not None  # noqa: S101 - what is open has one
        return await self._ends.finish(ending)

    def _run_claim(self, unit: Unit[P, C], *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, C]:
        return self._require_open().run_or_undo(self._fail_abandoned_claims, unit, *args, **kwargs)

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
        """Stop everything, or what `scope` covers: once this returns, nothing covered starts until a release.

        Engaging again is harmless: it takes a new generation, and the generation of the previous stop becomes stale.

        Args:
            by: The name of the person or program that stops.
            reason: The reason, which callers read when their start is refused.
            scope: What is stopped; everything by default.
            timeout: Seconds for the whole call.
            terminate_blockers: Whether to terminate the connections of clients that keep a start open or the latch
                locked (PostgreSQL).

        Raises:
            StopFailedError: The stop is NOT engaged, although it was retried until the deadline; the error holds the
                SQL statement for engaging it by hand.
            StopUnconfirmedError: The stop is engaged, but a start in flight could still get through; the error holds
                the receipt and names the blockers.
        """
        name, why, seconds = check_name(by, "by"), check_text(reason, "reason"), check_seconds(timeout, "timeout")
        order = StopCommand(Scope.coerce(scope), name, why, seconds, terminate_blockers)
        own = self._require_open()
        if sqlite_path(self._url) is None and is_sqlite(own.engine):
            async with own.reserve():
                return await shielded(engage(own.engine, self._url, order))
        return await shielded(self._engage(own, order))

    async def _engage(self, own: TransactionRunner, order: StopCommand) -> StopReceipt:
        with suppress(SQLAlchemyError):
            await (
                own.release_idle_connections()
            )  # if the server refuses more connections, a stop uses one of the pool's
        return await engage(own.engine, self._url, order)

    async def release_kill_switch(self, *, by: str, reason: str, generation: int) -> Stop:
        """Release the one stop that `generation` names, and return it; cancelled proposals stay cancelled.

        Raises:
            StopNotEngagedError: That stop is not engaged, or its scope has been engaged again since.
        """
        name, why = check_name(by, "by"), check_text(reason, "reason")
        number = check_integer(generation, "generation")
        return await self._run(kill_switch.release, name, why, number)

    async def kill_switch_status(self) -> KillSwitchStatus:
        """Return what is engaged, what runs, and how actions answered; sweep proposals in flight across a stop."""
        status = await super().kill_switch_status()
        if not status.not_yet_cancelled:
            return status
        try:
            await self._run(kill_switch.sweep_all)
        except DatabaseError:  # a role that only reads, or a trigger of the host: what is not swept cannot start
            return status
        return await super().kill_switch_status()

    # -- approvals -----------------------------------------------------------------------------------------------------

    async def _wait_for_starts(self, policy: ApprovalPolicy) -> None:
        if is_sqlite(self._url):  # whose one writer is the barrier
            return
        try:
            await self._run(pass_barrier)
        except DatabaseError as error:
            raise PolicyUnconfirmedError(scope=policy.scope, problem=str(error)) from error

    # -- several calls in one transaction ------------------------------------------------------------------------------

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[ActionRepository]:
        """Group several calls into one transaction: `async with db.transaction() as tx`.

        Call the methods of `tx` inside the block; concurrent calls run one after another. Leaving the block commits; an
        exception rolls back. A call that is still running then finishes first. A call that has not started, or whose
        block was left with an exception, raises `NotOpenError`. On SQLite the block holds the file's single write lock
        from its first call on.
        """
        own, home = self._require_open(), self._home
        assert home is not None  # noqa: S101 - what is open has one
        async with own.reserve():
            session = AsyncSession(AsyncEngine(with_transactions(own.engine.sync_engine)), expire_on_commit=False)
            block = TransactionBlock(session, own.settle_timeout, home)
            tx = Transaction(session, block, self._unreadable, home)
            try:
                yield tx
                await block.commit()
                if tx.changed:
                    self._notify()
            finally:
                await block.close()
