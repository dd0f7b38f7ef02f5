"""Where the approval of proposals stands: the policies in force, the decisions, and what is missing."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from operator_core.actions.approval_evaluation import covering_policy, evaluate
from operator_core.actions.approvals import Approval, ApprovalPolicy, ApprovalRule, ApprovalStatus, PendingApproval
from operator_core.actions.errors import NotApprovedError, ProposalNotFoundError, UnreadableRowError
from operator_core.actions.lifecycle import ActionStatus
from operator_core.actions.types import StoredProposal
from operator_core.db.engine.capabilities import connections_before_approvals, writers_of
from operator_core.db.functions import now
from operator_core.db.guards.approval_conditions import waits_for_approval
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.schema import approvals, proposals
from operator_core.db.schema import policies as table
from operator_core.db.stores import reading
from operator_core.db.stores.mapping import to_approval, to_proposal

_POLICIES = sa.select(*table.columns).order_by(table.c.scope, table.c.role)


@unit(TransactionMode.READ)
def policies(connection: sa.Connection) -> list[ApprovalPolicy]:
    """Return the policies in force, by scope.

    Raises:
        UnreadableRowError: A rule cannot be read.
    """
    found = reading.many(connection, _POLICIES, {}, table.c.version, lambda row: (row, to_rule(row)))
    if found.unreadable:
        raise found.unreadable[0]
    rows: dict[str, list[sa.Row[Any]]] = {}
    for row, _ in found.items:
        rows.setdefault(row.scope, []).append(row)
    return [to_policy(of_scope) for of_scope in rows.values() if any(row.in_force for row in of_scope)]


_COLUMNS = {"expires_in": "expires_seconds"}


def to_rule(row: sa.Row[Any]) -> ApprovalRule:
    """Return the rule of a row of the policies, or of a change of one.

    Raises:
        UnreadableRowError: A column holds an invalid value; the version stands for the id.
    """
    try:
        rule = ApprovalRule(
            approvals=row.approvals,
            role=row.role or None,
            four_eyes=row.four_eyes,
            humans_only=row.humans_only,
            expires_in=row.expires_seconds,
        )
        ApprovalPolicy(scope=row.scope, rules=(rule,), version=row.version, at=row.at, by=row.by, reason=row.reason)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        column = str(problem["loc"][0]) if problem["loc"] else None
        raise UnreadableRowError(
            table=table.name, id=row.version, column=_COLUMNS.get(column or "", column), detail=problem["msg"]
        ) from error
    return rule


def to_policy(rows: Sequence[sa.Row[Any]]) -> ApprovalPolicy:
    """Return the policy of all rows of one scope; the last change stands for all of them."""
    last = max(rows, key=lambda row: int(row.version))
    rules = tuple(to_rule(row) for row in rows if row.in_force)
    return ApprovalPolicy(
        scope=last.scope, rules=rules, version=last.version, at=last.at, by=last.by, reason=last.reason
    )


_NOW = sa.select(now())
_DECISIONS = (
    sa.select(*approvals.columns)
    .where(approvals.c.proposal_id.in_(sa.bindparam("proposal_ids", expanding=True)))
    .order_by(approvals.c.id)
)


def clock(connection: sa.Connection) -> datetime:
    """Return the time of the database's clock."""
    return connection.execute(_NOW).scalar_one()


def decisions_on(connection: sa.Connection, proposal_ids: Sequence[int]) -> list[Approval]:
    """Return the decisions about some proposals, oldest first.

    Raises:
        UnreadableRowError: One of them cannot be read.
    """
    found = reading.many(connection, _DECISIONS, {"proposal_ids": proposal_ids}, approvals.c.id, to_approval)
    if found.unreadable:
        raise found.unreadable[0]
    return found.items


_OF_DECISION = sa.select(approvals.c.proposal_id).where(
    approvals.c.id == sa.bindparam("approval_id", type_=sa.BigInteger())
)


