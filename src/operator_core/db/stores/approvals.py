"""Decisions about proposals: the writes, each with the diagnosis of its refusal."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from operator_core.actions.approval_evaluation import covering_policy, revocations_of
from operator_core.actions.approvals import Approval, ApprovalPolicy, ApproverKind, Decision
from operator_core.actions.errors import (
    ActionError,
    ApprovalNotFoundError,
    ApprovalRefusedError,
    ConstraintError,
    DigestMismatchError,
    ProposalNotFoundError,
    RetryTransactionError,
    SelfApprovalError,
)
from operator_core.actions.lifecycle import PENDING, ActionStatus
from operator_core.actions.types import ActionProposal, StoredProposal
from operator_core.db.engine.capabilities import has_approver_functions
from operator_core.db.errors import naming_missing_right
from operator_core.db.functions import now, now_plus
from operator_core.db.guards.approval_conditions import lacks_approval
from operator_core.db.guards.codes import (
    APPROVAL_REFUSED,
    EXPIRED,
    NOT_APPROVED,
    OWN_APPROVAL,
    STOPPED,
)
from operator_core.db.guards.conditions import COUNTER
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.schema import approvals, proposals, status_in
from operator_core.db.stores import approval_status, reading
from operator_core.db.stores import proposals as proposal_store
from operator_core.db.stores.mapping import PROPOSER_COLUMNS, to_approval
from operator_core.db.stores.transitions import (
    deferring_diagnosis,
    diagnose_transition,
    diagnose_unexplained,
    transition_to,
)


@dataclass(frozen=True, slots=True)
class NewDecision:
    """A decision to record: whose, in which capacity, why, about what was seen, and for how many seconds."""

    by: str
    kind: ApproverKind
    role: str | None
    reason: str | None
    digest: str | None = None
    lasting: float | None = None


_BIG, _TEXT, _DOUBLE = sa.BigInteger(), sa.Text(), sa.Double[float]()
_PROPOSAL_ID = sa.bindparam("proposal_id", type_=_BIG)
_BY_ID = proposals.c.id == _PROPOSAL_ID
_GIVEN = ("decision", "by", "kind", "role", "reason", "digest", "revokes", "replaced_by")
_INSERT = sa.insert(approvals).values(
    proposal_id=_PROPOSAL_ID,
    status=sa.func.coalesce(
        sa.select(proposals.c.status).where(_BY_ID).scalar_subquery(), sa.literal_column("'proposed'")
    ),
    at=now(),
    expires_at=now_plus(sa.bindparam("lasting", type_=_DOUBLE)),
    generation=sa.literal_column(COUNTER),
    **{name: sa.bindparam(f"new_{name}", type_=approvals.c[name].type) for name in _GIVEN},
)
_INSERT_ONE = _INSERT.returning(approvals.c.id)
_VALIDATE = transition_to(ActionStatus.VALIDATED).where(_BY_ID, ~lacks_approval("action_proposals"))
_CANCEL = transition_to(ActionStatus.CANCELLED).where(_BY_ID, sa.text(f"({status_in(PENDING)})"))


def _insert(connection: sa.Connection, proposal_id: int, kind: Decision, new: NewDecision, **values: int | None) -> int:
    return int(connection.scalar(_INSERT_ONE, _row(proposal_id, kind, new, **values)) or 0)


def _row(proposal_id: int, kind: Decision, new: NewDecision, **values: int | None) -> dict[str, Any]:
    given: dict[str, Any] = {"decision": kind, "by": new.by, "kind": new.kind, "role": new.role, "reason": new.reason}
    given |= {"digest": new.digest, "revokes": None, "replaced_by": None, **values}
    bound = {f"new_{name}": value for name, value in given.items()}
    return {"proposal_id": proposal_id, "lasting": new.lasting, **bound}


def insert_and_validate(connection: sa.Connection, shown: Sequence[StoredProposal], decision: NewDecision) -> None:
    """Record approvals of proposals as they were shown, and validate what then has all that it needs.

    For an engine without functions for approvers: it sends one statement with many rows, and another one.

    Raises:
        GuardRefusal: One of them was refused.
    """
    in_force = approval_status.policies(connection)
    rows: list[dict[str, Any]] = []
    for proposal in shown:
        lasting = _lasting(in_force, proposal, decision)
        rows.append(_row(proposal.id, Decision.APPROVED, replace(decision, digest=proposal.digest, lasting=lasting)))
    step = {"step_by": decision.by, "step_reason": decision.reason}
    connection.execute(_INSERT, rows)
    connection.execute(_VALIDATE, [{"proposal_id": proposal.id, **step} for proposal in shown])


def _function(name: str, last: str | None = None, kind: sa.types.TypeEngine[Any] = _BIG) -> sa.Select[Any]:
    """Return the call of a function for approvers, whom the tables themselves are closed to."""
    digest = ("new_digest",) if last else ()
    texts = [sa.bindparam(given, type_=_TEXT) for given in ("new_by", "new_kind", "new_role", "new_reason", *digest)]
    more = [sa.bindparam(last, type_=kind)] if last else []
    return sa.select(getattr(sa.func, f"operator_core_{name}")(sa.bindparam("of_id", type_=_BIG), *texts, *more))


_FUNCTIONS = {
    Decision.APPROVED: _function("approve", "lasting", _DOUBLE),
    Decision.REJECTED: _function("reject", "new_replaced_by"),
    Decision.REVOKED: _function("revoke"),
}


CANNOT_DECIDE = (
    "this role may not decide about proposals ({}): connect as operator_core_approver, or as another role that may "
    "execute operator_core_approve, _reject and _revoke"
)


def decision_values(new: NewDecision) -> dict[str, Any]:
    """Return the bound values that the functions for approvers have in common."""
    values = {f"new_{name}": getattr(new, name) for name in ("by", "role", "reason")}
    return {**values, "new_kind": new.kind.value, "lasting": new.lasting}


def _call(
    connection: sa.Connection, of_id: int, kind: Decision, new: NewDecision, replaced_by: int | None = None
) -> int:
    values = {**decision_values(new), "new_digest": new.digest, "of_id": of_id, "new_replaced_by": replaced_by}
    with naming_missing_right(connection.engine.url, CANNOT_DECIDE.format(kind.value)):
        return int(connection.scalar(_FUNCTIONS[kind], values) or 0)


_DECISION = sa.select(*approvals.columns).where(approvals.c.id == sa.bindparam("approval_id", type_=_BIG))


def _get(connection: sa.Connection, approval_id: int) -> Approval:
    found = reading.one(connection, _DECISION, {"approval_id": approval_id}, approvals.c.id, to_approval)
    if found is None:
        raise ApprovalNotFoundError(approval_id=approval_id)
    return found


def _seen(connection: sa.Connection, proposal_id: int, new: NewDecision) -> tuple[StoredProposal, NewDecision]:
    """Return the proposal, and the decision with its digest, which is that of what was seen.

    Raises:
        ProposalNotFoundError, DigestMismatchError: There is no such proposal, or something else was seen.
    """
    proposal = proposal_store.get(connection, proposal_id)
    if proposal is None:
        raise ProposalNotFoundError(proposal_id=proposal_id)
    if new.digest not in (None, proposal.digest):
        raise DigestMismatchError(proposal_id=proposal_id, given=str(new.digest), expected=proposal.digest)
    return proposal, replace(new, digest=proposal.digest)


@unit(TransactionMode.TRANSACTION)
def approve(connection: sa.Connection, proposal_id: int, decision: NewDecision) -> Approval:
    """Record an approval, and validate the proposal if it has all that its policy asks for.

    Raises:
        GuardRefusal, ProposalNotFoundError, DigestMismatchError: Nothing was recorded.
    """
    proposal, new = _seen(connection, proposal_id, decision)
    with deferring_diagnosis(lambda later, code: _diagnose(later, code, proposal.id, new.by)):
        if has_approver_functions(connection):
            number = _call(connection, proposal.id, Decision.APPROVED, new)
        else:
            new = replace(new, lasting=_lasting(approval_status.policies(connection), proposal, new))
            number = _insert(connection, proposal.id, Decision.APPROVED, new)
            connection.execute(_VALIDATE, {"proposal_id": proposal.id, "step_by": new.by, "step_reason": new.reason})
    return _get(connection, number)


def _lasting(in_force: Sequence[ApprovalPolicy], proposal: StoredProposal, new: NewDecision) -> float | None:
    """Return for how long an approval can count: no longer than the rules for its role allow."""
    policy = covering_policy(in_force, proposal.action_name)
    rules = [] if policy is None else [rule for rule in policy.rules if rule.role in (None, new.role)]
    limits = [rule.expires_in for rule in rules if rule.expires_in is not None]
    longest = max(limits) if limits and len(limits) == len(rules) else None
    return min((seconds for seconds in (new.lasting, longest) if seconds is not None), default=None)


@unit(TransactionMode.TRANSACTION)
def reject(connection: sa.Connection, proposal_id: int, decision: NewDecision) -> Approval:
    """Record a rejection, and cancel the proposal.

    Raises:
        GuardRefusal, ProposalNotFoundError, DigestMismatchError: Nothing was recorded.
    """
    _, new = _seen(connection, proposal_id, decision)
    return _reject(connection, proposal_id, new, None)


def _reject(connection: sa.Connection, proposal_id: int, new: NewDecision, replaced_by: int | None) -> Approval:
    with deferring_diagnosis(lambda later, code: _diagnose(later, code, proposal_id, new.by)):
        if has_approver_functions(connection):
            number = _call(connection, proposal_id, Decision.REJECTED, new, replaced_by)
        else:
            number = _insert(connection, proposal_id, Decision.REJECTED, new, replaced_by=replaced_by)
            connection.execute(_CANCEL, {"proposal_id": proposal_id, "step_by": new.by, "step_reason": new.reason})
    return _get(connection, number)


@unit(TransactionMode.TRANSACTION)
def revoke(connection: sa.Connection, approval_id: int, new: NewDecision) -> Approval:
    """Record the revocation of an approval; the proposal stays where it is.

    Raises:
        GuardRefusal, ApprovalNotFoundError: Nothing was recorded.
    """
    approval = _get(connection, approval_id)
    with deferring_diagnosis(lambda later, code: _diagnose_revocation(later, code, approval)):
        if has_approver_functions(connection):
            number = _call(connection, approval_id, Decision.REVOKED, new)
        else:
            number = _insert(connection, approval.proposal_id, Decision.REVOKED, new, revokes=approval_id)
    return _get(connection, number)


_REPLACED = {"parameters", "reason", "proposed_at", "proposed_by", "retry_of", "idempotency_key"}
_KEPT = tuple(name for name in PROPOSER_COLUMNS if name not in _REPLACED)


@unit(TransactionMode.TRANSACTION)
def supersede(
    connection: sa.Connection, proposal_id: int, parameters: dict[str, Any], by: str, reason: str
) -> StoredProposal:
    """Reject a pending proposal in favour of a new one with other parameters, and return that.

    Raises:
        GuardRefusal, ProposalNotFoundError, ApprovalRefusedError: Nothing was recorded.
    """
    old, decision = _seen(connection, proposal_id, NewDecision(by, ApproverKind.HUMAN, None, reason))
    with deferring_diagnosis(lambda later, code: _diagnose(later, code, proposal_id, by)):
        step = {"proposal_id": proposal_id, "step_by": by, "step_reason": reason}
        was_pending = connection.execute(_CANCEL, step).rowcount
    if not was_pending:
        current = proposal_store.get(connection, proposal_id) or old
        raise ApprovalRefusedError(proposal_id=proposal_id, problem=_not_pending(current))
    kept = {name: getattr(old, name) for name in _KEPT}
    replacement = ActionProposal(**kept, parameters=parameters, reason=reason, proposed_by=by, retry_of=proposal_id)
    new = proposal_store.insert(connection, replacement)
    _reject(connection, proposal_id, decision, new.id)
    return new


def _not_pending(proposal: StoredProposal) -> str:
    if proposal.status is ActionStatus.EXECUTING:
        return "it runs already; `request_cancel` asks it to stop"
    by = f" by {proposal.status_by}" if proposal.status_by else ""
    why = f" ({proposal.status_reason})" if proposal.status_reason else ""
    problem = f"it is {proposal.status}{by}{why}, and nothing is left to decide"
    return f"{problem}; propose it anew if it is still wanted" if proposal.status is ActionStatus.CANCELLED else problem


def _diagnose(connection: sa.Connection, code: str, proposal_id: int, by: str) -> ActionError:
    """Return the error that explains why a decision was refused."""
    proposal = proposal_store.get(connection, proposal_id)
    if proposal is None:
        return ProposalNotFoundError(proposal_id=proposal_id)
    if code in (STOPPED, EXPIRED):
        return diagnose_transition(connection, proposal_id, ActionStatus.EXECUTING, code)
    if code == OWN_APPROVAL:
        why = "proposed it" if by == proposal.proposed_by else "is the person for whom it was proposed"
        return SelfApprovalError(proposal_id=proposal_id, problem=f"{by} {why}, and the policy asks for somebody else")
    if code == APPROVAL_REFUSED and proposal.status not in PENDING:
        return ApprovalRefusedError(proposal_id=proposal_id, problem=_not_pending(proposal))
    if code == NOT_APPROVED:  # it lapsed, or the policy changed, between the condition and the guard
        return RetryTransactionError(code=code)
    return diagnose_unexplained(code)


def _diagnose_revocation(connection: sa.Connection, code: str, approval: Approval) -> ActionError:
    number = approval.proposal_id
    found = _diagnose(connection, code, number, approval.by)
    if not isinstance(found, ConstraintError | RetryTransactionError):
        return found
    if approval.decision is not Decision.APPROVED:
        problem = f"decision {approval.id} is not an approval: it says {approval.decision}"
        return ApprovalRefusedError(proposal_id=number, problem=problem)
    revoked = revocations_of(approval, approval_status.decisions_on(connection, [number]))
    if revoked:
        problem = f"{revoked[0].by} revoked approval {approval.id} already"
        return ApprovalRefusedError(proposal_id=number, problem=problem)
    return found
