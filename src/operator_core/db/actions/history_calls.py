"""The calls about what has happened."""

from operator_core.actions.types import ActionEvent
from operator_core.actions.values import check_integer
from operator_core.db import history
from operator_core.db.actions.calls import Calls
from operator_core.db.units import Kind


class HistoryCalls(Calls):
    """Is what `ActionRepository` and `ActionDB` offer here."""

    async def get_events(self, proposal_id: int) -> list[ActionEvent]:
        """Return what happened to a proposal, oldest first; empty where there is no such proposal."""
        return await self._run(Kind.SNAPSHOT, history.of_proposal, check_integer(proposal_id, "proposal_id"))
