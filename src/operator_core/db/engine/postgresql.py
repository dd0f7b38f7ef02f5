"""The settings of PostgreSQL, also behind PgBouncer, and the ping of idle connections."""

import asyncio
import time
from contextlib import suppress
from importlib import import_module
from typing import Any

from pydantic_core import from_json
from sqlalchemy import event, text
from sqlalchemy.engine import URL, Connection, Dialect, Engine
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from operator_core.actions.errors import (
    ActionError,
    DatabaseEncodingError,
    DatabaseUnavailableError,
    DatabaseUrlError,
    EngineNotConfiguredError,
)
from operator_core.db.engine import drivers
from operator_core.db.engine.drivers import connect_arguments, engine_url
from operator_core.db.engine.sockets import abort_connection, remember_drivers
from operator_core.db.engine.url_options import is_pgbouncer_url
from operator_core.db.engine.urls import display_url

IDLE_SECONDS = 10.0
IDLE_SINCE = "operator_core_idle_since"
"""The key of a pooled connection's last use, by the monotonic clock."""

SHARES_SESSIONS = "operator_core_shares_sessions"
"""The execution option of an engine whose server sessions are shared with other clients, by PgBouncer."""

PING_TIMEOUT_SECONDS = 5.0
"""The timeout of the ping that checks an idle connection."""

_NAME = {"application_name": "operator_core"}
_PINNED = {
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "exit_on_error": "off",
    "statement_timeout": "300000",
    "idle_in_transaction_session_timeout": "60000",
    "idle_session_timeout": "0",
}
"""The settings of each of our sessions, whatever the server, the database or the role says: see docs/adr/0016."""


def _settings(lock_timeout: float) -> dict[str, str]:
    return {**_NAME, **_PINNED, "lock_timeout": f"{round(lock_timeout * 1000)}"}


def new_engine(url: URL, lock_timeout: float, options: dict[str, Any]) -> AsyncEngine:
    """Return an engine for a URL; nothing is opened yet."""
    shared = is_pgbouncer_url(url)
    settings = _NAME if shared else _settings(lock_timeout)
    if shared:
        options = {**options, "execution_options": {SHARES_SESSIONS: True}}
    arguments = connect_arguments(url, settings)
    if url.get_driver_name() != "asyncpg":
        arguments["async_creator_fn"] = _bounded_psycopg().connect
    engine = create_async_engine(engine_url(url), connect_args=arguments, json_deserializer=from_json, **options)
    remember_drivers(engine.sync_engine)
    _ping_after_idle(engine.sync_engine)
    _connect_with_care(engine.sync_engine, display_url(url), pin=not shared)
    return engine


def _bounded_psycopg() -> Any:
    """Return psycopg's connection with a timeout for each answer of the server, which asyncpg has built in."""
    base: Any = import_module("psycopg").AsyncConnection

    class BoundedAsyncConnection(base):  # type: ignore[misc]
        async def wait(self, *args: Any, **kwargs: Any) -> Any:
            timer = asyncio.get_running_loop().call_later(drivers.COMMAND_TIMEOUT_SECONDS, abort_connection, self)
            try:
                return await base.wait(self, *args, **kwargs)
            finally:
                timer.cancel()

    return BoundedAsyncConnection


# -- connecting --------------------------------------------------------------------------------------------------------

_REFUSED_SETTING = "unsupported startup parameter"  # PgBouncer speaks English only
_SETTING_CODES = ("22", "42601", "42704", "0A", "55P02")
"""The SQLSTATEs, or their classes, of a server that refuses a setting from a URL, a role or a database."""


def _connect_with_care(engine: Engine, url: str, *, pin: bool) -> None:
    """Pin the settings of each new session, and explain what to do if a driver cannot connect."""

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Dialect, _record: object, arguments: Any, options: Any) -> Any:
        is_known = pin and _knows_transaction_timeout(dialect)
        if is_known:
            options = _with_transaction_timeout(options)
        try:
            connection = dialect.connect(*arguments, **options)
            if pin:
                _pin_the_rest(connection, with_timeout=not is_known)
        except (ActionError, OSError):
            raise
        except Exception as error:  # drivers raise ValueError, TypeError and errors of their own
            with suppress(AttributeError, TypeError):
                error._pgconn = None  # type: ignore[attr-defined]  # noqa: SLF001 - psycopg keeps the password there
            problem = _problem_of(error, dialect, url)
            if problem is None:
                raise
        else:
            return connection
        raise problem  # outside the block: a value that a driver names may be a secret, and must not become the context


_REPORTED = ("datestyle", "timezone")
"""Settings that libpq takes from the environment (PGDATESTYLE, PGTZ), where they override a URL's options."""
_TRANSACTION_TIMEOUT_SINCE = 17


def _knows_transaction_timeout(dialect: Dialect) -> bool:
    version: tuple[int, ...] = getattr(dialect, "server_version_info", None) or (0,)  # None before it has connected
    return version[0] >= _TRANSACTION_TIMEOUT_SINCE


def _with_transaction_timeout(options: dict[str, Any]) -> dict[str, Any]:
    """Return the driver's arguments with a setting that older servers refuse as unknown."""
    if "server_settings" in options:
        return {**options, "server_settings": {**options["server_settings"], "transaction_timeout": "0"}}
    return {**options, "options": f"{options['options']} -c transaction_timeout=0"}


