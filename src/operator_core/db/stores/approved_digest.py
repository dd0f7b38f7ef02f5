"""The digest that the standing approvals of a proposal name: a start compares it with what it is about to run."""

from typing import Any

import sqlalchemy as sa

from operator_core.actions.errors import DigestMismatchError
from operator_core.actions.types import StoredProposal
from operator_core.db.guards.approval_conditions import STANDS
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.schema import proposals
from operator_core.db.stores import reading
from operator_core.db.stores.mapping import to_proposal

_WIDTH = len(proposals.columns)


def approved_digest(proposal_id: str) -> sa.ColumnElement[str]:
    """Return the digest that the standing approvals of a proposal name; both, if they name two.

    As text: in RETURNING, SQLAlchemy leaves out the table of a column, and in a subquery that is another column.
    """
    return sa.literal_column(
        "(SELECT CASE WHEN min(d.digest) = max(d.digest) THEN min(d.digest) "
        "ELSE min(d.digest) || ' and ' || max(d.digest) END FROM action_approvals AS d "
        f"WHERE d.proposal_id = {proposal_id} AND d.decision = 'approved' AND {STANDS})",
        sa.Text(),
    ).label("approved")


_SEEN = sa.select(*proposals.columns, approved_digest("action_proposals.id")).where(
    proposals.c.id == sa.bindparam("proposal_id", type_=sa.BigInteger())
)


@unit(TransactionMode.READ)
def require_approved_digest(connection: sa.Connection, proposal_id: int) -> None:
    """Check that the approvals of a proposal are of what it holds, for a start that opens no record.

    Raises:
        DigestMismatchError: They are of something else.
        UnreadableRowError: The proposal cannot be read.
    """
    found = reading.one(connection, _SEEN, {"proposal_id": proposal_id}, proposals.c.id, _to_seen)
    if found is not None and found[1] not in (None, found[0].digest):
        raise DigestMismatchError(proposal_id=proposal_id, given=str(found[1]), expected=found[0].digest)


def _to_seen(row: sa.Row[Any]) -> tuple[StoredProposal, str | None]:
    return to_proposal(row[:_WIDTH]), row[_WIDTH]
