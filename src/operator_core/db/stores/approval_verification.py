"""Verification of approvals: each start had what its policy asked for, and the policies are those of their history."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import sqlalchemy as sa

from operator_core.actions.approval_evaluation import evaluate, revocations_of
from operator_core.actions.approvals import Approval, ApprovalPolicy, Decision
from operator_core.actions.lifecycle import ActionStatus
from operator_core.actions.reports import Discrepancy
from operator_core.actions.types import ActionEvent, EventKind, StoredProposal
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.schema import approvals, policies, policy_events, proposals
from operator_core.db.stores import history, reading
from operator_core.db.stores.approval_status import to_policy, to_rule
from operator_core.db.stores.mapping import to_approval, to_proposal
from operator_core.db.types import Undecodable

_PROPOSALS = sa.select(*proposals.columns).where(reading.in_id_range(proposals.c.id))
_DECISIONS = sa.select(*approvals.columns).where(reading.in_id_range(approvals.c.proposal_id)).order_by(approvals.c.id)
_CHANGES = sa.select(*policy_events.columns).order_by(policy_events.c.version)
_RULES = sa.select(*policies.columns).order_by(policies.c.scope, policies.c.role)

_Problem = tuple[str, str, str]


@unit(TransactionMode.SNAPSHOT)
def compare(connection: sa.Connection, first: int, last: int) -> list[Discrepancy]:
    """Return every start of a range of proposals that lacks what its policy asked for; needs one snapshot.

    A start whose event names no policy is believed. What cannot be read is reported by `verification.compare`.
    """
    values = {"first": first, "last": last}
    stored = reading.many(connection, _PROPOSALS, values, proposals.c.id, to_proposal).items
    decided = reading.many(connection, _DECISIONS, values, approvals.c.id, to_approval).items
    told = history.by_proposal(history.of_proposals(connection, first, last).items)
    changes = reading.many(connection, _CHANGES, {}, policy_events.c.id, _change).items if decided or told else []
    decisions: dict[int, list[Approval]] = {}
    for decision in decided:
        decisions.setdefault(decision.proposal_id, []).append(decision)
    return [
        Discrepancy(proposal_id=proposal.id, field=field, expected=expected, found=found)
        for proposal in stored
        for field, expected, found in _problems(
            proposal, told.get(proposal.id, []), decisions.get(proposal.id, []), changes
        )
    ]


def _problems(
    proposal: StoredProposal, told: Sequence[ActionEvent], decisions: Sequence[Approval], changes: Sequence[sa.Row[Any]]
) -> Iterator[_Problem]:
    rejected = next((d for d in decisions if d.decision is Decision.REJECTED), None)
    if rejected is not None and proposal.status is not ActionStatus.CANCELLED:
        yield "status", f"cancelled: {rejected.by} rejected it", str(proposal.status)
    start = next((e for e in told if e.kind is EventKind.STEP and e.to_status is ActionStatus.EXECUTING), None)
    if start is None or start.data is None or "policy" not in start.data:
        return
    ids = cast("list[int]", start.data.get("approvals") or [])
    used = [decision for decision in decisions if decision.id in ids]
    if len(used) != len(ids) or any(decision.decision is not Decision.APPROVED for decision in used):
        yield "approvals", f"the approvals {ids}, which its start names", str([d.id for d in used])
    for approval in used:
        for revocation in revocations_of(approval, decisions):
            yield "approvals", f"approval {approval.id}, which its start used", f"revoked by {revocation.by}"
    scope, version = str(start.data["policy"]), cast("int", start.data.get("version") or 0)
    policy = _at_version(changes, scope, version)
    if policy is None:
        yield "policy", f"a policy for {scope} at version {version}", "none"
        return
    status = evaluate(proposal, policy, used, min(start.at, start.recorded_at or start.at))
    for need in status.missing:
        yield "approvals", f"what version {version} of the policy for {scope} asks for", str(need)


def _change(row: sa.Row[Any]) -> sa.Row[Any]:
    to_rule(row)  # raises an error if it cannot be read, which `compare_policies` reports
    return row


def _at_version(changes: Sequence[sa.Row[Any]], scope: str, version: int) -> ApprovalPolicy | None:
    """Return the policy of a scope as it was at a version: the last change of each of its roles until then."""
    rows = {row.role: row for row in changes if row.scope == scope and row.version <= version}
    return to_policy(list(rows.values())) if any(row.in_force for row in rows.values()) else None


def compare_policies(connection: sa.Connection) -> list[Discrepancy]:
    """Return every rule that differs from the last change that the history holds of it, and what cannot be read."""
    changes = reading.lossy(connection, _CHANGES, {}, policy_events.c.id)
    rules = reading.lossy(connection, _RULES, {}, policies.c.version)
    last = {_key(row): row for row in changes}
    stored = {_key(row): row for row in rules}
    differences = [
        Discrepancy(
            field=f"policy for {scope}, rule {role or 'without a role'}: {name}", expected=expected, found=found
        )
        for scope, role in sorted({*last, *stored})
        for name, expected, found in _differences(last.get((scope, role)), stored.get((scope, role)))
    ]
    return [*differences, *_unreadable(policies, rules), *_unreadable(policy_events, changes)]


def _key(row: Mapping[str, Any]) -> tuple[str, str]:
    return reading.text(row["scope"]), reading.text(row["role"])


def _unreadable(table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> Iterator[Discrepancy]:
    for row in rows:
        for name, value in row.items():
            if isinstance(value, Undecodable):
                field = f"{table.name} {reading.number(row['version'])}.{name}"
                yield Discrepancy(field=field, expected=reading.READABLE, found=value.detail)


def _differences(last: Mapping[str, Any] | None, stored: Mapping[str, Any] | None) -> Iterator[_Problem]:
    if last is None or stored is None:
        yield "row", "a rule" if last else "nothing: it has no history", "a rule" if stored else "nothing"
        return
    for column in policies.columns:
        expected, found = last[column.name], stored[column.name]
        if expected != found and not isinstance(expected, Undecodable) and not isinstance(found, Undecodable):
            yield column.name, str(expected), str(found)
