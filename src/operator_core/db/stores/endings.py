"""The ends of executions: a record is closed and its proposal takes its step, in one statement if the engine can."""

from typing import Any

import sqlalchemy as sa

from operator_core.actions.errors import RecordNotFoundError, UnreadableRowError
from operator_core.actions.lifecycle import ActionOutcome, ActionStatus
from operator_core.actions.types import StoredRecord
from operator_core.db.engine.capabilities import supports_writable_cte
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.schema import proposals
from operator_core.db.schema import records as table
from operator_core.db.stores import reading, records
from operator_core.db.stores.mapping import to_record
from operator_core.db.stores.transitions import deferring_diagnosis, transition, transition_to


def _finishing(target: ActionStatus) -> sa.Executable:
    closed = records.CLOSE.cte("closed")
    moved = (
        transition_to(target)
        .where(proposals.c.id == sa.select(closed.c.proposal_id).scalar_subquery())
        .returning(proposals.c.id)
    ).cte("moved")
    return sa.select(*closed.columns).select_from(closed.join(moved, sa.true()))


_PROPOSAL_ID = sa.select(table.c.proposal_id).where(table.c.id == sa.bindparam("record_id", type_=sa.BigInteger()))
_FINISHING = {
    status: _finishing(status) for status in (records.status_for_outcome(outcome) for outcome in ActionOutcome)
}


@unit(TransactionMode.MULTI_WRITE)
def finish(
    connection: sa.Connection,
    record_id: int,
    outcome: ActionOutcome,
    error_message: str | None,
    result_data: dict[str, Any] | None,
    by: str,
) -> StoredRecord | UnreadableRowError:
    """Close the record and take its proposal to the state that the outcome means."""
    ending = (outcome, error_message, result_data)
    target = records.status_for_outcome(outcome)
    if not supports_writable_cte(connection):
        record = records.close(connection, record_id, *ending)
        if isinstance(record, UnreadableRowError):
            proposal_id = connection.scalars(_PROPOSAL_ID, {"record_id": record_id}).one()
        else:
            proposal_id = record.proposal_id
        transition(connection, proposal_id, target, by, error_message)
        return record
    values = {**records.close_params(record_id, *ending), "step_by": by, "step_reason": error_message}
    with deferring_diagnosis(lambda after, _: records.diagnose_close(after, record_id, outcome)):
        finished = reading.written(connection, _FINISHING[target], values, (table, record_id), to_record)
    if finished is None:
        raise records.diagnose_close(connection, record_id, outcome)
    return finished


_ENDING = (
    sa.select(proposals.c.status_by, proposals.c.status, *table.columns)
    .join_from(table, proposals)
    .where(table.c.id == sa.bindparam("record_id", type_=sa.BigInteger()))
)


@unit(TransactionMode.MULTI_WRITE)
def ended_by(connection: sa.Connection, record_id: int, worker: str) -> tuple[str, StoredRecord]:
    """Return the actor that ended an execution, and its record; take the pending step if only the record is closed.

    Raises:
        RecordNotFoundError: There is no such record.
        UnreadableRowError: It cannot be read.
    """
    values = {"record_id": record_id}
    found = reading.one(connection, _ENDING, values, table.c.id, lambda row: (row, to_record(row[2:])))
    if found is None:
        raise RecordNotFoundError(record_id=record_id)
    row, record = found
    if record.outcome is None or row.status is not ActionStatus.EXECUTING:
        return row.status_by, record
    transition(connection, record.proposal_id, records.status_for_outcome(record.outcome), worker, record.error_message)
    return worker, record
