"""The settings of PostgreSQL, also behind PgBouncer, and how a connection that was idle is asked whether it lives."""

import asyncio
import inspect
import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from pydantic_core import from_json
from sqlalchemy import event, text
from sqlalchemy.engine import URL, Connection, Dialect, Engine
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from operator_core.actions.errors import DatabaseUrlError
from operator_core.db.engine.sockets import hang_up, remember_drivers
from operator_core.db.engine.urls import PGBOUNCER, names_pgbouncer, shown

IDLE_SECONDS = 10.0
IDLE_SINCE = "operator_core_idle_since"
"""What a pooled connection remembers: when it was used last, by the monotonic clock."""

SHARES_SESSIONS = "operator_core_shares_sessions"
"""The execution option of an engine whose sessions on the server are shared with others, by PgBouncer."""

CONNECT_TIMEOUT_SECONDS = 10
COMMAND_TIMEOUT_SECONDS = 330.0
"""For one statement, longer than the server's own timeout: for a server that does not answer at all."""

PING_TIMEOUT_SECONDS = 5.0
"""For the question whether a connection that was idle still lives."""


def _settings(lock_timeout: float) -> dict[str, str]:
    return {
        "application_name": "operator_core",
        "timezone": "UTC",
        "default_transaction_isolation": "read committed",
        "lock_timeout": f"{round(lock_timeout * 1000)}",
        "statement_timeout": "300000",
        "idle_in_transaction_session_timeout": "60000",
    }


def _require_known_options(url: URL) -> None:
    """Name an option that asyncpg does not have, which would be a bare TypeError when it connects."""
    driver: Any = import_module("asyncpg")
    known = {*inspect.signature(driver.connect).parameters, *_OPTIONS_OF_SQLALCHEMY}
    unknown = sorted(set(url.query) - known)
    if unknown:
        raise DatabaseUrlError(f"asyncpg has no option {', '.join(unknown)}: take it out of the URL {shown(url)}")


_OPTIONS_OF_SQLALCHEMY = ("async_fallback", "prepared_statement_cache_size", "prepared_statement_name_func")


def new_engine(url: URL, lock_timeout: float, options: dict[str, Any]) -> AsyncEngine:
    """Return an engine for a URL; nothing is opened yet."""
    settings = _settings(lock_timeout)
    shared = names_pgbouncer(url)
    url = url.difference_update_query([PGBOUNCER])
    arguments: dict[str, Any]
    if url.get_driver_name() == "asyncpg":
        _require_known_options(url)
        arguments = {"timeout": CONNECT_TIMEOUT_SECONDS, "command_timeout": COMMAND_TIMEOUT_SECONDS}
        arguments |= _UNNAMED if shared else {"server_settings": settings}
    else:
        arguments = {"connect_timeout": CONNECT_TIMEOUT_SECONDS, "client_encoding": "utf8"}
        arguments["async_creator_fn"] = _bounded_psycopg().connect
        given = url.query.get("options", "")
        arguments |= _NEVER_PREPARED if shared else {"options": f"{_as_options(settings)} {given}"}
    if shared:
        options = {**options, "execution_options": {SHARES_SESSIONS: True}}
    engine = create_async_engine(url, connect_args=arguments, json_deserializer=from_json, **options)
    remember_drivers(engine.sync_engine)
    _ping_after_idle(engine.sync_engine)
    _recognise_pgbouncer(engine.sync_engine)
    return engine


def _bounded_psycopg() -> Any:
    """Return psycopg's connection with a timeout for each answer of the server, which asyncpg has by itself."""
    base: Any = import_module("psycopg").AsyncConnection

    class BoundedAsyncConnection(base):  # type: ignore[misc]
        async def wait(self, *args: Any, **kwargs: Any) -> Any:
            timer = asyncio.get_running_loop().call_later(COMMAND_TIMEOUT_SECONDS, hang_up, self)
            try:
                return await base.wait(self, *args, **kwargs)
            finally:
                timer.cancel()

    return BoundedAsyncConnection


def _as_options(settings: Mapping[str, str]) -> str:
    escaped = {name: value.replace(" ", "\\ ") for name, value in settings.items()}
    return " ".join(f"-c {name}={value}" for name, value in escaped.items())


# -- PgBouncer ---------------------------------------------------------------------------------------------------------

# A statement with a name stays in the session of the server, where the next transaction does not find it, or finds
# somebody else's. Without caches none has a name: it is parsed and executed before PgBouncer lends the session on.
_UNNAMED: dict[str, Any] = {
    "server_settings": {"application_name": "operator_core"},
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
}
_NEVER_PREPARED: dict[str, Any] = {"application_name": "operator_core", "prepare_threshold": None}

_REFUSED_SETTING = "unsupported startup parameter"


def _recognise_pgbouncer(engine: Engine) -> None:
    """Say what to do where PgBouncer refuses the settings of a session, which it does in its own words."""

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Dialect, _record: object, arguments: Any, options: Any) -> Any:
        try:
            return dialect.connect(*arguments, **options)
        except dialect.loaded_dbapi.Error as error:
            if _REFUSED_SETTING not in str(error):
                raise
            raise DatabaseUrlError(
                f"{shown(engine.url)} is PgBouncer, which refuses the settings of a session. Open it with "
                "ActionDB(url, pgbouncer=True), or write pgbouncer=true into the URL. Migrations and every "
                "`operator-core db` command need the URL of the server itself"
            ) from None  # the words of PgBouncer would be taken for a server that is away


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
    timer = asyncio.get_running_loop().call_later(PING_TIMEOUT_SECONDS, hang_up, connection.driver_connection)
    try:
        return bool(engine.dialect.do_ping(connection))
    except engine.dialect.loaded_dbapi.Error:
        return False
    finally:
        timer.cancel()
