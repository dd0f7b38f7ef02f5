"""The parts of a stop on PostgreSQL: its timeouts, the barrier behind every start, and its blockers."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from operator_core.db.engine.listeners import STOP_CHANNEL
from operator_core.db.engine.postgresql import require_triggers
from operator_core.db.errors import error_code
from operator_core.db.guards.plpgsql import START_LOCK
from operator_core.db.modes import TransactionMode, unit


@dataclass(frozen=True)
class Blocker:
    """A client that is in the way of a stop; `pid` is None for a prepared transaction."""

    pid: int | None
    text: str


@dataclass(frozen=True)
class Session:
    """The session of a stop: its server process, and the server's time when it began."""

    pid: int
    began_at: datetime


_PINNED = {
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "datestyle": "ISO, MDY",
    "extra_float_digits": "1",
    "exit_on_error": "off",
    "quote_all_identifiers": "off",
    "client_encoding": "UTF8",
}
"""The settings of a stop's session, even if the stop copies a host's connections."""

_BOUNDS = sa.text(
    "SELECT set_config('lock_timeout', :timeout, :locally), set_config('statement_timeout', :timeout, :locally), "
    + "".join(f"set_config('{name}', '{value}', :locally), " for name, value in _PINNED.items())
    # PostgreSQL 17 and newer; in a host's session it may have any value.
    + "CASE WHEN current_setting('transaction_timeout', true) IS NOT NULL "
    "THEN set_config('transaction_timeout', '0', :locally) END, "
    "quote_ident(session_user) AS role, current_setting('session_replication_role') AS triggers, "
    # Twelve of twelve acknowledged stops were lost when a server crashed that does not wait for its disk.
    "set_config('synchronous_commit', CASE WHEN :durable AND current_setting('synchronous_commit') IN ('off', 'local') "
    "THEN 'on' WHEN :durable THEN current_setting('synchronous_commit') ELSE 'local' END, :locally), "
    "pg_backend_pid() AS pid, clock_timestamp() AS began_at"
).columns(began_at=sa.DateTime(timezone=True))


def apply_timeouts(
    connection: sa.Connection, seconds: float, *, durable: bool = True, locally: bool = False
) -> Session:
    """Bound every wait of this session, make its commits wait for disk and standbys, and return the session.

    With `locally`, all of this applies to the open transaction alone.

    Raises:
        EngineNotConfiguredError: The session skips triggers, so that a stop would get no generation.
    """
    milliseconds = f"{min(max(1, round(seconds * 1000)), 2**31 - 1)}"
    values = {"timeout": milliseconds, "durable": durable, "locally": locally}
    row = connection.execute(_BOUNDS, values).one()
    require_triggers(row.triggers, row.role)
    return Session(row.pid, row.began_at)


_BARRIER = sa.select(sa.func.operator_core_barrier())
_BARRIER_BEFORE_0003 = sa.select(sa.func.pg_advisory_xact_lock(START_LOCK))


@unit(TransactionMode.TRANSACTION)
def pass_barrier(connection: sa.Connection) -> None:
    """Wait until every start that had passed the guard has committed or died; the commit releases the lock."""
    connection.execute(_BARRIER)


def pass_barrier_before_0003(connection: sa.Connection) -> None:
    """Pass the barrier of a database that a deploy has not upgraded yet: its starts hold an advisory lock."""
    connection.execute(_BARRIER_BEFORE_0003)


def notify(connection: sa.Connection) -> None:
    """Notify the listeners for stops; a hint, which no stop may wait for."""
    connection.execute(sa.text(f"NOTIFY {STOP_CHANNEL}"))


# -- blockers ----------------------------------------------------------------------------------------------------------

_BLOCKERS = sa.text(
    "SELECT DISTINCT b.pid, a.application_name, a.usename, a.client_addr, a.state, "
    "extract(epoch FROM clock_timestamp() - a.xact_start) AS seconds "
    "FROM unnest(pg_blocking_pids(CAST(:pid AS integer))) AS b(pid) LEFT JOIN pg_stat_activity AS a ON a.pid = b.pid"
)


def find_blockers(connection: sa.Connection, pid: int, what: str) -> list[Blocker]:
    """Return the clients that block a server process now, by any lock; `what` describes what they do."""
    return [_blocker(row, what) for row in connection.execute(_BLOCKERS, {"pid": pid})]


def _blocker(row: sa.Row[Any], what: str) -> Blocker:
    if row.pid == 0:  # the value that pg_blocking_pids uses
        return Blocker(None, f"a prepared transaction {what}: see pg_prepared_xacts")
    since = "" if row.seconds is None else f" for {row.seconds:.1f} s"
    where = f" from {row.client_addr}" if row.client_addr else ""
    client = f"{row.application_name or 'a client'} (user {row.usename}{where})"
    return Blocker(row.pid, f"server pid {row.pid}, {client}, {what}{since}, {row.state or 'in an unknown state'}")


def terminate(connection: sa.Connection, found: Iterable[Blocker]) -> list[str]:
    """Terminate clients' connections one by one; return a text for each that this role may not terminate.

    The role must be the client's own, or a member of pg_signal_backend.
    """
    refused: list[str] = []
    for blocker in found:
        if blocker.pid is None:
            continue
        try:
            with _savepoint_if_in_transaction(connection):
                connection.execute(sa.select(sa.func.pg_terminate_backend(blocker.pid)))
        except DBAPIError as error:
            refused.append(f"server pid {blocker.pid} may not be ended by this role ({error_code(error)})")
    return refused


def _savepoint_if_in_transaction(connection: sa.Connection) -> AbstractContextManager[object]:
    """Confine an error to its statement, if that is part of a transaction."""
    dbapi: Any = connection.connection.dbapi_connection
    return nullcontext() if dbapi.autocommit else connection.begin_nested()


_CANCEL = sa.text("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid = :pid AND wait_event = 'SyncRep'")


def stop_waiting_for_standby(connection: sa.Connection, pid: int) -> bool:
    """End the wait of a commit for a synchronous standby that does not answer: it is committed, but only here."""
    return bool(connection.scalar(_CANCEL, {"pid": pid}))
