"""Engines, and the settings that the guarantees depend on."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine

from operator_core.actions.errors import DatabaseUrlError, MissingDriverError
from operator_core.db.engine import postgresql, sqlite
from operator_core.db.engine.capabilities import is_sqlite
from operator_core.db.engine.drivers import driver_named
from operator_core.db.engine.once import EngineMarks
from operator_core.db.engine.sqlite import BEGIN_OPTION
from operator_core.db.engine.url_options import is_pgbouncer_url
from operator_core.db.engine.urls import display_url, sqlite_path

POOL_SIZE = 15  # the maximum of one `ActionDB`, not counting those of a stop and of the notifier


def create_engine(
    url: URL, *, lock_timeout: float = 10.0, needs_session_state: bool = True, **options: Any
) -> AsyncEngine:
    """Return an engine with our settings; nothing is opened yet.

    Args:
        url: A URL that `resolve_url` returned.
        lock_timeout: Seconds to wait for another client's lock before `DatabaseLockedError`; behind PgBouncer, the
            role's setting applies.
        needs_session_state: Whether session settings and session locks must last, which rules out PgBouncer.
        **options: Options for SQLAlchemy's `create_async_engine`.

    Raises:
        MissingDriverError: The driver of the URL is not installed.
        DatabaseNotFoundError: The folder of a SQLite file does not exist.
        DatabaseUrlError: Sessions must last, but the URL names PgBouncer.
    """
    if needs_session_state:
        require_session_state(url)
    new_engine = sqlite.new_engine if url.drivername.startswith("sqlite") else postgresql.new_engine
    try:
        return new_engine(url, lock_timeout, {"hide_parameters": True, **options})
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        driver = driver_named(url.get_driver_name())
        raise MissingDriverError(driver=driver.name, extra=driver.extra) from error


def require_session_state(url: URL) -> None:
    """Refuse a URL that names PgBouncer, because session settings and session locks must last.

    Raises:
        DatabaseUrlError: The URL names PgBouncer.
    """
    if is_pgbouncer_url(url):
        raise DatabaseUrlError(
            f"{display_url(url)} names PgBouncer, and migrations hold a lock for a whole session. Give the URL of the "
            "server itself, without pgbouncer=true"
        )


def configure_engine(engine: AsyncEngine, *, lock_timeout: float = 10.0) -> AsyncEngine:
    """Configure a host's engine with the settings that the guarantees depend on; call it right after creation.

    On SQLite: WAL, `synchronous=FULL`, foreign keys on, and every transaction begins IMMEDIATE, unless the execution
    option `operator_core_begin="DEFERRED"` makes it a reader. A statement takes one hop to the thread of its
    connection, unless the engine has an `async_creator`. On PostgreSQL nothing needs to be set. Returns the engine.
    """
    if is_sqlite(engine):
        sqlite.configure(engine, lock_timeout)
    return engine


_configured = EngineMarks()


def require_configured(connection: sa.Connection) -> None:
    """Check once, on its connection, that a host's engine has the settings that the guarantees depend on.

    On SQLite once for each connection, because PRAGMAs are per connection; on PostgreSQL once for each engine.

    Raises:
        EngineNotConfiguredError: A setting is missing or wrong.
    """
    if is_sqlite(connection):
        sqlite.require_configured(connection)
    elif connection not in _configured:
        postgresql.require_session_settings(connection)
        _configured.add(connection)


def owned_engine_options(url: URL) -> dict[str, Any]:
    """Return the options of an engine for single calls, which autocommits by default.

    Setting autocommit for each call is expensive. Its connections stay open: one beyond the size of a pool would be
    opened and closed for a single call.
    """
    if url.get_backend_name() != "sqlite":
        return {"isolation_level": "AUTOCOMMIT", "pool_size": POOL_SIZE, "max_overflow": 0}
    return {} if sqlite_path(url) is None else {"pool_size": POOL_SIZE, "max_overflow": 0}


def with_autocommit(engine: Engine) -> Engine:
    """Return `engine` for units of one statement, without begin and commit, which cost a round trip each."""
    if is_sqlite(engine):
        return engine.execution_options(**{BEGIN_OPTION: "NONE"})
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def with_transactions(engine: Engine) -> Engine:
    """Return `engine` for units of several statements, at the one isolation level that always sees a stop."""
    return engine if is_sqlite(engine) else engine.execution_options(isolation_level="READ COMMITTED")


def read_only(engine: Engine) -> Engine:
    """Return `engine` for units that read with several statements from one snapshot."""
    if is_sqlite(engine):
        return engine.execution_options(**{BEGIN_OPTION: "DEFERRED"})
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
