"""Engines, and the settings that the promises rest on."""

import asyncio
import inspect
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from weakref import WeakSet

import aiosqlite
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Dialect, Engine
from sqlalchemy.exc import DisconnectionError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from operator_core.actions.errors import (
    DatabaseAccessError,
    DatabaseNotFoundError,
    DatabaseUrlError,
    EngineNotConfiguredError,
    EngineVersionError,
    MissingDriverError,
)
from operator_core.db.file_watch import FileWatch
from operator_core.db.sqlite_connection import open_connection
from operator_core.db.urls import file_of, shown

BEGIN = "operator_core_begin"
"""Execution option of a connection to SQLite: `IMMEDIATE` (a writer, the default), `DEFERRED` (a reader), `NONE`."""

NOTIFICATIONS = "operator_core"
"""The channel on which PostgreSQL's guard tells of a changed latch."""

LOWEST_SQLITE: tuple[int, ...] = (3, 35)  # RETURNING
LOWEST_POSTGRESQL: tuple[int, ...] = (14,)
_IDLE_SECONDS = 10.0
_SILENCE_SECONDS = 330.0  # for one statement: longer than the server's own timeout, for a server that does not answer


def is_sqlite(bind: AsyncEngine | Engine | sa.Connection) -> bool:
    """Tell the two engines apart."""
    return bind.dialect.name == "sqlite"


def create_engine(url: URL, *, lock_timeout: float = 10.0, **options: Any) -> AsyncEngine:
    """Return an engine with our settings; nothing is opened yet.

    Args:
        url: As `target_url` returns it.
        lock_timeout: Seconds to wait for somebody else's lock before `DatabaseLockedError`.
        **options: For SQLAlchemy's `create_async_engine`.

    Raises:
        MissingDriverError: The driver of the URL is not installed.
        DatabaseNotFoundError: The folder of a SQLite file does not exist.
    """
    make = _sqlite_engine if url.drivername.startswith("sqlite") else _postgresql_engine
    try:
        return make(url, lock_timeout, {"hide_parameters": True, **options})
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        driver = url.get_driver_name()
        extra = "psycopg" if driver.startswith("psycopg") else "postgres"
        raise MissingDriverError(driver=driver, extra=extra) from error


# -- SQLite ------------------------------------------------------------------------------------------------------------


def _pragmas(lock_timeout: float) -> tuple[str, ...]:
    return (
        f"PRAGMA busy_timeout = {round(lock_timeout * 1000)}",  # first: the others may meet a lock
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "PRAGMA foreign_keys = ON",
    )


def _sqlite_engine(url: URL, lock_timeout: float, options: dict[str, Any]) -> AsyncEngine:
    file = file_of(url)
    if file is not None:
        _require_access(file, shown(url))
    (database,), arguments = url.get_dialect()().create_connect_args(url)

    watch = None if file is None else FileWatch(file, shown(url))

    async def connect() -> aiosqlite.Connection:
        if watch is not None:
            watch.compare()
        return await open_connection(database, _pragmas(lock_timeout), uri=bool(arguments.get("uri")))

    engine = create_async_engine(url, async_creator=connect, **options)
    _begin_as_told(engine.sync_engine)
    if watch is not None:
        watch.attach(engine.sync_engine)
    return engine


def _require_access(file: Path, url: str) -> None:
    """Say what SQLite calls "unable to open database file"."""

    def permitted(path: Path, mode: int) -> bool:
        return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)

    if not file.parent.is_dir():
        raise DatabaseNotFoundError(url=url, detail=f"there is no folder {file.parent}")
    if not permitted(file.parent, os.X_OK):
        raise DatabaseAccessError(url=url, detail=f"the folder {file.parent} may not be entered")
    if file.is_dir():
        raise DatabaseNotFoundError(url=url, detail="this is a folder, not a file")
    if file.exists() and not permitted(file, os.R_OK):
        raise DatabaseAccessError(url=url, detail="the file may not be read")


def configure_engine(engine: AsyncEngine, *, lock_timeout: float = 10.0) -> AsyncEngine:
    """Give a host's engine the settings that the promises rest on, and return it; call it right after creating it.

    On SQLite: WAL, `synchronous=FULL`, foreign keys on, and every transaction begins IMMEDIATE, unless the execution
    option `operator_core_begin="DEFERRED"` makes it a reader. On PostgreSQL nothing needs to be set.
    """
    if is_sqlite(engine):
        _set_on_connect(engine.sync_engine, lock_timeout)
        _begin_as_told(engine.sync_engine)
        file = file_of(engine.url)
        if file is not None:
            FileWatch(file, shown(engine.url)).attach(engine.sync_engine)
    return engine


def _set_on_connect(engine: Engine, lock_timeout: float) -> None:
    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # sqlite3 must not begin on its own: we do, and say how
        cursor = connection.cursor()
        for pragma in _pragmas(lock_timeout):
            cursor.execute(pragma)
        cursor.close()


def _begin_as_told(engine: Engine) -> None:
    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        how = connection.get_execution_options().get(BEGIN, "IMMEDIATE")
        if how != "NONE":
            connection.exec_driver_sql(f"BEGIN {how}")


_configured: WeakSet[Dialect] = WeakSet()  # a dialect outlives `dispose` and is shared by all options of an engine


