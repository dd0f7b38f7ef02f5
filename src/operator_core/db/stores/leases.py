"""Leases: heartbeats, recovery, and the resolution of unknown outcomes."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from operator_core.actions.errors import (
    ActionError,
    AlreadyResolvedError,
    ConstraintError,
    RecordNotFoundError,
    UnreadableRowError,
)
from operator_core.actions.lifecycle import ActionOutcome, ActionStatus, Resolution
from operator_core.actions.types import EventKind, StoredRecord
from operator_core.db.functions import now, now_plus
from operator_core.db.guards.codes import MESSAGES
from operator_core.db.guards.conditions import COUNTER, requested_stop
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.schema import IS_OPEN, IS_UNRESOLVED, notes, proposals, records
from operator_core.db.stores import reading
from operator_core.db.stores.mapping import to_record
from operator_core.db.stores.transitions import deferring_diagnosis, transition_to
from operator_core.db.types import JsonText

RECOVERED = "its worker was lost: the lease ran out, and nobody knows what has happened"
_ROWS = 500  # of one transaction

_OF_ONE = records.c.id == sa.bindparam("record_id", type_=sa.BigInteger())
_STOP: sa.ColumnElement[int | None] = sa.literal_column(requested_stop("action_records.proposal_id"))
_BEAT = (
    sa.update(records)
    .where(_OF_ONE, sa.text(IS_OPEN))
    .values(last_seen_at=now(), lease_expires_at=now_plus(records.c.lease_seconds))
    .returning(*records.columns, _STOP.label("stop"))  # SQLite 3.40 returns 1 for every `IS NOT NULL` in a RETURNING
)


@unit(TransactionMode.WRITE)
def heartbeat(connection: sa.Connection, record_id: int) -> tuple[StoredRecord, bool] | UnreadableRowError | None:
    """Extend a lease, even an expired one; return the record and whether it is asked to stop, or None if it ended."""
    return reading.written(connection, _BEAT, {"record_id": record_id}, (records, record_id), _beaten)


def _beaten(row: sa.Row[Any]) -> tuple[StoredRecord, bool]:
    return to_record(row[:-1]), (row.stop, row.cancel_requested_at) != (None, None)


_ASKED_NOW = sa.select(sa.or_(_STOP.is_not(None), records.c.cancel_requested_at.is_not(None))).where(
    _OF_ONE, sa.text(IS_OPEN)
)


@unit(TransactionMode.READ)
def is_stop_requested(connection: sa.Connection, record_id: int) -> bool | None:
    """Return whether an open record is asked to stop; None if it ended."""
    return connection.execute(_ASKED_NOW, {"record_id": record_id}).scalar_one_or_none()


_RAN_OUT = records.c.lease_expires_at < now_plus(sa.bindparam("minus_grace", type_=sa.Float()))
_ALL_LOST = sa.select(records.c.id).where(sa.text(IS_OPEN), _RAN_OUT).order_by(records.c.id).limit(_ROWS)
_LOST = _ALL_LOST.with_for_update(skip_locked=True)
_NEXT_LOST = _ALL_LOST.where(records.c.id > sa.bindparam("after_id", type_=sa.BigInteger()))
_ENDED: dict[str, Any] = {
    "completed_at": now(),
    "success": False,
    "outcome": ActionOutcome.UNKNOWN,
    "error_message": RECOVERED,
    "stop_generation": sa.literal_column(requested_stop("action_records.proposal_id")),
}
_KEYS = (records.c.id, records.c.proposal_id)
_CLOSE_LOST = sa.update(records).where(records.c.id.in_(_LOST.cte("lost").select())).values(**_ENDED).returning(*_KEYS)
_CLOSE_ONE = sa.update(records).where(_OF_ONE, sa.text(IS_OPEN), _RAN_OUT).values(**_ENDED).returning(*_KEYS)
_FAIL_LOST = transition_to(ActionStatus.FAILED).where(proposals.c.id.in_(sa.bindparam("proposal_ids", expanding=True)))
_RECOVERED = (
    sa.select(*records.columns).where(records.c.id.in_(sa.bindparam("ids", expanding=True))).order_by(records.c.id)
)


@unit(TransactionMode.TRANSACTION)
def recover(
    connection: sa.Connection, grace: float, by: str, record_id: int | None = None
) -> reading.Found[StoredRecord]:
    """Fail some executions whose lease expired more than `grace` seconds ago; their outcome is unknown.

    They are closed before they are read, so that unreadable records are recovered with the others.

    Args:
        connection: The connection whose transaction ends them.
        grace: Seconds.
        by: The actor that recovers them.
        record_id: The only record to recover, if its lease is still expired.
    """
    values: dict[str, Any] = {"minus_grace": -grace}
    with deferring_diagnosis(lambda _, code: ConstraintError(code=code, detail=MESSAGES.get(code, code))):
        if record_id is None:
            closed = connection.execute(_CLOSE_LOST, values).all()
        else:
            closed = connection.execute(_CLOSE_ONE, {**values, "record_id": record_id}).all()
        if not closed:
            return reading.Found()
        failed = {"proposal_ids": [row.proposal_id for row in closed], "step_by": by, "step_reason": RECOVERED}
        connection.execute(_FAIL_LOST, failed)
    return reading.many(connection, _RECOVERED, {"ids": [row.id for row in closed]}, records.c.id, to_record)


@unit(TransactionMode.READ)
def expired_ids(connection: sa.Connection, grace: float, after_id: int) -> Sequence[int]:
    """Return the next ids of records whose lease expired more than `grace` seconds ago."""
    return connection.scalars(_NEXT_LOST, {"minus_grace": -grace, "after_id": after_id}).all()


_values: dict[str, sa.ColumnElement[Any]] = {
    "proposal_id": records.c.proposal_id,
    "record_id": records.c.id,
    "kind": sa.literal_column(f"'{EventKind.REPORTED_LATE}'"),
    "status": proposals.c.status,
    "at": now(),
    "by": sa.bindparam("note_by", type_=sa.Text()),
    "generation": sa.literal_column(COUNTER),
    "data": sa.bindparam("note_data", type_=JsonText()),
}
_REPORT_LATE = sa.insert(notes).from_select(
    list(_values),
    sa.select(*_values.values()).join_from(records, proposals).where(_OF_ONE, records.c.completed_at.is_not(None)),
)


@unit(TransactionMode.WRITE)
def report_late(connection: sa.Connection, record_id: int, by: str, data: dict[str, Any]) -> None:
    """Store what a worker reports about an execution that it has lost."""
    connection.execute(_REPORT_LATE, {"record_id": record_id, "note_by": by, "note_data": data})


# -- resolutions -------------------------------------------------------------------------------------------------------

_UNRESOLVED = sa.select(*records.columns).where(sa.text(IS_UNRESOLVED)).order_by(records.c.id)


@unit(TransactionMode.READ)
def unresolved(connection: sa.Connection) -> reading.Found[StoredRecord]:
    """Return the records whose outcome is unknown and unresolved, oldest first."""
    return reading.many(connection, _UNRESOLVED, {}, records.c.id, to_record)


_RESOLVE = (
    sa.update(records)
    .where(_OF_ONE, sa.text(IS_UNRESOLVED))
    .values(
        finding=sa.bindparam("new_finding", type_=records.c.finding.type),
        finding_at=now(),
        finding_by=sa.bindparam("new_finding_by"),
        finding_reason=sa.bindparam("new_finding_reason"),
    )
    .returning(*records.columns)
)
_RECORD = sa.select(*(records.c[name] for name in ("id", "outcome", "finding", "finding_by"))).where(_OF_ONE)


@unit(TransactionMode.TRANSACTION)
def resolve(
    connection: sa.Connection, record_id: int, resolution: Resolution, by: str, reason: str
) -> StoredRecord | UnreadableRowError:
    """Record what a person found out; the outcome stays unknown.

    Raises:
        RecordNotFoundError: There is no such record.
        AlreadyResolvedError: The outcome is known, or was resolved before.
    """
    values = {
        "record_id": record_id,
        "new_finding": resolution,
        "new_finding_by": by,
        "new_finding_reason": reason,
    }
    resolved = reading.written(connection, _RESOLVE, values, (records, record_id), to_record)
    if resolved is None:
        raise _diagnose_resolve(connection, record_id)
    return resolved


def _diagnose_resolve(connection: sa.Connection, record_id: int) -> ActionError:
    found = reading.one(connection, _RECORD, {"record_id": record_id}, records.c.id, reading.plain(records))
    if found is None:
        return RecordNotFoundError(record_id=record_id)
    return AlreadyResolvedError(
        record_id=record_id, outcome=found.outcome, resolution=found.finding, by=found.finding_by
    )


# -- cancel ------------------------------------------------------------------------------------------------------------

_REQUEST = (
    sa.update(records)
    .where(
        records.c.proposal_id == sa.bindparam("of_proposal", type_=sa.BigInteger()),
        sa.text(IS_OPEN),
        records.c.cancel_requested_at.is_(None),
    )
    .values(
        cancel_requested_at=now(),
        cancel_requested_by=sa.bindparam("request_by"),
        cancel_reason=sa.bindparam("request_reason"),
    )
)
_IS_OPEN = sa.select(records.c.id).where(
    records.c.proposal_id == sa.bindparam("of_proposal", type_=sa.BigInteger()), sa.text(IS_OPEN)
)


def request_stop(connection: sa.Connection, proposal_id: int, by: str, reason: str) -> bool:
    """Ask a running execution to stop, once; return whether there is one."""
    values = {"of_proposal": proposal_id, "request_by": by, "request_reason": reason}
    asked_now = connection.execute(_REQUEST, values).rowcount > 0
    return asked_now or connection.execute(_IS_OPEN, {"of_proposal": proposal_id}).first() is not None
