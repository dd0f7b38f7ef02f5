"""How a caller waits on each engine until a proposal has come far enough, or can come no further."""

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from operator_core.actions import (
    ActionStatus,
    InvalidArgumentError,
    ProposalNotFoundError,
    WaitTimeoutError,
)
from operator_core.actions.lifecycle import TERMINAL, states_possibly_visited
from operator_core.db import ActionDB, ActionRepository
from tests.support.factories import running, stored
from tests.support.patience import PATIENCE

UNFINISHED = [status for status in ActionStatus if status not in TERMINAL]
PASSED = [
    (wanted, status) for status in UNFINISHED for wanted in ActionStatus if wanted in states_possibly_visited(status)
]
AHEAD = [
    (wanted, status)
    for status in UNFINISHED
    for wanted in ActionStatus
    if wanted not in states_possibly_visited(status)
]


@pytest.mark.parametrize("status", TERMINAL)
async def test_what_is_finished_is_returned_at_once(db, status):
    made = await stored(db, status)

    assert await db.wait_for(made.id) == made


@pytest.mark.parametrize(("wanted", "status"), PASSED)
async def test_a_state_that_was_reached_is_waited_for_no_more(db, wanted, status):
    made = await stored(db, status)

    assert await db.wait_for(made.id, wanted) == made


@pytest.mark.parametrize("wanted", ActionStatus)
@pytest.mark.parametrize("status", TERMINAL)
async def test_what_can_come_no_further_is_returned_whatever_is_waited_for(db, status, wanted):
    made = await stored(db, status)

    assert await db.wait_for(made.id, wanted) == made


@pytest.mark.parametrize(("wanted", "status"), AHEAD)
async def test_what_does_not_come_so_far_in_time_raises(db, wanted, status):
    made = await stored(db, status)

    with pytest.raises(WaitTimeoutError) as caught:
        await db.wait_for(made.id, wanted, timeout=0.02, poll_interval=0.01)

    assert (caught.value.proposal_id, caught.value.current, caught.value.seconds) == (made.id, status, 0.02)


async def test_who_does_not_wait_looks_once(db):
    made = await stored(db)

    with pytest.raises(WaitTimeoutError, match=f"proposal {made.id} is still proposed after 0 s"):
        await db.wait_for(made.id, timeout=0)


async def test_a_timeout_is_a_timeout_of_python_too(db):
    made = await stored(db)

    with pytest.raises(TimeoutError):
        await db.wait_for(made.id, timeout=0)


async def test_the_end_of_what_runs_is_waited_for(db):
    record = await running(db)
    waiting = asyncio.create_task(db.wait_for(record.proposal_id, timeout=PATIENCE, poll_interval=0.01))
    await asyncio.sleep(0)

    await db.finish_execution(record.id, success=True)

    assert (await waiting).status is ActionStatus.COMPLETED


async def test_what_somebody_else_does_is_seen(db, ledger):
    made = await stored(db)
    waiting = asyncio.create_task(db.wait_for(made.id, ActionStatus.VALIDATED, timeout=PATIENCE, poll_interval=0.01))

    async with ActionDB(ledger.target) as other:
        await other.update_proposal_status(made.id, ActionStatus.VALIDATED)

    assert (await waiting).status is ActionStatus.VALIDATED


async def test_what_is_cancelled_while_it_is_waited_for_is_returned(db):
    made = await stored(db)
    waiting = asyncio.create_task(db.wait_for(made.id, ActionStatus.VALIDATED, timeout=PATIENCE, poll_interval=0.01))
    await asyncio.sleep(0)

    await db.request_cancel(made.id, by="ann", reason="wrong store")

    assert (await waiting).status is ActionStatus.CANCELLED


async def test_many_wait_at_once(db):
    made = await stored(db)
    waiting = [asyncio.create_task(db.wait_for(made.id, timeout=PATIENCE, poll_interval=0.01)) for _ in range(5)]
    await asyncio.sleep(0)

    await db.request_cancel(made.id, by="ann", reason="wrong store")

    assert {(await one).status for one in waiting} == {ActionStatus.CANCELLED}


async def test_a_wait_that_is_cancelled_leaves_the_ledger_usable(db):
    made = await stored(db)
    waiting = asyncio.create_task(db.wait_for(made.id))
    await asyncio.wait({waiting}, timeout=0.01)
    waiting.cancel()
    await asyncio.wait({waiting})

    assert await db.get_proposal(made.id) == made


@pytest.mark.parametrize("until", ["finished", *ActionStatus])
async def test_what_is_not_there_is_not_waited_for(db, until):
    with pytest.raises(ProposalNotFoundError):
        await db.wait_for(4711, until)


@pytest.mark.parametrize(("given", "path"), [({"until": "done"}, "until"), ({"timeout": -1}, "timeout")])
async def test_what_is_waited_for_must_make_sense(db, given, path):
    made = await stored(db)

    with pytest.raises(InvalidArgumentError) as caught:
        await db.wait_for(made.id, **given)

    assert caught.value.path == path


@pytest.mark.parametrize("poll", [-1, "1", None])
async def test_a_poll_is_a_number_of_seconds(db, poll):
    made = await stored(db)

    with pytest.raises(InvalidArgumentError) as caught:
        await db.wait_for(made.id, timeout=0.01, poll_interval=poll)

    assert caught.value.path == "poll_interval"


def test_nobody_waits_in_the_transaction_of_a_host():
    assert not hasattr(ActionRepository(AsyncSession()), "wait_for")
