"""Policies: one statement for each rule that a change adds, alters or takes away."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from operator_core.actions.approvals import ApprovalPolicy, ApprovalRule
from operator_core.actions.errors import InvalidArgumentError
from operator_core.db.errors import naming_missing_right
from operator_core.db.functions import now
from operator_core.db.guards.approval_conditions import NEXT_VERSION
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.schema import policies
from operator_core.db.stores import approval_status
from operator_core.db.stores.transitions import deferring_diagnosis, diagnose_unexplained

_SETS_POLICIES = "this role may not set policies: connect as the owner of the tables, in a deploy"
_RULE = {name: sa.bindparam(f"new_{name}", type_=policies.c[name].type) for name in (
    "approvals", "four_eyes", "humans_only", "expires_seconds", "in_force", "by", "reason",
)}  # fmt: skip
_CHANGE: dict[str, Any] = {**_RULE, "version": sa.literal_column(NEXT_VERSION), "at": now()}
_SCOPE = sa.bindparam("policy_scope", type_=sa.Text())
_ROLE = sa.bindparam("policy_role", type_=sa.Text())
_UPDATE = (
    sa.update(policies)
    .where(policies.c.scope == _SCOPE, policies.c.role == _ROLE)
    .values(**_CHANGE)
    .returning(policies.c.version)
)
_ADD = sa.insert(policies).values(**_CHANGE, scope=_SCOPE, role=_ROLE).returning(policies.c.version)
_OF_SCOPE = sa.select(*policies.columns).where(policies.c.scope == _SCOPE).order_by(policies.c.role)


@unit(TransactionMode.TRANSACTION)
def set_policy(
    connection: sa.Connection, scope: str, rules: Sequence[ApprovalRule], by: str, reason: str
) -> ApprovalPolicy:
    """Replace the rules of a scope, one version for each change; none takes the policy away.

    Raises:
        GuardRefusal: A concurrent change was first, or the database refuses a rule.
    """
    wanted = {rule.role or "": rule for rule in rules}
    with (
        deferring_diagnosis(lambda _, code: diagnose_unexplained(code)),
        naming_missing_right(connection.engine.url, _SETS_POLICIES),
    ):
        for row in connection.execute(_OF_SCOPE, {"policy_scope": scope}).all():
            if row.in_force and row.role not in wanted:
                kept = {f"new_{name}": getattr(row, name) for name in _RULE}
                gone = {**kept, "new_in_force": False, "new_by": by, "new_reason": reason}
                connection.execute(_UPDATE, {**gone, "policy_scope": scope, "policy_role": row.role})
        for role, rule in wanted.items():
            values = {
                "policy_scope": scope,
                "policy_role": role,
                "new_approvals": rule.approvals,
                "new_four_eyes": rule.four_eyes,
                "new_humans_only": rule.humans_only,
                "new_expires_seconds": rule.expires_in,
                "new_in_force": True,
                "new_by": by,
                "new_reason": reason,
            }
            if connection.execute(_UPDATE, values).first() is None:
                connection.execute(_ADD, values)
    rows = connection.execute(_OF_SCOPE, {"policy_scope": scope}).all()
    if not rows:
        raise InvalidArgumentError(path="scope", reason=f"is {scope!a}, which has no policy to remove")
    return approval_status.to_policy(rows)
