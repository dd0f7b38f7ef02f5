"""The guard on starts within transactions of several calls, and in a ledger that has lost its latch, on each engine."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from operator_core.actions import (
    ActionStatus,
    GuardMissingError,
    KillSwitchEngagedError,
    StoredProposal,
)
from operator_core.db import ActionDB, ActionRepository, configure_engine
from operator_core.db.engine.urls import resolve_url
from tests.support.factories import proposal, running, stored
from tests.support.latch import SINCE, Plain, engage, remove_latch
from tests.support.ledger import Ledger

scopes = pytest.mark.parametrize("scope", ["everything", "action_name=drain_store"])


async def covered(db: ActionRepository) -> StoredProposal:
    return await stored(db, ActionStatus.VALIDATED, action_name="drain_store")


async def start(db: ActionRepository, proposal_id: int) -> None:
    await db.start_execution(proposal_id)


async def step(db: ActionRepository, proposal_id: int) -> None:
    await db.update_proposal_status(proposal_id, ActionStatus.EXECUTING)


both_ways = pytest.mark.parametrize("begin", [start, step])


def host_engine(ledger: Ledger) -> AsyncEngine:
    return configure_engine(create_async_engine(resolve_url(ledger.target)))


@scopes
@both_ways
async def test_a_joined_session_is_refused_the_start_and_stays_usable(
    db: ActionDB, ledger: Ledger, plain: Plain, begin, scope: str
) -> None:
    made = await covered(db)
    generation = engage(plain, scope)
    engine = host_engine(ledger)

    async with AsyncSession(engine) as session:
        repository = ActionRepository(session)
        with pytest.raises(KillSwitchEngagedError) as caught:
            await begin(repository, made.id)
        cancelled = await repository.update_proposal_status(made.id, ActionStatus.CANCELLED, reason="stopped")
        await session.commit()
    await engine.dispose()

    assert (caught.value.generation, caught.value.scope, caught.value.since) == (generation, scope, SINCE)
    assert await db.get_proposal(made.id) == cancelled


async def test_a_joined_session_gets_back_cancelled_what_it_proposes_under_a_stop(
    db: ActionDB, ledger: Ledger, plain: Plain
) -> None:
    engage(plain)
    engine = host_engine(ledger)

    async with AsyncSession(engine) as session:
        made = await ActionRepository(session).create_proposal(proposal())
        await session.commit()
    await engine.dispose()

    assert made.status is ActionStatus.CANCELLED
    assert await db.get_proposal(made.id) == made


async def test_a_transaction_keeps_the_rest_of_its_calls_when_a_start_is_refused(db: ActionDB, plain: Plain) -> None:
    made = await covered(db)
    engage(plain, "action_name=drain_store")

    async with db.transaction() as tx:
        with pytest.raises(KillSwitchEngagedError):
            await tx.start_execution(made.id)
        other = await tx.create_proposal(proposal(action_name="other"))

    assert await db.get_proposal(other.id) == other


# -- without a latch ---------------------------------------------------------------------------------------------------


@both_ways
async def test_nothing_starts_without_a_latch(db: ActionDB, plain: Plain, begin) -> None:
    made = await covered(db)
    remove_latch(plain)

    with pytest.raises(GuardMissingError, match="the latch row 'everything' is missing"):
        await begin(db, made.id)

    assert await db.get_proposal(made.id) == made


async def test_nothing_is_proposed_without_a_latch(db: ActionDB, plain: Plain) -> None:
    remove_latch(plain)

    with pytest.raises(GuardMissingError, match="the latch row 'everything' is missing"):
        await db.create_proposal(proposal())
    with pytest.raises(GuardMissingError, match="the latch row 'everything' is missing"):
        await db.create_proposals([proposal()])

    assert await db.list_proposals() == []


async def test_what_runs_can_be_recorded_without_a_latch(db: ActionDB, plain: Plain) -> None:
    record = await running(db)
    remove_latch(plain)

    closed = await db.update_record(record.id, success=True)

    assert closed.success is True
