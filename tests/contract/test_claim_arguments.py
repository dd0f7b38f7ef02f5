"""What a claim may be given on each engine, and what those get who validate."""

import pytest

from operator_core.actions import ActionStatus, InvalidArgumentError
from operator_core.db import ActionDB
from tests.support.claims import claimed
from tests.support.factories import stored
from tests.support.plain_sql import on_postgresql
from tests.support.values import REFUSED


@pytest.mark.parametrize("lease", [0, -1, 86_401, float("nan"), float("inf"), "60", None, True])
async def test_a_lease_is_a_number_of_seconds_up_to_a_day(db, lease):
    number = (await stored(db, ActionStatus.VALIDATED)).id

    for claim in (db.claim_next(worker="w1", lease_seconds=lease), db.claim(number, worker="w1", lease_seconds=lease)):
        with pytest.raises(InvalidArgumentError) as caught:
            await claim
        assert caught.value.path == "lease_seconds"


@pytest.mark.parametrize("lease", [0.000_001, 86_400])
async def test_the_shortest_and_the_longest_lease_can_be_stored(db, lease):
    execution = await claimed(db, lease_seconds=lease)

    assert execution.record.lease_seconds == lease


@pytest.mark.parametrize("name", ["worker", "idempotency_key"])
@pytest.mark.parametrize("value", ["", " ", "a\0b", "x" * 256, 7])
async def test_a_worker_and_a_key_must_be_names(db, name, value):
    await stored(db, ActionStatus.VALIDATED)

    with pytest.raises(REFUSED) as caught:
        await db.claim_next(**{"worker": "w1", name: value})

    assert caught.value.path == name


async def test_one_text_is_no_list_of_names_for_who_validates(db):
    await stored(db, action_name="a")

    async with db.transaction() as tx:
        with pytest.raises(InvalidArgumentError):
            await tx.lock_proposed("a")


@pytest.mark.parametrize("limit", [0, -1])
async def test_who_validates_asks_for_one_or_more(db, limit):
    await stored(db, action_name="a")

    async with db.transaction() as tx:
        with pytest.raises(InvalidArgumentError):
            await tx.lock_proposed(["a"], limit=limit)


async def test_who_validates_gets_the_oldest_of_the_names_first(db):
    made = [(await stored(db, action_name=name)).id for name in ("a", "b", "a", "c", "a")]

    async with db.transaction() as tx:
        found = await tx.lock_proposed(["a", "b"], limit=3)

    assert [one.id for one in found] == made[:3]


@on_postgresql
async def test_of_those_who_validate_at_once_each_gets_other_proposals(db, ledger):
    first, second = [(await stored(db)).id for _ in range(2)]

    async with ActionDB(ledger.target) as other, db.transaction() as tx:
        taken = await tx.lock_proposed(["drain_store"], limit=1)
        async with other.transaction() as beside:
            left = await beside.lock_proposed(["drain_store"])

    assert ([one.id for one in taken], [one.id for one in left]) == ([first], [second])
