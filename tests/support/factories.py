"""Makes what tests need, with a value for everything that a test does not care about."""

from typing import Any

from operator_core.actions import ActionProposal, ActionRecord, ActionStatus
from operator_core.db import ActionDB, ActionRepository


def proposal(**given: Any) -> ActionProposal:
    """Return a proposal that is not stored yet."""
    return ActionProposal(**{"action_name": "drain_store", "reason": "store 4 is hot", **given})


async def stored(db: ActionRepository, status: ActionStatus = ActionStatus.PROPOSED, **given: Any) -> ActionProposal:
    """Return a stored proposal that has legally come to `status` (cancelled: from proposed)."""
    made = await db.create_proposal(proposal(**given))
    if status is ActionStatus.PROPOSED:
        return made
    if status is ActionStatus.CANCELLED:
        return await db.update_proposal_status(made.id, status)
    await db.update_proposal_status(made.id, ActionStatus.VALIDATED)
    if status in (ActionStatus.EXECUTING, ActionStatus.COMPLETED, ActionStatus.FAILED):
        record = await db.start_execution(made.id)
        if status is not ActionStatus.EXECUTING:
            await db.finish_execution(record.id, success=status is ActionStatus.COMPLETED)
    found = await db.get_proposal(made.id)
    assert found is not None
    return found


async def running(db: ActionDB | ActionRepository, **given: Any) -> ActionRecord:
    """Return the open record of a proposal that is executing."""
    made = await stored(db, ActionStatus.VALIDATED, **given)
    return await db.start_execution(made.id)
