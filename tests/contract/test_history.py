"""What `get_events` gives on each engine: one event for each step, in order, with who, why and what."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from operator_core.actions import ActionEvent, ActionStatus, ActionType
from operator_core.db import ActionDB
from operator_core.db.guards.conditions import OUTCOME_COLUMNS
from tests.support.factories import proposal, stored

PARAMETERS = {"z": [1, 1.0, True, None, -0.0, 1e16, "é"], "a": {"b": {}, "a": []}}


def facts(event: ActionEvent) -> tuple[str | None, str, str, str | None]:
    return event.from_status, event.to_status, event.by, event.reason


async def test_a_proposal_that_does_not_exist_has_no_events(db: ActionDB) -> None:
    assert await db.get_events(4711) == []


async def test_the_first_event_comes_from_nowhere_with_the_proposer_and_the_reason(db: ActionDB) -> None:
    made = await db.create_proposal(proposal(proposed_by="agent-7", reason="store 4 is hot"))

    (event,) = await db.get_events(made.id)

    assert facts(event) == (None, "proposed", "agent-7", "store 4 is hot")
    assert (event.proposal_id, event.generation, event.at) == (made.id, made.generation, made.status_at)


@pytest.mark.parametrize("ticket_id", [None, 0, 7])
async def test_the_first_event_holds_what_was_proposed(db: ActionDB, ticket_id: int | None) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    given = {"ticket_id": ticket_id, "parameters": PARAMETERS, "proposed_by": "agent-7", "on_behalf_of": "carl"}
    made = await db.create_proposal(proposal(**given, action_type=ActionType.WORKFLOW, proposed_at=at))

    (event,) = await db.get_events(made.id)

    assert event.data == {
        **given,
        "action_name": "drain_store",
        "action_type": "workflow",
        "reason": "store 4 is hot",
        "proposed_at": "2026-01-02 03:04:05.000006",
        **dict.fromkeys(("valid_until", "retry_of", "idempotency_key")),
    }
    assert str(event.data["parameters"]) == str(PARAMETERS)


async def test_many_proposals_write_the_same_first_events_as_one(db: ActionDB) -> None:
    given = proposal(ticket_id=7, parameters=PARAMETERS)
    one = await db.create_proposal(given)
    (other,) = await db.create_proposals([given])

    (first,) = await db.get_events(one.id)
    (second,) = await db.get_events(other.id)

    assert facts(first) == facts(second)
    assert str(first.data) == str(second.data)


async def test_each_step_is_kept_in_order_with_who_and_why(db: ActionDB) -> None:
    made = await db.create_proposal(proposal(proposed_by="agent-7", reason="hot"))
    await db.update_proposal_status(made.id, ActionStatus.VALIDATED, by="ann", reason="looks right")
    record = await db.start_execution(made.id, by="worker-3")
    await db.finish_execution(record.id, success=False, error_message="no such store", by="worker-4")

    events = await db.get_events(made.id)

    assert [facts(event) for event in events] == [
        (None, "proposed", "agent-7", "hot"),
        ("proposed", "validated", "ann", "looks right"),
        ("validated", "executing", "worker-3", None),
        ("executing", "failed", "worker-4", "no such store"),
    ]


async def test_an_event_is_written_at_the_time_of_its_step(db: ActionDB) -> None:
    made = await stored(db, ActionStatus.COMPLETED)

    events = await db.get_events(made.id)

    times = [made.validated_at, made.executing_at, made.completed_at]
    assert [event.at for event in events[1:]] == times
    assert all(event.at.utcoffset() == timedelta(0) for event in events)


@pytest.mark.parametrize("status", ActionStatus)
async def test_each_event_begins_where_the_one_before_ended(db: ActionDB, status: ActionStatus) -> None:
    made = await stored(db, status)

    events = await db.get_events(made.id)

    assert events[0].from_status is None
    assert all(earlier.to_status is later.from_status for earlier, later in pairwise(events))
    assert events[-1].to_status is status
    assert [event.id for event in events] == sorted(event.id for event in events)


async def test_a_reason_is_that_of_its_own_step(db: ActionDB) -> None:
    made = await stored(db)
    await db.update_proposal_status(made.id, ActionStatus.VALIDATED, reason="looks right")

    moved = await db.update_proposal_status(made.id, ActionStatus.CANCELLED)

    assert moved.status_reason is None
    assert [event.reason for event in await db.get_events(made.id)] == [made.reason, "looks right", None]


@pytest.mark.parametrize("success", [True, False])
@pytest.mark.parametrize("result", [None, {}, PARAMETERS])
async def test_the_closing_event_holds_how_the_execution_ended(db: ActionDB, result, *, success: bool) -> None:
    made = await stored(db, ActionStatus.VALIDATED)
    record = await db.start_execution(made.id)
    closed = await db.finish_execution(record.id, success=success, error_message="é'\"", result_data=result)

    last = (await db.get_events(made.id))[-1]

    written = "%Y-%m-%d %H:%M:%S.%f"
    assert last.data == {
        **dict.fromkeys(OUTCOME_COLUMNS),
        "record_id": record.id,
        "started_at": record.started_at.strftime(written),
        "completed_at": closed.completed_at.strftime(written),
        "success": success,
        "error_message": "é'\"",
        "result_data": result,
        "outcome": "succeeded" if success else "failed",
    }
    assert str(last.data["result_data"]) == str(result)


@pytest.mark.parametrize("status", [ActionStatus.VALIDATED, ActionStatus.EXECUTING, ActionStatus.CANCELLED])
async def test_a_step_before_the_end_of_an_execution_holds_no_data(db: ActionDB, status: ActionStatus) -> None:
    made = await stored(db, status)

    events = await db.get_events(made.id)

    assert [event.data for event in events[1:]] == [None] * (len(events) - 1)


async def test_the_history_of_one_proposal_holds_no_other(db: ActionDB) -> None:
    made = await stored(db, ActionStatus.COMPLETED)
    await stored(db, ActionStatus.FAILED)

    assert {event.proposal_id for event in await db.get_events(made.id)} == {made.id}


async def test_a_closed_record_alone_writes_no_event(db: ActionDB) -> None:
    made = await stored(db, ActionStatus.VALIDATED)
    record = await db.start_execution(made.id)
    before = await db.get_events(made.id)

    await db.update_record(record.id, success=True)

    assert await db.get_events(made.id) == before


async def test_each_cancelled_proposal_has_its_event_with_who_and_why(db: ActionDB) -> None:
    made = [await stored(db, status) for status in (ActionStatus.PROPOSED, ActionStatus.VALIDATED)]

    await db.cancel_all_pending(by="ann", reason="all off")

    last = [(await db.get_events(one.id))[-1] for one in made]
    assert [facts(event) for event in last] == [
        ("proposed", "cancelled", "ann", "all off"),
        ("validated", "cancelled", "ann", "all off"),
    ]
