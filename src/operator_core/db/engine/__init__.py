"""Engines, and the settings that the promises rest on."""

from typing import Any
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy.engine import URL, Dialect, Engine
from sqlalchemy.exc import NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine

from operator_core.actions.errors import DatabaseUrlError, EngineVersionError, MissingDriverError
from operator_core.db.engine import postgresql, sqlite
from operator_core.db.engine.sqlite import BEGIN
from operator_core.db.engine.url_options import names_pgbouncer
from operator_core.db.engine.urls import file_of, shown

LOWEST_SQLITE: tuple[int, ...] = (3, 35)  # RETURNING
LOWEST_POSTGRESQL: tuple[int, ...] = (14,)
CONNECTIONS = 15  # of one `ActionDB` at most, besides those of a stop and the one that listens


def is_sqlite(bind: AsyncEngine | Engine | sa.Connection | URL) -> bool:
    """Tell the two engines apart."""
    return (bind.get_backend_name() if isinstance(bind, URL) else bind.dialect.name) == "sqlite"


def shares_sessions(bind: AsyncEngine | Engine | sa.Connection) -> bool:
    """Tell whether PgBouncer lends the sessions of an engine to others between two transactions."""
    return bool(bind.get_execution_options().get(postgresql.SHARES_SESSIONS))


def share_sessions(engine: AsyncEngine) -> AsyncEngine:
    """Return an engine whose connections lead through PgBouncer as one of which `shares_sessions` knows that."""
    return engine.execution_options(**{postgresql.SHARES_SESSIONS: True})


def create_engine(url: URL, *, lock_timeout: float = 10.0, lasting: bool = True, **options: Any) -> AsyncEngine:
    """Return an engine with our settings; nothing is opened yet.

    Args:
        url: As `target_url` returns it.
        lock_timeout: Seconds to wait for somebody else's lock before `DatabaseLockedError`; behind PgBouncer those that
            the role has.
        lasting: Whether what is set or locked in a session must last, so that PgBouncer cannot stand between.
        **options: For SQLAlchemy's `create_async_engine`.

    Raises:
        MissingDriverError: The driver of the URL is not installed.
        DatabaseNotFoundError: The folder of a SQLite file does not exist.
        DatabaseUrlError: Sessions must last, and the URL names PgBouncer.
    """
    if lasting:
        require_lasting_sessions(url)
    new_engine = sqlite.new_engine if url.drivername.startswith("sqlite") else postgresql.new_engine
    try:
        return new_engine(url, lock_timeout, {"hide_parameters": True, **options})
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        driver = url.get_driver_name()
        extra = "psycopg" if driver.startswith("psycopg") else "postgres"
        raise MissingDriverError(driver=driver, extra=extra) from error


def require_lasting_sessions(url: URL) -> None:
    """Refuse a URL that names PgBouncer: what is set or locked in a session must last.

    Raises:
        DatabaseUrlError: It does.
    """
    if names_pgbouncer(url):
        raise DatabaseUrlError(
            f"{shown(url)} names PgBouncer, and migrations hold a lock for a whole session. Give the URL of the server "
            "itself, without pgbouncer=true"
        )


def configure_engine(engine: AsyncEngine, *, lock_timeout: float = 10.0) -> AsyncEngine:
    """Give a host's engine the settings that the promises rest on, and return it; call it right after creating it.

    On SQLite: WAL, `synchronous=FULL`, foreign keys on, and every transaction begins IMMEDIATE, unless the execution
    option `operator_core_begin="DEFERRED"` makes it a reader. A statement is one hop to the thread of its connection,
    unless the engine has an `async_creator`. On PostgreSQL nothing needs to be set.
    """
    if is_sqlite(engine):
        sqlite.configure(engine, lock_timeout)
    return engine


_configured: WeakSet[Dialect] = WeakSet()  # a dialect outlives `dispose` and is shared by all options of an engine


def require_configured(connection: sa.Connection) -> None:
    """Check once that a host's engine has the settings that the guarantees rest on, by asking its connection.

    On SQLite once for each connection, because a PRAGMA belongs to one; on PostgreSQL once for each engine.

    Raises:
        EngineNotConfiguredError: It has not.
    """
    if is_sqlite(connection):
        sqlite.require_configured(connection)
    elif connection.dialect not in _configured:
        postgresql.require_session_settings(connection)
        _configured.add(connection.dialect)


def require_same_file(connection: sa.Connection) -> None:
    """Check that the path of a connection's SQLite file still leads to the same file, with the same log.

    Raises:
        DatabaseReplacedError: The file or its log was deleted or replaced.
        DatabaseAliasError: The file has a second name.
    """
    if is_sqlite(connection):
        sqlite.require_same_file(connection)


def check_version(connection: sa.Connection) -> None:
    """See that the engine is new enough, that a server keeps Unicode, and how the role is set up behind PgBouncer.

    Raises:
        EngineVersionError: It is older.
        DatabaseEncodingError: The database keeps something else.
        EngineNotConfiguredError: The guards do not work in the sessions of this role.
        DatabaseUrlError: The role lacks settings; the error names the statements that set them.
    """
    found = tuple(connection.dialect.server_version_info or (0,))
    name, lowest = ("SQLite", LOWEST_SQLITE) if is_sqlite(connection) else ("PostgreSQL", LOWEST_POSTGRESQL)
    if found < lowest:
        version, wanted = (".".join(map(str, numbers)) for numbers in (found, lowest))
        raise EngineVersionError(engine=name, version=version, lowest=wanted)
    if is_sqlite(connection):
        sqlite.require_suitable(connection)
    else:
        postgresql.require_suitable(connection)
    if shares_sessions(connection):
        postgresql.require_role_settings(connection)


def for_calls(url: URL) -> dict[str, Any]:
    """Return the options of an engine for single calls; it autocommits unless it is asked for more.

    To ask for that at each call is dear. Its connections stay open: one beyond the size of a pool would be opened and
    closed for a single call.
    """
    if url.get_backend_name() != "sqlite":
        return {"isolation_level": "AUTOCOMMIT", "pool_size": CONNECTIONS, "max_overflow": 0}
    return {} if file_of(url) is None else {"pool_size": CONNECTIONS, "max_overflow": 0}


def autocommitting(engine: Engine) -> Engine:
    """Return `engine` for units of one statement, which need no begin and no commit: each would cost a round trip."""
    if is_sqlite(engine):
        return engine.execution_options(**{BEGIN: "NONE"})
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def transacting(engine: Engine) -> Engine:
    """Return `engine` for units of several statements, at the one isolation level at which a stop is always seen."""
    return engine if is_sqlite(engine) else engine.execution_options(isolation_level="READ COMMITTED")


def reading(engine: Engine) -> Engine:
    """Return `engine` for units that read with several statements from one snapshot."""
    if is_sqlite(engine):
        return engine.execution_options(**{BEGIN: "DEFERRED"})
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def writes_in_one_statement(connection: sa.Connection) -> bool:
    """Tell whether a statement may hold several writes (a data-modifying WITH), which saves round trips."""
    return not is_sqlite(connection)


def autocommits_safely(connection: sa.Connection) -> bool:
    """Tell whether a statement outside of a transaction runs at the one isolation level at which a stop is seen."""
    if is_sqlite(connection):
        return True
    return connection.exec_driver_sql("SHOW default_transaction_isolation").scalar() == "read committed"


def refusal_aborts(connection: sa.Connection) -> bool:
    """Tell whether a guard's refusal makes the open transaction unusable, so that a savepoint is needed."""
    return not is_sqlite(connection)
