"""Every pair of states on each engine: the legal steps are taken, the others raise and change nothing."""

import sqlite3
from itertools import product

import psycopg
import pytest

from operator_core.actions import (
    TRANSITIONS,
    ActionOutcome,
    ActionStatus,
    EventKind,
    InvalidArgumentError,
    ProposalNotFoundError,
    TransitionNotAllowedError,
    ValueNotStorableError,
)
from operator_core.actions.lifecycle import OUTCOMES, STEP_PAIRS, TERMINAL, states_always_visited
from operator_core.db import ActionDB
from tests.support.factories import running, stored
from tests.support.values import REFUSED

Plain = sqlite3.Connection | psycopg.Connection

EXECUTING = ActionStatus.EXECUTING
ILLEGAL = [pair for pair in product(ActionStatus, repeat=2) if pair not in STEP_PAIRS]
WITHOUT_RECORD = [step for step in STEP_PAIRS if step[0] is not EXECUTING]
ENDINGS = [(target, outcome) for target, outcomes in OUTCOMES.items() for outcome in outcomes]
DISAGREEING = [pair for pair in product(TRANSITIONS[EXECUTING], ActionOutcome) if pair not in ENDINGS]


def ask_to_stop(plain: Plain, record_id: int) -> None:
    plain.execute(
        "UPDATE action_records SET cancel_requested_at = '2026-01-02 03:04:05.000000', cancel_requested_by = 'ann' "
        f"WHERE id = {record_id}"
    )


def close_record(plain: Plain, record_id: int, outcome: ActionOutcome) -> None:
    success = "true" if outcome is ActionOutcome.SUCCEEDED else "false"
    plain.execute(
        f"UPDATE action_records SET completed_at = '2026-01-02 03:04:06.000000', outcome = '{outcome}', "
        f"success = {success} WHERE id = {record_id}"
    )


async def closed(db: ActionDB, plain: Plain, outcome: ActionOutcome) -> int:
    """Return the id of a proposal that is executing, and whose record is closed with `outcome`."""
    record = await running(db)
    if outcome is ActionOutcome.STOPPED:
        ask_to_stop(plain, record.id)
    close_record(plain, record.id, outcome)
    return record.proposal_id


def test_the_pairs_of_this_module_are_all_pairs_of_states() -> None:
    assert sorted([*ILLEGAL, *WITHOUT_RECORD, *product([EXECUTING], TRANSITIONS[EXECUTING])]) == sorted(
        product(ActionStatus, repeat=2)
    )


@pytest.mark.parametrize(("source", "target"), WITHOUT_RECORD)
async def test_a_legal_step_is_taken(db: ActionDB, source: ActionStatus, target: ActionStatus) -> None:
    made = await stored(db, source)

    moved = await db.update_proposal_status(made.id, target, by="ann", reason="it is time")

    assert (moved.status, moved.status_by, moved.status_reason) == (target, "ann", "it is time")
    assert moved == await db.get_proposal(made.id)


@pytest.mark.parametrize(("source", "target"), WITHOUT_RECORD)
async def test_a_legal_step_writes_one_event(db: ActionDB, source: ActionStatus, target: ActionStatus) -> None:
    made = await stored(db, source)
    before = await db.get_events(made.id)

    await db.update_proposal_status(made.id, target)

    events = await db.get_events(made.id)
    assert events[:-1] == before
    assert (events[-1].from_status, events[-1].to_status) == (source, target)


@pytest.mark.parametrize(("target", "outcome"), ENDINGS)
async def test_an_execution_is_left_when_its_closed_record_agrees(
    db: ActionDB, plain: Plain, target: ActionStatus, outcome: ActionOutcome
) -> None:
    proposal_id = await closed(db, plain, outcome)

    moved = await db.update_proposal_status(proposal_id, target)

    assert moved.status is target
    assert (await db.get_events(proposal_id))[-1].data["outcome"] == outcome


@pytest.mark.parametrize(("target", "outcome"), DISAGREEING)
async def test_an_execution_is_not_left_when_its_closed_record_disagrees(
    db: ActionDB, plain: Plain, target: ActionStatus, outcome: ActionOutcome
) -> None:
    proposal_id = await closed(db, plain, outcome)

    with pytest.raises(TransitionNotAllowedError, match=f"cannot become {target}: its record is closed as {outcome}"):
        await db.update_proposal_status(proposal_id, target)

    assert (await db.get_proposal(proposal_id)).status is EXECUTING


@pytest.mark.parametrize("target", TRANSITIONS[EXECUTING])
async def test_an_execution_is_not_left_while_its_record_is_open(db: ActionDB, target: ActionStatus) -> None:
    record = await running(db)

    with pytest.raises(TransitionNotAllowedError, match=r"its record is open|only its worker can end it"):
        await db.update_proposal_status(record.proposal_id, target)

    assert (await db.get_proposal(record.proposal_id)).status is EXECUTING


