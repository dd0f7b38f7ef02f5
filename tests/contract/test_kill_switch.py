"""The kill switch on each engine: what a stop returns, what it leaves behind, and what a release does and does not."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest

from operator_core.actions import (
    PENDING,
    TERMINAL,
    ActionStatus,
    KillSwitchEngagedError,
    Scope,
    StopNotEngagedError,
    TransitionNotAllowedError,
)
from operator_core.db import ActionDB
from tests.support import latch
from tests.support.factories import proposal, running, stored
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.stop_steps import engaged, stop
from tests.support.values import REFUSED

REASON = "smoke in hall 3"


@pytest.fixture(autouse=True)
def _history(ledger: Ledger) -> Iterator[None]:
    yield
    assert check_history(ledger) == []


async def release(db: ActionDB, generation: int):
    return await db.release_kill_switch(by="bob", reason="all clear", generation=generation)


# -- the receipt -------------------------------------------------------------------------------------------------------


async def test_the_receipt_of_the_first_stop_names_it_and_covers_everything(db):
    receipt = await stop(db)

    assert (receipt.generation, receipt.scope, receipt.on_standby) == (1, Scope(), True)
    assert (receipt.cancelled, receipt.still_executing, receipt.not_yet_cancelled) == ((), (), ())


async def test_the_receipt_lists_what_was_cancelled_in_order(db):
    pending = [(await stored(db, status)).id for status in [*PENDING, *reversed(PENDING)]]

    receipt = await stop(db)

    assert receipt.cancelled == tuple(pending)


async def test_the_receipt_lists_what_still_runs_by_whom_and_since_when(db):
    record = await running(db, action_name="fill_store")
    found = await db.get_proposal(record.proposal_id)

    receipt = await stop(db)

    assert [one.model_dump() for one in receipt.still_executing] == [
        {
            "proposal_id": record.proposal_id,
            "record_id": record.id,
            "action_name": "fill_store",
            "worker": "system",
            "since": found.executing_at,
            "lease_expires_at": None,
            "last_seen_at": None,
        }
    ]


async def test_the_receipt_says_when_by_the_clock_of_the_ledger_and_how_long_it_took(db):
    before = await stored(db)
    receipt = await stop(db)
    after = await db.create_proposal(proposal())

    assert before.status_at <= receipt.engaged_at <= after.status_at + timedelta(milliseconds=1)
    assert 0 < receipt.publish_ms <= receipt.stop_ms


@pytest.mark.parametrize("status", PENDING)
async def test_what_is_pending_is_cancelled_by_the_stop_in_the_name_and_for_the_reason_of_who_stops(db, status):
    made = await stored(db, status)

    await stop(db, by="ann", reason=REASON)

    found = await db.get_proposal(made.id)
    assert (found.status, found.status_by, found.status_reason) == (ActionStatus.CANCELLED, "ann", REASON)


@pytest.mark.parametrize("status", [*TERMINAL, ActionStatus.EXECUTING])
async def test_what_runs_or_is_finished_is_not_touched(db, status):
    made = await stored(db, status)

    receipt = await stop(db)

    assert receipt.cancelled == ()
    assert await db.get_proposal(made.id) == made


async def test_a_start_of_what_the_stop_has_cancelled_is_refused_with_who_and_why(db):
    made = await stored(db, ActionStatus.VALIDATED)
    await stop(db, by="ann", reason=REASON)

    with pytest.raises(KillSwitchEngagedError, match=f"engaged by ann at .*: {REASON}") as caught:
        await db.start_execution(made.id)

    assert (caught.value.current, caught.value.generation) == (ActionStatus.CANCELLED, 1)


async def test_a_start_of_what_the_stop_has_not_swept_yet_is_refused_with_the_stop(db, plain):
    made = await stored(db, ActionStatus.VALIDATED)
    generation = latch.engage(plain, by="ann", reason=REASON)

    with pytest.raises(KillSwitchEngagedError) as caught:
        await db.start_execution(made.id)

    error = caught.value
    assert (error.id, error.generation, error.scope, error.since) == (made.id, generation, "everything", latch.SINCE)
    assert (error.by, error.reason, error.released_at) == ("ann", REASON, None)


# -- again -------------------------------------------------------------------------------------------------------------


async def test_engaging_again_takes_the_next_number_and_says_who_and_why_anew(db, plain):
    first = await stop(db, by="ann", reason=REASON)
    second = await stop(db, by="bob", reason="flood")

    (standing,) = (await db.kill_switch_status()).engaged
    assert (second.generation, standing.by, standing.reason) == (first.generation + 1, "bob", "flood")
    assert engaged(plain) == [("everything", second.generation)]


async def test_engaging_after_a_release_stops_again(db):
    first = await stop(db)
    await release(db, first.generation)
    made = await stored(db, ActionStatus.VALIDATED)

    receipt = await stop(db)

    assert receipt.cancelled == (made.id,)


@pytest.mark.parametrize("given", [{"by": ""}, {"reason": "\0"}, {"by": "\ud800"}])
async def test_a_stop_without_a_name_or_with_a_reason_that_cannot_be_stored_is_refused(db, plain, given):
    with pytest.raises(REFUSED):
        await stop(db, **given)

    assert engaged(plain) == []


async def test_a_stop_whose_caller_is_cancelled_is_engaged_all_the_same(db, plain):
    engaging = asyncio.create_task(stop(db))
    await asyncio.sleep(0)
    engaging.cancel()

    with pytest.raises(asyncio.CancelledError):
        await engaging

    assert engaged(plain) == [("everything", 1)]


# -- release -----------------------------------------------------------------------------------------------------------


async def test_a_release_returns_the_stop_with_who_released_it_and_why(db):
    receipt = await stop(db, by="ann", reason=REASON)

    released = await release(db, receipt.generation)

    assert (released.generation, released.by, released.reason) == (receipt.generation, "ann", REASON)
    assert (released.released_by, released.release_reason) == ("bob", "all clear")
    assert released.released_at >= released.engaged_at == receipt.engaged_at


async def test_after_a_release_what_is_proposed_anew_starts(db):
    receipt = await stop(db)
    await release(db, receipt.generation)

    record = await running(db)

    assert (await db.get_proposal(record.proposal_id)).status is ActionStatus.EXECUTING


@pytest.mark.parametrize("status", PENDING)
async def test_a_release_revives_nothing(db, status):
    made = await stored(db, status)
    receipt = await stop(db)
    await release(db, receipt.generation)

    with pytest.raises(TransitionNotAllowedError):
        await db.start_execution(made.id)

    assert (await db.get_proposal(made.id)).status is ActionStatus.CANCELLED


async def test_what_was_born_under_a_stop_stays_cancelled_after_the_release(db):
    receipt = await stop(db)
    made = await db.create_proposal(proposal())

    await release(db, receipt.generation)

    assert await db.get_proposal(made.id) == made


@pytest.mark.parametrize("generation", [0, 1, 3, -1])
async def test_only_the_number_of_a_stop_that_is_engaged_releases_it(db, plain, generation):
    await stop(db)
    standing = await stop(db)

    with pytest.raises(StopNotEngagedError) as caught:
        await release(db, generation)

    assert (caught.value.generation, caught.value.engaged) == (generation, ((standing.generation, "everything"),))
    assert engaged(plain) == [("everything", standing.generation)]


async def test_a_stop_is_released_once(db):
    receipt = await stop(db)
    await release(db, receipt.generation)

    with pytest.raises(StopNotEngagedError) as caught:
        await release(db, receipt.generation)

    assert caught.value.engaged == ()


@pytest.mark.parametrize("given", [{"by": ""}, {"reason": "\0"}])
async def test_a_release_without_a_name_or_with_a_reason_that_cannot_be_stored_is_refused(db, plain, given):
    receipt = await stop(db)

    with pytest.raises(REFUSED):
        await db.release_kill_switch(**{"by": "bob", "reason": "all clear", "generation": receipt.generation, **given})

    assert engaged(plain) == [("everything", receipt.generation)]


# -- status ------------------------------------------------------------------------------------------------------------


async def test_the_status_of_a_ledger_that_was_never_stopped(db):
    status = await db.kill_switch_status()

    assert (status.generation, status.engaged, status.last_stops, status.answers) == (0, (), (), ())


async def test_the_status_lists_everything_that_runs_also_what_no_stop_covers(db):
    record = await running(db, action_name="fill_store")
    await stop(db, scope=Scope(action_name="drain_store"))

    status = await db.kill_switch_status()

    assert [one.record_id for one in status.still_executing] == [record.id]
    assert status.answers == ()


async def test_the_status_lists_the_last_stops_newest_first_with_their_releases(db):
    receipts = []
    for _ in range(3):
        receipts.append(await stop(db))
        await release(db, receipts[-1].generation)
    receipts.append(await stop(db))

    status = await db.kill_switch_status()

    assert [one.generation for one in status.last_stops] == [one.generation for one in reversed(receipts)]
    assert [one.released_by for one in status.last_stops] == [None, "bob", "bob", "bob"]
    assert (status.generation, status.engaged) == (4, status.last_stops[:1])
