"""The comparison of a ledger in a SQLite file with the result of this version's migrations.

The metadata defines what is expected; a test keeps it equal to the result of the migrations. SQLite stores the
statements that made its tables as texts, which are compared clause by clause, because ALTER TABLE adds at the end. A
host may add nullable columns, indexes that cannot refuse a row, foreign keys of proposals, and triggers that raise only
ABORT.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite as dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from operator_core.db.guards.conditions import LEDGER_TABLES
from operator_core.db.guards.sqlite import triggers
from operator_core.db.schema import Base, sql_list

PREFIX = "operator_core_"
_TABLES = sql_list(LEDGER_TABLES)
_MASTER = " UNION ALL ".join(
    f"SELECT '{schema}' AS place, type, name, tbl_name, sql FROM {master} "
    f"WHERE lower(tbl_name) IN ({_TABLES}) OR lower(name) IN ({_TABLES}) OR name IN ({{triggers}})"
    for schema, master in (("main", "sqlite_master"), ("temp", "sqlite_temp_master"))
)
_TOKEN = re.compile(
    r"""\s+ | --[^\n]* | /\*.*?\*/
    | (?P<text>'(?:[^']|'')*')
    | (?: "(?P<double>(?:[^"]|"")*)" | `(?P<tick>[^`]*)` | \[(?P<bracket>[^\]]*)\] )
    | (?P<word>\w+) | (?P<sign><=|>=|<>|!=|==|\|\||.)""",
    re.VERBOSE | re.DOTALL,
)
_MEND = "SQLite adds no constraint to a table that is there: restore a backup, or copy the rows into a new ledger"


@lru_cache(maxsize=128)
def tokens(sql: str) -> tuple[str, ...]:
    """Return the words of a statement, without spaces, comments, and differences of quoting or case."""
    found: list[str] = []
    for match in _TOKEN.finditer(sql):
        name = match["double"] or match["tick"] or match["bracket"] or match["word"]
        word = match["text"] or match["sign"] or (name and name.lower())
        if word:
            found.append(word)
    return tuple(found)


@lru_cache(maxsize=32)
def clauses(sql: str) -> frozenset[str]:
    """Return the head, columns, constraints and options of a CREATE TABLE; their order has no meaning."""
    parts: list[list[str]] = [[]]
    depth = 0
    for word in tokens(sql):
        depth += word == "("
        if depth == 1 and word in ("(", ",", ")"):
            parts.append([])
        else:
            parts[-1].append(word)
        depth -= word == ")"
    return frozenset(" ".join(part) for part in parts if part)


@cache
def _expected_tables() -> dict[str, frozenset[str]]:
    made = {name: str(CreateTable(table).compile(dialect=dialect.dialect())) for name, table in _metadata().items()}
    return {name: clauses(sql) for name, sql in made.items()}


@cache
def _expected_indexes() -> dict[tuple[str, str], str]:
    return {
        (table.name, str(index.name)): _definition(str(CreateIndex(index).compile(dialect=dialect.dialect())))
        for table in _metadata().values()
        for index in table.indexes
    }


def _metadata() -> dict[str, sa.Table]:
    return {name: Base.metadata.tables[name] for name in LEDGER_TABLES}


def _definition(sql: str) -> str:
    """Return the definition of an index without its name."""
    words = tokens(sql)
    unique = "unique " if "unique" in words[:2] else ""
    return unique + " ".join(words[words.index("(") :])


_QUERY = sa.text(_MASTER.format(triggers=sql_list(triggers())))


def inspect_guards(connection: sa.Connection, *, exactly: bool) -> Iterator[str]:
    """Yield the problems of triggers, and the faults that no table may have."""
    rows = connection.execute(_QUERY).all()
    yield from (
        f"a temporary {row.type} hides {row.name} from this connection: DROP {row.type.upper()} temp.{row.name}"
        for row in rows
        if row.place == "temp" and row.type in ("table", "view")
    )
    yield from _triggers(rows, exactly=exactly)
    relations = {row.name: row.type for row in rows if row.place == "main" and row.type in ("table", "view")}
    yield from (f"the table {name} is missing" for name in LEDGER_TABLES if name not in relations)
    yield from (f"{name} is a view, and must be a table" for name, kind in relations.items() if kind == "view")


def inspect_schema(connection: sa.Connection) -> Iterator[str]:
    """Yield the problems of columns, constraints, and indexes of the existing tables."""
    main = [row for row in connection.execute(_QUERY) if row.place == "main" and row.sql is not None]
    tables = {row.name: row.sql for row in main if row.type == "table" and row.name in LEDGER_TABLES}
    for name, sql in tables.items():
        yield from _table(name, sql)
    found = {(row.tbl_name.lower(), row.name): _definition(row.sql) for row in main if row.type == "index"}
    yield from _indexes({key: index for key, index in found.items() if key[0] in tables}, tables)


def _triggers(rows: Sequence[sa.Row[Any]], *, exactly: bool) -> Iterator[str]:
    found = {row.name: row.sql for row in rows if row.type == "trigger" and row.place == "main"}
    for name, sql in triggers().items():
        if name not in found:
            yield f"{name} is missing"
        elif exactly and found[name] != sql:
            yield f"{name} is altered"
    for row in rows:
        ours = row.place == "main" and (row.name in triggers() or (not exactly and row.name.startswith(PREFIX)))
        if row.type == "trigger" and not ours and (how := _swallows(row.sql)):
            yield (
                f"the trigger {row.name} on {row.tbl_name} is not ours, and can swallow a row by RAISE({how}) "
                f"(RAISE(ABORT) may stay): DROP TRIGGER {row.place}.{row.name}"
            )


def _swallows(sql: str) -> str | None:
    """Return the RAISE actions with which a trigger drops a row, or keeps half of a change."""
    words = tokens(sql)
    raised = {words[at + 2] for at, word in enumerate(words) if word == "raise" and words[at + 1] == "("}
    return ", ".join(sorted(word.upper() for word in raised - {"abort"})) or None


def _table(name: str, sql: str) -> Iterator[str]:
    wanted, found = _expected_tables()[name], clauses(sql)
    present = {_named(name, clause): clause for clause in found}
    for clause in sorted(wanted - found):
        what = _named(name, clause)
        how = f"altered: it is ({present[what]}), not ({clause})" if what in present else f"missing: ({clause})"
        yield f"{what} is {how}. {_MEND}"
    names = {_named(name, clause) for clause in wanted}
    for clause in sorted(found - wanted):
        allowed = _is_plain_column(clause) or (name == "action_proposals" and "foreign key" in clause)
        if _named(name, clause) not in names and not allowed:
            yield f"{_named(name, clause)} is not ours, and can refuse a row: ({clause})"


def _named(table: str, clause: str) -> str:
    first, *more = clause.split()
    if first == "constraint":
        return f"the constraint {more[0]} of {table}"
    if first in ("create", "check", "unique", "primary", "foreign", "without", "strict"):
        return f"the clause {first} of {table}"
    return f"the column {table}.{first}"


def _is_plain_column(clause: str) -> bool:
    """Return whether a clause is a nullable column without rules: a name, and a type or none."""
    barring = ("constraint", "check", "unique", "primary", "foreign", "not", "default", "references", "as", "without")
    return not any(word in barring for word in clause.split()) and "strict" not in clause.split()[:1]


def _indexes(found: dict[tuple[str, str], str], tables: Collection[str]) -> Iterator[str]:
    """Compare by definition the indexes that can refuse a row: unique ones, and expressions, which can fail."""
    for (table, name), definition in _expected_indexes().items():
        if table in tables and definition.startswith("unique") and (table, definition) not in _by_table(found):
            altered = found.get((table, name))
            how = f"altered: it is ({altered})" if altered else "missing"
            sql = definition.removeprefix("unique ")
            yield f"the unique index {name} of {table} is {how}: CREATE UNIQUE INDEX {name} ON {table} {sql}"
    for (table, name), definition in found.items():
        known = (table, name) in _expected_indexes() or (table, definition) in _by_table(_expected_indexes())
        if not known and (definition.startswith("unique") or definition.count("(") > 1):
            yield f"the index {name} of {table} is not ours, and can refuse a row ({definition}): DROP INDEX {name}"


def _by_table(indexes: Mapping[tuple[str, str], str]) -> set[tuple[str, str]]:
    return {(table, definition) for (table, _), definition in indexes.items()}
