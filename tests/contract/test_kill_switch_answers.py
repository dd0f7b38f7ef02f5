"""How a running action learns of a stop and answers it, and how the status shows each answer, on each engine."""

from collections.abc import Iterator

import pytest

from operator_core.actions import (
    ActionOutcome,
    ActionStatus,
    Answer,
    RecordNotFoundError,
    Scope,
    StopResponse,
    TransitionNotAllowedError,
)
from operator_core.actions.lifecycle import OUTCOMES
from operator_core.db import ActionDB
from tests.support.factories import proposal, running, stored
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.plain_sql import ask_to_stop
from tests.support.stop_steps import stop

FINISHES = [
    outcome for status, outcomes in OUTCOMES.items() if status is not ActionStatus.CANCELLED for outcome in outcomes
]


@pytest.fixture(autouse=True)
def _history(ledger: Ledger) -> Iterator[None]:
    yield
    assert check_history(ledger) == []


async def release(db: ActionDB, generation: int) -> None:
    await db.release_kill_switch(by="bob", reason="all clear", generation=generation)


async def answers(db: ActionDB) -> list[StopResponse]:
    return list((await db.kill_switch_status()).answers)


# -- a request ---------------------------------------------------------------------------------------------------------


async def test_what_runs_unasked_may_go_on(db):
    record = await running(db)

    assert await db.stop_requested(record.id) is None


async def test_what_runs_is_asked_by_the_stop_that_covers_it(db):
    record = await running(db, ticket_id=7)
    receipt = await stop(db, by="ann", reason="flood", scope=Scope(ticket_id=7))

    asked = await db.stop_requested(record.id)

    assert (asked.generation, asked.scope, asked.by, asked.reason) == (
        receipt.generation,
        receipt.scope,
        "ann",
        "flood",
    )
    assert asked.at == receipt.engaged_at


async def test_of_two_stops_the_last_one_asks(db):
    record = await running(db, ticket_id=7)
    await stop(db)
    second = await stop(db, scope=Scope(ticket_id=7))

    asked = await db.stop_requested(record.id)

    assert asked.generation == second.generation


async def test_what_no_stop_covers_is_not_asked(db):
    record = await running(db, ticket_id=7)
    await stop(db, scope=Scope(ticket_id=8))

    assert await db.stop_requested(record.id) is None


async def test_a_release_takes_back_no_request(db):
    record = await running(db)
    receipt = await stop(db)
    await release(db, receipt.generation)

    asked = await db.stop_requested(record.id)

    assert asked.generation == receipt.generation


async def test_what_was_started_after_a_release_is_not_asked(db):
    receipt = await stop(db)
    await release(db, receipt.generation)

    record = await running(db)

    assert await db.stop_requested(record.id) is None


async def test_what_runs_is_asked_by_a_person_who_cancels_it(db, plain):
    record = await running(db)
    plain.execute(ask_to_stop(record.proposal_id))

    asked = await db.stop_requested(record.id)

    assert (asked.generation, asked.scope, asked.by) == (None, None, "ann")


async def test_what_has_ended_is_not_asked(db):
    record = await running(db)
    await stop(db)
    await db.finish_execution(record.id, success=True)

    assert await db.stop_requested(record.id) is None


async def test_a_record_that_is_not_there_cannot_be_asked(db):
    with pytest.raises(RecordNotFoundError):
        await db.stop_requested(4711)


# -- an answer ---------------------------------------------------------------------------------------------------------


async def test_stopped_closes_the_record_and_cancels_the_proposal(db):
    record = await running(db)
    receipt = await stop(db)

    closed = await db.acknowledge_stop(record.id, by="worker-3")

    found = await db.get_proposal(record.proposal_id)
    assert (closed.outcome, closed.success) == (ActionOutcome.STOPPED, False)
    assert closed.stop_generation == receipt.generation
    assert (found.status, found.status_by) == (ActionStatus.CANCELLED, "worker-3")


@pytest.mark.parametrize("outcome", FINISHES)
async def test_any_other_outcome_finishes_as_usual(db, outcome):
    record = await running(db)
    await stop(db)

    closed = await db.acknowledge_stop(record.id, outcome=outcome, by="worker-3")

    found = await db.get_proposal(record.proposal_id)
    assert closed.outcome is outcome
    assert outcome in OUTCOMES[found.status]


