"""The settings of PostgreSQL, also behind PgBouncer, and the ping of idle connections."""

import asyncio
import time
from typing import Any
from urllib.parse import quote, urlencode

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
from operator_core.db.engine.drivers import Driver, default_port, driver_named
from operator_core.db.engine.sockets import abort_connection, remember_drivers
from operator_core.db.engine.url_options import PINNED, is_pgbouncer_url, read_options
from operator_core.db.engine.url_text import hosts_of
from operator_core.db.engine.urls import display_url

CONNECT_TIMEOUT_SECONDS = 10
CONNECT_TIMEOUT_SECONDS_PER_HOST = 2
"""The connect timeout for each of several hosts: a stop must get past a dead one within its deadline of 5 seconds."""
IDLE_SECONDS = 10.0
IDLE_SINCE = "operator_core_idle_since"
"""The key of a pooled connection's last use, by the monotonic clock."""

SHARES_SESSIONS = "operator_core_shares_sessions"
"""The execution option of an engine whose server sessions are shared with other clients, by PgBouncer."""

PING_TIMEOUT_SECONDS = 5.0
"""The timeout of the ping that checks an idle connection."""

APPLICATION_NAME = "operator_core/0004"
"""The name that a server shows for our sessions; it ends with the revision that this code was written for."""

UNNUMBERED_APPLICATION_NAME = "operator_core"
"""The same of code up to revision 0003, which does not know that a policy can keep a proposal waiting."""

_NAME = {"application_name": APPLICATION_NAME}


def _settings(lock_timeout: float) -> dict[str, str]:
    return {**_NAME, **PINNED, "lock_timeout": f"{round(lock_timeout * 1000)}"}


def new_engine(url: URL, lock_timeout: float, options: dict[str, Any]) -> AsyncEngine:
    """Return an engine for a URL; nothing is opened yet."""
    shared = is_pgbouncer_url(url)
    settings = _NAME if shared else _settings(lock_timeout)
    if shared:
        options = {**options, "execution_options": {SHARES_SESSIONS: True}}
    arguments = connect_arguments(url, settings)
    creator = driver_named(url.get_driver_name()).creator()
    if creator is not None:
        arguments["async_creator_fn"] = creator
    engine = create_async_engine(engine_url(url), connect_args=arguments, json_deserializer=from_json, **options)
    remember_drivers(engine.sync_engine)
    _ping_after_idle(engine.sync_engine)
    _connect_with_care(engine.sync_engine, display_url(url), pin=not shared)
    return engine


def engine_url(url: URL) -> URL:
    """Return the URL for `create_async_engine`: without the options, and with several hosts in SQLAlchemy's form."""
    hosts = hosts_of(url)
    if len(hosts) == 1 and not hosts[0][0].startswith("/"):
        return _at(url, hosts[0][0] or None, hosts[0][1], {})
    query = {"host": ",".join(host for host, _ in hosts)} if hosts else {}
    if any(port is not None for _, port in hosts):
        query["port"] = ",".join(f"{port or default_port()}" for _, port in hosts)
    return _at(url, None, None, query)


def _at(url: URL, host: str | None, port: int | None, query: dict[str, str]) -> URL:
    parts = (url.drivername, url.username, url.password)  # `URL.set` cannot remove a part
    return URL.create(*parts, host=host, port=port, database=url.database, query=query)


def connect_arguments(url: URL, settings: dict[str, str]) -> dict[str, Any]:
    """Return the arguments for the driver of a URL, except user, password and database.

    Args:
        url: A checked URL of a server.
        settings: The session's settings, which the options of the URL may add to.

    Raises:
        DatabaseUrlError: The installed driver lacks an option.
    """
    given, hosts, driver = read_options(url), hosts_of(url), driver_named(url.get_driver_name())
    timeout = CONNECT_TIMEOUT_SECONDS if len(hosts) <= 1 else CONNECT_TIMEOUT_SECONDS_PER_HOST
    arguments = driver.connect_arguments(hosts, timeout, {**settings, **given.setting}) | given.keyword
    if given.dsn:
        arguments["dsn"] = f"postgresql://?{urlencode(given.dsn, quote_via=quote)}"
    driver.require_supported(given.keyword)
    return {**arguments, **driver.without_prepared_statements} if is_pgbouncer_url(url) else arguments


