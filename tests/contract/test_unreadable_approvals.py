"""A decision or a rule that cannot be read is named, hides nothing beside it and lets nothing start."""

import pytest

from operator_core.actions import ActionStatus, ApprovalRule, UnreadableRowError
from operator_core.db import ActionDB
from tests.support.approvals import approved, policy
from tests.support.factories import stored
from tests.support.ledger import Ledger
from tests.support.unreadable import behind_the_guards

UNREAD = {
    "action_proposals": "UPDATE action_proposals SET parameters = '[1]' WHERE id = {}",
    "action_approvals": "UPDATE action_approvals SET at = {} WHERE proposal_id = {}",
}


@pytest.mark.parametrize("table", UNREAD)
async def test_what_cannot_be_read_hides_nothing_beside_it(ledger: Ledger, table: str) -> None:
    reported: list[UnreadableRowError] = []
    async with ActionDB(ledger.target, on_unreadable=reported.append) as db:
        await policy(db, ApprovalRule(approvals=2))
        made = [await stored(db) for _ in range(3)]
        for one in made:
            await approved(db, one, "anna")
        never = "'soon'" if ledger.is_sqlite else "'infinity'"
        numbers = (made[1].id,) if table == "action_proposals" else (never, made[1].id)
        behind_the_guards(ledger, UNREAD[table].format(*numbers))

        assert [[one.proposal.id for one in await db.list_pending_approvals()] for _ in range(2)] == 2 * [
            [made[2].id, made[0].id]
        ]
        assert [(error.table, error.id) for error in reported] == [(table, made[1].id)]
        with pytest.raises(UnreadableRowError, match=table):
            await db.approval_status(made[1].id)


UNREAD_RULES = [
    *(("sqlite", change) for change in ("at = 'soon'", "four_eyes = 'none'", "approvals = 'two'", "reason = x'80'")),
    *(("postgresql", change) for change in ("at = 'infinity'", "expires_seconds = 'NaN'")),
    *((engine, change) for engine in ("sqlite", "postgresql") for change in ("expires_seconds = -1", "role = ' '")),
]


@pytest.mark.parametrize(("ledger", "change"), UNREAD_RULES, indirect=["ledger"])
async def test_a_rule_that_cannot_be_read_is_named(db: ActionDB, ledger: Ledger, change: str) -> None:
    await policy(db, ApprovalRule())
    made = await stored(db)
    behind_the_guards(ledger, f"UPDATE approval_policies SET {change}")

    for read in (db.approval_policies, lambda: db.approval_status(made.id), db.list_pending_approvals):
        with pytest.raises(UnreadableRowError) as caught:
            await read()
        assert (caught.value.table, caught.value.column) == ("approval_policies", change.partition(" ")[0])


@pytest.mark.parametrize(("ledger", "change"), UNREAD_RULES, indirect=["ledger"])
async def test_nothing_that_lacks_approvals_starts_beside_a_rule_that_cannot_be_read(
    db: ActionDB, ledger: Ledger, change: str
) -> None:
    made = await stored(db, ActionStatus.VALIDATED)
    await policy(db, ApprovalRule(approvals=2), scope="everything")
    await policy(db, ApprovalRule(), scope="action_name=other")
    behind_the_guards(ledger, f"UPDATE approval_policies SET {change} WHERE scope = 'action_name=other'")

    assert await db.claim_next(worker="w") is None
    assert await db.get_proposal(made.id) == made
    assert [one for one in await db.verify() if "action_name=other" in one.field or "approval_policies" in one.field]