async def test_nobody_stops_whom_nobody_asked(db):
    record = await running(db)

    with pytest.raises(TransitionNotAllowedError, match="nobody asked"):
        await db.acknowledge_stop(record.id, by="worker-3")

    assert await db.get_record(record.id) == record


async def test_nobody_answers_twice(db):
    record = await running(db)
    await stop(db)
    await db.acknowledge_stop(record.id, by="worker-3")

    with pytest.raises(TransitionNotAllowedError):
        await db.acknowledge_stop(record.id, by="worker-4")


async def test_a_record_that_is_not_there_cannot_answer(db):
    with pytest.raises(RecordNotFoundError):
        await db.acknowledge_stop(4711, by="worker-3")


# -- the status --------------------------------------------------------------------------------------------------------


async def test_the_status_shows_who_stopped_who_finished_anyway_and_who_is_silent(db):
    stopping, finishing, failing, silent = [await running(db) for _ in range(4)]
    receipt = await stop(db)
    stopped = await db.acknowledge_stop(stopping.id, by="worker-3")
    finished = await db.finish_execution(finishing.id, success=True)
    failed = await db.finish_execution(failing.id, success=False)

    found = await answers(db)

    assert [(one.record_id, one.answer, one.at) for one in found] == [
        (stopping.id, Answer.STOPPED, stopped.completed_at),
        (finishing.id, Answer.FINISHED_ANYWAY, finished.completed_at),
        (failing.id, Answer.FINISHED_ANYWAY, failed.completed_at),
        (silent.id, Answer.SILENT, None),
    ]
    assert {one.generation for one in found} == {receipt.generation}


async def test_the_seconds_of_an_answer_count_from_the_stop_to_the_answer(db):
    record = await running(db)
    receipt = await stop(db)
    closed = await db.acknowledge_stop(record.id, by="worker-3")

    (answer,) = await answers(db)

    assert answer.seconds == (closed.completed_at - receipt.engaged_at).total_seconds()


async def test_the_seconds_of_a_silent_one_count_until_now_and_grow(db):
    await running(db)
    receipt = await stop(db)

    first, second = await db.kill_switch_status(), await db.kill_switch_status()

    assert first.answers[0].seconds == (first.at - receipt.engaged_at).total_seconds()
    assert second.answers[0].seconds >= first.answers[0].seconds >= 0


async def test_an_answer_names_the_worker_that_started_also_when_another_one_finished(db):
    made = await stored(db, ActionStatus.VALIDATED)
    record = await db.start_execution(made.id, by="worker-3")
    await stop(db)
    await db.finish_execution(record.id, success=True, by="supervisor")

    (answer,) = await answers(db)

    assert answer.worker == "worker-3"


async def test_what_finished_before_a_stop_has_nothing_to_answer(db):
    record = await running(db)
    await db.finish_execution(record.id, success=True)

    await stop(db)

    assert await answers(db) == []


async def test_what_started_after_a_release_has_nothing_to_answer(db):
    receipt = await stop(db)
    await release(db, receipt.generation)
    record = await running(db)
    await db.finish_execution(record.id, success=True)

    assert await answers(db) == []


async def test_each_stop_keeps_its_own_answers(db):
    early, late = await running(db), await running(db)
    first = await stop(db)
    await db.acknowledge_stop(early.id, by="worker-3")
    second = await stop(db)
    await db.finish_execution(late.id, success=True)

    found = await answers(db)

    assert [(one.generation, one.record_id, one.answer) for one in found] == [
        (first.generation, early.id, Answer.STOPPED),
        (first.generation, late.id, Answer.FINISHED_ANYWAY),
        (second.generation, late.id, Answer.FINISHED_ANYWAY),
    ]


async def test_a_stop_that_is_released_keeps_its_answers(db):
    stopping, silent = await running(db), await running(db)
    receipt = await stop(db)
    await db.acknowledge_stop(stopping.id, by="worker-3")
    await release(db, receipt.generation)

    found = await answers(db)

    assert [(one.record_id, one.answer) for one in found] == [(stopping.id, Answer.STOPPED), (silent.id, Answer.SILENT)]


async def test_a_scoped_stop_is_answered_by_what_it_covers_only(db):
    inside = await running(db, action_name="fill_store")
    await running(db)
    await stop(db, scope=Scope(action_name="fill_store"))

    assert [one.record_id for one in await answers(db)] == [inside.id]


async def test_what_comes_back_cancelled_has_nothing_to_answer(db):
    await stop(db)
    await db.create_proposal(proposal())

    assert await answers(db) == []
