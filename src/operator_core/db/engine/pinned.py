"""A few connections that stay at hand: to take one out of SQLAlchemy's pool costs as much as a short call on it."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from operator_core.db.engine import postgresql

T = TypeVar("T")


@dataclass(slots=True)
class _Pinned:
    connection: sa.Connection
    is_closed: Callable[[], bool]
    since: float = 0.0


class PinnedConnections:
    """Runs units on connections of an engine that autocommits, and keeps some: no more than its pool would.

    Nobody waits for one that is kept: whoever takes another one from the pool gets it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._idle: list[_Pinned] = []

    def run(self, unit: Callable[[sa.Connection], T]) -> T:
        """Run a unit of one statement; if anything fails, all connections go back to the pool, which sorts them out."""
        kept, failed = self._check_out(), True
        try:
            result = unit(kept.connection)  # what SQLAlchemy begins is nothing on the server: it needs no commit
            failed = False
            return result
        finally:
            kept.since = time.monotonic()
            self._idle.append(kept)
            if failed or self._too_many():
                self.release_idle()

    def _too_many(self) -> bool:
        pool = self._engine.pool
        return not isinstance(pool, QueuePool) or len(self._idle) + pool.checkedin() > pool.size()

    def transact(self, engine: Engine, unit: Callable[[sa.Connection], T]) -> T:
        """Run a unit in a transaction with the options of `engine`."""
        self.release_idle()
        with engine.begin() as connection:
            return unit(connection)

    def release_idle(self) -> None:
        """Give all to the pool."""
        while self._idle:
            kept = self._idle.pop()
            if not kept.connection.invalidated:
                kept.connection.info[postgresql.IDLE_SINCE] = kept.since
            kept.connection.close()

    def forget(self) -> None:
        """Let go of all, so that the pool hears no more of them."""
        while self._idle:
            with suppress(SQLAlchemyError):  # it was lost before
                self._idle.pop().connection.detach()

    def _check_out(self) -> _Pinned:
        if self._idle:
            kept = self._idle.pop()
            if time.monotonic() - kept.since < postgresql.IDLE_SECONDS and not kept.is_closed():
                return kept
            self._idle.append(kept)
            self.release_idle()  # the pool finds out what is left of them
        connection = self._engine.connect()
        return _Pinned(connection, _asking(connection.connection.driver_connection))


def _asking(driver: Any) -> Callable[[], bool]:
    """Return what tells whether a connection of the driver was closed; asyncpg has a method, psycopg an attribute."""
    return getattr(driver, "is_closed", None) or (lambda: bool(driver.closed))
