"""Factories of proposals and policies for tests, with defaults for everything that a test does not care about."""

from typing import Any

from operator_core.actions.approvals import ApprovalPolicy, ApprovalRule
from operator_core.actions.kill_switch import EVERYTHING, Scope
from operator_core.actions.lifecycle import INITIAL, TRANSITIONS, ActionStatus
from operator_core.actions.types import ActionProposal, StoredProposal
from operator_core.db import ActionLedger

BY = "a test"


def make_proposal(**given: Any) -> ActionProposal:
    """Return a valid proposal that is not stored yet; `given` are its fields, which replace the defaults."""
    fields: dict[str, Any] = {"action_name": "drain_store", "reason": "store 4 is hot", **given}
    return ActionProposal(**fields)


async def store_proposal(db: ActionLedger, status: ActionStatus = INITIAL, **given: Any) -> StoredProposal:
    """Store a proposal, bring it to a state by the shortest legal path, and return it in that state.

    Args:
        db: An open `ActionDB`, a transaction of it, or a repository in a session.
        status: The target state; a proposal that is executing or has run has a record, without a lease.
        **given: Fields of the proposal, as in `make_proposal`.

    Raises:
        ActionError: As in the calls for these steps: under a stop nothing starts.
    """
    wanted = ActionStatus(status)
    proposal = await db.create_proposal(make_proposal(**given))
    for step in _shortest_path(wanted):
        proposal = await _step_to(db, proposal, step)
    return proposal


async def store_approval_policy(
    db: ActionLedger, *rules: ApprovalRule, scope: Scope | str = EVERYTHING
) -> ApprovalPolicy:
    """Set the policy of a scope, and return it.

    Args:
        db: An open `ActionDB`, a transaction of it, or a repository in a session.
        rules: The rules; without any, one person other than the proposer must approve.
        scope: `everything`, or `action_name=NAME`.
    """
    return await db.set_approval_policy(scope, rules or (ApprovalRule(),), by=BY, reason=BY)


async def store_approved_proposal(db: ActionLedger, **given: Any) -> StoredProposal:
    """Store a proposal with all the approvals that its policy asks for, and return it, validated.

    Each approval is by another person, in the role that is missing. Without a policy one is given.

    Args:
        db: An open `ActionDB`, a transaction of it, or a repository in a session.
        **given: Fields of the proposal, as in `make_proposal`.

    Raises:
        NotApprovedError: Nobody can satisfy the policy, for instance because the proposal names no `on_behalf_of`.
    """
    proposal = await db.create_proposal(make_proposal(**given))
    status = await db.approval_status(proposal.id)
    for number in range(1, 1 + max(1, sum(need.approvals for need in status.needs))):
        role = next((need.role for need in status.missing if need.role is not None), None)
        await db.approve(proposal.id, by=f"approver {number}", role=role)
        status = await db.approval_status(proposal.id)
        if status.status is not INITIAL:
            return await db.get_proposal(proposal.id) or proposal
    return await db.update_proposal_status(proposal.id, ActionStatus.VALIDATED, by=BY)


def _shortest_path(target: ActionStatus) -> tuple[ActionStatus, ...]:
    """Return the steps of the shortest path to a state."""
    paths: list[tuple[ActionStatus, ...]] = [(INITIAL,)]
    for path in paths:
        if path[-1] is target:
            return path[1:]
        paths += [(*path, following) for following in TRANSITIONS[path[-1]]]
    raise AssertionError(f"no path leads to {target}")


async def _step_to(db: ActionLedger, proposal: StoredProposal, step: ActionStatus) -> StoredProposal:
    number = proposal.id
    if step is ActionStatus.EXECUTING:
        await db.start_execution(number, by=BY)
    elif proposal.status is ActionStatus.EXECUTING:
        (record,) = await db.get_records_for_proposal(number)
        await db.finish_execution(record.id, success=step is ActionStatus.COMPLETED, by=BY)
    else:
        return await db.update_proposal_status(number, step, by=BY)
    return await db.get_proposal(number) or proposal
