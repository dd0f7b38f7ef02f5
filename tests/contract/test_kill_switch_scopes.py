"""Scopes on each engine: a stop covers what its scope names and touches nothing else."""

import sqlite3
from collections.abc import Iterator

import psycopg
import pytest
from pydantic import ValidationError

from operator_core.actions import (
    ActionStatus,
    KillSwitchEngagedError,
    Scope,
    StopNotEngagedError,
)
from operator_core.db import ActionDB
from operator_core.db.schema import SCOPE_FIELDS
from tests.support import latch
from tests.support.factories import proposal, running, stored
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.stop_steps import engaged, stop

COVERED = {"action_type": "tool", "action_name": "drain store 4", "proposed_by": "agent-ä7", "ticket_id": -8}
OTHERS = {"action_type": "subject", "action_name": "drain", "proposed_by": "agent-ä", "ticket_id": 8}
SCOPES = [Scope(**{field: COVERED[field]}) for field in SCOPE_FIELDS]
scopes = pytest.mark.parametrize("scope", SCOPES, ids=[scope.field for scope in SCOPES])
all_scopes = pytest.mark.parametrize("scope", [Scope(), *SCOPES], ids=lambda scope: scope.field or "everything")


@pytest.fixture(autouse=True)
def _history(ledger: Ledger) -> Iterator[None]:
    yield
    assert check_history(ledger) == []


async def covered(db: ActionDB, status: ActionStatus = ActionStatus.VALIDATED):
    return await stored(db, status, **COVERED)


def neighbour(scope: Scope) -> dict:
    """Return what differs from what is covered by nothing but the field of a scope."""
    return {**COVERED, scope.field: OTHERS[scope.field]}


@all_scopes
async def test_a_stop_cancels_what_its_scope_covers(db, scope):
    made = await covered(db)

    receipt = await stop(db, scope=scope)

    assert (receipt.scope, receipt.cancelled) == (scope, (made.id,))


@scopes
async def test_a_scoped_stop_touches_no_proposal_outside_its_scope_in_whatever_state(db, scope):
    outside = [await stored(db, status, **neighbour(scope)) for status in ActionStatus]
    before = [await db.get_events(one.id) for one in outside]

    receipt = await stop(db, scope=scope)

    assert (receipt.cancelled, receipt.still_executing, receipt.not_yet_cancelled) == ((), (), ())
    assert [await db.get_proposal(one.id) for one in outside] == outside
    assert [await db.get_events(one.id) for one in outside] == before


@scopes
async def test_outside_of_a_scoped_stop_actions_are_proposed_and_started_as_ever(db, scope):
    before = await stored(db, ActionStatus.VALIDATED, **neighbour(scope))
    await stop(db, scope=scope)
    after = await stored(db, ActionStatus.VALIDATED, **neighbour(scope))

    records = [await db.start_execution(one.id) for one in (before, after)]

    assert [record.proposal_id for record in records] == [before.id, after.id]


@all_scopes
async def test_what_is_proposed_under_a_stop_that_covers_it_comes_back_cancelled(db, scope):
    await stop(db, scope=scope, by="ann", reason="flood")

    made = await db.create_proposal(proposal(**COVERED))

    assert (made.status, made.status_by, made.status_reason) == (ActionStatus.CANCELLED, "ann", "flood")


@all_scopes
async def test_a_release_of_a_scope_lets_its_actions_start_again(db, scope):
    receipt = await stop(db, scope=scope)
    await db.release_kill_switch(by="bob", reason="all clear", generation=receipt.generation)

    record = await running(db, **COVERED)

    assert (await db.get_proposal(record.proposal_id)).status is ActionStatus.EXECUTING


async def test_several_scopes_are_engaged_at_once_and_each_is_released_by_its_own_number(db, plain):
    receipts = [await stop(db, scope=scope) for scope in SCOPES]
    standing = {str(receipt.scope): receipt.generation for receipt in receipts}

    for receipt in receipts:
        assert dict(engaged(plain)) == standing
        await db.release_kill_switch(by="bob", reason="all clear", generation=receipt.generation)
        del standing[str(receipt.scope)]

    assert engaged(plain) == []


