"""The settings of SQLite, and what an engine does when it connects and begins."""

import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiosqlite
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from operator_core.actions.errors import DatabaseAccessError, DatabaseNotFoundError
from operator_core.db.engine.file_watch import FileWatch
from operator_core.db.engine.sockets import remember_drivers
from operator_core.db.engine.sqlite_connection import connection_of, open_connection
from operator_core.db.engine.urls import file_of, shown

BEGIN = "operator_core_begin"
"""Execution option of a connection to SQLite: `IMMEDIATE` (a writer, the default), `DEFERRED` (a reader), `NONE`."""


def _pragmas(lock_timeout: float) -> tuple[str, ...]:
    return (
        f"PRAGMA busy_timeout = {round(lock_timeout * 1000)}",  # first: the others may meet a lock
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "PRAGMA foreign_keys = ON",
    )


def new_engine(url: URL, lock_timeout: float, options: dict[str, Any]) -> AsyncEngine:
    """Return an engine for a URL; nothing is opened yet."""
    file = file_of(url)
    if file is not None:
        _require_access(file, shown(url))
    (database,), arguments = url.get_dialect()().create_connect_args(url)

    watch = None if file is None else FileWatch(file, shown(url))

    def require_same_file() -> None:
        if watch is not None:
            watch.compare()

    async def connect() -> aiosqlite.Connection:
        require_same_file()
        uri = bool(arguments.get("uri"))
        return await open_connection(database, _pragmas(lock_timeout), require_same_file, uri=uri)

    engine = create_async_engine(url, async_creator=connect, **options)
    remember_drivers(engine.sync_engine)
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


def configure(engine: AsyncEngine, lock_timeout: float) -> None:
    """Give a host's engine our settings, whenever it connects and begins."""
    remember_drivers(engine.sync_engine)
    _connect_in_one_hop(engine.sync_engine)
    _set_on_connect(engine.sync_engine, lock_timeout)
    _begin_as_told(engine.sync_engine)
    file = file_of(engine.url)
    if file is not None:
        FileWatch(file, shown(engine.url)).attach(engine.sync_engine)


def _connect_in_one_hop(engine: Engine) -> None:
    """Have a host's engine make connections that hop once for a statement, unless it connects in a way of its own."""

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, _arguments: object, options: dict[str, Any]) -> None:
        options.setdefault("async_creator_fn", connection_of)


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


def in_thread_of(engine: AsyncEngine) -> Callable[[sqlite3.Connection], sa.Connection]:
    """Return what makes a connection of SQLAlchemy on one of sqlite3, for use in its thread; it never closes that one.

    Args:
        engine: Whose URL is shown in errors.
    """
    here = threading.local()
    blocking = sa.create_engine(
        engine.url.set(drivername="sqlite"),
        creator=lambda: here.connection,
        poolclass=sa.NullPool,
        hide_parameters=True,
    )

    def connect(raw: sqlite3.Connection) -> sa.Connection:
        here.connection = raw
        connection = blocking.connect()
        connection.detach()
        return connection

    return connect
