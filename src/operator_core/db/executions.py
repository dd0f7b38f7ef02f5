"""Executions: a step of the proposal and of its record, together in one transaction."""

from typing import Any

import sqlalchemy as sa

from operator_core.actions.lifecycle import ActionOutcome, ActionStatus
from operator_core.actions.types import ActionRecord
from operator_core.db import records
from operator_core.db.transitions import step


def start(connection: sa.Connection, proposal_id: int, by: str) -> ActionRecord:
    """Take a validated proposal to `executing` and open its record."""
    proposal = step(connection, proposal_id, ActionStatus.EXECUTING, by, None)
    assert proposal.executing_at is not None  # noqa: S101 - the CHECK of the table says so
    return records.insert(connection, ActionRecord(proposal_id=proposal_id, started_at=proposal.executing_at))


def finish(
    connection: sa.Connection,
    record_id: int,
    outcome: ActionOutcome,
    error_message: str | None,
    result_data: dict[str, Any] | None,
    by: str,
) -> ActionRecord:
    """Close the record and take its proposal to the state that the outcome means."""
    record = records.close(connection, record_id, outcome, error_message, result_data)
    step(connection, record.proposal_id, records.state_after(outcome), by, error_message)
    return record
