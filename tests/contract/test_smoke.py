"""The main path in one breath, on each engine."""

from operator_core.actions import ActionStatus
from operator_core.db import ActionDB
from tests.support.factories import proposal


async def test_a_proposal_is_proposed_validated_executed_and_completed(db: ActionDB) -> None:
    made = await db.create_proposal(proposal())

    await db.update_proposal_status(made.id, ActionStatus.VALIDATED)
    record = await db.start_execution(made.id)
    await db.finish_execution(record.id, success=True, result_data={"drained": 4})

    events = await db.get_events(made.id)
    assert [event.to_status for event in events] == ["proposed", "validated", "executing", "completed"]
