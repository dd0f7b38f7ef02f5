"""Sets the latch of a ledger by plain SQL, as a person at the database or another version of this library would."""

import sqlite3
from datetime import UTC, datetime

import psycopg

from operator_core.actions.kill_switch import EVERYTHING

Plain = sqlite3.Connection | psycopg.Connection

SINCE = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
"""When all of these stops were engaged, and released."""


def at(plain: Plain, moment: datetime) -> str:
    """Return a time as an SQL literal, as the engine keeps it."""
    zone = "" if isinstance(plain, sqlite3.Connection) else "+00"
    return f"'{moment:%Y-%m-%d %H:%M:%S.%f}{zone}'"


def engage(plain: Plain, scope: str = EVERYTHING, *, by: str = "ann", reason: str = "smoke in hall 3") -> int:
    """Engage a scope by plain SQL, also one that is engaged already, and return the generation of the stop."""
    values = {
        "generation": "(SELECT max(generation) + 1 FROM kill_switch)",
        "engaged_at": at(plain, SINCE),
        "engaged_by": f"'{by}'",
        "reason": f"'{reason}'",
        "released_at": "NULL",
        "released_by": "NULL",
        "release_reason": "NULL",
    }
    changes = ", ".join(f"{name} = {value}" for name, value in values.items())
    if not plain.execute(f"UPDATE kill_switch SET {changes} WHERE scope = '{scope}'").rowcount:
        names, given = ", ".join(values), ", ".join(values.values())
        plain.execute(f"INSERT INTO kill_switch (scope, {names}) VALUES ('{scope}', {given})")
    return plain.execute(f"SELECT generation FROM kill_switch WHERE scope = '{scope}'").fetchone()[0]


def release(plain: Plain, scope: str = EVERYTHING) -> None:
    plain.execute(
        f"UPDATE kill_switch SET released_at = {at(plain, SINCE)}, released_by = 'bob', release_reason = 'all clear' "
        f"WHERE scope = '{scope}'"
    )


def remove_latch(plain: Plain) -> None:
    """Delete the latch behind the back of the guards, as only the owner of the database can."""
    if isinstance(plain, sqlite3.Connection):
        plain.execute("DROP TRIGGER operator_core_kill_switch_delete")
    else:
        plain.execute("ALTER TABLE kill_switch DISABLE TRIGGER USER")
    plain.execute(f"DELETE FROM kill_switch WHERE scope = '{EVERYTHING}'")
