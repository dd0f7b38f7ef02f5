"""The connect arguments of PostgreSQL's drivers, and how they try several hosts."""

import os
import re
from collections.abc import Sequence
from importlib import import_module
from typing import Any
from urllib.parse import quote, urlencode

from sqlalchemy.engine import URL

from operator_core.db.engine.url_options import is_pgbouncer_url, read_options, require_supported
from operator_core.db.engine.url_text import hosts_of

CONNECT_TIMEOUT_SECONDS = 10
CONNECT_TIMEOUT_SECONDS_PER_HOST = 2
"""The connect timeout for each of several hosts: a stop must get past a dead one within its deadline of 5 seconds."""
COMMAND_TIMEOUT_SECONDS = 330.0  # for one statement: longer than the server's own timeout, for a silent server

# A named statement stays in the server's session, where the next transaction does not find it, or finds another
# client's. Without caches none has a name: it is parsed and executed before PgBouncer lends the session on.
_NO_PREPARED_STATEMENTS: dict[str, dict[str, Any]] = {
    "asyncpg": {"statement_cache_size": 0, "prepared_statement_cache_size": 0},
    "psycopg": {"prepare_threshold": None},
}

Hosts = Sequence[tuple[str, int | None]]


def engine_url(url: URL) -> URL:
    """Return the URL for `create_async_engine`: without the options, and with several hosts in SQLAlchemy's form."""
    hosts = hosts_of(url)
    if len(hosts) == 1 and not hosts[0][0].startswith("/"):
        return _at(url, hosts[0][0] or None, hosts[0][1], {})
    query = {"host": ",".join(host for host, _ in hosts)} if hosts else {}
    if any(port is not None for _, port in hosts):
        query["port"] = ",".join(f"{port or _default_port()}" for _, port in hosts)
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
    given, hosts = read_options(url), hosts_of(url)
    is_asyncpg = url.get_driver_name() == "asyncpg"
    timeout = CONNECT_TIMEOUT_SECONDS if len(hosts) <= 1 else CONNECT_TIMEOUT_SECONDS_PER_HOST
    make = _for_asyncpg if is_asyncpg else _for_psycopg
    arguments = make(hosts, timeout, {**settings, **given.setting}) | given.keyword
    if given.dsn:
        arguments["dsn"] = f"postgresql://?{urlencode(given.dsn, quote_via=quote)}"
    driver = "asyncpg" if is_asyncpg else "psycopg"
    require_supported(driver, given.keyword)
    return arguments | (_NO_PREPARED_STATEMENTS[driver] if is_pgbouncer_url(url) else {})


def _for_asyncpg(hosts: Hosts, timeout: int, settings: dict[str, str]) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "timeout": timeout,
        "command_timeout": COMMAND_TIMEOUT_SECONDS,
        "server_settings": settings,
    }
    if len(hosts) > 1:
        arguments["host"] = [host for host, _ in hosts]
        arguments["port"] = [port or _default_port() for _, port in hosts]
        arguments["async_creator_fn"] = connect_in_turn
        return arguments
    for host, port in hosts:
        arguments |= ({"host": host} if host else {}) | ({"port": port} if port else {})
    return arguments


def _for_psycopg(hosts: Hosts, timeout: int, settings: dict[str, str]) -> dict[str, Any]:
    others = {name: value for name, value in settings.items() if name != "application_name"}
    arguments: dict[str, Any] = {
        "connect_timeout": timeout,
        "client_encoding": "utf8",
        "application_name": settings["application_name"],
        "options": _as_options(others),  # even if it is empty: PGOPTIONS is for other programs
    }
    if any(host for host, _ in hosts):
        arguments["host"] = ",".join(host for host, _ in hosts)
    if any(port for _, port in hosts):
        arguments["port"] = ",".join(str(port or "") for _, port in hosts)
    return arguments


def _as_options(settings: dict[str, str]) -> str:
    escaped = {name: re.sub(r"([\\\s])", r"\\\1", value) for name, value in settings.items()}
    return " ".join(f"-c {name}={value}" for name, value in escaped.items())


def _default_port() -> int:
    port = os.environ.get("PGPORT", "")
    return int(port) if re.fullmatch(r"[0-9]{1,5}", port) else 5432


async def connect_in_turn(
    *, host: list[str], port: list[int], target_session_attrs: str | None = None, **arguments: Any
) -> Any:
    """Connect with asyncpg to the first of several hosts that answers and fits; the timeout applies to each.

    asyncpg has one timeout for all of them, so that a dead and silent first host would use it up.
    """
    driver: Any = import_module("asyncpg")
    next_one = (OSError, driver.CannotConnectNowError, driver.TargetServerAttributeNotMatched)  # OSError: timeouts too
    rounds = ["standby", "any"] if target_session_attrs == "prefer-standby" else [target_session_attrs]
    problem: BaseException | None = None
    for wanted in rounds:
        for place in zip(host, port, strict=True):
            try:
                return await driver.connect(host=place[0], port=place[1], target_session_attrs=wanted, **arguments)
            except next_one as error:
                problem = error
    assert problem is not None  # noqa: S101 - there is a host
    raise problem
