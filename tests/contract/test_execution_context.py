"""What an execution does around an action on each engine: whatever happens within, nothing is left executing."""

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from operator_core.actions import (
    ActionOutcome,
    ActionStatus,
    LeaseLostError,
    RequiresActionDBError,
    StopRequestedError,
    ValueNotStorableError,
)
from operator_core.db import ActionDB, ActionRepository
from operator_core.db.repository.execution import Execution
from tests.support.claims import ENDINGS, UnprintableError, claimed, recovered
from tests.support.factories import stored
from tests.support.history import check_history
from tests.support.host import hosted
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE
from tests.support.stop_steps import stop, until

DRIVERS = ["asyncpg", "psycopg"]


every_ending = pytest.mark.parametrize("ending", ENDINGS)


@pytest.fixture(autouse=True)
def _history(ledger: Ledger) -> Iterator[None]:
    yield
    assert check_history(ledger) == []


async def cancel(db: ActionDB, execution: Execution) -> None:
    await db.request_cancel(execution.proposal.id, by="ann", reason="wrong store")


async def outcome_of(db: ActionDB, execution: Execution) -> ActionOutcome | None:
    return (await db.get_record(execution.record.id)).outcome


async def entered(execution: Execution) -> asyncio.Task[None]:
    """Return a task that has entered the block and stays there."""
    within = asyncio.Event()

    async def work() -> None:
        async with execution:
            within.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await within.wait()
    return task


# -- its end, by leaving the block -------------------------------------------------------------------------------------


async def test_leaving_the_block_completes_the_action(db):
    execution = await claimed(db)

    async with execution:
        pass

    assert (await outcome_of(db, execution), execution.ended) == (ActionOutcome.SUCCEEDED, True)
    assert (await db.get_proposal(execution.proposal.id)).status is ActionStatus.COMPLETED


@every_ending
async def test_what_was_ended_within_the_block_stays_as_it_is(db, ending):
    execution = await claimed(db)
    call, _ = ENDINGS[ending]

    async with execution:
        record = await call(execution)

    assert await db.get_record(execution.record.id) == record


async def test_an_exception_fails_the_action_and_comes_out_of_the_block(db):
    execution = await claimed(db)

    with pytest.raises(ZeroDivisionError):
        async with execution:
            raise ZeroDivisionError("by none")

    record = await db.get_record(execution.record.id)
    assert (record.outcome, record.error_message) == (ActionOutcome.FAILED, "ZeroDivisionError: by none")


async def test_an_exception_that_cannot_be_printed_fails_the_action_too(db):
    execution = await claimed(db)

    with pytest.raises(UnprintableError):
        async with execution:
            raise UnprintableError

    assert await outcome_of(db, execution) is ActionOutcome.FAILED


async def test_an_exception_after_the_end_changes_nothing(db):
    execution = await claimed(db)

    with pytest.raises(ZeroDivisionError):
        async with execution:
            await execution.complete()
            raise ZeroDivisionError

    assert await outcome_of(db, execution) is ActionOutcome.SUCCEEDED


async def test_a_result_that_cannot_be_stored_fails_the_action_when_it_leaves_the_block(db):
    execution = await claimed(db)

    with pytest.raises(ValueNotStorableError):
        async with execution:
            await execution.complete({"n": float("nan")})

    assert await outcome_of(db, execution) is ActionOutcome.FAILED


# -- a stop ------------------------------------------------------------------------------------------------------------


async def test_what_nobody_stops_goes_on(db):
    execution = await claimed(db)

    async with execution:
        execution.raise_if_stopped()

    assert await outcome_of(db, execution) is ActionOutcome.SUCCEEDED


async def test_a_stop_is_heard_within_the_block(db):
    execution = await claimed(db)

    async with asyncio.timeout(PATIENCE), execution:
        receipt = await stop(db)
        asked = await execution.wait_for_stop()

    assert asked.generation == receipt.generation


async def test_a_request_to_cancel_is_heard_within_the_block(db):
    execution = await claimed(db)

    async with asyncio.timeout(PATIENCE), execution:
        await cancel(db, execution)
        asked = await execution.wait_for_stop()

    assert (asked.by, asked.reason) == ("ann", "wrong store")


async def test_a_check_that_leaves_the_block_answers_the_stop(db):
    execution = await claimed(db)

    with pytest.raises(StopRequestedError) as caught:
        async with execution:
            await cancel(db, execution)
            await execution.heartbeat()
            execution.raise_if_stopped()

    assert (caught.value.record_id, caught.value.by, caught.value.reason) == (
        execution.record.id,
        "ann",
        "wrong store",
    )
    assert await outcome_of(db, execution) is ActionOutcome.STOPPED


async def test_what_was_asked_to_stop_and_finishes_anyway_is_completed(db):
    execution = await claimed(db)

    async with execution:
        await cancel(db, execution)
        await execution.heartbeat()

    assert await outcome_of(db, execution) is ActionOutcome.SUCCEEDED


