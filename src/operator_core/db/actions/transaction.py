"""`Transaction`: the repository within `ActionDB.transaction`."""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from operator_core.actions.errors import NotOpenError
from operator_core.db.actions.joined import run_on
from operator_core.db.actions.passed_over import PassedOver
from operator_core.db.actions.repository import ActionRepository
from operator_core.db.actions.settled import settled
from operator_core.db.actions.turns import Turns
from operator_core.db.units import Kind, translated

P = ParamSpec("P")
T = TypeVar("T")


class Transaction(ActionRepository):
    """A repository whose calls are settled before a cancellation is delivered, and run one after another.

    When its block is left, the call that runs comes to its end, and belongs to what is committed. Calls that have not
    begun are refused. Where the block is left with an error, the call that runs is refused too: nothing is kept of it.

    Attributes:
        changed: Whether a step was taken, of which others want to hear after the commit.
    """

    def __init__(self, session: AsyncSession, passed_over: PassedOver) -> None:
        super().__init__(session)
        self._reported = passed_over
        self._turns = Turns()
        self._end: str | None = None
        self.changed = False

    def _tell(self) -> None:
        self.changed = True

    async def _run(
        self, kind: Kind, unit: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        self._require_open()
        async with self._turns.turn():  # a call that is cancelled in the queue has done nothing
            self._require_open()
            result = await settled(
                self._session.run_sync(lambda sync: run_on(sync.connection(), kind, unit, *args, **kwargs))
            )
        if self._end == _WITH_AN_ERROR:
            self._require_open()
        return result

    def _require_open(self) -> None:
        if self._end is not None:
            raise NotOpenError(target=f"the transaction, whose block {self._end},")

    async def commit(self) -> None:
        """Commit, after the call that runs."""
        self._end = _ENDED
        async with self._turns.turn():
            with translated(self._session.get_bind().engine.url):
                await self._session.commit()

    async def close(self) -> None:
        """Give the connection back, after the call that runs; what is not committed is rolled back."""
        self._end = self._end or _WITH_AN_ERROR
        async with self._turns.turn():
            try:
                await self._session.close()
            except SQLAlchemyError:  # the connection is lost; what broke it is under way to the caller
                await self._session.invalidate()


_ENDED = "has ended"
_WITH_AN_ERROR = "was left with an error, so that nothing of it is kept"
