"""The settings of SQLite, and the behaviour of an engine on connect and begin."""

import os
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import aiosqlite
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from operator_core.actions.errors import DatabaseUnavailableError, EngineNotConfiguredError
from operator_core.db.engine.aiosqlite_connection import OneHopConnection, WatchedConnection, connection_of
from operator_core.db.engine.compiled import share_compiled
from operator_core.db.engine.file_watch import FileView, FileWatch
from operator_core.db.engine.sockets import remember_drivers
from operator_core.db.engine.sqlite_settings import (
    FILE,
    FUNCTIONS_QUERY,
    QUERY,
    VIEW_QUERY,
    pins,
    require_functions,
    require_private_cache,
    require_settings,
    require_unconverted,
)
from operator_core.db.engine.urls import display_url, sqlite_path

BEGIN_OPTION = "operator_core_begin"
"""Execution option of a SQLite connection: `IMMEDIATE` (a writer, the default), `DEFERRED` (a reader), `NONE`."""

_VIEW = "operator_core_view"
"""The key of a connection's `FileView` in the pool's `info`; its value is None in memory."""
_WATCH = "operator_core_watch"
"""The key of the `FileWatch` of a host's connection, until the connection is used."""


# -- an owned engine ---------------------------------------------------------------------------------------------------


def new_engine(url: URL, lock_timeout: float, options: dict[str, Any]) -> AsyncEngine:
    """Return an engine for a URL; nothing is opened yet."""
    (database,), arguments = url.get_dialect()().create_connect_args(url)
    watch = FileWatch(sqlite_path(url), display_url(url))

    def open_in_thread() -> sqlite3.Connection:
        return _open(database, watch, lock_timeout, uri=bool(arguments.get("uri")))

    async def connect() -> aiosqlite.Connection:
        try:
            return await OneHopConnection(open_in_thread)
        except RuntimeError as error:  # no thread can be started
            raise DatabaseUnavailableError(url=display_url(url), detail=str(error)) from error

    engine = create_async_engine(url, async_creator=connect, **options)
    remember_drivers(engine.sync_engine)
    _begin_with_option(engine.sync_engine)
    event.listen(engine.sync_engine, "engine_disposed", watch.forget)

    @event.listens_for(engine.sync_engine, "connect")
    def keep_view(connection: Any, record: Any) -> None:
        record.info[_VIEW] = connection.driver_connection.view

    return engine


def _open(database: str, watch: FileWatch, lock_timeout: float, *, uri: bool) -> sqlite3.Connection:
    """Return a connection with our settings that watches its file and has begun no transaction."""
    watch.before_open()
    try:
        connection = sqlite3.connect(database, isolation_level=None, uri=uri, factory=WatchedConnection)
        try:
            for pragma in pins(lock_timeout):
                connection.execute(pragma).close()
            file = require_settings(connection.execute(QUERY).fetchone())
            connection.view = watch.after_open(file) if file else None
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        failure = watch.explain(error)
        if failure is not None:
            raise failure from error
        raise
    return connection


# -- a host's engine ---------------------------------------------------------------------------------------------------


def configure(engine: AsyncEngine, lock_timeout: float) -> None:
    """Apply our settings to a host's engine, whenever it connects and begins."""
    remember_drivers(engine.sync_engine)
    watch = FileWatch(sqlite_path(engine.url), display_url(engine.url))
    _before_connect(engine.sync_engine, watch)
    _set_on_connect(engine.sync_engine, watch, lock_timeout)
    _begin_with_option(engine.sync_engine)
    event.listen(engine.sync_engine, "engine_disposed", watch.forget)


def _before_connect(engine: Engine, watch: FileWatch) -> None:
    """Check the file, and give connections one hop per statement, unless the engine has its own way to connect."""
    is_file = sqlite_path(engine.url) is not None

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]) -> None:
        watch.before_open()
        arguments[:] = [watch.absolute(str(database)) for database in arguments]
        if is_file:
            require_private_cache(arguments[0])
        require_unconverted(options.get("detect_types", 0))
        options.setdefault("async_creator_fn", connection_of)


def _set_on_connect(engine: Engine, watch: FileWatch, lock_timeout: float) -> None:
    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # sqlite3 must not begin on its own: we begin, in the chosen mode
        cursor = connection.cursor()
        for pragma in pins(lock_timeout):
            cursor.execute(pragma)
        cursor.close()
        record.info[_WATCH] = watch


