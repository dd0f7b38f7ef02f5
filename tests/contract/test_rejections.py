"""What `reject`, `revoke` and `supersede` do, by `ActionDB` and in sessions of a host, on each engine."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from operator_core.actions import (
    ActionStatus,
    ActionType,
    ApprovalNotFoundError,
    ApprovalRefusedError,
    ApprovalRule,
    ApproverKind,
    Decision,
    NotApprovedError,
    SelfApprovalError,
    ValueNotStorableError,
)
from operator_core.actions.lifecycle import PENDING, TRANSITIONS
from tests.support.approvals import approved, policy
from tests.support.factories import stored
from tests.support.plain_sql import Plain, contents, engage

NOT_PENDING = [status for status in TRANSITIONS if status not in PENDING]
SOON = datetime.now(UTC) + timedelta(days=1)


pytestmark = pytest.mark.usefixtures("sound_history")


# -- reject ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", PENDING)
async def test_a_rejection_cancels_in_the_name_and_for_the_reason_of_who_rejects(
    calls: Any, status: ActionStatus
) -> None:
    made = await stored(calls, status)

    found = await calls.reject(made.id, by="anna", reason="wrong store", role="security", digest=made.digest)

    assert (found.decision, found.status, found.by, found.role) == (Decision.REJECTED, status, "anna", "security")
    assert (found.reason, found.digest, found.expires_at) == ("wrong store", made.digest, None)
    stored_now = await calls.get_proposal(made.id)
    assert (stored_now.status, stored_now.status_by) == (ActionStatus.CANCELLED, "anna")
    assert stored_now.status_reason == "wrong store"
    assert (await calls.approval_status(made.id)).rejected_by == "anna"


@pytest.mark.parametrize("status", NOT_PENDING)
async def test_what_is_not_pending_is_not_rejected(calls: Any, status: ActionStatus) -> None:
    made = await stored(calls, status)

    with pytest.raises(ApprovalRefusedError):
        await calls.reject(made.id, by="anna", reason="no")

    assert await calls.get_proposal(made.id) == made


async def test_the_proposer_may_reject(calls: Any) -> None:
    await policy(calls, ApprovalRule(approvals=2))
    made = await stored(calls)

    await calls.reject(made.id, by=made.proposed_by, reason="I was wrong")

    assert (await calls.get_proposal(made.id)).status is ActionStatus.CANCELLED


@pytest.mark.parametrize("scope", ["everything", "ticket_id=7"])
async def test_a_rejection_needs_no_release_of_a_stop(calls: Any, plain: Plain, scope: str) -> None:
    made = await stored(calls, ticket_id=7)
    plain.execute(engage(scope))

    await calls.reject(made.id, by="anna", reason="no")

    assert (await calls.approval_status(made.id)).rejected_by == "anna"


async def test_what_was_rejected_is_decided_by_nobody_any_more(calls: Any) -> None:
    made = await stored(calls)
    (given,) = await approved(calls, made, "bob")
    rejected = await calls.reject(made.id, by="anna", reason="no")

    for call in (
        calls.approve(made.id, by="carl"),
        calls.reject(made.id, by="carl", reason="no"),
        calls.revoke(given.id, by="bob", reason="no"),
        calls.supersede(made.id, parameters={}, by="carl", reason="no"),
    ):
        with pytest.raises(ApprovalRefusedError, match="it is cancelled"):
            await call

    assert (await calls.approval_status(made.id)).decisions == (given, rejected)


# -- revoke ------------------------------------------------------------------------------------------------------------


async def test_a_revocation_before_the_start_makes_it_wait_for_another_one(calls: Any) -> None:
    await policy(calls, ApprovalRule())
    made = await stored(calls)
    (given,) = await approved(calls, made, "anna")

    revoked = await calls.revoke(given.id, by="bob", reason="I know better", kind="system", role="sre")

    assert (revoked.decision, revoked.revokes, revoked.by) == (Decision.REVOKED, given.id, "bob")
    assert (revoked.kind, revoked.role, revoked.reason) == (ApproverKind.SYSTEM, "sre", "I know better")
    assert (await calls.get_proposal(made.id)).status is ActionStatus.VALIDATED
    with pytest.raises(NotApprovedError) as caught:
        await calls.start_execution(made.id)
    assert (caught.value.policy, caught.value.needed, caught.value.given) == ("action_name=drain_store", 1, 0)

    await approved(calls, made, "carl")
    await calls.start_execution(made.id)


async def test_whose_approval_was_revoked_may_approve_again(calls: Any) -> None:
    await policy(calls, ApprovalRule())
    made = await stored(calls)
    (given,) = await approved(calls, made, "anna")
    await calls.revoke(given.id, by="anna", reason="hm")

    await approved(calls, made, "anna")

    assert (await calls.approval_status(made.id)).is_approved


@pytest.mark.parametrize("status", NOT_PENDING)
async def test_no_approval_is_revoked_after_the_start(calls: Any, status: ActionStatus) -> None:
    made = await stored(calls)
    (given,) = await approved(calls, made, "anna")
    if status is ActionStatus.CANCELLED:
        await calls.update_proposal_status(made.id, status)
    else:
        record = await calls.start_execution(made.id)
        if status is not ActionStatus.EXECUTING:
            await calls.finish_execution(record.id, success=status is ActionStatus.COMPLETED)

    with pytest.raises(ApprovalRefusedError, match="request_cancel" if status == "executing" else f"it is {status}"):
        await calls.revoke(given.id, by="bob", reason="hm")

    assert (await calls.approval_status(made.id)).decisions == (given,)


async def test_an_approval_is_revoked_once(calls: Any) -> None:
    made = await stored(calls)
    (given,) = await approved(calls, made, "anna")
    await calls.revoke(given.id, by="bob", reason="hm")

    with pytest.raises(ApprovalRefusedError, match="bob revoked approval 1 already"):
        await calls.revoke(given.id, by="carl", reason="hm")


async def test_only_an_approval_is_revoked(calls: Any) -> None:
    made = await stored(calls)
    (given,) = await approved(calls, made, "anna")
    revoked = await calls.revoke(given.id, by="bob", reason="hm")

    with pytest.raises(ApprovalRefusedError, match="it says revoked"):
        await calls.revoke(revoked.id, by="carl", reason="hm")


async def test_an_approval_that_is_not_there_is_not_revoked(calls: Any) -> None:
    with pytest.raises(ApprovalNotFoundError, match="4711"):
        await calls.revoke(4711, by="bob", reason="hm")


# -- supersede ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", PENDING)
async def test_an_edit_is_a_new_proposal_that_takes_the_place_of_the_old_one(calls: Any, status: ActionStatus) -> None:
    kept = {"ticket_id": 7, "action_type": ActionType.TOOL, "valid_until": SOON, "on_behalf_of": "carl"}
    old = await stored(calls, status, parameters={"store": 4}, proposed_by="agent-7", **kept)

    new = await calls.supersede(old.id, parameters={"store": 5}, by="anna", reason="wrong store")

    assert (new.status, new.parameters, new.proposed_by, new.reason) == (
        *(ActionStatus.PROPOSED, {"store": 5}),
        *("anna", "wrong store"),
    )
    assert (new.retry_of, new.action_name) == (old.id, old.action_name)
    assert {name: getattr(new, name) for name in kept} == kept
    stood = await calls.get_proposal(old.id)
    assert (stood.status, stood.status_by, stood.status_reason) == (ActionStatus.CANCELLED, "anna", "wrong store")
    (rejection,) = (await calls.approval_status(old.id)).decisions
    assert (rejection.decision, rejection.replaced_by, rejection.by) == (Decision.REJECTED, new.id, "anna")
    assert (rejection.digest, rejection.reason) == (old.digest, "wrong store")


async def test_the_editor_is_the_proposer_whom_four_eyes_keep_from_approving(calls: Any) -> None:
    await policy(calls, ApprovalRule())
    new = await calls.supersede((await stored(calls)).id, parameters={"store": 5}, by="anna", reason="wrong store")

    with pytest.raises(SelfApprovalError):
        await calls.approve(new.id, by="anna")
    await calls.approve(new.id, by="bob")

    assert (await calls.approval_status(new.id)).is_approved


async def test_an_edit_carries_no_approval_over(calls: Any) -> None:
    await policy(calls, ApprovalRule())
    old = await stored(calls)
    await approved(calls, old, "bob")

    new = await calls.supersede(old.id, parameters={"store": 5}, by="anna", reason="wrong store")

    assert (await calls.approval_status(new.id)).missing != ()


@pytest.mark.parametrize("status", NOT_PENDING)
async def test_what_is_not_pending_is_not_superseded(calls: Any, plain: Plain, status: ActionStatus) -> None:
    old = await stored(calls, status)
    before = contents(plain)

    with pytest.raises(ApprovalRefusedError):
        await calls.supersede(old.id, parameters={"store": 5}, by="anna", reason="wrong store")

    assert contents(plain) == before


async def test_an_edit_that_cannot_be_stored_changes_nothing(calls: Any, plain: Plain) -> None:
    old = await stored(calls)
    before = contents(plain)

    with pytest.raises(ValueNotStorableError):
        await calls.supersede(old.id, parameters={"store": float("nan")}, by="anna", reason="wrong store")

    assert contents(plain) == before