async def test_while_one_of_two_stops_that_cover_it_is_engaged_nothing_starts(db):
    first, second = await stop(db, scope=SCOPES[0]), await stop(db, scope=SCOPES[1])

    await db.release_kill_switch(by="bob", reason="all clear", generation=second.generation)
    made = await db.create_proposal(proposal(**COVERED))
    await db.release_kill_switch(by="bob", reason="all clear", generation=first.generation)

    assert made.status is ActionStatus.CANCELLED
    assert (await running(db, **COVERED)).id


@scopes
async def test_the_error_of_a_refused_start_names_the_scope_that_covers_it(db, plain, scope):
    made = await covered(db)
    generations = {str(one): latch.engage(plain, str(one)) for one in (scope, Scope(action_name="another"))}

    with pytest.raises(KillSwitchEngagedError) as caught:
        await db.start_execution(made.id)

    assert (caught.value.scope, caught.value.generation) == (str(scope), generations[str(scope)])


async def test_a_stop_of_everything_sweeps_under_the_latch_of_a_scope_too(db):
    scoped = await stop(db, scope=SCOPES[1])
    other = await stored(db)

    everything = await stop(db)

    assert (everything.generation, everything.cancelled) == (scoped.generation + 1, (other.id,))


async def test_releasing_everything_does_not_release_a_scope(db, plain):
    scoped = await stop(db, scope=SCOPES[1])
    everything = await stop(db)

    await db.release_kill_switch(by="bob", reason="all clear", generation=everything.generation)

    assert engaged(plain) == [(str(SCOPES[1]), scoped.generation)]


async def test_the_number_of_one_scope_does_not_release_another(db):
    await stop(db, scope=SCOPES[0])
    receipt = await stop(db, scope=SCOPES[1])
    await db.release_kill_switch(by="bob", reason="all clear", generation=receipt.generation)

    with pytest.raises(StopNotEngagedError) as caught:
        await db.release_kill_switch(by="bob", reason="again", generation=receipt.generation)

    assert caught.value.engaged == ((1, str(SCOPES[0])),)


@all_scopes
async def test_a_scope_comes_back_as_it_was_given(db, scope):
    await stop(db, scope=scope)

    status = await db.kill_switch_status()

    assert [one.scope for one in status.engaged] == [scope]
    assert [one.scope for one in status.last_stops] == [scope]


@pytest.mark.parametrize("field", ["action_name", "proposed_by"])
async def test_a_scope_with_any_value_covers_exactly_this_value(db, field):
    for value in ("a'b", 'a"b', "a=b", "everything", "%", "_", "a\\b", "ä € 𝄞", "a; DROP TABLE x", " x"):
        made = await stored(db, **{field: value})
        other = await stored(db, **{field: f"{value}x"})

        receipt = await stop(db, scope=Scope(**{field: value}))

        assert receipt.cancelled == (made.id,)
        assert (await db.get_proposal(other.id)).status is ActionStatus.PROPOSED


async def test_a_scope_names_one_field(db, plain):
    with pytest.raises(ValidationError, match="engage one stop for each"):
        await stop(db, scope=Scope(action_name="drain", ticket_id=1))

    assert engaged(plain) == []


@scopes
async def test_only_what_is_covered_is_reported_as_still_executing(db, scope):
    inside = await running(db, **COVERED)
    await running(db, **neighbour(scope))

    receipt = await stop(db, scope=scope)

    assert [one.record_id for one in receipt.still_executing] == [inside.id]


MISWRITTEN = ("", "ticket_id=abc", "ticket_id=007", "ticket_id=", "ACTION_NAME=x", "actionZname=x", "action_name=",
             "all",               "action_type=nothing", "action_name=   ", "everything ", "ticket_id=1 ")  # fmt: skip


@pytest.mark.parametrize("scope", MISWRITTEN)
async def test_a_scope_that_nobody_could_read_is_refused_in_plain_sql_too(db, plain, ledger, scope):
    generation = "(SELECT max(generation) + 1 FROM kill_switch)"
    values = f"'{scope}', {generation}, '2026-01-01 00:00:00.000000', 'bob', 'fire'"

    with pytest.raises((sqlite3.Error, psycopg.Error)):
        plain.execute(f"INSERT INTO kill_switch (scope, generation, engaged_at, engaged_by, reason) VALUES ({values})")

    assert (await db.kill_switch_status()).engaged == ()