# -- a task that is cancelled ------------------------------------------------------------------------------------------


async def test_a_task_that_is_cancelled_leaves_the_outcome_unknown(db):
    execution = await claimed(db)
    task = await entered(execution)

    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()
    assert await outcome_of(db, execution) is ActionOutcome.UNKNOWN


async def test_a_task_that_was_asked_and_is_cancelled_answers_the_stop(db):
    execution = await claimed(db)
    task = await entered(execution)
    await cancel(db, execution)
    await execution.heartbeat()

    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()
    assert await outcome_of(db, execution) is ActionOutcome.STOPPED


@pytest.mark.parametrize("naps", range(6))
async def test_a_task_that_is_cancelled_again_leaves_nothing_executing(db, naps):
    execution = await claimed(db)
    task = await entered(execution)
    task.cancel()
    for _ in range(naps):
        await asyncio.sleep(0)

    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()
    assert await outcome_of(db, execution) is ActionOutcome.UNKNOWN


async def test_a_time_that_is_over_leaves_the_outcome_unknown(db):
    execution = await claimed(db)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), execution:
            await asyncio.Event().wait()

    assert await outcome_of(db, execution) is ActionOutcome.UNKNOWN


# -- the lease ---------------------------------------------------------------------------------------------------------


async def test_the_block_sends_heartbeats_by_itself(db):
    execution = await claimed(db, lease_seconds=0.3)
    first = execution.record.last_seen_at

    async def seen_again() -> bool:
        record = await db.get_record(execution.record.id)
        return record.last_seen_at > first

    async with execution:
        await until(seen_again, "a heartbeat")

    assert await outcome_of(db, execution) is ActionOutcome.SUCCEEDED


async def test_a_lost_lease_cancels_the_block_and_says_so(db, plain):
    execution = await claimed(db)
    reached = False

    with pytest.raises(LeaseLostError) as caught:
        async with asyncio.timeout(PATIENCE), execution:
            record = await recovered(db, plain, execution)
            await asyncio.Event().wait()
            reached = True

    assert (caught.value.record_id, caught.value.by, reached) == (record.id, "ward", False)
    assert await db.get_record(record.id) == record


async def test_a_lost_lease_leaves_the_task_uncancelled(db, plain):
    execution = await claimed(db)
    with pytest.raises(LeaseLostError):
        async with asyncio.timeout(PATIENCE), execution:
            await recovered(db, plain, execution)
            await asyncio.Event().wait()

    task = asyncio.current_task()

    assert task.cancelling() == 0


async def test_a_check_after_the_loss_raises_what_the_block_raises(db, plain):
    execution = await claimed(db)

    with pytest.raises(LeaseLostError):
        async with execution:
            await recovered(db, plain, execution)
            with pytest.raises(LeaseLostError):
                await execution.complete()
            execution.raise_if_stopped()

    assert execution.lease_lost is not None


async def test_leaving_the_block_after_the_loss_raises(db, plain):
    execution = await claimed(db)

    with pytest.raises(LeaseLostError):
        async with execution:
            record = await recovered(db, plain, execution)

    assert await db.get_record(record.id) == record


# -- the transaction of a host -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", DRIVERS)
async def test_what_was_claimed_in_the_transaction_of_a_host_is_not_entered(ledger, driver):
    async with hosted(ledger, driver) as host, AsyncSession(host.engine) as session, session.begin():
        execution = await claimed(ActionRepository(session))

        with pytest.raises(RequiresActionDBError):
            async with execution:
                pass


async def test_what_was_claimed_in_a_transaction_of_the_ledger_is_not_entered(db):
    async with db.transaction() as tx:
        execution = await claimed(tx)

        with pytest.raises(RequiresActionDBError):
            async with execution:
                pass


@pytest.mark.parametrize("driver", DRIVERS)
async def test_what_is_completed_in_the_transaction_of_a_host_counts_at_its_commit(ledger, driver):
    async with hosted(ledger, driver) as host:
        made = await stored(host.db, ActionStatus.VALIDATED)
        async with AsyncSession(host.engine) as session, session.begin():
            execution = await ActionRepository(session).claim_next(worker="w1")
            await execution.complete({"n": 1})
            before = await host.db.get_proposal(made.id)
        after = await host.db.get_proposal(made.id)

    assert (before.status, after.status) == (ActionStatus.VALIDATED, ActionStatus.COMPLETED)


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_claim_that_a_host_rolls_back_never_was(ledger, driver):
    async with hosted(ledger, driver) as host:
        made = await stored(host.db, ActionStatus.VALIDATED)
        async with AsyncSession(host.engine) as session:
            await ActionRepository(session).claim_next(worker="w1")
            await session.rollback()
        found = await host.db.get_proposal(made.id)

    assert found == made
