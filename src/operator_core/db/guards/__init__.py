"""The guards in the database, generated from the table of steps: install them, and see that they are there.

A guard is a trigger (and on PostgreSQL its function). Guards hold against every client, also one that speaks plain SQL
or runs an older version of this library. With them come PostgreSQL's functions through which an operator stops.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import sqlalchemy as sa

from operator_core.actions.stops import EVERYTHING
from operator_core.db.guards import postgresql, sqlite
from operator_core.db.guards.rules import GUARDED_TABLES, LATCH_READABLE
from operator_core.db.schema import quoted

_FUNCTION = (
    "p.proname, p.prosrc, p.prosecdef, "
    "p.proconfig = ARRAY['search_path=pg_catalog, ' || quote_ident(n.nspname) || ', pg_temp'] AS fixed"
)
_ON_POSTGRESQL = sa.text(
    "SELECT t.tgname, c.relname, t.tgtype, t.tgenabled, t.tgqual IS NULL "
    f"AND t.tgattr = ''::int2vector AS always, {_FUNCTION} "
    "FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace "
    "JOIN pg_proc AS p ON p.oid = t.tgfoid "
    "WHERE NOT t.tgisinternal AND t.tgrelid = ANY(ARRAY["
    + ", ".join(f"to_regclass('{table}')" for table in GUARDED_TABLES)
    + "])"
)
_FOR_OPERATORS = sa.text(
    f"SELECT {_FUNCTION} FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace "
    "JOIN pg_class AS c ON c.relnamespace = n.oid AND c.oid = to_regclass('kill_switch') "
    f"WHERE p.proname IN ({quoted(postgresql.operator_functions())})"
)
_ON_SQLITE = sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
_LATCH = sa.text(f"SELECT {LATCH_READABLE}")
_SEED = (
    f"INSERT INTO kill_switch (scope, generation) SELECT '{EVERYTHING}', 0 "
    f"WHERE NOT EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope = '{EVERYTHING}')"
)


def statements(dialect: str) -> list[str]:
    """Return the statements that create all guards on an engine (`postgresql` or `sqlite`)."""
    if dialect == "sqlite":
        return list(sqlite.triggers().values())
    made = {**postgresql.functions(), **postgresql.operator_functions()}
    functions = [function.ddl for function in made.values()]
    triggers = [trigger.ddl for trigger in postgresql.triggers().values()]
    return [*functions, postgresql.fix_functions(), *triggers]


class Operations(Protocol):
    """Is what `install_guards` needs of Alembic's `op`."""

    def get_bind(self) -> sa.Connection:
        """Return the connection of the migration."""
        ...

    def get_context(self) -> Any:
        """Return what knows the mode, and writes in offline mode."""


def install_guards(where: sa.Connection | Operations) -> None:
    """Create the guards and the first row of the latch beside tables that a host has made from our metadata.

    What is there already is replaced, so that the call can be repeated. Runs in the transaction of the connection. In a
    migration give it Alembic's `op`: in offline mode (`--sql`) the statements are printed.
    """
    if not isinstance(where, sa.Connection) and where.get_context().as_sql:
        context = where.get_context()
        for statement in _installed_by(context.dialect.name):
            context.impl.static_output(f"{statement};\n")  # as it is: some dialects would double each %
        return
    connection = where if isinstance(where, sa.Connection) else where.get_bind()
    for statement in _installed_by(connection.dialect.name):
        connection.execute(sa.text(statement.replace(":", r"\:")))  # some drivers read % as a placeholder


def _installed_by(dialect: str) -> list[str]:
    drops = [f"DROP TRIGGER IF EXISTS {name}" + (f" ON {table}" if table else "") for name, table in _names(dialect)]
    return [*drops, _SEED, *statements(dialect)]


def _names(dialect: str) -> list[tuple[str, str | None]]:
    if dialect == "sqlite":
        return [(name, None) for name in sqlite.triggers()]
    return [(trigger.name, trigger.table) for trigger in postgresql.triggers().values()]


def missing_guards(connection: sa.Connection, *, exactly: bool = True) -> tuple[str, ...]:
    """Return what is wrong with the guards of a database, one text for each; nothing when all hold.

    With `exactly=False` their texts may differ from what this version would install, as on a schema one revision newer.
    """
    find = _differences_on_sqlite if connection.dialect.name == "sqlite" else _differences_on_postgresql
    found = list(find(connection, exactly=exactly))
    if not connection.scalar(_LATCH):
        found.append(f"the latch row '{EVERYTHING}' is missing")
    return tuple(found)


def _differences_on_sqlite(connection: sa.Connection, *, exactly: bool) -> Iterator[str]:
    present = {row.name: row.sql for row in connection.execute(_ON_SQLITE)}
    for name, sql in sqlite.triggers().items():
        if name not in present:
            yield f"{name} is missing"
        elif exactly and present[name] != sql:
            yield f"{name} is altered"


def _differences_on_postgresql(connection: sa.Connection, *, exactly: bool) -> Iterator[str]:
    present = {row.tgname: row for row in connection.execute(_ON_POSTGRESQL)}
    functions = postgresql.functions()
    for trigger in postgresql.triggers().values():
        row = present.get(trigger.name)
        if row is None:
            yield f"{trigger.name} is missing"
        elif _char(row.tgenabled) not in ("O", "A"):
            yield f"{trigger.name} is disabled"
        elif exactly and not _is(trigger, functions[trigger.function], row):
            yield f"{trigger.name} is altered"
    lent = {row.proname: row for row in connection.execute(_FOR_OPERATORS)}
    for name, function in postgresql.operator_functions().items():
        if name not in lent:
            yield f"{name} is missing"
        elif exactly and not _is_function(function, lent[name]):
            yield f"{name} is altered"


def _is(trigger: postgresql.Trigger, function: postgresql.Function, row: sa.Row[tuple[object, ...]]) -> bool:
    return (row.relname, row.tgtype, row.always) == (trigger.table, trigger.kind, True) and _is_function(function, row)


def _is_function(function: postgresql.Function, row: sa.Row[tuple[object, ...]]) -> bool:
    same = (row.proname, row.prosrc, row.prosecdef) == (function.name, function.body, function.definer)
    return same and bool(row.fixed)


def _char(value: str | bytes) -> str:
    """Return PostgreSQL's internal "char", which asyncpg gives as bytes."""
    return value.decode() if isinstance(value, bytes) else value
