"""The store of records: plain functions over a connection, each in the caller's transaction."""

from typing import Any

import sqlalchemy as sa

from operator_core.actions.errors import (
    ActionError,
    ProposalNotFoundError,
    RecordNotAllowedError,
    RecordNotFoundError,
    TransitionNotAllowedError,
    UnreadableRowError,
)
from operator_core.actions.errors.actions import outcome_text
from operator_core.actions.lifecycle import OUTCOMES, ActionOutcome, ActionStatus
from operator_core.actions.types import ActionRecord, StoredRecord
from operator_core.db.functions import now
from operator_core.db.guards.conditions import requested_stop
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.schema import proposals, records
from operator_core.db.stores import reading
from operator_core.db.stores.mapping import new_record, to_record
from operator_core.db.stores.transitions import deferring_diagnosis

_INSERT = (
    sa.insert(records)
    .values(proposal_id=sa.bindparam("proposal_id"), started_at=sa.bindparam("started_at"))
    .returning(*records.columns)
)


@unit(TransactionMode.WRITE)
def insert(connection: sa.Connection, record: ActionRecord) -> StoredRecord:
    """Open the record of a proposal that is executing and has none."""
    values = new_record(record)
    with deferring_diagnosis(lambda later, _: _diagnose_insert(later, record.proposal_id)):
        return to_record(connection.execute(_INSERT, values).one())


_STANDING = (
    sa.select(proposals.c.status, records.c.id)
    .select_from(proposals.outerjoin(records))
    .where(proposals.c.id == sa.bindparam("proposal_id"))
)


def _diagnose_insert(connection: sa.Connection, proposal_id: int) -> ActionError:
    found = connection.execute(_STANDING, {"proposal_id": proposal_id}).one_or_none()
    if found is None:
        return ProposalNotFoundError(proposal_id=proposal_id)
    return RecordNotAllowedError(proposal_id=proposal_id, current=found.status, record_id=found.id)


_SELECT_ONE = sa.select(*records.columns).where(records.c.id == sa.bindparam("record_id"))
_SELECT_OF_PROPOSAL = (
    sa.select(*records.columns)
    .where(records.c.proposal_id == sa.bindparam("proposal_id"))
    .order_by(records.c.id.desc())
)


@unit(TransactionMode.READ)
def get(connection: sa.Connection, record_id: int) -> StoredRecord | None:
    """Return one record, or None.

    Raises:
        UnreadableRowError: It cannot be read.
    """
    return reading.one(connection, _SELECT_ONE, {"record_id": record_id}, records.c.id, to_record)


@unit(TransactionMode.READ)
def of_proposal(connection: sa.Connection, proposal_id: int) -> list[StoredRecord]:
    """Return the records of a proposal, newest first: none or one.

    Raises:
        UnreadableRowError: It cannot be read.
    """
    record = reading.one(connection, _SELECT_OF_PROPOSAL, {"proposal_id": proposal_id}, records.c.id, to_record)
    return [] if record is None else [record]


CLOSE = (
    sa.update(records)
    .where(records.c.id == sa.bindparam("record_id", type_=sa.BigInteger()), records.c.completed_at.is_(None))
    .values(
        completed_at=now(),
        success=sa.bindparam("new_success", type_=records.c.success.type),
        outcome=sa.bindparam("new_outcome", type_=records.c.outcome.type),
        error_message=sa.bindparam("new_error", type_=records.c.error_message.type),
        result_data=sa.bindparam("new_result", type_=records.c.result_data.type),
        stop_generation=sa.literal_column(requested_stop("action_records.proposal_id")),
    )
    .returning(*records.columns)
)


def close_params(
    record_id: int, outcome: ActionOutcome, error_message: str | None, result_data: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the bound values of `CLOSE`."""
    return {
        "record_id": record_id,
        "new_success": outcome is ActionOutcome.SUCCEEDED,
        "new_outcome": outcome,
        "new_error": error_message,
        "new_result": result_data,
    }


@unit(TransactionMode.WRITE)
def close(
    connection: sa.Connection,
    record_id: int,
    outcome: ActionOutcome,
    error_message: str | None,
    result_data: dict[str, Any] | None,
) -> StoredRecord | UnreadableRowError:
    """Close an open record with its outcome; of concurrent callers exactly one succeeds."""
    values = close_params(record_id, outcome, error_message, result_data)
    with deferring_diagnosis(lambda later, _: diagnose_close(later, record_id, outcome)):
        closed = reading.written(connection, CLOSE, values, (records, record_id), to_record)
    if closed is None:
        raise diagnose_close(connection, record_id, outcome)
    return closed


_STANDING_OF_RECORD = (
    sa.select(*(records.c[name] for name in ("id", "proposal_id", "outcome", "completed_at")), proposals.c.status)
    .join_from(records, proposals)
    .where(records.c.id == sa.bindparam("record_id"))
)


def diagnose_close(connection: sa.Connection, record_id: int, outcome: ActionOutcome) -> ActionError:
    """Return the error that explains why a record was not closed."""
    found = reading.one(connection, _STANDING_OF_RECORD, {"record_id": record_id}, records.c.id, reading.plain(records))
    if found is None:
        return RecordNotFoundError(record_id=record_id)
    if found.outcome is None:
        detail = f"nobody asked the action of record {record_id} to stop"
    else:
        when = found.completed_at.isoformat()
        detail = f"record {record_id} is {outcome_text(found.outcome)} since {when}, and never changes again"
    return TransitionNotAllowedError(
        id=found.proposal_id, current=found.status, target=status_for_outcome(outcome), detail=detail
    )


def status_for_outcome(outcome: ActionOutcome) -> ActionStatus:
    """Return the state that a proposal reaches when its record is closed with `outcome`."""
    return next(status for status, outcomes in OUTCOMES.items() if outcome in outcomes)
