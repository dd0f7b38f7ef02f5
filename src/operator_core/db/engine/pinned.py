"""Connections that stay checked out: a checkout for each call costs no round trip, but a fifth more CPU time.

The measurement, and what removing them would cost, is in docs/adr/0010-few-trips-for-a-call.md.
"""

import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from operator_core.db.engine import postgresql
from operator_core.db.engine.drivers import driver_named


@dataclass(slots=True)
class _Pinned:
    connection: sa.Connection
    raw: Any
    since: float = 0.0


class PinnedConnections:
    """The connections of an autocommitting engine, of which some are kept: no more than its pool would keep.

    A kept connection blocks nothing: the pool opens another one for any other caller.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._driver = driver_named(engine.dialect.driver)
        self._idle: list[_Pinned] = []

    @contextmanager
    def autocommitting(self) -> Generator[sa.Connection]:
        """Lend a connection for one statement; if anything fails, return all to the pool, which checks them."""
        kept, failed = self._check_out(), True
        try:
            yield kept.connection  # SQLAlchemy's begin does not reach the server, so no commit is needed
            failed = False
        finally:
            kept.since = time.monotonic()
            self._idle.append(kept)
            if failed or self._too_many():
                self.release_idle()

    def _too_many(self) -> bool:
        pool = self._engine.pool
        return not isinstance(pool, QueuePool) or len(self._idle) + pool.checkedin() > pool.size()

    @contextmanager
    def transaction(self, engine: Engine) -> Generator[sa.Connection]:
        """Lend a connection of the pool, in a transaction with the options of `engine`."""
        self.release_idle()
        with engine.begin() as connection:
            yield connection

    def release_idle(self) -> None:
        """Return all idle connections to the pool."""
        while self._idle:
            kept = self._idle.pop()
            if not kept.connection.invalidated:
                kept.connection.info[postgresql.IDLE_SINCE] = kept.since
            kept.connection.close()

    def forget(self) -> None:
        """Detach all connections, so that the pool no longer tracks them."""
        while self._idle:
            with suppress(SQLAlchemyError):  # it was lost before
                self._idle.pop().connection.detach()

    def _check_out(self) -> _Pinned:
        if self._idle:
            kept = self._idle.pop()
            if time.monotonic() - kept.since < postgresql.IDLE_SECONDS and not self._driver.is_closed(kept.raw):
                return kept
            self._idle.append(kept)
            self.release_idle()  # the pool finds out which of them still work
        connection = self._engine.connect()
        return _Pinned(connection, connection.connection.driver_connection)
