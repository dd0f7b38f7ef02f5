"""Cancel one action: a pending one at once, a running one by request."""

import sqlalchemy as sa

from operator_core.actions.errors import ProposalNotFoundError, UnreadableRowError
from operator_core.actions.lifecycle import PENDING, ActionStatus
from operator_core.actions.types import StoredProposal
from operator_core.db.guards.codes import RECORD_DISAGREES
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.schema import proposals as table
from operator_core.db.schema import status_in
from operator_core.db.stores import leases, proposals, reading
from operator_core.db.stores.mapping import to_proposal
from operator_core.db.stores.transitions import diagnose_transition, transition_to

_CANCEL_PENDING = (
    transition_to(ActionStatus.CANCELLED)
    .where(table.c.id == sa.bindparam("proposal_id", type_=sa.BigInteger()), sa.text(f"({status_in(PENDING)})"))
    .returning(*table.columns)
)


@unit(TransactionMode.TRANSACTION)
def request(connection: sa.Connection, proposal_id: int, by: str, reason: str) -> StoredProposal | UnreadableRowError:
    """Cancel a pending proposal, or ask its running execution to stop.

    Raises:
        ProposalNotFoundError, TransitionNotAllowedError: There is nothing to cancel, and nothing to ask.
    """
    values = {"proposal_id": proposal_id, "step_by": by, "step_reason": reason}
    cancelled = reading.written(connection, _CANCEL_PENDING, values, (table, proposal_id), to_proposal)
    if cancelled is not None:
        return cancelled
    asked = leases.request_stop(connection, proposal_id, by, reason)
    if asked:
        return _shown(connection, proposal_id)
    proposal = proposals.get(connection, proposal_id)
    if proposal is None:
        raise ProposalNotFoundError(proposal_id=proposal_id)
    code = RECORD_DISAGREES if proposal.status is ActionStatus.EXECUTING else None
    raise diagnose_transition(connection, proposal_id, ActionStatus.CANCELLED, code)


def _shown(connection: sa.Connection, proposal_id: int) -> StoredProposal | UnreadableRowError:
    try:
        proposal = proposals.get(connection, proposal_id)
    except UnreadableRowError as error:
        error.kept = True
        return error
    assert proposal is not None  # noqa: S101 - it has an open record
    return proposal
