"""The statements that create all guards, and their installation."""

from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import event

from operator_core.actions.errors import NameTakenError
from operator_core.actions.kill_switch import EVERYTHING
from operator_core.db.engine.urls import display_url
from operator_core.db.guards import names, postgresql, sqlite
from operator_core.db.schema import Base

SEED = (
    f"INSERT INTO kill_switch (scope, generation) SELECT '{EVERYTHING}', 0 "
    f"WHERE NOT EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope = '{EVERYTHING}')"
)
"""The statement that creates the first row of the latch."""


def statements(dialect: str) -> list[str]:
    """Return the statements that create all guards on an engine (`postgresql` or `sqlite`)."""
    if dialect == "sqlite":
        return list(sqlite.triggers().values())
    made = {**postgresql.functions(), **postgresql.other_functions()}
    functions = [function.ddl for function in made.values()]
    triggers = [trigger.ddl for trigger in postgresql.triggers().values()]
    return [*functions, postgresql.fix_functions(), *triggers]


class Operations(Protocol):
    """The part of Alembic's `op` that `install_guards` needs."""

    def get_bind(self) -> sa.Connection:
        """Return the connection of the migration."""
        ...

    def get_context(self) -> Any:
        """Return the context that knows the mode, and writes in offline mode."""


def install_guards(where: sa.Connection | Operations) -> None:
    """Create the guards and the first row of the latch beside tables that a host's migration has made.

    `metadata.create_all` calls it by itself.

    Existing guards are replaced, so that the call can be repeated. It runs in the connection's transaction. In a
    migration, pass Alembic's `op`: in offline mode (`--sql`) the statements are printed.

    Raises:
        NameTakenError: One of the tables is not ours but the host's.
    """
    if not isinstance(where, sa.Connection) and where.get_context().as_sql:
        context = where.get_context()
        for statement in _installed_by(context.dialect.name):
            context.impl.static_output(f"{statement};\n")  # unchanged: some dialects would double each %
        return
    connection = where if isinstance(where, sa.Connection) else where.get_bind()
    taken = names.taken_names(connection)
    if taken:
        raise NameTakenError(url=display_url(connection.engine.url), names=taken)
    for statement in _installed_by(connection.dialect.name):
        connection.execute(sa.text(statement.replace(":", r"\:")))  # some drivers read % as a placeholder


def _install_after_create(_metadata: sa.MetaData, connection: object, *, tables: Any = (), **_options: Any) -> None:
    """Install the guards with the tables that `metadata.create_all` creates: without guards nothing starts."""
    if not tables or not isinstance(connection, sa.Connection):  # nothing was missing, or the statements are printed
        return
    there = sa.inspect(connection).get_table_names()
    if set(Base.metadata.tables) <= set(there):
        install_guards(connection)


event.listen(Base.metadata, "after_create", _install_after_create)


def drop_guards(connection: sa.Connection) -> None:
    """Drop the triggers; the caller installs them again in the same transaction."""
    for statement in _drops(connection.dialect.name):
        connection.exec_driver_sql(statement)


def _installed_by(dialect: str) -> list[str]:
    return [*_drops(dialect), SEED, *statements(dialect)]


def _drops(dialect: str) -> list[str]:
    return [f"DROP TRIGGER IF EXISTS {name}" + (f" ON {table}" if table else "") for name, table in _names(dialect)]


def _names(dialect: str) -> list[tuple[str, str | None]]:
    if dialect == "sqlite":
        return [(name, None) for name in sqlite.triggers()]
    return [(trigger.name, trigger.table) for trigger in postgresql.triggers().values()]
