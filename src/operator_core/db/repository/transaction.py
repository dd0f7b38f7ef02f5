"""`Transaction`: the repository inside `ActionDB.transaction`."""

from collections.abc import Coroutine
from typing import Any, ParamSpec, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from operator_core.db.engine.home import Home
from operator_core.db.modes import Unit
from operator_core.db.repository.action_repository import ActionRepository
from operator_core.db.repository.unreadable_rows import UnreadableRows
from operator_core.db.transactions.block import TransactionBlock

P = ParamSpec("P")
T = TypeVar("T")


class Transaction(ActionRepository):
    """A repository whose calls run in one block.

    Args:
        session: The session of the block.
        block: The block, which runs the calls.
        unreadable: The registry of the rows that cannot be read.
        home: Where the block began.

    Attributes:
        changed: Whether a step was taken, so that waiters are notified after the commit.
    """

    def __init__(self, session: AsyncSession, block: TransactionBlock, unreadable: UnreadableRows, home: Home) -> None:
        super().__init__(session)
        self._block, self._reported, self._home = block, unreadable, home
        self.changed = False

    def _notify(self) -> None:
        self.changed = True

    def _run(self, unit: Unit[P, T], *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        return self._block.run(unit, *args, **kwargs)
