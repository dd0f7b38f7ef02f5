"""The parts of SQLite's triggers: refusals, and the events that must be there."""

from collections.abc import Iterable, Iterator

import sqlalchemy as sa

from operator_core.db.guards.codes import CHANGE_REFUSED, CHECK_BROKEN, EVENT_MISSING, MESSAGES, UNREADABLE
from operator_core.db.guards.sqlite_readable import breaks_check, takes_id_ahead, unreadable
from operator_core.db.types import sqlite_time

NOW = sqlite_time()


def refuse(code: str, condition: str) -> str:
    """Return the statement that refuses if a condition is true."""
    return f"SELECT RAISE(ABORT, '{code}: {MESSAGES[code]}') WHERE {condition}"


def trigger(name: str, event: str, *statements: str) -> tuple[str, str]:
    """Return the name and the text of a trigger."""
    name = f"operator_core_{name}"
    body = "".join(f"  {statement};\n" for statement in statements)
    return name, f"CREATE TRIGGER {name} {event}\nBEGIN\n{body}END"


def changed(columns: tuple[str, ...]) -> str:
    """Return the condition that an UPDATE changes one of these columns."""
    return " OR ".join(f"NEW.{column} IS NOT OLD.{column}" for column in columns)


def refuse_unreadable(table: sa.Table, names: Iterable[str], *, changed: bool = False) -> Iterator[str]:
    """Refuse what could not be read back; each condition may rely on those before it."""
    for condition in unreadable(table, names, changed=changed):
        yield refuse(UNREADABLE, condition)


def refuse_row(table: sa.Table) -> Iterator[str]:
    """Refuse a new row that could not be read back, breaks a CHECK, or takes an id ahead of the counter."""
    if "id" in table.columns:
        yield refuse(CHANGE_REFUSED, takes_id_ahead(table.name))
    yield from refuse_unreadable(table, [column.name for column in table.columns if column.name != "id"])
    yield from refuse_broken_check(table)


def refuse_broken_check(table: sa.Table) -> Iterator[str]:
    """Refuse what a CHECK would, because a client may have told SQLite to ignore CHECKs."""
    if broken := breaks_check(table):
        yield refuse(CHECK_BROKEN, broken)


def expect_event(condition: str, when: str = "1") -> str:
    """Refuse a step whose event is missing, because a client's trigger may silently swallow an insert."""
    return refuse(EVENT_MISSING, f"({when}) AND NOT EXISTS (SELECT 1 FROM {condition})")
