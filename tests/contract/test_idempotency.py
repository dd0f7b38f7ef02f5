"""What an idempotency key does on each engine: whoever repeats a proposal gets the first one, and nothing is stored."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from operator_core.actions import (
    ActionStatus,
    ActionType,
    IdempotencyKeyError,
    InvalidArgumentError,
)
from operator_core.actions.lifecycle import TERMINAL
from operator_core.actions.types import utc_now
from operator_core.db import ActionDB, ActionRepository
from tests.support.factories import proposal, stored
from tests.support.history import check_history
from tests.support.host import hosted
from tests.support.ledger import Ledger
from tests.support.stop_steps import stop
from tests.support.values import REFUSED

SOON = utc_now() + timedelta(days=1)
GIVEN = {"ticket_id": 7, "parameters": {"store": 4}, "valid_until": SOON}
OTHERS = {
    "ticket_id": 8,
    "action_name": "fill_store",
    "action_type": ActionType.TOOL,
    "parameters": {"store": 5},
    "reason": "store 5 is hot",
    "proposed_by": "agent-7",
    "valid_until": SOON + timedelta(microseconds=1),
}
ALIKE = [
    ({"n": 1}, {"n": 1.0}),
    ({"n": 1}, {"n": True}),
    ({"n": 0}, {"n": False}),
    ({"n": [1]}, {"n": [1.0]}),
    ({"n": {"m": 1.0}}, {"n": {"m": True}}),
    ({"n": 0.0}, {"n": -0.0}),
    ({"n": 0}, {"n": None}),
    ({"n": [1, 2]}, {"n": [2, 1]}),
    ({"n": "1"}, {"n": 1}),
    ({}, {"n": None}),
]


@pytest.fixture(autouse=True)
def _history(ledger: Ledger) -> Iterator[None]:
    yield
    assert check_history(ledger) == []


async def test_the_first_proposal_of_a_key_is_not_repeated(db):
    made = await db.create_proposal(proposal(), idempotency_key="k")

    assert (made.repeated, made.idempotency_key) == (False, "k")


async def test_a_proposal_that_is_repeated_is_the_first_one_and_says_so(db):
    first = await db.create_proposal(proposal(**GIVEN), idempotency_key="k")

    again = await db.create_proposal(proposal(**GIVEN), idempotency_key="k")

    assert again == first.model_copy(update={"repeated": True})


async def test_a_proposal_that_is_repeated_is_stored_once(db):
    for _ in range(3):
        await db.create_proposal(proposal(), idempotency_key="k")

    assert len(await db.list_proposals()) == 1


async def test_a_key_may_be_given_with_the_proposal(db):
    first = await db.create_proposal(proposal(idempotency_key="k"))

    again = await db.create_proposal(proposal(), idempotency_key="k")

    assert (again.id, again.repeated) == (first.id, True)


async def test_another_key_is_another_proposal(db):
    first = await db.create_proposal(proposal(), idempotency_key="k")

    other = await db.create_proposal(proposal(), idempotency_key="l")

    assert (other.id != first.id, other.repeated) == (True, False)


async def test_proposals_without_a_key_are_never_repeated(db):
    first, other = await stored(db), await stored(db)

    assert first.id != other.id


@pytest.mark.parametrize("status", ActionStatus)
async def test_a_proposal_is_repeated_as_it_stands_now(db, status):
    made = await stored(db, status, idempotency_key="k")

    again = await db.create_proposal(proposal(), idempotency_key="k")

    assert again == made.model_copy(update={"repeated": True})


@pytest.mark.parametrize("status", TERMINAL)
async def test_what_is_read_later_is_not_marked_as_repeated(db, status):
    made = await stored(db, status, idempotency_key="k")
    await db.create_proposal(proposal(), idempotency_key="k")

    assert (await db.get_proposal(made.id)).repeated is False


@pytest.mark.parametrize("name", OTHERS)
async def test_other_content_under_the_same_key_is_refused(db, name):
    first = await db.create_proposal(proposal(**GIVEN), idempotency_key="k")

    with pytest.raises(IdempotencyKeyError) as caught:
        await db.create_proposal(proposal(**{**GIVEN, name: OTHERS[name]}), idempotency_key="k")

    assert (caught.value.key, caught.value.proposal_id, caught.value.differs) == ("k", first.id, (name,))
    assert await db.list_proposals() == [first]


async def test_all_that_differs_is_named(db):
    await db.create_proposal(proposal(**GIVEN), idempotency_key="k")

    with pytest.raises(IdempotencyKeyError) as caught:
        await db.create_proposal(proposal(**OTHERS), idempotency_key="k")

    assert set(caught.value.differs) == set(OTHERS)


async def test_another_time_of_proposing_is_not_other_content(db):
    first = await db.create_proposal(proposal(proposed_at=SOON), idempotency_key="k")

    again = await db.create_proposal(proposal(), idempotency_key="k")

    assert (again.id, again.proposed_at) == (first.id, SOON)


@pytest.mark.parametrize(("first", "second"), [*ALIKE, *((second, first) for first, second in ALIKE)])
async def test_parameters_that_are_only_alike_are_other_content(db, first, second):
    await db.create_proposal(proposal(parameters=first), idempotency_key="k")

    with pytest.raises(IdempotencyKeyError) as caught:
        await db.create_proposal(proposal(parameters=second), idempotency_key="k")

    assert caught.value.differs == ("parameters",)


@pytest.mark.parametrize("number", [1, 1.0, True, 1e16, -0.0, 2**53, 0.1, "é"])
async def test_parameters_that_are_the_same_are_repeated(db, number):
    await db.create_proposal(proposal(parameters={"n": [number]}), idempotency_key="k")

    again = await db.create_proposal(proposal(parameters={"n": [number]}), idempotency_key="k")

    assert again.repeated is True


async def test_the_order_of_keys_is_not_other_content(db):
    await db.create_proposal(proposal(parameters={"a": {"x": 1, "y": 2}, "b": 3}), idempotency_key="k")

    again = await db.create_proposal(proposal(parameters={"b": 3, "a": {"y": 2, "x": 1}}), idempotency_key="k")

    assert again.repeated is True


async def test_of_many_that_propose_under_one_key_at_once_one_is_stored(db, ledger):
    async with ActionDB(ledger.target) as other:
        made = await asyncio.gather(
            *(one.create_proposal(proposal(), idempotency_key="k") for one in (db, other, db, other, db))
        )

    assert sorted(one.repeated for one in made) == [False, True, True, True, True]
    assert len(await db.list_proposals()) == 1


@pytest.mark.parametrize("value", ["", " ", "a\0b", "x" * 256, 7])
async def test_a_key_must_be_a_name(db, value):
    with pytest.raises(REFUSED) as caught:
        await db.create_proposal(proposal(), idempotency_key=value)

    assert caught.value.path == "idempotency_key"
    assert await db.list_proposals() == []


async def test_a_key_among_many_proposals_is_refused_and_nothing_is_stored(db):
    with pytest.raises(InvalidArgumentError, match="works with create_proposal only") as caught:
        await db.create_proposals([proposal(), proposal(idempotency_key="k")])

    assert caught.value.path == "idempotency_key"
    assert await db.list_proposals() == []


async def test_what_is_proposed_under_a_stop_is_repeated_as_it_was_cancelled(db):
    await stop(db, by="ann", reason="flood")
    first = await db.create_proposal(proposal(), idempotency_key="k")

    again = await db.create_proposal(proposal(), idempotency_key="k")

    assert (first.status, again.repeated) == (ActionStatus.CANCELLED, True)
    assert again == first.model_copy(update={"repeated": True})


async def test_a_release_revives_nothing_that_is_repeated(db):
    receipt = await stop(db)
    first = await db.create_proposal(proposal(), idempotency_key="k")
    await db.release_kill_switch(by="bob", reason="all clear", generation=receipt.generation)

    again = await db.create_proposal(proposal(), idempotency_key="k")

    assert (again.id, again.status) == (first.id, ActionStatus.CANCELLED)


async def test_a_key_works_in_the_transaction_of_a_host(ledger):
    async with hosted(ledger, "asyncpg") as host, AsyncSession(host.engine) as session, session.begin():
        repository = ActionRepository(session)
        first = await repository.create_proposal(proposal(), idempotency_key="k")
        again = await repository.create_proposal(proposal(), idempotency_key="k")

    assert (again.id, again.repeated) == (first.id, True)
