"""`advance_time`, on each engine: leases run out as if a while had passed, and nothing else changes."""

from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from operator_core.actions import (
    ActionOutcome,
    ActionStatus,
    InvalidArgumentError,
    LeaseLostError,
    ProposalExpiredError,
    Resolution,
)
from operator_core.actions.types import utc_now
from operator_core.db import ActionRepository, configure_engine
from operator_core.testing import ValidUntilFixedError, advance_time, store_proposal
from tests.support.history import check_history
from tests.support.plain_sql import contents

MINUTES = timedelta(minutes=10)


async def claimed(db, lease_seconds=300.0, **given):
    """Return an execution under a lease."""
    made = await store_proposal(db, ActionStatus.VALIDATED, **given)
    return await db.claim(made.id, worker=f"worker-{made.id}", lease_seconds=lease_seconds)


async def test_a_lease_that_is_shorter_than_the_step_is_lost(db, ledger):
    execution = await claimed(db, lease_seconds=300.0)

    assert await advance_time(db, MINUTES) == 1
    (lost,) = await db.recover_expired_leases()

    assert (lost.id, lost.outcome) == (execution.record.id, ActionOutcome.UNKNOWN)
    assert check_history(ledger) == []


async def test_a_lease_that_is_longer_is_not(db):
    await claimed(db, lease_seconds=900.0)

    await advance_time(db, MINUTES)

    assert await db.recover_expired_leases() == []


async def test_two_steps_add_up(db):
    await claimed(db, lease_seconds=900.0)

    await advance_time(db, MINUTES)
    await advance_time(db, MINUTES)

    assert len(await db.recover_expired_leases()) == 1


@pytest.mark.parametrize("step", [MINUTES, timedelta(milliseconds=1), timedelta(days=1), timedelta(0)])
async def test_both_times_move_by_the_step(db, step):
    before = (await claimed(db)).record

    await advance_time(db, step)

    after = await db.get_record(before.id)
    assert (after.last_seen_at, after.lease_expires_at) == (before.last_seen_at - step, before.lease_expires_at - step)
    assert after == before.model_copy(
        update={"last_seen_at": after.last_seen_at, "lease_expires_at": after.lease_expires_at}
    )


async def test_a_step_of_microseconds_is_no_error(db):
    execution = await claimed(db)

    await advance_time(db, timedelta(microseconds=10))

    assert await execution.heartbeat() is None


async def test_a_worker_that_comes_late_renews(db):
    execution = await claimed(db)

    await advance_time(db, MINUTES)
    await execution.heartbeat()

    assert await db.recover_expired_leases() == []


async def test_a_worker_that_comes_after_the_recovery_has_lost(db):
    execution = await claimed(db)

    await advance_time(db, MINUTES)
    await db.recover_expired_leases()

    with pytest.raises(LeaseLostError):
        await execution.complete()


async def test_a_claim_that_is_held_too_long_is_noticed_on_entering(db, ledger):
    execution = await claimed(db, lease_seconds=0.001)
    await advance_time(db, MINUTES)
    await db.recover_expired_leases()

    with pytest.raises(LeaseLostError):
        async with execution:
            pytest.fail("the block was entered")


async def test_what_is_closed_or_has_no_lease_stays_as_it_is(db, plain):
    execution = await claimed(db)
    await execution.complete()
    for status in ActionStatus:
        await store_proposal(db, status)
    before = contents(plain)

    assert await advance_time(db, MINUTES) == 0
    assert contents(plain) == before


async def test_only_the_open_record_with_a_lease_changes(db, plain):
    await claimed(db)
    before = contents(plain)

    await advance_time(db, MINUTES)

    after = contents(plain)
    assert [table for table in before if before[table] != after[table]] == ["action_records"]


async def test_the_ledger_agrees_with_its_history_afterwards(db, ledger):
    await claimed(db)
    lost = await claimed(db)
    await advance_time(db, MINUTES)
    await lost.heartbeat()
    (unknown,) = await db.recover_expired_leases()
    await db.resolve_unknown(unknown.id, resolution=Resolution.PARTLY, by="anna", reason="half of it was done")

    assert check_history(ledger) == []
    assert await db.verify() == []


async def test_a_step_past_the_end_of_something_pending_is_refused_and_moves_nothing(db, plain):
    await claimed(db)
    pending = await store_proposal(db, valid_until=utc_now() + timedelta(minutes=5))
    before = contents(plain)

    with pytest.raises(ValidUntilFixedError, match="propose with a valid_until in the past") as caught:
        await advance_time(db, MINUTES)

    assert (caught.value.proposal_id, caught.value.valid_until) == (pending.id, pending.valid_until)
    assert contents(plain) == before


@pytest.mark.parametrize("left", [timedelta(minutes=15), -timedelta(minutes=5)], ids=["later", "over"])
async def test_what_expires_after_the_step_or_has_expired_is_in_nobodys_way(db, left):
    await store_proposal(db, valid_until=utc_now() + left)

    assert await advance_time(db, MINUTES) == 0


async def test_what_runs_may_have_expired(db):
    await store_proposal(db, ActionStatus.EXECUTING, valid_until=utc_now() + timedelta(minutes=5))

    assert await advance_time(db, MINUTES) == 0


async def test_what_the_error_advises_works(db):
    made = await store_proposal(db, ActionStatus.VALIDATED, valid_until=utc_now() - timedelta(minutes=1))

    with pytest.raises(ProposalExpiredError):
        await db.claim(made.id, worker="worker-1")
    await db.recover_expired_leases()

    assert (await db.get_proposal(made.id)).status is ActionStatus.CANCELLED


async def test_it_works_within_a_transaction(db):
    await claimed(db)

    async with db.transaction() as tx:
        await advance_time(tx, MINUTES)
        assert len(await tx.recover_expired_leases()) == 1


async def test_a_host_that_rolls_back_takes_time_back(db, ledger):
    await claimed(db)
    url = f"sqlite+aiosqlite:///{ledger.target}" if ledger.is_sqlite else ledger.target
    engine = configure_engine(create_async_engine(url))
    async with AsyncSession(engine) as session:
        moved = await advance_time(ActionRepository(session), MINUTES)
        await session.rollback()
    await engine.dispose()

    assert (moved, await db.recover_expired_leases()) == (1, [])


@pytest.mark.parametrize("step", [-MINUTES, timedelta(days=1, seconds=1), 600, None])
async def test_what_is_no_step_is_refused(db, step):
    with pytest.raises(InvalidArgumentError, match="step is"):
        await advance_time(db, step)
