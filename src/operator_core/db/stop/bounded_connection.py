"""A connection to a server whose every transaction ends in time, even if the server is frozen or silent."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from operator_core.actions.errors import ActionError, DatabaseUnavailableError
from operator_core.db.engine.capabilities import behind_pgbouncer
from operator_core.db.engine.sockets import abort_connection
from operator_core.db.engine.urls import display_url
from operator_core.db.errors import translating_errors
from operator_core.db.stop import barrier

T = TypeVar("T")
_UNBOUNDED = (-1.0, True)  # also for a unit that begins at the deadline, with 0 seconds left
_NEARLY = 0.9  # a bound that is nearly right is not set again: that would be a round trip
_GRACE = 1.0  # seconds: the server ends a wait itself, with a better message; ours is for a server that does not answer


class BoundedConnection:
    """A runner of units on one connection, which is reopened after it broke. Every statement is a transaction.

    Its settings are set for the session, so that no begin and no commit is needed: each would be a round trip. They end
    with the connection, which never returns to a pool. Behind PgBouncer, where sessions are shared, they are set for
    each transaction.
    """

    def __init__(self, engine: AsyncEngine, url: URL) -> None:
        self._engine, self._url = engine, url
        self._connection: AsyncConnection | None = None
        self._driver: Any = None
        self._bounds = _UNBOUNDED
        self.session: barrier.Session | None = None
        """The session on the server; None before there is one."""
        self.began_at: datetime | None = None
        """The server's time when the first connection was opened; None before that."""
        self.durable = True
        """Whether a commit waits for the disk and for the synchronous standbys, or only for the local disk."""

    async def run(self, unit: Callable[[sa.Connection], T], seconds: float) -> T:
        """Run a unit that waits at most `seconds` for a lock, and one second longer for the server's answer.

        Raises:
            ActionError: Anything went wrong. If the server did not answer, it is unknown whether the unit was
                committed.
        """
        working = asyncio.ensure_future(self._transact(unit, seconds))
        done, _ = await asyncio.wait({working}, timeout=seconds + _GRACE)
        if not done:
            # A cancelled driver waits for the server's goodbye, and this server does not answer.
            abort_connection(self._driver)
            working.cancel()
            working.add_done_callback(_forget)
            self._connection = self._driver = None
            raise DatabaseUnavailableError(
                url=display_url(self._url), detail=f"no answer within {seconds + _GRACE:.1f} s"
            )
        try:
            with translating_errors(self._url):
                return working.result()
        except ActionError:
            await self.close()
            raise
        except Exception as error:  # such as an error that a host's trigger raises
            await self.close()
            raise DatabaseUnavailableError(url=display_url(self._url), detail=str(error)) from error

    async def _transact(self, unit: Callable[[sa.Connection], T], seconds: float) -> T:
        if self._connection is None:
            self._connection = await self._engine.connect()
            level = "READ COMMITTED" if behind_pgbouncer(self._engine) else "AUTOCOMMIT"
            await self._connection.execution_options(isolation_level=level)
            self._driver = (await self._connection.get_raw_connection()).driver_connection
            self._bounds = _UNBOUNDED
        connection, (bound, durable) = self._connection, self._bounds
        if behind_pgbouncer(self._engine):
            async with connection.begin():
                self.session = await connection.run_sync(
                    lambda sync: barrier.apply_timeouts(sync, seconds, durable=self.durable, locally=True)
                )
                self.began_at = self.began_at or self.session.began_at
                return await connection.run_sync(unit)
        if durable != self.durable or not _NEARLY * bound <= seconds <= bound:
            self.session = await connection.run_sync(
                lambda sync: barrier.apply_timeouts(sync, seconds, durable=self.durable)
            )
            self._bounds = (seconds, self.durable)
            self.began_at = self.began_at or self.session.began_at
        return await connection.run_sync(unit)

    async def close(self) -> None:
        """Close the connection, whatever state it is in."""
        connection, self._connection = self._connection, None
        if connection is not None:
            abort_connection(self._driver)
            await connection.invalidate()
            await connection.close()


def _forget(task: "asyncio.Future[Any]") -> None:
    if not task.cancelled():
        task.exception()
