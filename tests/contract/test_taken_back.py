"""What a person has taken back: all of it, and without a policy too."""

from typing import Any

import pytest

from operator_core.actions import ActionStatus, ApprovalRefusedError, ApprovalRule, ApproverKind, NotApprovedError
from operator_core.db import ActionDB
from operator_core.db.guards.codes import NOT_APPROVED
from tests.support.approvals import approved, pass_time, policy
from tests.support.factories import stored
from tests.support.ledger import Ledger
from tests.support.plain_sql import attack, step

pytestmark = pytest.mark.usefixtures("sound_history")


async def starts(calls: Any, number: int) -> bool:
    """Return whether a proposal starts, having seen that the status says the same."""
    status = await calls.approval_status(number)
    try:
        await calls.start_execution(number)
    except NotApprovedError:
        assert not status.is_approved
        return False
    assert status.is_approved
    return True


async def test_a_revocation_takes_back_all_that_its_approver_has_given(calls: Any) -> None:
    await policy(calls, ApprovalRule(approvals=2), ApprovalRule(role="security"))
    made = await stored(calls)
    first, second, _ = await approved(calls, made, "ann", "ann", "ben", role="security")

    await calls.revoke(first.id, by="ann", reason="not before the backup")

    with pytest.raises(ApprovalRefusedError, match=f"ann revoked approval {second.id} already"):
        await calls.revoke(second.id, by="ann", reason="again")
    assert [need.given for need in (await calls.approval_status(made.id)).needs] == [1, 1]
    assert not await starts(calls, made.id)


async def test_what_the_approver_gives_afterwards_counts_again(calls: Any) -> None:
    await policy(calls, ApprovalRule())
    made = await stored(calls)
    (first,) = await approved(calls, made, "ann")
    await calls.revoke(first.id, by="ben", reason="not before the backup")
    assert not await starts(calls, made.id)

    await approved(calls, made, "ann")

    assert await starts(calls, made.id)


async def test_without_a_policy_nothing_starts_once_its_only_approval_is_taken_back(calls: Any) -> None:
    made = await stored(calls)
    (approval,) = await approved(calls, made, "ann")
    await calls.revoke(approval.id, by="ann", reason="wrong store")

    assert not await starts(calls, made.id)
    assert await calls.claim_next(worker="w1") is None
    assert [waiting.proposal.id for waiting in await calls.list_pending_approvals()] == [made.id]

    await approved(calls, made, "ben")
    assert await calls.list_pending_approvals() == []
    assert await starts(calls, made.id)


async def test_without_a_policy_nothing_starts_once_its_only_approval_has_expired(calls: Any, ledger: Ledger) -> None:
    made = await stored(calls)
    await approved(calls, made, "ann", expires_in=60.0)
    pass_time(ledger, 61)

    assert not await starts(calls, made.id)
    assert (await calls.approval_status(made.id)).lapsed == 1


async def test_without_a_policy_the_status_says_until_when_the_approval_holds(calls: Any) -> None:
    made = await stored(calls)
    (approval,) = await approved(calls, made, "ann", expires_in=60.0)

    status = await calls.approval_status(made.id)

    assert (status.until, status.policy, status.needed) == (approval.expires_at, None, 1)


async def test_a_models_opinion_alone_validates_nothing(calls: Any) -> None:
    made = await stored(calls)

    await approved(calls, made, "opus", kind=ApproverKind.AGENT)

    assert (await calls.approval_status(made.id)).status is ActionStatus.PROPOSED
    with pytest.raises(NotApprovedError, match="no approval of it stands"):
        await calls.update_proposal_status(made.id, ActionStatus.VALIDATED)
    await approved(calls, made, "rules", kind=ApproverKind.SYSTEM)
    assert (await calls.approval_status(made.id)).status is ActionStatus.VALIDATED


async def test_what_nobody_has_decided_about_needs_no_approval_without_a_policy(calls: Any) -> None:
    made = await stored(calls, ActionStatus.VALIDATED)

    assert await starts(calls, made.id)


async def test_no_step_of_plain_sql_is_taken_after_all_was_taken_back(db: ActionDB, plain: Any) -> None:
    made = await stored(db)
    approval = await db.approve(made.id, by="ann")
    await db.revoke(approval.id, by="ann", reason="wrong store")

    assert attack(plain, step(made.id, ActionStatus.EXECUTING)) == NOT_APPROVED