def _statuses(
    connection: sa.Connection, of: Sequence[StoredProposal]
) -> tuple[dict[int, ApprovalStatus], dict[int, UnreadableRowError]]:
    """Return where some proposals stand, by their ids; and of each whose decisions cannot be read, why not."""
    in_force, at = policies(connection), clock(connection)
    values = {"proposal_ids": [proposal.id for proposal in of]}
    found = reading.many(connection, _DECISIONS, values, approvals.c.id, to_approval)
    unreadable = {
        connection.execute(_OF_DECISION, {"approval_id": error.id}).scalar_one(): error for error in found.unreadable
    }
    decisions: dict[int, list[Approval]] = {}
    for decision in found.items:
        decisions.setdefault(decision.proposal_id, []).append(decision)
    statuses = {
        one.id: evaluate(one, covering_policy(in_force, one.action_name), decisions.get(one.id, ()), at)
        for one in of
        if one.id not in unreadable
    }
    return statuses, unreadable


_PROPOSAL = sa.select(*proposals.columns).where(proposals.c.id == sa.bindparam("proposal_id", type_=sa.BigInteger()))


@unit(TransactionMode.SNAPSHOT)
def status(connection: sa.Connection, proposal_id: int) -> ApprovalStatus:
    """Return where the approval of a proposal stands.

    Raises:
        ProposalNotFoundError: There is no such proposal.
        UnreadableRowError: It, or a decision about it, cannot be read.
    """
    proposal = reading.one(connection, _PROPOSAL, {"proposal_id": proposal_id}, proposals.c.id, to_proposal)
    if proposal is None:
        raise ProposalNotFoundError(proposal_id=proposal_id)
    statuses, unreadable = _statuses(connection, [proposal])
    if unreadable:
        raise unreadable[proposal_id]
    return statuses[proposal_id]


def diagnose_missing_approval(
    connection: sa.Connection, proposal_id: int, current: ActionStatus, wanted: ActionStatus
) -> NotApprovedError:
    """Return the error that says which approvals are missing for a step."""
    found = status(connection, proposal_id)
    return NotApprovedError(
        id=proposal_id,
        current=current,
        target=wanted,
        policy=found.policy,
        needed=found.needed,
        given=found.given,
        missing=tuple(map(str, found.missing)),
        rejected_by=found.rejected_by,
        lapsed=found.lapsed,
    )


_AFTER = (
    sa.select(*approvals.columns)
    .where(approvals.c.id > sa.bindparam("after_id", type_=sa.BigInteger()))
    .order_by(approvals.c.id)
    .limit(sa.literal_column("500"))
)
_LAST = sa.select(sa.func.coalesce(sa.func.max(approvals.c.id), 0))


@unit(TransactionMode.READ)
def last_decision(connection: sa.Connection) -> int:
    """Return the id of the last decision, or 0."""
    return int(connection.execute(_LAST).scalar_one())


@unit(TransactionMode.READ)
def decisions_after(connection: sa.Connection, after_id: int) -> reading.Found[Approval]:
    """Return the next decisions with a higher id, in order."""
    return reading.many(connection, _AFTER, {"after_id": after_id}, approvals.c.id, to_approval)


@unit(TransactionMode.READ)
def open_writers(connection: sa.Connection) -> frozenset[str]:
    """Return the open transactions that may hold decisions that nobody else sees yet."""
    return writers_of(connection, approvals.name)


@unit(TransactionMode.READ)
def older_connections(connection: sa.Connection) -> int:
    """Return how many connections belong to programs that know no approvals."""
    return connections_before_approvals(connection)


_PENDING = (
    sa.select(*proposals.columns)
    .where(waits_for_approval("action_proposals", sa.cast(sa.bindparam("of_role"), sa.Text())))
    .order_by(proposals.c.id.desc())
)
_BEFORE = proposals.c.id < sa.bindparam("before_id", type_=sa.BigInteger())


@unit(TransactionMode.SNAPSHOT)
def pending(
    connection: sa.Connection, role: str | None, before_id: int | None, limit: int | None
) -> reading.Found[PendingApproval]:
    """Return the proposals that wait for a person, newest first; with `role`, for one in this capacity."""
    statement = _PENDING if before_id is None else _PENDING.where(_BEFORE)
    if limit is not None:
        statement = statement.limit(limit)
    values = {"of_role": role, **({} if before_id is None else {"before_id": before_id})}
    found = reading.many(connection, statement, values, proposals.c.id, to_proposal)
    statuses, unreadable = _statuses(connection, found.items)
    items = [PendingApproval(proposal=one, approval=statuses[one.id]) for one in found.items if one.id in statuses]
    return reading.Found(items, [*found.unreadable, *unreadable.values()])
