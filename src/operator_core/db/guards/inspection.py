"""The inspection of what this version's guarantees need in a database: its guards, its tables and its latch."""

from collections.abc import Iterator
from types import ModuleType

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from operator_core.actions.kill_switch import EVERYTHING
from operator_core.db.guards import postgresql_inspection, sqlite_inspection
from operator_core.db.guards.conditions import LATCH_READABLE

# SQLite can hold text and blobs in a column of numbers; both sort above every number.
_HIGHEST = "SELECT coalesce(max(generation), 0) FROM {} WHERE generation BETWEEN 0 AND 9223372036854775807"
_LATCH = sa.text(
    f"SELECT {LATCH_READABLE} AS readable, ({_HIGHEST.format('kill_switch')}) AS latch, "
    f"({_HIGHEST.format('kill_switch_events')}) AS history"
)


def inspect(connection: sa.Connection, *, exactly: bool = True) -> tuple[str, ...]:
    """Return what is wrong with a database's guards and tables, one text for each problem.

    A text ends in the statement that repairs it, if `operator-core db repair` does not. With `exactly=False`,
    definitions may differ from those of this version, as on a schema one revision newer.
    """
    engine = _engine(connection)
    found = list(engine.inspect_guards(connection, exactly=exactly))
    if exactly:
        found += engine.inspect_schema(connection)
    return _with_latch(connection, found)


def missing_guards(connection: sa.Connection, *, exactly: bool = True) -> tuple[str, ...]:
    """Return what is wrong with the guards and the latch, on which a stop depends; waits for no lock."""
    return _with_latch(connection, list(_engine(connection).inspect_guards(connection, exactly=exactly)))


def _with_latch(connection: sa.Connection, found: list[str]) -> tuple[str, ...]:
    """Add what is wrong with the latch; last, as on PostgreSQL an unreadable table aborts the transaction."""
    try:
        found += _latch(connection)
    except DBAPIError:
        if not found:
            raise  # else the list already says why the tables cannot be read
    return tuple(found)


def _engine(connection: sa.Connection) -> ModuleType:
    return sqlite_inspection if connection.dialect.name == "sqlite" else postgresql_inspection


def _latch(connection: sa.Connection) -> Iterator[str]:
    latch = connection.execute(_LATCH).one()
    if not latch.readable:
        yield f"the latch row '{EVERYTHING}' is missing"
    if latch.history > latch.latch:
        yield f"the latch is behind its history: the last stop is {latch.history}, and it knows {latch.latch}"