def _begin_with_option(engine: Engine) -> None:
    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        how = connection.get_execution_options().get(BEGIN_OPTION, "IMMEDIATE")
        if how != "NONE":
            connection.exec_driver_sql(f"BEGIN {how}")
        require_same_file(connection)

    @event.listens_for(engine, "commit")
    def commit(connection: sa.Connection) -> None:
        if not isinstance(connection.connection.driver_connection, OneHopConnection):  # that one checks by itself
            require_same_file(connection)


# -- both --------------------------------------------------------------------------------------------------------------


def require_same_file(connection: sa.Connection) -> None:
    """Check that the path of a connection's file still leads to the same file, with the same log.

    Raises:
        DatabaseReplacedError: The file or its log was deleted or replaced.
        DatabaseAliasError: The file has a second name.
    """
    info = connection.info
    if _VIEW not in info:
        info[_VIEW] = _view_of(connection)
    view: FileView | None = info[_VIEW]
    if view is not None:
        view.require_unchanged()


def _view_of(connection: sa.Connection) -> FileView | None:
    """Return the view of a host's connection on its first use, and make its commits check the files."""
    watch: FileWatch | None = connection.info.get(_WATCH)
    if watch is None:  # `configure_engine` was not called
        url = connection.engine.url
        watch = FileWatch(sqlite_path(url), display_url(url))
    mode, encoding, path = connection.exec_driver_sql(VIEW_QUERY).one()
    if not path or (mode, encoding) != ("wal", "UTF-8"):  # in memory; or the ledger's first use refuses it
        return None
    view = watch.after_open(os.fsdecode(path))
    raw = getattr(connection.connection.driver_connection, "_conn", None)
    if isinstance(raw, WatchedConnection):
        raw.view = view
    elif not event.contains(connection.engine, "close", _close_view):
        event.listen(connection.engine, "close", _close_view)
    return view


def _close_view(_connection: object, record: Any) -> None:
    view: FileView | None = record.info.pop(_VIEW, None)
    if view is not None:
        view.close()


def path_of(connection: sa.Connection) -> str:
    """Return the path of the file of a connection, without symbolic links; empty in memory."""
    return os.fsdecode(connection.exec_driver_sql(FILE).scalar() or b"")


_CHECKED = "operator_core_settings"


def require_configured(connection: sa.Connection) -> None:
    """Check once that a host's connection has the settings that the guarantees depend on.

    Raises:
        EngineNotConfiguredError: A setting has another value; the error names the first one.
        EngineVersionError: The file stores texts in an encoding other than UTF-8.
    """
    if connection.info.get(_CHECKED):
        return
    driver = _plain_driver(connection)
    require_settings(connection.exec_driver_sql(QUERY).one())
    if not driver.in_transaction and connection.get_execution_options().get(BEGIN_OPTION) != "NONE":
        raise EngineNotConfiguredError(detail="transactions begin without a lock")
    connection.info[_CHECKED] = True


def _plain_driver(connection: sa.Connection) -> Any:
    driver: Any = connection.connection.driver_connection
    if driver.row_factory is not None or driver.text_factory is not str:
        raise EngineNotConfiguredError(detail="row_factory or text_factory of the driver is set")
    return driver


def require_suitable(connection: sa.Connection) -> None:
    """Check that SQLite has the functions that guards and statements call, and that none is redefined.

    Raises:
        EngineVersionError: SQLite was built without one of them.
        EngineNotConfiguredError: One of them is redefined, or the driver converts rows or texts.
    """
    _plain_driver(connection)
    require_functions(connection.exec_driver_sql(FUNCTIONS_QUERY))


def sync_connector(engine: AsyncEngine) -> Callable[[sqlite3.Connection], sa.Connection]:
    """Return a function that wraps a sqlite3 connection for SQLAlchemy, in its thread; it never closes it.

    Args:
        engine: The engine whose URL errors show.
    """
    here = threading.local()
    blocking = sa.create_engine(
        engine.url.set(drivername="sqlite"),
        creator=lambda: here.connection,
        poolclass=sa.NullPool,
        hide_parameters=True,
    )
    share_compiled(blocking)

    def connect(raw: sqlite3.Connection) -> sa.Connection:
        here.connection = raw
        connection = blocking.connect()
        connection.detach()
        return connection

    return connect
