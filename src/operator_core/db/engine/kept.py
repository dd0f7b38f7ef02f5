"""A few connections that stay at hand: to take one out of SQLAlchemy's pool costs as much as a short call on it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.pool import QueuePool

T = TypeVar("T")
_IDLE_SECONDS = 10.0  # then the pool is to ask whether it lives


@dataclass(slots=True)
class _Kept:
    connection: sa.Connection
    is_closed: Callable[[], bool]
    since: float = 0.0


class KeptConnections:
    """Runs units on connections of an engine that autocommits, and keeps some: no more than its pool would.

    Nobody waits for one that is kept: whoever takes another one from the pool gets it.
    """

    def __init__(self, engine: Engine) -> None:
        assert isinstance(engine.pool, QueuePool)  # noqa: S101 - the engine is ours
        self._engine, self._pool = engine, engine.pool
        self._idle: list[_Kept] = []

    def run(self, unit: Callable[[sa.Connection], T]) -> T:
        """Run a unit of one statement; if anything fails, its connection goes back to the pool."""
        kept = self._take()
        try:
            result = unit(kept.connection)  # what SQLAlchemy begins is nothing on the server: it needs no commit
        except BaseException:
            kept.connection.close()
            raise
        if len(self._idle) + self._pool.checkedin() < self._pool.size():
            kept.since = time.monotonic()
            self._idle.append(kept)
        else:
            kept.connection.close()
        return result

    def transact(self, engine: Engine, unit: Callable[[sa.Connection], T]) -> T:
        """Run a unit in a transaction with the options of `engine`."""
        self.give_back()
        with engine.begin() as connection:
            return unit(connection)

    def give_back(self) -> None:
        """Give all to the pool."""
        while self._idle:
            self._idle.pop().connection.close()

    def _take(self) -> _Kept:
        while self._idle:
            kept = self._idle.pop()
            if time.monotonic() - kept.since < _IDLE_SECONDS and not kept.is_closed():
                return kept
            kept.connection.close()  # the pool finds out what is left of it
        connection = self._engine.connect()
        return _Kept(connection, _asking(connection.connection.driver_connection))


def _asking(driver: Any) -> Callable[[], bool]:
    """Return what tells whether a connection of the driver was closed; asyncpg has a method, psycopg an attribute."""
    return getattr(driver, "is_closed", None) or (lambda: bool(driver.closed))
