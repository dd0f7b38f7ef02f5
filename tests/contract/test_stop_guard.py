"""The guard on starts, on each engine, with the latch set by plain SQL: what a stop covers never starts."""

from typing import Any

import pytest

from operator_core.actions import (
    ActionStatus,
    KillSwitchEngagedError,
    StoredProposal,
    TransitionNotAllowedError,
)
from operator_core.actions.kill_switch import EVERYTHING
from operator_core.db import ActionDB, ActionRepository
from operator_core.db.schema import SCOPE_FIELDS
from tests.support.factories import proposal, running, stored
from tests.support.latch import SINCE, Plain, at, engage, release

COVERED: dict[str, Any]
COVERED = {"action_type": "tool", "action_name": "drain_store", "proposed_by": "agent-7", "ticket_id": 0}
OTHERS = {"action_type": "subject", "action_name": "drain", "proposed_by": "agent-70", "ticket_id": 1}
FIELD_SCOPES = {f"{field}={COVERED[field]}": field for field in SCOPE_FIELDS}
SCOPES = [EVERYTHING, *FIELD_SCOPES]
scopes = pytest.mark.parametrize("scope", SCOPES)
field_scopes = pytest.mark.parametrize("scope", FIELD_SCOPES)


async def covered(db: ActionRepository, status: ActionStatus = ActionStatus.VALIDATED) -> StoredProposal:
    return await stored(db, status, **COVERED)


async def uncovered(db: ActionRepository, scope: str) -> StoredProposal:
    """Return a validated proposal that differs from the covered one by nothing but the field of the scope."""
    field = FIELD_SCOPES[scope]
    return await stored(db, ActionStatus.VALIDATED, **{**COVERED, field: OTHERS[field]})


async def start(db: ActionRepository, proposal_id: int) -> None:
    await db.start_execution(proposal_id, by="worker-3")


async def step(db: ActionRepository, proposal_id: int) -> None:
    await db.update_proposal_status(proposal_id, ActionStatus.EXECUTING, by="worker-3")


both_ways = pytest.mark.parametrize("begin", [start, step])


@scopes
@both_ways
async def test_a_covered_proposal_does_not_start_and_the_error_names_the_stop(
    db: ActionDB, plain: Plain, begin, scope: str
) -> None:
    made = await covered(db)
    generation = engage(plain, scope)

    with pytest.raises(KillSwitchEngagedError) as caught:
        await begin(db, made.id)

    error = caught.value
    assert (error.id, error.generation, error.scope) == (made.id, generation, scope)
    assert (error.by, error.reason, error.since, error.released_at) == ("ann", "smoke in hall 3", SINCE, None)


@scopes
@both_ways
async def test_a_refused_start_changes_nothing_and_writes_no_event(
    db: ActionDB, plain: Plain, begin, scope: str
) -> None:
    made = await covered(db)
    before = await db.get_events(made.id)
    engage(plain, scope)

    with pytest.raises(KillSwitchEngagedError):
        await begin(db, made.id)

    assert await db.get_proposal(made.id) == made
    assert await db.get_events(made.id) == before
    assert await db.get_records_for_proposal(made.id) == []


@field_scopes
@both_ways
async def test_an_uncovered_proposal_from_before_a_stop_starts(db: ActionDB, plain: Plain, begin, scope: str) -> None:
    made = await uncovered(db, scope)
    engage(plain, scope)

    await begin(db, made.id)

    assert (await db.get_proposal(made.id)).status is ActionStatus.EXECUTING


@field_scopes
async def test_an_uncovered_proposal_made_under_a_stop_starts(db: ActionDB, plain: Plain, scope: str) -> None:
    generation = engage(plain, scope)
    made = await uncovered(db, scope)

    await db.start_execution(made.id)

    assert made.generation == generation
    assert (await db.get_proposal(made.id)).status is ActionStatus.EXECUTING


async def test_a_stop_of_one_ticket_does_not_cover_a_proposal_without_a_ticket(db: ActionDB, plain: Plain) -> None:
    made = await stored(db, ActionStatus.VALIDATED, ticket_id=None)
    engage(plain, "ticket_id=0")

    record = await db.start_execution(made.id)

    assert record.proposal_id == made.id


@scopes
async def test_a_covered_proposal_made_under_a_stop_comes_back_cancelled(
    db: ActionDB, plain: Plain, scope: str
) -> None:
    generation = engage(plain, scope)

    made = await db.create_proposal(proposal(**COVERED))

    assert (made.status, made.status_by, made.status_reason) == (ActionStatus.CANCELLED, "ann", "smoke in hall 3")
    assert (made.generation, made.cancelled_at) == (generation, made.status_at)
    assert made == await db.get_proposal(made.id)


@scopes
async def test_a_proposal_made_under_a_stop_has_two_events(db: ActionDB, plain: Plain, scope: str) -> None:
    generation = engage(plain, scope)

    made = await db.create_proposal(proposal(**COVERED))

    events = [(e.from_status, e.to_status, e.by, e.reason, e.generation) for e in await db.get_events(made.id)]
    assert events == [
        (None, "proposed", "agent-7", "store 4 is hot", generation),
        ("proposed", "cancelled", "ann", "smoke in hall 3", generation),
    ]


