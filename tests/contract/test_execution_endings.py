"""How a worker ends an execution by a call on each engine: once, and with an answer that can be asked for again."""

import asyncio
from collections.abc import Iterator

import pytest

from operator_core.actions import (
    ActionOutcome,
    ActionStatus,
    LeaseLostError,
    TransitionNotAllowedError,
)
from operator_core.db.stores import leases
from tests.contract.test_records import MESSAGES, UNSTORABLE
from tests.support.claims import ENDINGS, UnprintableError, claimed
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.stop_steps import stop
from tests.support.values import REFUSED

every_ending = pytest.mark.parametrize("ending", ENDINGS)


@pytest.fixture(autouse=True)
def _history(ledger: Ledger) -> Iterator[None]:
    yield
    assert check_history(ledger) == []


@every_ending
async def test_an_ending_closes_the_record_and_takes_the_step(db, ending):
    execution = await claimed(db, worker="w1")
    call, outcome = ENDINGS[ending]

    record = await call(execution)

    found = await db.get_proposal(execution.proposal.id)
    assert record.outcome is outcome
    assert (found.status_by, found.status in (ActionStatus.COMPLETED, ActionStatus.FAILED)) == ("w1", True)
    assert execution.record == record == await db.get_record(record.id)


@every_ending
async def test_an_ending_whose_answer_was_lost_is_repeated(db, ending):
    execution = await claimed(db)
    call, _ = ENDINGS[ending]
    record = await call(execution)
    events = await db.get_events(record.proposal_id)

    assert await call(execution) == record
    assert await db.get_events(record.proposal_id) == events


@every_ending
async def test_another_ending_than_the_first_is_refused(db, ending):
    execution = await claimed(db)
    call, _ = ENDINGS[ending]
    record = await call(execution)

    for other in (other for other in ENDINGS if other != ending):
        with pytest.raises(TransitionNotAllowedError):
            await ENDINGS[other][0](execution)

    assert await db.get_record(record.id) == record


@pytest.mark.parametrize("name", UNSTORABLE)
async def test_a_success_with_a_result_that_cannot_be_stored_is_refused_and_goes_on_executing(db, name):
    execution = await claimed(db)

    with pytest.raises(REFUSED) as caught:
        await execution.complete(UNSTORABLE[name])

    assert caught.value.path.startswith("result_data")
    assert ((await db.get_record(execution.record.id)).outcome, execution.ended) == (None, False)


@pytest.mark.parametrize("name", UNSTORABLE)
async def test_a_failure_with_a_result_that_cannot_be_stored_is_recorded_and_says_so(db, name):
    execution = await claimed(db)

    record = await execution.fail("no such store", UNSTORABLE[name])

    assert record.outcome is ActionOutcome.FAILED
    assert record.result_data["_sanitised"].startswith("result_data")


@pytest.mark.parametrize("error", [*MESSAGES.values(), UnprintableError()], ids=[*MESSAGES, "unprintable exception"])
async def test_a_failure_with_an_error_that_cannot_be_stored_is_recorded(db, error):
    execution = await claimed(db)

    record = await execution.fail(error)

    assert (record.outcome, bool(record.error_message)) == (ActionOutcome.FAILED, True)


async def test_an_exception_is_kept_with_its_kind(db):
    record = await (await claimed(db)).fail(ValueError("no such store"))

    assert record.error_message == "ValueError: no such store"


async def test_who_was_asked_to_stop_may_say_that_it_has_stopped(db):
    execution = await claimed(db)
    receipt = await stop(db)

    record = await execution.acknowledge_stop()

    assert (record.outcome, record.stop_generation) == (ActionOutcome.STOPPED, receipt.generation)


async def test_nobody_stops_whom_nobody_asked(db):
    execution = await claimed(db)

    with pytest.raises(TransitionNotAllowedError, match="nobody asked"):
        await execution.acknowledge_stop()

    assert await db.get_record(execution.record.id) == execution.record


async def test_a_heartbeat_that_forgets_the_loss_while_it_is_reported_does_not_hide_it(db, monkeypatch):
    execution = await claimed(db, worker="w1", lease_seconds=0.01)
    while not await db.recover_expired_leases():
        await asyncio.sleep(0.01)
    run = execution._run

    async def forgetting(unit, *arguments):
        if unit is leases.report_late:
            execution.lease_lost = None
        return await run(unit, *arguments)

    monkeypatch.setattr(execution, "_run", forgetting)

    with pytest.raises(LeaseLostError):
        await execution.complete({"moved": 210})