# -- connecting --------------------------------------------------------------------------------------------------------

_REFUSED_SETTING = "unsupported startup parameter"  # PgBouncer speaks English only
_SETTING_CODES = ("22", "42601", "42704", "0A", "55P02")
"""The SQLSTATEs, or their classes, of a server that refuses a setting from a URL, a role or a database."""


def _connect_with_care(engine: Engine, url: str, *, pin: bool) -> None:
    """Pin the settings of each new session, and explain what to do if a driver cannot connect."""
    driver = driver_named(engine.dialect.driver)

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Dialect, _record: object, arguments: Any, options: Any) -> Any:
        is_known = pin and _knows_transaction_timeout(dialect)
        if is_known:
            options = driver.with_setting(options, *_NO_TRANSACTION_TIMEOUT)
        try:
            connection = dialect.connect(*arguments, **options)
            if pin:
                _pin_the_rest(connection, driver, with_timeout=not is_known)
        except (ActionError, OSError):
            raise
        except Exception as error:  # drivers raise ValueError, TypeError and errors of their own
            driver.remove_secrets(error)
            problem = _problem_of(error, dialect, url)
            if problem is None:
                raise
        else:
            return connection
        raise problem  # outside the block: a value that a driver names may be a secret, and must not become the context


_NO_TRANSACTION_TIMEOUT = ("transaction_timeout", "0")
"""A setting that older servers refuse as unknown."""
_TRANSACTION_TIMEOUT_SINCE = 17


def _knows_transaction_timeout(dialect: Dialect) -> bool:
    version: tuple[int, ...] = getattr(dialect, "server_version_info", None) or (0,)  # None before it has connected
    return version[0] >= _TRANSACTION_TIMEOUT_SINCE


def _pin_the_rest(connection: Any, driver: Driver, *, with_timeout: bool) -> None:
    """Set in a new session what connecting could not set; that takes at most one round trip."""
    raw = connection.driver_connection
    statements = [f"SET {name} = '{PINNED[name]}'" for name in driver.overridden(raw, PINNED)]
    if with_timeout and driver.server_version(raw) >= _TRANSACTION_TIMEOUT_SINCE:
        statements.append("SET {} = {}".format(*_NO_TRANSACTION_TIMEOUT))
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
    is_quotable = type(error).__module__.partition(".")[0] == dialect.driver
    detail = str(error) if is_quotable else f"{type(error).__name__} while connecting"
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


_OF_HOST = ("extra_float_digits", "exit_on_error", "quote_all_identifiers")


def require_session_settings(connection: Connection) -> None:
    """Check that the sessions of a host's engine have the settings that the guarantees depend on.

    Raises:
        EngineNotConfiguredError: Settings are wrong; the error names them and the right values.
    """
    needed = {name: _ROLE_DEFAULTS[name] for name in _OF_HOST} | driver_named(connection.dialect.driver).host_settings
    found = connection.execute(
        text("SELECT " + ", ".join(f"current_setting('{name}') AS {name}" for name in needed))
    ).one()
    wrong = [name for name, wanted in needed.items() if not _is_set(getattr(found, name).lower(), wanted)]
    if wrong:
        raise EngineNotConfiguredError(
            detail="; ".join(f"{name} is {getattr(found, name)}, set {name} = '{needed[name]}'" for name in wrong)
        )


# -- idle connections --------------------------------------------------------------------------------------------------


def _ping_after_idle(engine: Engine) -> None:
    """Ping a connection that was idle for long; a ping each time would cost up to half a millisecond a call."""
    driver = driver_named(engine.dialect.driver)

    @event.listens_for(engine, "checkin")
    def remember(_connection: object, record: Any) -> None:
        record.info.setdefault(IDLE_SINCE, time.monotonic())

    @event.listens_for(engine, "checkout")
    def ping(connection: Any, record: Any, _proxy: object) -> None:
        idle_since = record.info.pop(IDLE_SINCE, None)
        if idle_since is None or connection is None:
            return
        if driver.is_closed(connection.driver_connection) or (
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
