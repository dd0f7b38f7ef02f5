"""Advisory locks of PostgreSQL, on which the processes of this library agree by number."""

import time
from dataclasses import dataclass

import sqlalchemy as sa

from operator_core.actions.errors import DatabaseLockedError
from operator_core.db.engine.urls import display_url

POLL_INTERVAL_SECONDS = 0.05


@dataclass(frozen=True)
class AdvisoryLock:
    """An advisory lock that is polled for: a statement that waits holds a snapshot, and so CREATE INDEX CONCURRENTLY.

    Attributes:
        number: The number of the lock.
        reason: What the error says if another process holds it.
        timeout: Seconds to wait for it.
    """

    number: int
    reason: str
    timeout: float

    def acquire(self, connection: sa.Connection, *, in_transaction: bool = False) -> None:
        """Acquire the lock for the session, polling in short transactions; or until the end of the open transaction.

        Raises:
            DatabaseLockedError: Another process holds it for too long.
        """
        attempt = sa.func.pg_try_advisory_xact_lock if in_transaction else sa.func.pg_try_advisory_lock
        deadline = time.monotonic() + self.timeout
        while not connection.scalar(sa.select(attempt(self.number))):
            if not in_transaction:
                connection.rollback()
            if time.monotonic() > deadline:
                raise DatabaseLockedError(url=display_url(connection.engine.url), detail=self.reason)
            time.sleep(POLL_INTERVAL_SECONDS)

    def release(self, connection: sa.Connection) -> None:
        """Release the lock of the session."""
        connection.scalar(sa.select(sa.func.pg_advisory_unlock(self.number)))
