"""The table of drivers: one row per driver, with everything that differs between them but the options of its URL."""

import asyncio
import os
import re
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from operator_core.actions.errors import (
    DatabaseAccessError,
    DatabaseNotFoundError,
    DatabaseUnavailableError,
    DatabaseUrlError,
)
from operator_core.db.engine.driver_options import OPTIONS, Option

COMMAND_TIMEOUT_SECONDS = 330.0  # for one statement: longer than the server's own timeout, for a silent server

Hosts = Sequence[tuple[str, int | None]]
_Refusal = type[DatabaseUnavailableError]
_Callback = Callable[..., None]


@dataclass(frozen=True, eq=False)
class Driver:
    """A driver; its methods do what any client of libpq does.

    Attributes:
        backend: The database that it connects to, as SQLAlchemy names it.
        name: Its name in SQLAlchemy, which is also that of its package.
        extra: The extra of this package that installs it.
        synonyms: Its other names in a URL.
        returns_utc: Whether it returns every time in UTC.
        from_environment: The settings that it takes from the environment, whatever its arguments say.
        without_prepared_statements: The arguments with which it prepares no statement. A prepared one stays in the
            server's session, which PgBouncer lends to another client.
        host_settings: The session settings that it needs from a host's engine to read values correctly.
        refusals: The errors of a refused connection that has no SQLSTATE, by patterns of the server's message.
    """

    backend: str
    name: str
    extra: str = "postgres"
    synonyms: tuple[str, ...] = ()
    returns_utc: bool = False
    from_environment: tuple[str, ...] = ()
    without_prepared_statements: Mapping[str, Any] = field(default_factory=dict[str, Any])
    host_settings: dict[str, str] = field(default_factory=dict[str, str])
    refusals: Mapping[str, _Refusal] = field(default_factory=dict[str, _Refusal])

    @property
    def options(self) -> Mapping[str, Option]:
        """The options of its URL."""
        return OPTIONS.get(self.name, {})

    def connect_arguments(self, hosts: Hosts, timeout: int, settings: Mapping[str, str]) -> dict[str, Any]:
        """Return the arguments that connect to the first of some hosts that answers, with the settings of a session."""
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

    def with_setting(self, arguments: Mapping[str, Any], name: str, value: str) -> dict[str, Any]:
        """Return arguments of `connect_arguments` with another setting of the session."""
        return {**arguments, "options": f"{arguments['options']} {_as_options({name: value})}"}

    def creator(self) -> Callable[..., Any] | None:
        """Return the coroutine function that connects instead of the driver's own, if there is one."""
        return None

    def require_supported(self, keywords: Iterable[str]) -> None:
        """Check that the installed version has the options that a URL gives.

        Raises:
            DatabaseUrlError: It lacks one.
        """

    def server_version(self, connection: Any) -> int:
        """Return the server's major version."""
        return int(connection.info.server_version) // 10000

    def overridden(self, connection: Any, settings: Mapping[str, str]) -> list[str]:
        """Return the settings of a new session that the environment has overridden."""
        return [name for name in self.from_environment if connection.info.parameter_status(name) != settings[name]]

    def remove_secrets(self, error: Exception) -> None:
        """Remove what holds the password from an error of connecting."""
        with suppress(AttributeError, TypeError):
            error._pgconn = None  # type: ignore[attr-defined]  # noqa: SLF001

    def is_closed(self, connection: Any) -> bool:
        """Return whether a connection knows that it is closed."""
        return bool(connection.closed)

    def fileno(self, connection: Any) -> int:
        """Return the file descriptor of a connection's socket."""
        return int(connection.fileno())

    def abort(self, connection: Any) -> None:
        """Close a connection at once, without a goodbye to a server that may not answer; waiting calls fail."""
        self.shut(connection)  # a closed socket would be waited for for ever, on a reused descriptor

    def shut(self, connection: Any) -> None:
        """Shut a socket down, but leave it to the task and the event loop that wait on it."""
        with suppress(Exception), socket.socket(fileno=os.dup(self.fileno(connection))) as same:  # it may be closed
            same.shutdown(socket.SHUT_RDWR)


class NotifyingDriver(Driver, ABC):
    """A driver that passes on the notifications of a server; of all others, nobody waits for any."""

    @abstractmethod
    async def listen(self, connection: Any, channels: Iterable[str], notified: _Callback, broken: _Callback) -> None:
        """Listen on channels of the server; call `broken` if the connection ends."""


def _as_options(settings: Mapping[str, str]) -> str:
    escaped = {name: re.sub(r"([\\\s])", r"\\\1", value) for name, value in settings.items()}
    return " ".join(f"-c {name}={value}" for name, value in escaped.items())


