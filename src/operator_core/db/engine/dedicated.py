"""Connections of a stop and of the notifier, which an exhausted pool cannot block."""

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from operator_core.db.engine.capabilities import behind_pgbouncer, is_sqlite, mark_behind_pgbouncer
from operator_core.db.engine.urls import sqlite_path


def dedicated_engine(engine: AsyncEngine) -> AsyncEngine:
    """Return an engine with its own connections to the same database, which an exhausted pool cannot block.

    The pool keeps its creator and its listeners; the dialect is shared, so that nothing is looked up again. An
    in-memory database has one connection, so its engine itself is returned.
    """
    if is_sqlite(engine) and sqlite_path(engine.url) is None:
        return engine
    sync = engine.sync_engine
    own = Engine(sync.pool.recreate(), sync.dialect, sync.url, hide_parameters=sync.hide_parameters)
    return mark_behind_pgbouncer(AsyncEngine(own)) if behind_pgbouncer(engine) else AsyncEngine(own)


def disable_busy_timeout(connection: sa.Connection) -> None:
    """Make SQLite report a taken lock at once, and commits wait for the disk, whatever a host has set."""
    cursor = connection.connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 0")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()
