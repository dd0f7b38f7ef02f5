"""How a person cancels one action on each engine: at once while it is pending, by asking once it runs."""

from collections.abc import Iterator

import pytest

from operator_core.actions import (
    ActionOutcome,
    ActionStatus,
    EventKind,
    ProposalNotFoundError,
    TransitionNotAllowedError,
)
from operator_core.actions.lifecycle import PENDING, TERMINAL
from tests.support.claims import claimed
from tests.support.factories import running, stored
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.stop_steps import stop
from tests.support.values import REFUSED


@pytest.fixture(autouse=True)
def _history(ledger: Ledger) -> Iterator[None]:
    yield
    assert check_history(ledger) == []


async def cancel(db, number, **given):
    return await db.request_cancel(number, **{"by": "ann", "reason": "wrong store", **given})


@pytest.mark.parametrize("status", PENDING)
async def test_what_is_pending_is_cancelled_at_once(db, status):
    made = await stored(db, status)

    found = await cancel(db, made.id)

    assert (found.status, found.status_by, found.status_reason) == (ActionStatus.CANCELLED, "ann", "wrong store")
    assert found == await db.get_proposal(made.id)


async def test_what_runs_goes_on_until_it_answers(db):
    record = await running(db)
    before = await db.get_proposal(record.proposal_id)

    assert await cancel(db, record.proposal_id) == before
    assert (await db.get_record(record.id)).outcome is None


async def test_the_record_of_what_runs_holds_who_asked_and_why(db):
    record = await running(db)

    await cancel(db, record.proposal_id)

    found = await db.get_record(record.id)
    assert (found.cancel_requested_by, found.cancel_reason) == ("ann", "wrong store")
    assert found.cancel_requested_at >= record.started_at


async def test_what_runs_hears_who_asks(db):
    record = await running(db)
    await cancel(db, record.proposal_id)

    asked = await db.stop_requested(record.id)

    assert (asked.generation, asked.by, asked.reason) == (None, "ann", "wrong store")


async def test_a_request_is_an_event_with_who_and_why(db):
    record = await running(db)
    await cancel(db, record.proposal_id)

    last = (await db.get_events(record.proposal_id))[-1]

    assert (last.kind, last.by, last.reason, last.record_id) == (
        EventKind.CANCEL_REQUESTED,
        "ann",
        "wrong store",
        record.id,
    )


async def test_a_request_is_answered_by_the_execution(db):
    execution = await claimed(db)
    await cancel(db, execution.proposal.id)

    record = await execution.acknowledge_stop()

    assert record.outcome is ActionOutcome.STOPPED
    assert (await db.get_proposal(execution.proposal.id)).status is ActionStatus.CANCELLED


async def test_an_answer_stands_in_the_history_after_the_request(db):
    execution = await claimed(db)
    await cancel(db, execution.proposal.id)
    await execution.acknowledge_stop()

    told = [(event.kind, event.to_status) for event in await db.get_events(execution.proposal.id)]

    assert told[-3:] == [
        (EventKind.STEP, ActionStatus.EXECUTING),
        (EventKind.CANCEL_REQUESTED, ActionStatus.EXECUTING),
        (EventKind.STEP, ActionStatus.CANCELLED),
    ]


async def test_what_was_asked_to_stop_may_complete_all_the_same(db):
    execution = await claimed(db)
    await cancel(db, execution.proposal.id)

    record = await execution.complete()

    assert record.outcome is ActionOutcome.SUCCEEDED


async def test_of_two_requests_the_first_one_stays(db):
    record = await running(db)
    await cancel(db, record.proposal_id)
    first = await db.get_record(record.id)

    await cancel(db, record.proposal_id, by="bob", reason="other")

    assert await db.get_record(record.id) == first


async def test_a_request_can_be_made_under_a_stop(db):
    record = await running(db)
    await stop(db)

    await cancel(db, record.proposal_id)

    assert (await db.get_record(record.id)).cancel_requested_by == "ann"


@pytest.mark.parametrize("status", TERMINAL)
async def test_what_is_finished_is_not_cancelled(db, status):
    made = await stored(db, status)

    with pytest.raises(TransitionNotAllowedError) as caught:
        await cancel(db, made.id)

    assert (caught.value.id, caught.value.current, caught.value.target) == (made.id, status, ActionStatus.CANCELLED)
    assert await db.get_proposal(made.id) == made


async def test_what_runs_without_a_record_has_nobody_to_ask(db):
    made = await stored(db, ActionStatus.VALIDATED)
    await db.update_proposal_status(made.id, ActionStatus.EXECUTING)

    with pytest.raises(TransitionNotAllowedError, match="it has no record yet"):
        await cancel(db, made.id)


async def test_what_has_closed_its_record_has_nobody_to_ask(db):
    record = await running(db)
    closed = await db.update_record(record.id, success=True)

    with pytest.raises(TransitionNotAllowedError, match="its record is closed as succeeded"):
        await cancel(db, record.proposal_id)

    assert await db.get_record(record.id) == closed


async def test_what_is_not_there_is_not_cancelled(db):
    with pytest.raises(ProposalNotFoundError):
        await cancel(db, 4711)


@pytest.mark.parametrize("given", [{"by": ""}, {"by": "a\0b"}, {"reason": "a\0b"}, {"reason": None}], ids=str)
async def test_who_asks_and_why_must_be_storable(db, given):
    made = await stored(db)

    with pytest.raises(REFUSED) as caught:
        await cancel(db, made.id, **given)

    assert caught.value.path in given
    assert await db.get_proposal(made.id) == made