def _pin_the_rest(connection: Any, *, with_timeout: bool) -> None:
    """Set in a new session what connecting could not set; that takes at most one round trip."""
    driver = connection.driver_connection
    if hasattr(driver, "get_server_version"):  # asyncpg, which takes no setting from the environment
        statements, version = list[str](), driver.get_server_version().major
    else:
        wrong = [name for name in _REPORTED if driver.info.parameter_status(name) != _PINNED[name]]
        statements = [f"SET {name} = '{_PINNED[name]}'" for name in wrong]
        version = driver.info.server_version // 10000
    if with_timeout and version >= _TRANSACTION_TIMEOUT_SINCE:
        statements.append("SET transaction_timeout = 0")
    if statements:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        cursor.close()
        connection.commit()


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
"""The settings that a role needs behind PgBouncer; a timeout may have any value but zero."""
_ROLE_DEFAULTS = {
    "datestyle": "ISO, MDY",
    "extra_float_digits": "1",
    "default_transaction_read_only": "off",
    "exit_on_error": "off",
    "quote_all_identifiers": "off",
}
"""The settings that a role has by default."""
_FOUND_SETTINGS = text(
    "SELECT session_user AS role, "
    + ", ".join(f"lower(current_setting('{name}')) AS {name}" for name in (*_ROLE_SETTINGS, *_ROLE_DEFAULTS))
)


def require_role_settings(connection: Connection) -> None:
    """Check that the role itself has the settings that a session cannot be given behind PgBouncer.

    Raises:
        DatabaseUrlError: A setting is missing; the error names the statements that set them.
    """
    found = connection.execute(_FOUND_SETTINGS).one()
    role = connection.dialect.identifier_preparer.quote(found.role)  # one of the settings affects quote_ident
    needed = {**_ROLE_SETTINGS, **_ROLE_DEFAULTS}
    wrong = [name for name, wanted in needed.items() if not _is_set(getattr(found, name), wanted)]
    if wrong:
        actual = ", ".join(f"{name} is {getattr(found, name)}" for name in wrong)
        statements = " ".join(f"ALTER ROLE {role} SET {name} = '{needed[name]}';" for name in wrong)
        raise DatabaseUrlError(
            f"behind PgBouncer a session has the settings of its role, and for {role} {actual}. "
            f"Run: {statements} Then RECONNECT on the console of PgBouncer"
        )


def _is_set(found: str, wanted: str) -> bool:
    if wanted == _ROLE_DEFAULTS["datestyle"]:
        return found.startswith("iso,")
    if wanted == _ROLE_DEFAULTS["extra_float_digits"]:
        return int(found) >= 1
    return found != "0" if wanted[0].isdecimal() else found == wanted.lower()


# -- any session -------------------------------------------------------------------------------------------------------

_DATABASE = text(
    "SELECT current_setting('server_encoding') AS encoding, quote_ident(session_user) AS role, "
    "current_setting('session_replication_role') AS triggers"
)


def require_suitable(connection: Connection) -> None:
    """Check that the database stores Unicode, and that its guards work in this session.

    Raises:
        DatabaseEncodingError: The database has another encoding.
        EngineNotConfiguredError: The session skips triggers.
    """
    found = connection.execute(_DATABASE).one()
    if found.encoding != "UTF8":
        raise DatabaseEncodingError(url=display_url(connection.engine.url), encoding=found.encoding)
    require_triggers(found.triggers, found.role)


def require_triggers(replication_role: str, role: str) -> None:
    """Check that a session obeys triggers, by its setting `session_replication_role`.

    Raises:
        EngineNotConfiguredError: The session skips triggers.
    """
    if replication_role != "origin":
        raise EngineNotConfiguredError(
            detail=f"session_replication_role is {replication_role}, so no guard works in its sessions; "
            f"ALTER ROLE {role} RESET session_replication_role"
        )


_HOST_SETTINGS = {
    "extra_float_digits": "1",
    "exit_on_error": "off",
    "quote_all_identifiers": "off",
}
_READ_AS_TEXT = {"client_encoding": "UTF8", "datestyle": "ISO, MDY"}  # by psycopg; asyncpg reads them in binary
_OF_HOST = text(
    "SELECT " + ", ".join(f"current_setting('{name}') AS {name}" for name in (*_HOST_SETTINGS, *_READ_AS_TEXT))
)


def require_session_settings(connection: Connection) -> None:
    """Check that the sessions of a host's engine have the settings that the guarantees depend on.

    Raises:
        EngineNotConfiguredError: Settings are wrong; the error names them and the right values.
    """
    needed = _HOST_SETTINGS if connection.dialect.driver == "asyncpg" else {**_HOST_SETTINGS, **_READ_AS_TEXT}
    found = connection.execute(_OF_HOST).one()
    wrong = [name for name, wanted in needed.items() if not _is_set(getattr(found, name).lower(), wanted)]
    if wrong:
        raise EngineNotConfiguredError(
            detail="; ".join(f"{name} is {getattr(found, name)}, set {name} = '{needed[name]}'" for name in wrong)
        )


# -- idle connections --------------------------------------------------------------------------------------------------


def _ping_after_idle(engine: Engine) -> None:
    """Ping a connection that was idle for long; a ping each time would cost up to half a millisecond a call."""

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
    timer = asyncio.get_running_loop().call_later(PING_TIMEOUT_SECONDS, abort_connection, connection.driver_connection)
    try:
        return bool(engine.dialect.do_ping(connection))
    except engine.dialect.loaded_dbapi.Error:
        return False
    finally:
        timer.cancel()
