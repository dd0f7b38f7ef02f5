"""Units of work in the open transaction of a host's session."""

from collections.abc import Generator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, PendingRollbackError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from operator_core.actions.errors import ConnectionLostError, EngineNotConfiguredError, RetryTransactionError
from operator_core.db.engine.capabilities import check_version, error_aborts_transaction, require_same_file
from operator_core.db.engine.factory import require_configured
from operator_core.db.engine.once import EngineMarks
from operator_core.db.engine.urls import display_url
from operator_core.db.errors import GuardRefusal, error_code, translating_errors
from operator_core.db.migrations.status import require_compatible
from operator_core.db.modes import READING, TransactionMode, Unit
from operator_core.db.transactions.turns import alone_in, alone_on, flush, naming_a_busy_session, turns_of

P = ParamSpec("P")
T = TypeVar("T")

_checked = EngineMarks()


async def run_in_session(
    session: AsyncSession,
    unit: Unit[P, T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Flush, then run `unit` on the session's connection; a refusal leaves the transaction as it was.

    Calls on one session run one after another, and the host's own statements on the connection wait for them.

    Raises:
        SessionBusyError: Another task is in the middle of a commit, a flush or the first statement of the session.
    """

    def run_unit(sync: Session) -> T:
        with naming_a_busy_session(), alone_in(sync, call):
            with translating_errors(url), _busy_as_conflict():
                connection = sync.connection()  # on SQLite this begins, so it may find the write lock taken
            with alone_on(connection, call):
                flush(sync)
                return run_on(connection, unit, *args, **kwargs)

    bind: Any = session.sync_session.get_bind()
    url: URL = bind.engine.url
    async with turns_of(session).turn() as call:
        return await session.run_sync(run_unit)


def run_on(
    connection: sa.Connection,
    unit: Unit[P, T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run `unit` in the open transaction of a connection that nothing else uses meanwhile."""
    with translating_errors(connection.engine.url), _busy_as_conflict(), naming_a_lost_transaction(connection):
        require_configured(connection)
        require_same_file(connection)
        _check_once(connection)
        _require_transaction(connection)
        try:
            with _savepoint(connection) if _needs_savepoint(connection, unit.mode) else nullcontext():
                return unit(connection, *args, **kwargs)
        except GuardRefusal as refused:
            raise refused.diagnose(connection) from refused.__cause__


@contextmanager
def naming_a_lost_transaction(connection: sa.Connection) -> Generator[None]:
    """Report that the connection and its transaction are lost, where SQLAlchemy asks for a rollback."""
    try:
        yield
    except PendingRollbackError as error:
        lost = "the transaction was lost with its connection, before this call"
        raise ConnectionLostError(url=display_url(connection.engine.url), detail=lost) from error


@contextmanager
def _busy_as_conflict() -> Generator[None]:
    """Translate "busy" into the one error that asks the host to run its transaction again."""
    try:
        yield
    except DBAPIError as error:
        code = error_code(error) or ""
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise RetryTransactionError(code=code) from error
        raise


def _needs_savepoint(connection: sa.Connection, mode: TransactionMode) -> bool:
    if mode is TransactionMode.WRITE:
        return error_aborts_transaction(connection)
    return mode not in READING


@contextmanager
def _savepoint(connection: sa.Connection) -> Generator[None]:
    """Undo the block if it raises. The savepoint's name never changes, so that a server parses it only once."""
    connection.exec_driver_sql("SAVEPOINT operator_core")
    try:
        yield
    except BaseException:
        with suppress(SQLAlchemyError):  # the connection is lost, and the caller gets the error that broke it
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT operator_core")
            connection.exec_driver_sql("RELEASE SAVEPOINT operator_core")
        raise
    connection.exec_driver_sql("RELEASE SAVEPOINT operator_core")


def _check_once(connection: sa.Connection) -> None:
    if connection not in _checked:
        check_version(connection)
        require_compatible(connection, connection.engine.url)
        _checked.add(connection)


def _require_transaction(connection: sa.Connection) -> None:
    dbapi: Any = connection.connection.dbapi_connection
    if error_aborts_transaction(connection) and dbapi.autocommit:
        raise EngineNotConfiguredError(detail="it autocommits, so there is no transaction to join")
