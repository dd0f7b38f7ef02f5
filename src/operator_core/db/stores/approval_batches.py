"""Approvals of many proposals at once: all or none of them."""

import json
from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from operator_core.actions.approvals import Approval, Decision
from operator_core.actions.types import StoredProposal
from operator_core.db.engine.capabilities import has_approver_functions
from operator_core.db.errors import naming_missing_right
from operator_core.db.functions import among, json_item, json_rows
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.schema import approvals
from operator_core.db.stores.approvals import CANNOT_DECIDE, NewDecision, approve, decision_values, insert_and_validate
from operator_core.db.stores.mapping import to_approval
from operator_core.db.stores.reading import many
from operator_core.db.stores.transitions import refusing_together

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
_LAST = sa.select(sa.func.max(approvals.c.id))
_ALL = sa.select(*approvals.columns).order_by(approvals.c.id)
_DECISIONS = _ALL.where(among(approvals.c.id, "ids"))
_SINCE = _ALL.where(approvals.c.id > sa.bindparam("last", type_=_BIG))


@unit(TransactionMode.TRANSACTION)
def approve_together(
    connection: sa.Connection, shown: Sequence[StoredProposal], decision: NewDecision
) -> list[Approval]:
    """Record an approval of each of several proposals as they were shown, in one statement if the engine can.

    Raises:
        GuardRefusal: One of them was refused; `approve_each` says which one, and why.
    """
    with (
        refusing_together(),
        naming_missing_right(connection.engine.url, CANNOT_DECIDE.format(Decision.APPROVED.value)),
    ):
        if has_approver_functions(connection):
            values = {**decision_values(decision), "shown": json.dumps([(one.id, one.digest) for one in shown])}
            ids = connection.scalars(_APPROVE, values).all()
            found = many(connection, _DECISIONS, {"ids": json.dumps([*ids])}, approvals.c.id, to_approval)
        else:
            last = connection.scalar(_LAST) or 0
            insert_and_validate(connection, shown, decision)
            found = many(connection, _SINCE, {"last": last}, approvals.c.id, to_approval)  # it has one writer at a time
    if found.unreadable:
        raise found.unreadable[0]
    return found.items


@unit(TransactionMode.TRANSACTION)
def approve_each(
    connection: sa.Connection, proposals: Sequence[StoredProposal | int], decision: NewDecision
) -> list[Approval]:
    """Record an approval of each, one after the other: as it was shown, or by its id as the ledger holds it.

    Raises:
        GuardRefusal, ProposalNotFoundError, DigestMismatchError: One of them was refused; nothing was recorded.
    """
    return [
        approve(connection, one, decision)
        if isinstance(one, int)
        else approve(connection, one.id, replace(decision, digest=one.digest))
        for one in proposals
    ]