@field_scopes
async def test_of_many_proposals_made_under_a_stop_the_covered_ones_are_cancelled(
    db: ActionDB, plain: Plain, scope: str
) -> None:
    field = FIELD_SCOPES[scope]
    engage(plain, scope)

    made = await db.create_proposals(
        [proposal(**{**COVERED, field: (COVERED, OTHERS)[index % 2][field]}) for index in range(6)]
    )

    assert [one.status for one in made] == [ActionStatus.CANCELLED, ActionStatus.PROPOSED] * 3
    assert [len(await db.get_events(one.id)) for one in made] == [2, 1] * 3


async def test_thousands_of_proposals_made_under_a_stop_are_all_kept_and_all_cancelled(
    db: ActionDB, plain: Plain
) -> None:
    engage(plain)

    await db.create_proposals([proposal() for _ in range(2_500)])

    assert await db.count_proposals() == {**dict.fromkeys(ActionStatus, 0), ActionStatus.CANCELLED: 2_500}


@scopes
@both_ways
async def test_a_release_revives_nothing_that_was_proposed_before_the_stop(
    db: ActionDB, plain: Plain, begin, scope: str
) -> None:
    made = await covered(db)
    generation = engage(plain, scope)
    release(plain, scope)

    with pytest.raises(KillSwitchEngagedError, match="That stop is released, but revives nothing") as caught:
        await begin(db, made.id)

    assert (caught.value.generation, caught.value.released_at) == (generation, SINCE)
    assert await db.get_proposal(made.id) == made


@scopes
@both_ways
async def test_what_is_proposed_after_a_release_starts(db: ActionDB, plain: Plain, begin, scope: str) -> None:
    engage(plain, scope)
    release(plain, scope)
    made = await covered(db)

    await begin(db, made.id)

    assert (await db.get_proposal(made.id)).status is ActionStatus.EXECUTING


async def test_a_stop_that_is_engaged_is_named_before_one_that_is_released(db: ActionDB, plain: Plain) -> None:
    made = await covered(db)
    engaged = engage(plain, "ticket_id=0")
    engage(plain)
    release(plain)

    with pytest.raises(KillSwitchEngagedError) as caught:
        await db.start_execution(made.id)

    assert (caught.value.generation, caught.value.scope) == (engaged, "ticket_id=0")


async def test_a_second_engage_of_a_scope_is_a_stop_of_its_own(db: ActionDB, plain: Plain) -> None:
    made = await covered(db)
    first = engage(plain, by="ann")
    second = engage(plain, by="bob")

    with pytest.raises(KillSwitchEngagedError) as caught:
        await db.start_execution(made.id)

    assert (caught.value.generation, caught.value.by) == (second, "bob")
    assert second == first + 1


@both_ways
async def test_an_illegal_step_under_a_stop_is_still_called_illegal(db: ActionDB, plain: Plain, begin) -> None:
    made = await covered(db, ActionStatus.COMPLETED)
    engage(plain)

    with pytest.raises(TransitionNotAllowedError, match="is completed and cannot become executing") as caught:
        await begin(db, made.id)

    assert type(caught.value) is TransitionNotAllowedError


@scopes
async def test_what_runs_under_a_stop_may_finish(db: ActionDB, plain: Plain, scope: str) -> None:
    record = await running(db, **COVERED)
    generation = engage(plain, scope)

    closed = await db.finish_execution(record.id, success=True)

    assert closed.stop_generation == generation
    assert (await db.get_proposal(record.proposal_id)).status is ActionStatus.COMPLETED


@field_scopes
async def test_a_record_names_no_stop_that_did_not_cover_it(db: ActionDB, plain: Plain, scope: str) -> None:
    made = await uncovered(db, scope)
    record = await db.start_execution(made.id)
    engage(plain, scope)

    closed = await db.finish_execution(record.id, success=True)

    assert closed.stop_generation is None


@scopes
async def test_what_runs_under_a_stop_may_answer_that_it_stopped(db: ActionDB, plain: Plain, scope: str) -> None:
    record = await running(db, **COVERED)
    generation = engage(plain, scope)
    plain.execute(
        f"UPDATE action_records SET completed_at = {at(plain, SINCE)}, outcome = 'stopped', success = false, "
        f"stop_generation = {generation} WHERE id = {record.id}"
    )

    moved = await db.update_proposal_status(record.proposal_id, ActionStatus.CANCELLED)

    assert moved.status is ActionStatus.CANCELLED


@pytest.mark.parametrize("target", [ActionStatus.VALIDATED, ActionStatus.CANCELLED])
async def test_what_is_pending_under_a_stop_can_still_be_validated_and_cancelled(
    db: ActionDB, plain: Plain, target: ActionStatus
) -> None:
    made = await covered(db, ActionStatus.PROPOSED)
    engage(plain)

    moved = await db.update_proposal_status(made.id, target)

    assert moved.status is target
