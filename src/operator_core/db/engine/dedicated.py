"""Connections of a stop and of the notifier, which an exhausted pool cannot block."""

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from operator_core.db.engine.capabilities import is_sqlite, share_sessions, shares_sessions
from operator_core.db.engine.urls import file_of


def beside(engine: AsyncEngine) -> AsyncEngine:
    """Return an engine with connections of its own to the same database, which an exhausted pool cannot block.

    The pool keeps its creator and its listeners; the dialect is shared, so that nothing is looked up again. A database
    in memory has one connection, so there the engine itself is returned.
    """
    if is_sqlite(engine) and file_of(engine.url) is None:
        return engine
    sync = engine.sync_engine
    own = Engine(sync.pool.recreate(), sync.dialect, sync.url, hide_parameters=sync.hide_parameters)
    return share_sessions(AsyncEngine(own)) if shares_sessions(engine) else AsyncEngine(own)


def without_waiting(connection: sa.Connection) -> None:
    """Have SQLite say at once that a lock is taken, and have a commit wait for the disk, whatever a host has set."""
    cursor = connection.connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 0")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()
