"""A block of calls in one transaction of the library's own: begun by its first call, ended when it is left."""

from contextlib import suppress
from typing import ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from operator_core.actions.errors import NotOpenError
from operator_core.db.engine.home import Home
from operator_core.db.errors import translating_errors
from operator_core.db.modes import READING, Unit
from operator_core.db.transactions.in_flight import InFlight
from operator_core.db.transactions.joined import naming_a_lost_transaction, run_on
from operator_core.db.transactions.shield import in_time, shielded
from operator_core.db.transactions.turns import Turns

P = ParamSpec("P")
T = TypeVar("T")

ROLLBACK_TIMEOUT_SECONDS = 5.0
"""How long leaving a block may take to roll back; then the connection is closed, and the server rolls back."""

_ENDED = "has ended"
_WITH_AN_ERROR = "was left with an error, so that nothing of it is kept"


class TransactionBlock:
    """Runs units one after another, and finishes each before a cancellation is delivered.

    When the block is left, the running unit finishes and is part of the commit; units that have not started are
    refused. If the block is left with an error, the running unit is refused too, and nothing of it is kept.

    Args:
        session: The session, used by this block alone.
        settle_timeout: How many seconds to wait for a cancelled unit that writes; None on SQLite, where none waits
            indefinitely.
        home: Where the block began.
    """

    def __init__(self, session: AsyncSession, settle_timeout: float | None, home: Home) -> None:
        self._session, self._home = session, home
        self._settle_timeout = settle_timeout
        self._turns = Turns()
        self._connection: sa.Connection | None = None
        self._end: str | None = None

    async def run(self, unit: Unit[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a unit on the block's connection, after the calls before it.

        Raises:
            NotOpenError: The block has ended, or was left with an error while the unit ran.
        """
        limit = InFlight(self._settle_timeout, reads=unit.mode in READING)

        def work(session: Session) -> T:
            self._connection = session.connection()
            with naming_a_lost_transaction(self._connection):
                limit.attach(self._connection)
            return run_on(self._connection, unit, *args, **kwargs)

        self._require_open()
        async with self._turns.turn():  # a call that is cancelled in the queue has done nothing
            self._require_open()
            result = await shielded(self._session.run_sync(work), limit)
        if self._end == _WITH_AN_ERROR:
            self._require_open()
        return result

    def _require_open(self) -> None:
        self._home.require()
        if self._end is not None:
            raise NotOpenError(target=f"the transaction, whose block {self._end},")

    async def commit(self) -> None:
        """Commit, after the running call."""
        self._home.require()
        self._end = _ENDED
        limit = InFlight(self._settle_timeout)
        await shielded(self._commit(limit), limit)

    async def _commit(self, limit: InFlight) -> None:
        async with self._turns.turn():
            if self._connection is None:
                return  # no call was made
            with translating_errors(self._connection.engine.url), naming_a_lost_transaction(self._connection):
                limit.attach(self._connection)
                await self._session.commit()

    async def close(self) -> None:
        """Return the connection, after the running call; uncommitted changes are rolled back."""
        self._home.require()
        self._end = self._end or _WITH_AN_ERROR
        limit = InFlight(None if self._settle_timeout is None else ROLLBACK_TIMEOUT_SECONDS)
        if self._connection is not None and not self._connection.closed and not self._connection.invalidated:
            limit.attach(self._connection)
        with suppress(TimeoutError):
            await in_time(self._close(), limit)

    async def _close(self) -> None:
        async with self._turns.turn():
            try:
                await self._session.close()
            except SQLAlchemyError:  # the connection is lost, and the caller gets the error that broke it
                await self._session.invalidate()
