"""The SQLite connection settings that the guarantees depend on: set on owned engines, checked on a host's."""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from operator_core.actions.errors import EngineNotConfiguredError, EngineVersionError


@dataclass(frozen=True)
class Setting:
    """A PRAGMA of a connection.

    Attributes:
        name: The name of the PRAGMA.
        pinned: The value that our own engines, and `configure_engine`, set.
        allowed: The values that a connection may report.
    """

    name: str
    pinned: str
    allowed: tuple[object, ...]


SETTINGS = (
    Setting("locking_mode", "NORMAL", ("normal",)),  # EXCLUSIVE: no other process gets in, not even a stop
    Setting("journal_mode", "WAL", ("wal",)),
    Setting("synchronous", "FULL", (2, 3)),
    Setting("foreign_keys", "ON", (1,)),
    Setting("ignore_check_constraints", "OFF", (0,)),
    Setting("writable_schema", "OFF", (0,)),
    Setting("trusted_schema", "ON", (1,)),  # OFF: SQLite before 3.41 runs no JSON in a guard
    Setting("read_uncommitted", "OFF", (0,)),
    Setting("count_changes", "OFF", (0,)),  # ON: a statement that writes returns a row of its own
    Setting("full_column_names", "OFF", (0,)),
    Setting("empty_result_callbacks", "OFF", (0,)),
)
"""The settings that every connection must have; `tests/contract/test_sqlite_settings.py` shows others as harmless."""

FUNCTIONS = (
    *("abs", "char", "coalesce", "count", "glob", "hex", "iif", "instr", "json", "json_extract", "json_object"),
    *("json_group_array", "json_type", "json_valid", "julianday", "length", "lower", "max", "min", "replace"),
    *("strftime", "substr", "sum", "trim"),
    *("typeof", "zeroblob"),
)
"""The functions that guards and statements call; each must be SQLite's own."""


def pins(lock_timeout: float) -> Iterator[str]:
    """Yield the statements that set up a connection; the first lets the others wait for a lock."""
    yield f"PRAGMA busy_timeout = {round(lock_timeout * 1000)}"
    for setting in SETTINGS:
        yield f"PRAGMA {setting.name} = {setting.pinned}"


DECLARED_TYPES = ("BIGINT", "BOOLEAN", "DATETIME", "DOUBLE", "INTEGER", "JSON", "TEXT")
"""The declared types of the ledger's columns, by which `detect_types` finds a converter."""


def require_unconverted(detect_types: int) -> None:
    """Check that a host's driver returns the columns of the ledger as SQLite stores them.

    Raises:
        EngineNotConfiguredError: A converter is registered for one of them.
    """
    converted = [name for name in DECLARED_TYPES if name in sqlite3.converters]
    if detect_types & sqlite3.PARSE_DECLTYPES and converted:
        raise EngineNotConfiguredError(detail=f"detect_types converts columns declared {', '.join(converted)}")


def require_private_cache(database: str) -> None:
    """Check that a host's connections to a file do not share a cache, and with it locks of whole tables.

    Args:
        database: The first argument of `sqlite3.connect`.

    Raises:
        EngineNotConfiguredError: It is a URI with `cache=shared`.
    """
    path, _, options = database.partition("?")
    if path.startswith("file:") and "shared" in parse_qs(options).get("cache", ()):
        raise EngineNotConfiguredError(detail="cache is shared; leave cache=shared out of the URL of a SQLite file")


FILE = "SELECT CAST(file AS BLOB) FROM pragma_database_list WHERE name = 'main'"
"""A query for the path of a connection's file, as bytes because a name need not be text; empty in memory."""

VIEW_QUERY = f"SELECT (SELECT * FROM pragma_journal_mode), (SELECT * FROM pragma_encoding), ({FILE})"  # noqa: S608 - ours
"""One statement that reads what a `FileView` needs."""

QUERY = ", ".join(
    [
        f"SELECT ({FILE})",
        "(SELECT * FROM pragma_encoding)",
        "'a' < 'b' COLLATE BINARY AND 'a' < 'a ' COLLATE BINARY AND 'A' < 'a' COLLATE BINARY",
        "'ticket_id=1' LIKE 'ticket_id=_%' AND NOT 'ticket_id=' LIKE 'ticket_id=_%' AND NOT 'a=1' LIKE 'ticket_id=_%'",
        *(f"(SELECT * FROM pragma_{setting.name})" for setting in SETTINGS),  # noqa: S608 - our own names
    ]
)
"""One statement that reads the file of a connection, the encoding and comparison of texts, and every setting."""


def require_settings(row: Sequence[Any]) -> str:
    """Check the row of `QUERY`, and return the path of the file, which is empty in memory.

    Raises:
        EngineNotConfiguredError: A setting has another value; the error names it.
        EngineVersionError: The file stores texts in another encoding.
    """
    file, encoding, compares, matches, *found = row
    if encoding != "UTF-8":  # as on PostgreSQL
        raise EngineVersionError(engine="SQLite with encoding", version=encoding, lowest="UTF-8")
    if not compares:
        raise EngineNotConfiguredError(detail="the collation BINARY is redefined")
    if not matches:  # another LIKE may stand in its place (ICU, PRAGMA case_sensitive_like) if it does the same
        raise EngineNotConfiguredError(detail="functions of SQLite are redefined: like")
    for setting, value in zip(SETTINGS, found, strict=True):
        allowed = ("memory",) if setting.name == "journal_mode" and not file else setting.allowed
        if value not in allowed:
            raise EngineNotConfiguredError(detail=f"{setting.name} is {value}")
    return os.fsdecode(file or b"")


FUNCTIONS_QUERY = "SELECT name, builtin FROM pragma_function_list"
"""One statement that lists the functions and says which are SQLite's own; it takes a millisecond."""


def require_functions(rows: Iterable[Sequence[Any]]) -> None:
    """Check the rows of `FUNCTIONS_QUERY`.

    Raises:
        EngineVersionError: SQLite was built without one of the functions.
        EngineNotConfiguredError: One of them is redefined.
    """
    found: dict[str, set[bool]] = {name: set() for name in FUNCTIONS}
    for name, is_builtin in rows:
        if name in found:
            found[name].add(bool(is_builtin))
    missing = [name for name, kinds in found.items() if True not in kinds]
    if missing:
        raise EngineVersionError(engine="SQLite", version=f"without {', '.join(missing)}", lowest="a build with JSON")
    redefined = [name for name, kinds in found.items() if False in kinds]
    if redefined:
        raise EngineNotConfiguredError(detail=f"functions of SQLite are redefined: {', '.join(redefined)}")
