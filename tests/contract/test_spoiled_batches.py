"""Calls for many at once over rows that somebody changed behind the guards: the others are not held up."""

import pytest

from operator_core.actions import ActionOutcome, DigestMismatchError
from operator_core.db import ActionDB
from tests.support.factories import proposal
from tests.support.history import tamper
from tests.support.ledger import Ledger
from tests.support.workbench import ready

OTHER_PARAMETERS = "UPDATE action_proposals SET parameters = '{{\"store\": 5}}' WHERE id = {}"


async def claim(db: ActionDB, limit: int) -> list[int]:
    """Claim many, and return the ids of their proposals."""
    return [execution.proposal.id for execution in await db.claim_many(limit, worker="w1")]


async def test_one_that_cannot_be_read_does_not_keep_the_others_from_being_claimed(
    db: ActionDB, ledger: Ledger
) -> None:
    made = await ready(db, 3)
    unreadable = "reason = CAST(x'80' AS TEXT)" if ledger.is_sqlite else "parameters = '[1]'"
    tamper(ledger, f"UPDATE action_proposals SET {unreadable} WHERE id = {made[0]}")

    claimed = [number for _ in made for number in await claim(db, 3)]

    assert claimed == made[1:]
    assert await db.get_records_for_proposal(made[0]) == []


async def test_a_repeated_call_finds_also_what_was_claimed_alone(db: ActionDB, ledger: Ledger) -> None:
    made = await ready(db, 4)
    unreadable = "reason = CAST(x'80' AS TEXT)" if ledger.is_sqlite else "parameters = '[1]'"
    tamper(ledger, f"UPDATE action_proposals SET {unreadable} WHERE id = {made[0]}")

    first = await db.claim_many(3, worker="w1", idempotency_key="k")  # refused as a whole, so that one is claimed
    again = await db.claim_many(3, worker="w1", idempotency_key="k")

    assert [[one.record.id for one in executions] for executions in (first, again)] == [[first[0].record.id]] * 2
    assert first[0].proposal.id == made[1]


async def test_what_is_not_what_was_approved_is_not_returned(db: ActionDB, ledger: Ledger) -> None:
    made = [(await db.create_proposal(proposal())).id for _ in range(3)]
    for number in made:
        await db.approve(number, by="ann")
    tamper(ledger, OTHER_PARAMETERS.format(made[1]))

    assert await claim(db, 3) == [made[0], made[2]]
    (record,) = await db.get_records_for_proposal(made[1])
    assert record.outcome is ActionOutcome.FAILED


async def test_what_was_shown_is_what_is_approved(db: ActionDB, ledger: Ledger) -> None:
    made = [await db.create_proposal(proposal()) for _ in range(2)]
    tamper(ledger, OTHER_PARAMETERS.format(made[1].id))

    await db.approve_many(made, by="ann")

    with pytest.raises(DigestMismatchError):
        await db.claim(made[1].id, worker="w1")
    assert await claim(db, 2) == [made[0].id]
