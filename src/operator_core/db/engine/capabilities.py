"""The kind, the capabilities and the minimum version of an engine."""

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from operator_core.actions.errors import EngineVersionError
from operator_core.db.engine import postgresql, sqlite

MIN_SQLITE_VERSION: tuple[int, ...] = (3, 35)  # RETURNING
MIN_POSTGRESQL_VERSION: tuple[int, ...] = (14,)


def is_sqlite(bind: AsyncEngine | Engine | sa.Connection | URL) -> bool:
    """Return whether the engine is SQLite; otherwise it is PostgreSQL."""
    return (bind.get_backend_name() if isinstance(bind, URL) else bind.dialect.name) == "sqlite"


def behind_pgbouncer(bind: AsyncEngine | Engine | sa.Connection) -> bool:
    """Return whether PgBouncer lends the sessions of an engine to other clients between two transactions."""
    return bool(bind.get_execution_options().get(postgresql.SHARES_SESSIONS))


def mark_behind_pgbouncer(engine: AsyncEngine) -> AsyncEngine:
    """Return an engine whose connections lead through PgBouncer, marked for `behind_pgbouncer`."""
    return engine.execution_options(**{postgresql.SHARES_SESSIONS: True})


def require_same_file(connection: sa.Connection) -> None:
    """Check that the path of a connection's SQLite file still leads to the same file, with the same log.

    Raises:
        DatabaseReplacedError: The file or its log was deleted or replaced.
        DatabaseAliasError: The file has a second name.
    """
    if is_sqlite(connection):
        sqlite.require_same_file(connection)


def check_version(connection: sa.Connection) -> None:
    """Check the engine's version, the server's encoding, and the role's settings behind PgBouncer.

    Raises:
        EngineVersionError: The engine is too old.
        DatabaseEncodingError: The database does not store Unicode.
        EngineNotConfiguredError: The guards do not work in the sessions of this role.
        DatabaseUrlError: The role lacks settings; the error names the statements that set them.
    """
    found = tuple(connection.dialect.server_version_info or (0,))
    name, lowest = ("SQLite", MIN_SQLITE_VERSION) if is_sqlite(connection) else ("PostgreSQL", MIN_POSTGRESQL_VERSION)
    if found < lowest:
        version, wanted = (".".join(map(str, numbers)) for numbers in (found, lowest))
        raise EngineVersionError(engine=name, version=version, lowest=wanted)
    if is_sqlite(connection):
        sqlite.require_suitable(connection)
    else:
        postgresql.require_suitable(connection)
    if behind_pgbouncer(connection):
        postgresql.require_role_settings(connection)


def supports_writable_cte(connection: sa.Connection) -> bool:
    """Return whether a statement may hold several writes (a data-modifying WITH), which saves round trips."""
    return not is_sqlite(connection)


def has_approver_functions(connection: sa.Connection) -> bool:
    """Return whether decisions go through functions that a role without write rights may call."""
    return not is_sqlite(connection)


_WRITERS = sa.text(
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND relation = CAST(to_regclass(:name) AS oid)"
)


def writers_of(connection: sa.Connection, table: str) -> frozenset[str]:
    """Return the transactions that may have written a table and are still open; none on SQLite, with its one writer."""
    if is_sqlite(connection):
        return frozenset()
    return frozenset(connection.scalars(_WRITERS, {"name": table}))


_UNNUMBERED = sa.text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = :name"
)


def connections_before_approvals(connection: sa.Connection) -> int:
    """Return how many connections of programs that know no approvals this database has; 0 on SQLite.

    A program whose URL names another application, or that has an engine of its own, is not recognised.
    """
    if is_sqlite(connection):
        return 0
    name = {"name": postgresql.UNNUMBERED_APPLICATION_NAME}
    return int(connection.execute(_UNNUMBERED, name).scalar_one())


def autocommits_safely(connection: sa.Connection) -> bool:
    """Return whether a statement outside a transaction runs at the one isolation level that sees every stop."""
    if is_sqlite(connection):
        return True
    return connection.exec_driver_sql("SHOW default_transaction_isolation").scalar() == "read committed"


def error_aborts_transaction(connection: sa.Connection) -> bool:
    """Return whether a guard's refusal aborts the open transaction, so that a savepoint is needed."""
    return not is_sqlite(connection)
