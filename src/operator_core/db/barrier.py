"""What a stop asks of each engine: the barrier behind every start, who stands in it, and its bounds in time."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from operator_core.db.faults import code_of
from operator_core.db.guards.plpgsql import START_LOCK

_WAL_WRITE_LOCK = 120  # the byte of the -shm file that the one writer locks, sqlite.org/walformat.html


@dataclass(frozen=True)
class Blocker:
    """A client that is in the way of a stop; `pid` is None for a prepared transaction."""

    pid: int | None
    text: str


_BOUNDS = sa.text(
    "SELECT set_config('lock_timeout', :timeout, :locally), set_config('statement_timeout', :timeout, :locally), "
    "set_config('default_transaction_isolation', 'read committed', :locally), "
    # Twelve of twelve acknowledged stops were lost in a crash of a server that does not wait for its disk.
    "set_config('synchronous_commit', CASE WHEN :durable AND current_setting('synchronous_commit') IN ('off', 'local') "
    "THEN 'on' WHEN :durable THEN current_setting('synchronous_commit') ELSE 'local' END, :locally), "
    "pg_backend_pid() AS pid"
)


def bound(connection: sa.Connection, seconds: float, *, durable: bool = True, locally: bool = False) -> int:
    """Bound every wait of this session, have its commits on disk and on the standbys, and return its server pid.

    With `locally`, all of it is for the open transaction alone.
    """
    milliseconds = f"{min(max(1, round(seconds * 1000)), 2**31 - 1)}"
    values = {"timeout": milliseconds, "durable": durable, "locally": locally}
    return int(connection.execute(_BOUNDS, values).one().pid)


_BARRIER = sa.select(sa.func.pg_advisory_xact_lock(START_LOCK))


def pass_barrier(connection: sa.Connection) -> None:
    """Wait until every start that had passed the guard has committed or died; the commit gives the lock back."""
    connection.execute(_BARRIER)


_BLOCKERS = sa.text(
    "SELECT l.pid, a.application_name, a.usename, a.client_addr, a.state, "
    "extract(epoch FROM clock_timestamp() - a.xact_start) AS seconds "
    "FROM pg_locks AS l LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid "
    "WHERE l.locktype = 'advisory' AND l.granted AND l.mode = 'ShareLock' AND l.objsubid = 1 "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND CAST(l.classid AS bigint) = CAST(:high AS bigint) AND CAST(l.objid AS bigint) = CAST(:low AS bigint) "
    "ORDER BY a.xact_start"
)
_START_LOCK_IN_HALVES = {"high": START_LOCK >> 32, "low": START_LOCK & 0xFFFF_FFFF}


def blockers(connection: sa.Connection) -> list[Blocker]:
    """Return who holds a start open at this moment."""
    return [Blocker(row.pid, _describe(row)) for row in connection.execute(_BLOCKERS, _START_LOCK_IN_HALVES)]


def _describe(row: sa.Row[tuple[object, ...]], what: str = "holds a start open") -> str:
    if row.pid is None:
        return "a prepared transaction holds a start open: see pg_prepared_xacts"
    since = "" if row.seconds is None else f" for {row.seconds:.1f} s"
    where = f" from {row.client_addr}" if row.client_addr else ""
    who = f"{row.application_name or 'a client'} (user {row.usename}{where})"
    return f"server pid {row.pid}, {who}, {what}{since}, {row.state or 'in an unknown state'}"


_HOLDERS = sa.text(
    "SELECT DISTINCT l.pid, a.application_name, a.usename, a.client_addr, a.state, "
    "extract(epoch FROM clock_timestamp() - a.xact_start) AS seconds "
    "FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid "
    "WHERE l.relation = to_regclass('kill_switch') AND l.granted AND l.pid <> pg_backend_pid() "
    "AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')"
)


def latch_holders(connection: sa.Connection) -> list[Blocker]:
    """Return who holds the latch locked, so that no stop can be written into it."""
    return [Blocker(row.pid, _describe(row, "holds the latch locked")) for row in connection.execute(_HOLDERS)]


def terminate_blockers(connection: sa.Connection) -> list[str]:
    """End the connections that hold a start open, and with them their transactions; return what was not permitted."""
    return _terminate(connection, blockers(connection))


def terminate_latch_holders(connection: sa.Connection) -> list[str]:
    """End the connections that hold the latch locked; return what was not permitted."""
    return _terminate(connection, latch_holders(connection))


def _terminate(connection: sa.Connection, found: list[Blocker]) -> list[str]:
    """End the connections of clients, each by itself; return a text for each that this role may not end.

    The role needs to be that of the client, or to have pg_signal_backend.
    """
    refused: list[str] = []
    for blocker in found:
        if blocker.pid is None:
            continue
        try:
            with _apart(connection):
                connection.execute(sa.select(sa.func.pg_terminate_backend(blocker.pid)))
        except DBAPIError as error:
            refused.append(f"server pid {blocker.pid} may not be ended by this role ({code_of(error)})")
    return refused


def _apart(connection: sa.Connection) -> AbstractContextManager[object]:
    """Keep an error to its statement, where that is part of a transaction."""
    dbapi: Any = connection.connection.dbapi_connection
    return nullcontext() if dbapi.autocommit else connection.begin_nested()


_CANCEL = sa.text("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid = :pid AND wait_event = 'SyncRep'")


def stop_waiting_for_standby(connection: sa.Connection, pid: int) -> bool:
    """End the wait of a commit for a synchronous standby that does not answer: it is committed, but only here."""
    return bool(connection.scalar(_CANCEL, {"pid": pid}))


def writer_of(file: Path) -> int | None:
    """Return the process that holds the write lock of a SQLite file, where the system tells (Linux)."""
    try:
        found = file.with_name(file.name + "-shm").stat()
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    inode = f"{found.st_dev >> 8:02x}:{found.st_dev & 0xFF:02x}:{found.st_ino}"
    for words in map(str.split, lines):
        # number, POSIX, ADVISORY, WRITE, pid, major:minor:inode, start, end
        if "->" not in words and words[3] == "WRITE" and words[5] == inode and _covers(words[6], words[7]):
            return int(words[4])
    return None


def _covers(start: str, end: str) -> bool:
    return int(start) <= _WAL_WRITE_LOCK and (end == "EOF" or int(end) >= _WAL_WRITE_LOCK)
