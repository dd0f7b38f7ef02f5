"""What workers claim on each engine: the oldest that may start, each another one, and nothing that may not."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from operator_core.actions import (
    ActionStatus,
    ActionType,
    InvalidArgumentError,
    IsolationLevelError,
    KillSwitchEngagedError,
    ProposalExpiredError,
    ProposalNotFoundError,
    Scope,
    TransitionNotAllowedError,
)
from operator_core.actions.types import utc_now
from operator_core.db import ActionDB, ActionRepository
from tests.support import latch
from tests.support.claims import claimed, recovered
from tests.support.factories import stored
from tests.support.history import check_history
from tests.support.host import hosted
from tests.support.ledger import Ledger
from tests.support.plain_sql import on_postgresql
from tests.support.stop_steps import client, stop

VALIDATED = ActionStatus.VALIDATED
PAST = utc_now() - timedelta(hours=1)
FUTURE = utc_now() + timedelta(days=1)
MATCHING = {"ticket_id": 7, "action_name": "fill_store", "action_type": ActionType.TOOL}
FILTERS = [
    {"action_names": ["fill_store"]},
    {"action_names": ["none", "fill_store"]},
    {"action_types": [ActionType.TOOL]},
    {"action_types": ["workflow", "tool"]},
    {"ticket_id": 7},
    {"ticket_id": 7, "action_names": ["fill_store"], "action_types": [ActionType.TOOL]},
]


@pytest.fixture(autouse=True)
def _history(ledger: Ledger) -> Iterator[None]:
    yield
    assert check_history(ledger) == []


async def waiting(db: ActionRepository, **given: object) -> int:
    """Return the id of a proposal that waits for a worker."""
    return (await stored(db, VALIDATED, **given)).id


async def next_id(db: ActionRepository, **given: object) -> int | None:
    """Claim the next, and return the id of its proposal."""
    execution = await db.claim_next(**{"worker": "w1", **given})
    return None if execution is None else execution.proposal.id


# -- which one ---------------------------------------------------------------------------------------------------------


async def test_claims_come_in_the_order_of_the_proposals(db: ActionDB) -> None:
    made = [await waiting(db) for _ in range(3)]

    assert [await next_id(db) for _ in range(3)] == made


async def test_the_order_is_that_of_the_proposals_and_not_of_their_validation(db: ActionDB) -> None:
    first = await stored(db)
    second = await waiting(db)
    await db.update_proposal_status(first.id, VALIDATED)

    assert [await next_id(db), await next_id(db)] == [first.id, second]


async def test_a_claim_starts_the_proposal_in_the_name_of_the_worker(db: ActionDB) -> None:
    number = await waiting(db)

    execution = await db.claim_next(worker="w1")

    assert (execution.proposal.status, execution.proposal.status_by) == (ActionStatus.EXECUTING, "w1")
    assert execution.proposal == await db.get_proposal(number)


async def test_a_claim_opens_the_record_of_the_worker(db: ActionDB) -> None:
    await waiting(db)

    execution = await db.claim_next(worker="w1", lease_seconds=90)

    assert (execution.record.outcome, execution.record.worker, execution.record.lease_seconds) == (None, "w1", 90.0)
    assert execution.record == await db.get_record(execution.record.id)


async def test_where_there_is_nothing_nothing_is_claimed(db: ActionDB) -> None:
    assert await db.claim_next(worker="w1") is None


@pytest.mark.parametrize("status", [status for status in ActionStatus if status is not VALIDATED])
async def test_only_what_is_validated_is_claimed(db: ActionDB, status: ActionStatus) -> None:
    made = await stored(db, status)

    assert await db.claim_next(worker="w1") is None
    assert await db.get_proposal(made.id) == made


@pytest.mark.parametrize("filters", FILTERS, ids=str)
async def test_the_oldest_that_matches_is_claimed(db: ActionDB, filters: dict[str, object]) -> None:
    await waiting(db, ticket_id=8)
    first, _ = await waiting(db, **MATCHING), await waiting(db, **MATCHING)

    assert await next_id(db, **filters) == first


@pytest.mark.parametrize("other", [{"ticket_id": 8}, {"action_name": "other"}, {"action_type": ActionType.SUBJECT}])
async def test_what_fails_one_filter_of_several_is_not_claimed(db: ActionDB, other: dict[str, object]) -> None:
    await waiting(db, **{**MATCHING, **other})

    assert await next_id(db, **FILTERS[-1]) is None


@pytest.mark.parametrize("name", ["action_names", "action_types"])
async def test_of_no_name_nothing_is_claimed(db: ActionDB, name: str) -> None:
    await waiting(db)

    assert await next_id(db, **{name: []}) is None


@pytest.mark.parametrize("name", ["action_names", "action_types"])
async def test_one_text_is_no_list_of_names(db: ActionDB, name: str) -> None:
    await waiting(db, action_type=ActionType.TOOL, action_name="tool")

    with pytest.raises(InvalidArgumentError, match="is one text; give a list") as caught:
        await db.claim_next(worker="w1", **{name: "tool"})

    assert caught.value.path == name


# -- what is in nobody's way -------------------------------------------------------------------------------------------


async def test_what_is_stopped_does_not_block_what_comes_after_it(db, plain):
    await waiting(db, action_name="fill_store")
    free = await waiting(db)
    latch.engage(plain, "action_name=fill_store")

    assert await next_id(db) == free


async def test_what_was_proposed_before_a_released_stop_does_not_block_what_comes_after_it(db, plain):
    await waiting(db)
    latch.engage(plain)
    latch.release(plain)
    free = await waiting(db)

    assert await next_id(db) == free


async def test_what_has_expired_does_not_block_what_comes_after_it(db):
    await waiting(db, valid_until=PAST)
    free = await waiting(db, valid_until=FUTURE)

    assert await next_id(db) == free


@on_postgresql
async def test_what_somebody_holds_locked_does_not_block_what_comes_after_it(db, ledger):
    held, free = await waiting(db), await waiting(db)

    with client(ledger) as other:
        other.execute(f"SELECT 1 FROM action_proposals WHERE id = {held} FOR UPDATE")
        found = await next_id(db)

    assert found == free


async def test_where_all_is_stopped_nothing_is_claimed(db, plain):
    await waiting(db)
    latch.engage(plain)

    assert await next_id(db) is None


async def test_what_was_lost_is_not_claimed_again(db, plain):
    await recovered(db, plain, await claimed(db))

    assert await next_id(db) is None


# -- many at once ------------------------------------------------------------------------------------------------------


async def test_of_many_workers_at_once_each_gets_another_proposal(db, ledger):
    made = [await waiting(db) for _ in range(12)]

    async with ActionDB(ledger.target) as second, ActionDB(ledger.target) as third:
        found = await asyncio.gather(
            *(next_id(one, worker=f"w{number}") for number in range(6) for one in (db, second, third))
        )

    assert sorted(number for number in found if number is not None) == made
    assert found.count(None) == 6


async def test_of_many_workers_that_claim_one_proposal_one_gets_it(db, ledger):
    number = await waiting(db)

    async with ActionDB(ledger.target) as other:
        claims = (one.claim(number, worker=f"w{n}") for n in range(4) for one in (db, other))
        found = await asyncio.gather(*claims, return_exceptions=True)

    lost = [one for one in found if isinstance(one, TransitionNotAllowedError)]
    assert len(lost) == 7


# -- a claim that is repeated ------------------------------------------------------------------------------------------


async def test_a_claim_that_is_repeated_under_its_key_gives_back_what_runs(db):
    _, _ = await waiting(db), await waiting(db)
    first = await db.claim_next(worker="w1", idempotency_key="k")

    again = await db.claim_next(worker="w1", idempotency_key="k")

    assert (again.proposal, again.record) == (first.proposal, first.record)


@pytest.mark.parametrize("other", [{"worker": "w2"}, {"idempotency_key": "l"}, {"idempotency_key": None}], ids=str)
async def test_another_worker_or_another_key_gets_another_proposal(db, other):
    _, second = await waiting(db), await waiting(db)
    await db.claim_next(worker="w1", idempotency_key="k")

    assert await next_id(db, **{"idempotency_key": "k", **other}) == second


async def test_the_key_of_what_has_ended_claims_the_next(db):
    _, second = await waiting(db), await waiting(db)
    await (await db.claim_next(worker="w1", idempotency_key="k")).complete()

    assert await next_id(db, idempotency_key="k") == second


async def test_one_key_at_the_same_moment_claims_one_proposal(db, ledger):
    _, _ = await waiting(db), await waiting(db)

    async with ActionDB(ledger.target) as other:
        found = await asyncio.gather(*(next_id(one, idempotency_key="k") for one in (db, other, db, other)))

    # None: all that waited was held by the others at that moment, whose claims are not committed yet.
    assert len(set(found) - {None}) == 1
    assert await next_id(db, idempotency_key="k") in set(found) - {None}


# -- a claim of one proposal -------------------------------------------------------------------------------------------


async def test_a_proposal_is_claimed_by_its_id(db):
    _, second = await waiting(db), await waiting(db)

    execution = await db.claim(second, worker="w1", lease_seconds=90)

    assert (execution.proposal.id, execution.record.proposal_id, execution.record.worker) == (second, second, "w1")


@pytest.mark.parametrize("status", [status for status in ActionStatus if status is not VALIDATED])
async def test_a_proposal_that_is_not_validated_is_not_claimed_by_its_id(db, status):
    made = await stored(db, status)

    with pytest.raises(TransitionNotAllowedError) as caught:
        await db.claim(made.id, worker="w1")

    assert (caught.value.current, caught.value.target) == (status, ActionStatus.EXECUTING)
    assert await db.get_proposal(made.id) == made


async def test_a_proposal_that_is_not_there_is_not_claimed(db):
    with pytest.raises(ProposalNotFoundError):
        await db.claim(4711, worker="w1")


async def test_a_claim_under_a_stop_names_the_stop(db, plain):
    number = await waiting(db, ticket_id=7)
    generation = latch.engage(plain, "ticket_id=7")

    with pytest.raises(KillSwitchEngagedError) as caught:
        await db.claim(number, worker="w1")

    assert (caught.value.id, caught.value.generation, caught.value.scope) == (number, generation, "ticket_id=7")


async def test_a_claim_of_what_a_stop_has_cancelled_names_the_stop(db):
    number = await waiting(db, ticket_id=7)
    receipt = await stop(db, scope=Scope(ticket_id=7))

    with pytest.raises(KillSwitchEngagedError) as caught:
        await db.claim(number, worker="w1")

    assert caught.value.generation == receipt.generation


async def test_what_has_expired_is_not_claimed_by_its_id(db):
    number = await waiting(db, valid_until=PAST)

    with pytest.raises(ProposalExpiredError) as caught:
        await db.claim(number, worker="w1")

    assert (caught.value.id, caught.value.valid_until) == (number, PAST)


async def test_a_refused_claim_opens_no_record(db, plain):
    number = await waiting(db)
    latch.engage(plain)

    with pytest.raises(KillSwitchEngagedError):
        await db.claim(number, worker="w1")

    assert await db.get_records_for_proposal(number) == []


@on_postgresql
@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_nothing_is_claimed_in_a_transaction_that_could_not_see_a_stop(db, ledger, level):
    await waiting(db)

    async with (
        hosted(ledger, "asyncpg") as host,
        AsyncSession(host.engine.execution_options(isolation_level=level)) as session,
    ):
        with pytest.raises(IsolationLevelError):
            await ActionRepository(session).claim_next(worker="w1")
