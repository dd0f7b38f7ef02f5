"""What a person who wants one action not to happen can have: cancelled while it is pending, asked once it runs."""

import sqlalchemy as sa

from operator_core.actions.errors import ProposalNotFoundError
from operator_core.actions.lifecycle import PENDING, ActionStatus
from operator_core.actions.types import ActionProposal
from operator_core.db import leases, proposals
from operator_core.db.guards.rules import RECORD_DISAGREES
from operator_core.db.mapping import to_proposal
from operator_core.db.schema import any_of
from operator_core.db.schema import proposals as table
from operator_core.db.transitions import explain_step, to

_CANCEL_PENDING = (
    to(ActionStatus.CANCELLED)
    .where(table.c.id == sa.bindparam("proposal_id", type_=sa.BigInteger()), sa.text(f"({any_of(PENDING)})"))
    .returning(*table.columns)
)


def request(connection: sa.Connection, proposal_id: int, by: str, reason: str) -> ActionProposal:
    """Cancel a pending proposal, or ask its running execution to stop.

    Raises:
        ProposalNotFoundError, TransitionNotAllowedError: There is nothing to cancel and nobody to ask.
    """
    values = {"proposal_id": proposal_id, "step_by": by, "step_reason": reason}
    row = connection.execute(_CANCEL_PENDING, values).one_or_none()
    if row is not None:
        return to_proposal(row)
    asked = leases.ask_to_stop(connection, proposal_id, by, reason)
    proposal = proposals.get(connection, proposal_id)
    if proposal is None:
        raise ProposalNotFoundError(proposal_id=proposal_id)
    if asked:
        return proposal
    code = RECORD_DISAGREES if proposal.status is ActionStatus.EXECUTING else None
    raise explain_step(connection, proposal_id, ActionStatus.CANCELLED, code)