@pytest.mark.parametrize("target", TRANSITIONS[EXECUTING])
async def test_an_execution_is_not_left_without_a_record(db: ActionDB, target: ActionStatus) -> None:
    made = await stored(db, ActionStatus.VALIDATED)
    await db.update_proposal_status(made.id, EXECUTING)

    with pytest.raises(TransitionNotAllowedError, match="it has no record yet"):
        await db.update_proposal_status(made.id, target)

    assert (await db.get_proposal(made.id)).status is EXECUTING


async def test_a_record_that_nobody_asked_to_stop_cannot_be_closed_as_stopped(db: ActionDB, plain: Plain) -> None:
    record = await running(db)

    with pytest.raises((sqlite3.IntegrityError, psycopg.Error), match="the record does not allow this"):
        close_record(plain, record.id, ActionOutcome.STOPPED)

    assert await db.get_record(record.id) == record


@pytest.mark.parametrize(("source", "target"), ILLEGAL)
async def test_an_illegal_step_raises_with_the_id_and_both_states(
    db: ActionDB, source: ActionStatus, target: ActionStatus
) -> None:
    made = await stored(db, source)

    with pytest.raises(TransitionNotAllowedError) as caught:
        await db.update_proposal_status(made.id, target)

    assert (caught.value.id, caught.value.current, caught.value.target) == (made.id, source, target)
    assert f"proposal {made.id} is {source} and cannot become {target}" in str(caught.value)


@pytest.mark.parametrize(("source", "target"), ILLEGAL)
async def test_an_illegal_step_changes_nothing_and_writes_no_event(
    db: ActionDB, source: ActionStatus, target: ActionStatus
) -> None:
    made = await stored(db, source)
    before = await db.get_events(made.id)

    with pytest.raises(TransitionNotAllowedError):
        await db.update_proposal_status(made.id, target, by="mallory", reason="because")

    assert await db.get_proposal(made.id) == made
    assert await db.get_events(made.id) == before


@pytest.mark.parametrize("target", ActionStatus)
async def test_a_proposal_that_does_not_exist_takes_no_step(db: ActionDB, target: ActionStatus) -> None:
    with pytest.raises(ProposalNotFoundError, match="there is no proposal 4711") as caught:
        await db.update_proposal_status(4711, target)

    assert caught.value.proposal_id == 4711


@pytest.mark.parametrize("status", [status for status in ActionStatus if status is not ActionStatus.PROPOSED])
async def test_a_state_has_its_time_exactly_when_it_was_reached(db: ActionDB, status: ActionStatus) -> None:
    made = await stored(db, status)

    events = {event.to_status: event.at for event in await db.get_events(made.id)}

    timed = {state: getattr(made, f"{state}_at") for state in ActionStatus if state is not ActionStatus.PROPOSED}
    assert {state: at for state, at in timed.items() if at is not None} == {
        state: at for state, at in events.items() if state is not ActionStatus.PROPOSED
    }
    assert made.status_at == timed[status]
    assert states_always_visited(status) <= set(events)


@pytest.mark.parametrize("status", TERMINAL)
async def test_a_final_state_can_be_reached_and_its_history_ends_there(
    db: ActionDB, plain: Plain, status: ActionStatus
) -> None:
    proposal_id = await closed(db, plain, OUTCOMES[status][0])

    await db.update_proposal_status(proposal_id, status)

    walked = [event.to_status for event in await db.get_events(proposal_id) if event.kind is EventKind.STEP]
    assert walked == [ActionStatus.PROPOSED, ActionStatus.VALIDATED, EXECUTING, status]


async def test_a_state_may_be_given_as_its_text(db: ActionDB) -> None:
    made = await stored(db)

    moved = await db.update_proposal_status(made.id, "validated")

    assert moved.status is ActionStatus.VALIDATED


async def test_a_text_that_is_no_state_is_refused(db: ActionDB) -> None:
    made = await stored(db)

    with pytest.raises(InvalidArgumentError, match="status is 'done'; it is one of proposed, validated"):
        await db.update_proposal_status(made.id, "done")

    assert await db.get_proposal(made.id) == made


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"by": ""}, "by"),
        ({"by": " \t"}, "by"),
        ({"by": "a\0b"}, "by"),
        ({"by": "x" * 256}, "by"),
        ({"reason": "a\0b"}, "reason"),
        ({"reason": "\ud800"}, "reason"),
    ],
)
async def test_who_and_why_must_be_storable(db: ActionDB, given: dict[str, str], path: str) -> None:
    made = await stored(db)

    with pytest.raises(REFUSED) as caught:
        await db.update_proposal_status(made.id, ActionStatus.VALIDATED, **given)

    assert caught.value.path == path
    assert await db.get_proposal(made.id) == made


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
async def test_an_id_beyond_64_bits_is_refused(db: ActionDB, number: int) -> None:
    with pytest.raises(ValueNotStorableError, match="64-bit"):
        await db.update_proposal_status(number, ActionStatus.VALIDATED)
