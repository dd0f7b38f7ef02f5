"""What waits for a person, for whom, and what is still missing, on each engine."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from operator_core.actions import (
    PENDING,
    ActionStatus,
    ApprovalNeed,
    ApprovalRule,
    ApproverKind,
    Decision,
)
from tests.support.approvals import OF_NAME, approved, pass_time, policy
from tests.support.factories import proposal, stored
from tests.support.ledger import Ledger
from tests.support.plain_sql import Plain, contents, engage, new, release

pytestmark = pytest.mark.usefixtures("sound_history")


async def waiting(calls: Any, role: str | None = None, **given: Any) -> list[int]:
    """Return the ids of what waits for a person."""
    return [one.proposal.id for one in await calls.list_pending_approvals(role, **given)]


# -- where it stands ---------------------------------------------------------------------------------------------------


async def test_without_a_policy_nothing_is_missing(calls: Any) -> None:
    made = await stored(calls)

    found = await calls.approval_status(made.id)

    assert (found.proposal_id, found.status, found.digest) == (made.id, ActionStatus.PROPOSED, made.digest)
    assert (found.policy, found.version, found.needs, found.decisions) == (None, None, (), ())
    assert (found.rejected_by, found.lapsed, found.until) == (None, 0, None)
    assert (found.needed, found.given, found.missing, found.is_approved) == (0, 0, (), True)


async def test_under_a_policy_each_rule_says_what_it_has_and_what_is_missing(calls: Any) -> None:
    stated = await policy(calls, ApprovalRule(approvals=2), ApprovalRule(role="security"))
    made = await stored(calls)
    given = await approved(calls, made, "anna", role="sre")

    found = await calls.approval_status(made.id)

    assert (found.policy, found.version, found.decisions) == (OF_NAME, stated.version, tuple(given))
    assert found.needs == (
        ApprovalNeed(role=None, approvals=2, given=1),
        ApprovalNeed(role="security", approvals=1, given=0),
    )
    assert (found.needed, found.given, found.missing, found.is_approved) == (2, 1, found.needs, False)


@pytest.mark.parametrize("name", ["", " ", "drain_store "])
async def test_a_name_that_only_plain_sql_gives_is_covered_by_the_policy_for_everything(
    calls: Any, plain: Plain, name: str
) -> None:
    await policy(calls, ApprovalRule(), scope="everything")
    await policy(calls, ApprovalRule(approvals=3))
    plain.execute(new(action_name=name))

    (one,) = await calls.list_pending_approvals()
    status = await calls.approval_status(one.proposal.id)

    assert (one.proposal.action_name, status.policy, status.needed) == (name, "everything", 1)


async def test_all_decisions_are_listed_oldest_first(calls: Any) -> None:
    made = await stored(calls)
    (first,) = await approved(calls, made, "anna")
    revoked = await calls.revoke(first.id, by="bob", reason="hm")
    rejected = await calls.reject(made.id, by="carl", reason="no")

    found = await calls.approval_status(made.id)

    assert found.decisions == (first, revoked, rejected)
    assert [one.decision for one in found.decisions] == [Decision.APPROVED, Decision.REVOKED, Decision.REJECTED]
    assert (found.rejected_by, found.is_approved) == ("carl", False)


@pytest.mark.parametrize("status", ActionStatus)
async def test_the_status_is_told_of_a_proposal_in_any_state(calls: Any, status: ActionStatus) -> None:
    made = await stored(calls, status)

    assert (await calls.approval_status(made.id)).status is status


# -- what waits --------------------------------------------------------------------------------------------------------


async def test_without_a_policy_what_is_proposed_waits_newest_first(calls: Any) -> None:
    made = {status: (await stored(calls, status)).id for status in ActionStatus}
    last = await stored(calls)

    assert await waiting(calls) == [last.id, made[ActionStatus.PROPOSED]]


async def test_each_comes_with_its_proposal_and_what_is_missing(calls: Any) -> None:
    await policy(calls, ApprovalRule(approvals=2))
    made, other = await stored(calls), await stored(calls, action_name="fill_store")
    await approved(calls, made, "anna")

    found = await calls.list_pending_approvals()

    assert [one.proposal for one in found] == [other, made]
    assert [one.approval for one in found] == [await calls.approval_status(one.id) for one in (other, made)]


async def test_under_a_policy_what_lacks_approvals_waits_also_once_it_is_validated(calls: Any, ledger: Ledger) -> None:
    validated = await stored(calls, ActionStatus.VALIDATED)
    await policy(calls, ApprovalRule())
    enough, lapsed, revoked = [await stored(calls) for _ in range(3)]
    await approved(calls, lapsed, "anna", expires_in=60)
    pass_time(ledger, 61)
    await approved(calls, enough, "anna")
    await calls.revoke((await approved(calls, revoked, "anna"))[0].id, by="anna", reason="hm")

    found = await calls.list_pending_approvals()

    assert [(one.proposal.id, one.approval.lapsed) for one in found] == [
        (revoked.id, 0),
        (lapsed.id, 1),
        (validated.id, 0),
    ]


async def test_what_can_never_start_waits_for_nobody(calls: Any, plain: Plain) -> None:
    past = datetime.now(UTC) - timedelta(hours=1)
    await policy(calls, ApprovalRule())
    await stored(calls, valid_until=past)
    stopped = await stored(calls, ticket_id=7)
    released = await stored(calls, ticket_id=8)
    await calls.reject((await stored(calls)).id, by="anna", reason="no")
    waits = await stored(calls, valid_until=datetime.now(UTC) + timedelta(hours=1))
    for statement in (engage("ticket_id=7"), engage("ticket_id=8"), release("ticket_id=8")):
        plain.execute(statement)

    assert await waiting(calls) == [waits.id]
    for one in (stopped, released):
        assert not (await calls.approval_status(one.id)).is_approved


async def test_under_a_policy_that_asks_nobody_nothing_waits(calls: Any) -> None:
    await policy(calls, ApprovalRule(approvals=0))
    await stored(calls)

    assert await waiting(calls) == []


async def test_a_role_is_shown_what_an_approval_in_it_brings_further(calls: Any) -> None:
    free = await stored(calls, action_name="free")
    await policy(calls, ApprovalRule(role="security"), ApprovalRule(role="sre", approvals=2))
    await policy(calls, ApprovalRule(approvals=2), scope="action_name=anybody")
    both, one, anybody = await stored(calls), await stored(calls), await stored(calls, action_name="anybody")
    await approved(calls, one, "anna", role="security")

    assert await waiting(calls, "security") == [anybody.id, both.id, free.id]
    assert await waiting(calls, "sre") == [anybody.id, one.id, both.id, free.id]
    assert await waiting(calls, "nobody") == [anybody.id, free.id]
    assert await waiting(calls) == [anybody.id, one.id, both.id, free.id]


async def test_pages_follow_one_another_without_a_gap(calls: Any) -> None:
    made = [one.id for one in await calls.create_proposals([proposal() for _ in range(7)])]
    pages: list[list[int]] = []
    before: int | None = None

    while page := await waiting(calls, before_id=before, limit=3):
        pages.append(page)
        before = page[-1]

    assert pages == [made[:3:-1], made[3:0:-1], made[:1]]
    assert await waiting(calls, before_id=made[0]) == []


async def test_the_reads_change_nothing(calls: Any, plain: Plain) -> None:
    await policy(calls, ApprovalRule())
    made = await stored(calls)
    before = contents(plain)

    await calls.approval_status(made.id)
    await calls.list_pending_approvals("sre")
    await calls.approval_policies()

    assert contents(plain) == before


async def test_kinds_and_times_of_all_decisions_are_told(calls: Any) -> None:
    made = await stored(calls)

    for kind in ApproverKind:
        await calls.approve(made.id, by=f"{kind}-1", kind=kind)

    found = await calls.approval_status(made.id)
    assert [one.kind for one in found.decisions] == [*ApproverKind]
    assert sorted(one.at for one in found.decisions) == [one.at for one in found.decisions]
    assert {one.status for one in found.decisions} <= set(PENDING)
