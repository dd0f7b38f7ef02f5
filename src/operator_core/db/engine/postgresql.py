"""The settings of PostgreSQL, also behind PgBouncer, and how a connection that was idle is asked whether it lives."""

import time
from contextlib import suppress
from typing import Any

from pydantic_core import from_json
from sqlalchemy import event, text
from sqlalchemy.engine import URL, Connection, Dialect, Engine
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from operator_core.actions.errors import ActionError, DatabaseUnavailableError, DatabaseUrlError
from operator_core.db.engine.drivers import connect_arguments, engine_url
from operator_core.db.engine.url_options import names_pgbouncer
from operator_core.db.engine.urls import shown

IDLE_SECONDS = 10.0
IDLE_SINCE = "operator_core_idle_since"
"""What a pooled connection remembers: when it was used last, by the monotonic clock."""

SHARES_SESSIONS = "operator_core_shares_sessions"
"""The execution option of an engine whose sessions on the server are shared with others, by PgBouncer."""

_NAME = {"application_name": "operator_core"}


def _settings(lock_timeout: float) -> dict[str, str]:
    return {
        "application_name": "operator_core",
        "timezone": "UTC",
        "default_transaction_isolation": "read committed",
        "lock_timeout": f"{round(lock_timeout * 1000)}",
        "statement_timeout": "300000",
        "idle_in_transaction_session_timeout": "60000",
    }


def new_engine(url: URL, lock_timeout: float, options: dict[str, Any]) -> AsyncEngine:
    """Return an engine for a URL; nothing is opened yet."""
    shared = names_pgbouncer(url)
    settings = _NAME if shared else _settings(lock_timeout)
    if shared:
        options = {**options, "execution_options": {SHARES_SESSIONS: True}}
    engine = create_async_engine(
        engine_url(url), connect_args=connect_arguments(url, settings), json_deserializer=from_json, **options
    )
    _ping_after_idle(engine.sync_engine)
    _say_what_keeps_it_from_connecting(engine.sync_engine, shown(url))
    return engine


# -- connecting --------------------------------------------------------------------------------------------------------

_REFUSED_SETTING = "unsupported startup parameter"  # PgBouncer speaks English only
_SETTING_CODES = ("22", "42601", "42704", "0A", "55P02")
"""What a server says of a setting that a URL, a role or a database gives to a session (SQLSTATE, or its class)."""


def _say_what_keeps_it_from_connecting(engine: Engine, url: str) -> None:
    """Turn what a driver raises for PgBouncer, a setting or the environment into an error that says what to do."""

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Dialect, _record: object, arguments: Any, options: Any) -> Any:
        try:
            return dialect.connect(*arguments, **options)
        except (ActionError, OSError):
            raise
        except Exception as error:  # drivers raise ValueError, TypeError and errors of their own
            with suppress(AttributeError, TypeError):
                error._pgconn = None  # type: ignore[attr-defined]  # noqa: SLF001 - psycopg keeps the password there
            problem = _problem_of(error, dialect, url)
            if problem is None:
                raise
        raise problem  # out of the block: a value that a driver names may be a secret, and stays out of the context


def _problem_of(error: Exception, dialect: Dialect, url: str) -> ActionError | None:
    code, is_drivers = getattr(error, "sqlstate", None), isinstance(error, dialect.loaded_dbapi.Error)
    if _REFUSED_SETTING in str(error):
        return DatabaseUrlError(
            f"{url} is PgBouncer, which refuses the settings of a session. Open it with "
            "ActionDB(url, pgbouncer=True), or write pgbouncer=true into the URL. Migrations and every "
            "`operator-core db` command need the URL of the server itself"
        )
    if code is not None:
        is_setting = code.startswith(_SETTING_CODES)
        return DatabaseUnavailableError(url=url, detail=str(error), code=code) if is_setting else None
    if is_drivers:
        return None
    detail = str(error) if type(error).__module__.startswith("asyncpg") else f"{type(error).__name__} while connecting"
    return DatabaseUnavailableError(url=url, detail=f"{detail}; see the URL and the environment variables PG...")


# -- PgBouncer ---------------------------------------------------------------------------------------------------------

_ROLE_SETTINGS = {
    "default_transaction_isolation": "read committed",
    "timezone": "UTC",
    "lock_timeout": "10s",
    "statement_timeout": "5min",
    "idle_in_transaction_session_timeout": "1min",
}
"""What the role must have behind PgBouncer; any time will do for the timeouts, but none at all."""
_FOUND_SETTINGS = text(
    "SELECT quote_ident(current_user) AS role, "
    + ", ".join(f"lower(current_setting('{name}')) AS {name}" for name in _ROLE_SETTINGS)
)


def require_role_settings(connection: Connection) -> None:
    """See that the role itself has the settings that a session cannot be given behind PgBouncer.

    Raises:
        DatabaseUrlError: It has not; the error names the statements that set them.
    """
    found = connection.execute(_FOUND_SETTINGS).one()
    wrong = [name for name, wanted in _ROLE_SETTINGS.items() if not _is_set(getattr(found, name), wanted)]
    if wrong:
        told = ", ".join(f"{name} is {getattr(found, name)}" for name in wrong)
        statements = " ".join(f"ALTER ROLE {found.role} SET {name} = '{_ROLE_SETTINGS[name]}';" for name in wrong)
        raise DatabaseUrlError(
            f"behind PgBouncer a session has the settings of its role, and for {found.role} {told}. "
            f"Run: {statements} Then RECONNECT on the console of PgBouncer"
        )


def _is_set(found: str, wanted: str) -> bool:
    return found != "0" if wanted[0].isdecimal() else found == wanted.lower()


# -- connections that were idle ----------------------------------------------------------------------------------------


def _ping_after_idle(engine: Engine) -> None:
    """Ask a connection that was idle whether it lives; asking each time would cost up to half a millisecond a call."""

    @event.listens_for(engine, "checkin")
    def remember(_connection: object, record: Any) -> None:
        record.info.setdefault(IDLE_SINCE, time.monotonic())

    @event.listens_for(engine, "checkout")
    def ping(connection: Any, record: Any, _proxy: object) -> None:
        idle_since = record.info.pop(IDLE_SINCE, None)
        if idle_since is None or connection is None:
            return
        closed = getattr(connection.driver_connection, "is_closed", None)
        if (closed is not None and closed()) or (
            time.monotonic() - idle_since > IDLE_SECONDS and not _answers(engine, connection)
        ):
            raise DisconnectionError


def _answers(engine: Engine, connection: Any) -> bool:
    try:
        return bool(engine.dialect.do_ping(connection))
    except engine.dialect.loaded_dbapi.Error:
        return False