def require_configured(connection: sa.Connection) -> None:
    """See that a host's SQLite engine has the settings, by asking its connection.

    Raises:
        EngineNotConfiguredError: It has not.
    """
    if not is_sqlite(connection) or connection.dialect in _configured:
        return
    for pragma, wanted in (
        ("foreign_keys", (1,)),
        ("synchronous", (2, 3)),
        ("journal_mode", ("wal", "memory")),
    ):
        found = connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()
        if found not in wanted:
            raise EngineNotConfiguredError(detail=f"{pragma} is {found}")
    driver: Any = connection.connection.driver_connection
    if not driver.in_transaction:
        raise EngineNotConfiguredError(detail="transactions begin without a lock")
    _configured.add(connection.dialect)


# -- PostgreSQL --------------------------------------------------------------------------------------------------------


def _postgresql_settings(lock_timeout: float) -> dict[str, str]:
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


def _postgresql_engine(url: URL, lock_timeout: float, options: dict[str, Any]) -> AsyncEngine:
    settings = _postgresql_settings(lock_timeout)
    arguments: dict[str, Any]
    if url.get_driver_name() == "asyncpg":
        _require_known_options(url)
        arguments = {"server_settings": settings, "timeout": 10, "command_timeout": _SILENCE_SECONDS}
    else:
        given = url.query.get("options", "")
        escaped = {name: value.replace(" ", "\\ ") for name, value in settings.items()}
        ours = " ".join(f"-c {name}={value}" for name, value in escaped.items())
        arguments = {"options": f"{ours} {given}", "connect_timeout": 10}
    engine = create_async_engine(url, connect_args=arguments, **options)
    _ping_after_idle(engine.sync_engine)
    return engine


def _ping_after_idle(engine: Engine) -> None:
    """Ask a connection that was idle whether it lives; asking each time would cost up to half a millisecond a call."""

    @event.listens_for(engine, "checkin")
    def remember(_connection: object, record: Any) -> None:
        record.info["operator_core_idle_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ping(connection: Any, record: Any, _proxy: object) -> None:
        idle_since = record.info.get("operator_core_idle_since")
        if idle_since is None or connection is None:
            return
        closed = getattr(connection.driver_connection, "is_closed", None)
        if (closed is not None and closed()) or (
            time.monotonic() - idle_since > _IDLE_SECONDS and not _answers(engine, connection)
        ):
            raise DisconnectionError


def _answers(engine: Engine, connection: Any) -> bool:
    try:
        return bool(engine.dialect.do_ping(connection))
    except engine.dialect.loaded_dbapi.Error:
        return False


# -- both --------------------------------------------------------------------------------------------------------------


def check_version(connection: sa.Connection) -> None:
    """See that the engine is new enough, and that a server speaks UTF-8.

    Raises:
        EngineVersionError: It is not.
    """
    found = tuple(connection.dialect.server_version_info or (0,))
    name, lowest = ("SQLite", LOWEST_SQLITE) if is_sqlite(connection) else ("PostgreSQL", LOWEST_POSTGRESQL)
    if found < lowest:
        version, wanted = (".".join(map(str, numbers)) for numbers in (found, lowest))
        raise EngineVersionError(engine=name, version=version, lowest=wanted)
    if not is_sqlite(connection):
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
        if encoding != "UTF8":
            raise EngineVersionError(engine="PostgreSQL with encoding", version=str(encoding), lowest="UTF8")


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


def beside(engine: AsyncEngine) -> AsyncEngine:
    """Return an engine with connections of its own to the same database, which an exhausted pool cannot block.

    The pool keeps its creator and its listeners; the dialect is shared, so that nothing is looked up again. A database
    in memory has one connection, so there the engine itself is returned.
    """
    if is_sqlite(engine) and file_of(engine.url) is None:
        return engine
    sync = engine.sync_engine
    return AsyncEngine(Engine(sync.pool.recreate(), sync.dialect, sync.url))


def without_waiting(connection: sa.Connection) -> None:
    """Have SQLite say at once that a lock is taken."""
    cursor = connection.connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 0")
    cursor.close()


def hang_up(driver: Any) -> None:
    """End the connection of a driver at once, without a word to a server that may not answer."""
    end = getattr(driver, "terminate", None) or getattr(getattr(driver, "pgconn", None), "finish", None)
    if end is not None:
        end()


@asynccontextmanager
async def notified(engine: AsyncEngine) -> AsyncGenerator[Callable[[float], Awaitable[None]]]:
    """Give a function that waits so many seconds, or less when the kill switch has changed.

    The hint is asyncpg's LISTEN, on a connection of its own; without it, or when it breaks, the wait is a plain one.
    """
    rung = asyncio.Event()

    def _ring(*_: object) -> None:
        rung.set()

    async def wait(seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(rung.wait(), seconds)
        rung.clear()

    if is_sqlite(engine) or engine.dialect.driver != "asyncpg":
        yield wait
        return
    own = beside(engine)
    connection: AsyncConnection | None = None
    try:
        # Whatever is wrong with the listener, the wait goes on without it.
        with suppress(Exception):
            connection = await own.connect()
            driver: Any = (await connection.get_raw_connection()).driver_connection
            await driver.add_listener(NOTIFICATIONS, _ring)
        yield wait
    finally:
        if connection is not None:
            await connection.invalidate()
            await connection.close()
        await own.dispose()


def refusal_aborts(connection: sa.Connection) -> bool:
    """Tell whether a guard's refusal makes the open transaction unusable, so that a savepoint is needed."""
    return not is_sqlite(connection)


def writer_lock(engine: AsyncEngine) -> asyncio.Lock | None:
    """Return a lock for the writers of one process, where the engine has one writer: queueing beats polling for it."""
    return asyncio.Lock() if is_sqlite(engine) else None
