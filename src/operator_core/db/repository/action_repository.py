"""`ActionRepository`: all calls, in the transaction of a host."""

from typing import ParamSpec, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from operator_core.db.modes import Kind
from operator_core.db.repository.base import Unit
from operator_core.db.repository.claims import ClaimCalls
from operator_core.db.repository.history import HistoryCalls
from operator_core.db.repository.kill_switch import StopCalls
from operator_core.db.repository.proposals import ProposalCalls
from operator_core.db.repository.records import ExecutionCalls
from operator_core.db.repository.unreadable_rows import OnUnreadable, PassedOver, of_engine
from operator_core.db.transactions.joined import run_joined

P = ParamSpec("P")
T = TypeVar("T")


class ActionRepository(ProposalCalls, ExecutionCalls, ClaimCalls, StopCalls, HistoryCalls):
    """Works in the transaction of a host's session: flushes, and leaves begin, commit, rollback and close to the host.

    After an expected refusal the session is usable. What is started counts only at the host's commit: no side effect
    before it. A host's SQLite engine must have been passed to `configure_engine`.

    Every method raises, besides what it names: `DatabaseUnavailableError` and its kin when the database cannot be
    worked with, `RetryTransactionError` when the transaction must be run again, and `SchemaError` when the database
    is not one that this version keeps its promises on.

    Args:
        session: The host's.
        on_unreadable: Is called once for each row that a call passes over because it cannot be read; by default the log
            has a warning.
    """

    def __init__(self, session: AsyncSession, *, on_unreadable: OnUnreadable | None = None) -> None:
        self._session = session
        self._reported = None if on_unreadable is None else PassedOver(on_unreadable)

    def _passing_over(self) -> PassedOver:
        return self._reported or of_engine(self._session.sync_session.get_bind().dialect)

    async def _run(self, kind: Kind, unit: Unit[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await run_joined(self._session, kind, unit, *args, **kwargs)

    def _tell(self) -> None:
        """Tell nobody: nothing has happened before the host commits."""
