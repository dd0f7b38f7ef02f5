"""Where the approval of a proposal stands: what its policy asks for, what counts, and until when."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from operator_core.actions.approvals import (
    Approval,
    ApprovalNeed,
    ApprovalPolicy,
    ApprovalRule,
    ApprovalStatus,
    ApproverKind,
    Decision,
    FourEyes,
)
from operator_core.actions.kill_switch import EVERYTHING
from operator_core.actions.types import StoredProposal


def asks_nobody(policy: ApprovalPolicy) -> bool:
    """Return whether a policy lets everything pass that it covers."""
    return not any(rule.approvals for rule in policy.rules)


def covering_policy(policies: Iterable[ApprovalPolicy], action_name: str) -> ApprovalPolicy | None:
    """Return the policy that covers an action: the one of its name, else the one for everything."""
    by_scope = {policy.scope: policy for policy in policies}
    return by_scope.get(f"action_name={action_name}", by_scope.get(EVERYTHING))  # a row may have a name no Scope takes


def revocations_of(approval: Approval, decisions: Iterable[Approval]) -> list[Approval]:
    """Return the revocations that take an approval back: each takes back all that its approver had given by then."""
    decisions = list(decisions)
    of_approver = {d.id for d in decisions if d.decision is Decision.APPROVED and d.by == approval.by}
    return [d for d in decisions if d.revokes in of_approver and d.id > approval.id]


def standing_approvals(decisions: Sequence[Approval]) -> list[Approval]:
    """Return the approvals that nobody has taken back, including those that have expired."""
    approvals: list[Approval] = []
    approvers: dict[int | None, str] = {}
    taken_back: dict[str, int] = {}
    for decision in decisions:
        if decision.decision is Decision.APPROVED:
            approvals.append(decision)
            approvers[decision.id] = decision.by
    for decision in decisions:
        if decision.revokes in approvers:
            taken_back[approvers[decision.revokes]] = decision.id
    return [approval for approval in approvals if approval.id > taken_back.get(approval.by, 0)]


_WITHOUT_POLICY = ApprovalRule(four_eyes=FourEyes.NO, humans_only=False)
"""What is asked for where no policy covers a proposal, once somebody has decided about it."""


def evaluate(
    proposal: StoredProposal, policy: ApprovalPolicy | None, decisions: Sequence[Approval], at: datetime
) -> ApprovalStatus:
    """Return where the approval of a proposal stands at a moment, by the rules that the database's guard applies."""
    given = standing_approvals(decisions)
    if policy is not None:
        rules = policy.rules
    else:
        rules = (_WITHOUT_POLICY,) if decisions else ()
        given = [approval for approval in given if approval.kind is not ApproverKind.AGENT]
    ends = [_ends_by_approver(rule, given, proposal, at) for rule in rules]
    return ApprovalStatus(
        proposal_id=proposal.id,
        status=proposal.status,
        digest=proposal.digest,
        policy=None if policy is None else policy.scope,
        version=None if policy is None else policy.version,
        needs=tuple(
            ApprovalNeed(role=rule.role, approvals=rule.approvals, given=len(of_rule))
            for rule, of_rule in zip(rules, ends, strict=True)
        ),
        decisions=tuple(decisions),
        rejected_by=next((d.by for d in decisions if d.decision is Decision.REJECTED), None),
        lapsed=sum(_is_lapsed(decision, rules, at) for decision in given),
        until=min(
            filter(None, (_short_from(rule, of_rule) for rule, of_rule in zip(rules, ends, strict=True))), default=None
        ),
    )


def _counts_for(rule: ApprovalRule, approval: Approval, proposal: StoredProposal) -> bool:
    others: set[str | None] = set() if rule.four_eyes is FourEyes.NO else {proposal.proposed_by}
    if rule.four_eyes is FourEyes.PRINCIPAL:
        others.add(proposal.on_behalf_of)
    return (
        (rule.role is None or approval.role == rule.role)
        and (not rule.humans_only or approval.kind is ApproverKind.HUMAN)
        and approval.by not in others
        and None not in others  # nobody is known to be another than the principal
    )


def _end(rule: ApprovalRule, approval: Approval) -> datetime | None:
    """Return when an approval stops counting for a rule."""
    by_rule = None if rule.expires_in is None else approval.at + timedelta(seconds=rule.expires_in)
    return min((end for end in (approval.expires_at, by_rule) if end is not None), default=None)


def _ends_by_approver(
    rule: ApprovalRule, given: Iterable[Approval], proposal: StoredProposal, at: datetime
) -> dict[str, datetime | None]:
    """Return until when each approver counts for a rule; None is for ever."""
    ends: dict[str, datetime | None] = {}
    for approval in given:
        end = _end(rule, approval)
        if not _counts_for(rule, approval, proposal) or (end is not None and end <= at):
            continue
        known = ends.get(approval.by, end)
        ends[approval.by] = None if end is None or known is None else max(end, known)
    return ends


def _short_from(rule: ApprovalRule, ends: Mapping[str, datetime | None]) -> datetime | None:
    """Return when a rule that is satisfied will not be any more; None if never, or if it is not satisfied."""
    dated = sorted((end for end in ends.values() if end is not None), reverse=True)
    lasting = len(ends) - len(dated)
    return dated[rule.approvals - lasting - 1] if len(ends) >= rule.approvals > lasting else None


def _is_lapsed(approval: Approval, rules: Iterable[ApprovalRule], at: datetime) -> bool:
    """Return whether an approval has expired, by itself or for every rule."""
    if approval.expires_at is not None and approval.expires_at <= at:
        return True
    ends = [_end(rule, approval) for rule in rules]
    return bool(ends) and all(end is not None and end <= at for end in ends)