class _Asyncpg(NotifyingDriver):
    def connect_arguments(self, hosts: Hosts, timeout: int, settings: Mapping[str, str]) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "timeout": timeout,
            "command_timeout": COMMAND_TIMEOUT_SECONDS,
            "server_settings": settings,
        }
        if len(hosts) > 1:
            arguments["host"] = [host for host, _ in hosts]
            arguments["port"] = [port or default_port() for _, port in hosts]
            arguments["async_creator_fn"] = _connect_in_turn
            return arguments
        for host, port in hosts:
            arguments |= ({"host": host} if host else {}) | ({"port": port} if port else {})
        return arguments

    def with_setting(self, arguments: Mapping[str, Any], name: str, value: str) -> dict[str, Any]:
        return {**arguments, "server_settings": {**arguments["server_settings"], name: value}}

    def server_version(self, connection: Any) -> int:
        return int(connection.get_server_version().major)

    def is_closed(self, connection: Any) -> bool:
        return bool(connection.is_closed())

    def fileno(self, connection: Any) -> int:
        return int(connection._transport.get_extra_info("socket").fileno())  # noqa: SLF001 - it has no public name

    def abort(self, connection: Any) -> None:
        connection.terminate()

    async def listen(self, connection: Any, channels: Iterable[str], notified: _Callback, broken: _Callback) -> None:
        connection.add_termination_listener(broken)
        for channel in channels:
            await connection.add_listener(channel, notified)


async def _connect_in_turn(
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


class _Psycopg(Driver):
    def creator(self) -> Callable[..., Any]:
        """Return the `connect` of a connection with a timeout for each answer of the server; asyncpg has one."""
        base: Any = import_module("psycopg").AsyncConnection
        abort = self.abort

        class BoundedAsyncConnection(base):  # type: ignore[misc]
            async def wait(self, *args: Any, **kwargs: Any) -> Any:
                timer = asyncio.get_running_loop().call_later(COMMAND_TIMEOUT_SECONDS, abort, self)
                try:
                    return await base.wait(self, *args, **kwargs)
                finally:
                    timer.cancel()

        connect: Callable[..., Any] = BoundedAsyncConnection.connect
        return connect

    def require_supported(self, keywords: Iterable[str]) -> None:
        pq: Any = import_module("psycopg.pq")
        supported = {option.keyword.decode() for option in pq.Conninfo.get_defaults()} | {"prepare_threshold"}
        for name in keywords:
            if name not in supported:
                raise DatabaseUrlError(
                    f"the option {name} of this database URL needs a newer libpq than version {pq.version()}"
                )


def default_port() -> int:
    """Return the port of a server whose URL names none."""
    port = os.environ.get("PGPORT", "")
    return int(port) if re.fullmatch(r"[0-9]{1,5}", port) else 5432


DRIVERS = (
    Driver("sqlite", "aiosqlite", synonyms=("pysqlite",)),
    _Asyncpg(
        "postgresql",
        "asyncpg",
        synonyms=("psycopg2",),
        returns_utc=True,
        without_prepared_statements={"statement_cache_size": 0, "prepared_statement_cache_size": 0},
    ),
    _Psycopg(
        "postgresql",
        "psycopg",
        extra="psycopg",
        synonyms=("psycopg_async",),
        from_environment=("datestyle", "timezone"),
        without_prepared_statements={"prepare_threshold": None},
        host_settings={"client_encoding": "UTF8", "datestyle": "ISO, MDY"},  # it reads texts; asyncpg reads binary
        # libpq has no SQLSTATE for a refused connection, only the server's words. If the server does not speak
        # English, the result is the general error, with those words.
        refusals={
            r'FATAL: +database ".*" does not exist': DatabaseNotFoundError,
            r'FATAL: +role ".*" does not exist': DatabaseAccessError,
            r"FATAL: +password authentication failed": DatabaseAccessError,
            r"FATAL: +no pg_hba\.conf entry": DatabaseAccessError,
            r"FATAL: +permission denied": DatabaseAccessError,
            r"no password supplied": DatabaseAccessError,
        },
    ),
)
"""The rows of the table; the first one of a backend is its default."""

_BY_NAME = {name: driver for driver in DRIVERS for name in (driver.name, *driver.synonyms)}
_OTHER = Driver("", "")


def driver_named(name: str) -> Driver:
    """Return the driver that a URL or a dialect names; for one that the table lacks, what any client of libpq does."""
    return _BY_NAME.get(name, _OTHER)


def driver_of(connection: object) -> Driver:
    """Return the driver of a connection; for one that the table lacks, what any client of libpq does."""
    packages = {base.__module__.partition(".")[0] for base in type(connection).__mro__}
    return next((driver for driver in DRIVERS if driver.name in packages), _OTHER)
