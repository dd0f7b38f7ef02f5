"""The store of events, which the database writes and nobody else; here they are read."""

import sqlalchemy as sa

from operator_core.actions.types import ActionEvent
from operator_core.db.mapping import to_event
from operator_core.db.schema import events

_OF_PROPOSAL = (
    sa.select(*events.columns).where(events.c.proposal_id == sa.bindparam("proposal_id")).order_by(events.c.id)
)


def of_proposal(connection: sa.Connection, proposal_id: int) -> list[ActionEvent]:
    """Return the events of a proposal, oldest first."""
    return [to_event(row) for row in connection.execute(_OF_PROPOSAL, {"proposal_id": proposal_id})]
