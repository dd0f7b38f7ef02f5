"""`ActionRepository`: all calls, in the transaction of a host."""

from typing import ParamSpec, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from operator_core.db.actions.calls import Unit
from operator_core.db.actions.claim_calls import ClaimCalls
from operator_core.db.actions.execution_calls import ExecutionCalls
from operator_core.db.actions.history_calls import HistoryCalls
from operator_core.db.actions.joined import run_joined
from operator_core.db.actions.passed_over import OnUnreadable, PassedOver, of_engine
from operator_core.db.actions.proposal_calls import ProposalCalls
from operator_core.db.actions.stop_calls import StopCalls
from operator_core.db.units import Kind

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
