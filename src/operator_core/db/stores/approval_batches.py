"""Approvals of many proposals at once: all or none of them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import sqlalchemy as sa

from operator_core.actions.approvals import Approval, Decision
from operator_core.db.engine.capabilities import has_approver_functions
from operator_core.db.errors import naming_missing_right
from operator_core.db.functions import among, json_item, json_rows
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.schema import approvals
from operator_core.db.stores.approvals import CANNOT_DECIDE, NewDecision, approve, decision_values
from operator_core.db.stores.mapping import to_approval
from operator_core.db.stores.reading import many
from operator_core.db.stores.transitions import refusing_together


class Shown(NamedTuple):
    """A proposal that somebody was shown, and its digest; None if only the ledger knows it."""

    proposal_id: int
    digest: str | None


_BIG, _TEXT = sa.BigInteger(), sa.Text()
_shown = json_rows(sa.bindparam("shown", type_=_TEXT)).table_valued("value", "position", name="j")
_APPROVE = sa.select(
    sa.func.operator_core_approve(
        json_item(_shown.c.value, 0, _BIG),
        *(sa.bindparam(name, type_=_TEXT) for name in ("new_by", "new_kind", "new_role", "new_reason")),
        json_item(_shown.c.value, 1, _TEXT),
        sa.bindparam("lasting", type_=sa.Double[float]()),
    )
).order_by(_shown.c.position)
_DECISIONS = sa.select(*approvals.columns).where(among(approvals.c.id, "ids")).order_by(approvals.c.id)


@unit(TransactionMode.TRANSACTION)
def approve_together(connection: sa.Connection, shown: Sequence[Shown], decision: NewDecision) -> list[Approval]:
    """Record an approval of each of several proposals whose digests are known, in one statement if the engine can.

    Raises:
        GuardRefusal: One of them was refused; `approve_each` says which one, and why.
    """
    if not has_approver_functions(connection):
        return approve_each(connection, shown, decision)
    values = {**decision_values(decision), "shown": json.dumps(shown)}
    with (
        refusing_together(),
        naming_missing_right(connection.engine.url, CANNOT_DECIDE.format(Decision.APPROVED.value)),
    ):
        ids = connection.scalars(_APPROVE, values).all()
    found = many(connection, _DECISIONS, {"ids": json.dumps(ids)}, approvals.c.id, to_approval)
    if found.unreadable:
        raise found.unreadable[0]
    return found.items


@unit(TransactionMode.TRANSACTION)
def approve_each(connection: sa.Connection, shown: Sequence[Shown], decision: NewDecision) -> list[Approval]:
    """Record an approval of each, one after the other.

    Raises:
        GuardRefusal, ProposalNotFoundError, DigestMismatchError: One of them was refused; nothing was recorded.
    """
    return [approve(connection, one.proposal_id, replace(decision, digest=one.digest)) for one in shown]
