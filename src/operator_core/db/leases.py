"""Leases: heartbeats, the recovery of what was lost, and what a person finds out about it."""

from typing import Any

import sqlalchemy as sa

from operator_core.actions.errors import ActionError, FindingNotAllowedError, RecordNotFoundError
from operator_core.actions.lifecycle import ActionOutcome, ActionStatus, Finding
from operator_core.actions.types import ActionRecord, EventKind
from operator_core.db.guards.rules import COUNTER, stop_asking
from operator_core.db.mapping import to_record
from operator_core.db.schema import OPEN, UNSETTLED, notes, proposals, records
from operator_core.db.transitions import to
from operator_core.db.types import JsonText, later, now

RECOVERED = "its worker was lost: the lease ran out, and nobody knows what has happened"
_ROWS = 500  # of one transaction

_OF_ONE = records.c.id == sa.bindparam("record_id", type_=sa.BigInteger())
_STOP: sa.ColumnElement[int | None] = sa.literal_column(stop_asking("action_records.proposal_id"))
_BEAT = (
    sa.update(records)
    .where(_OF_ONE, sa.text(OPEN))
    .values(last_seen_at=now(), lease_expires_at=later(records.c.lease_seconds))
    .returning(*records.columns, _STOP.label("stop"))  # SQLite 3.40 says 1 to every `IS NOT NULL` in a RETURNING
)


def beat(connection: sa.Connection, record_id: int) -> tuple[ActionRecord, bool] | None:
    """Extend a lease, also one that ran out: return the record, and whether it is asked to stop; None when it ended."""
    row = connection.execute(_BEAT, {"record_id": record_id}).one_or_none()
    return None if row is None else (to_record(row[:-1]), (row.stop, row.cancel_requested_at) != (None, None))


_ASKED_NOW = sa.select(sa.or_(_STOP.is_not(None), records.c.cancel_requested_at.is_not(None))).where(
    _OF_ONE, sa.text(OPEN)
)


def asked(connection: sa.Connection, record_id: int) -> bool | None:
    """Tell whether an open record is asked to stop; None when it ended."""
    return connection.execute(_ASKED_NOW, {"record_id": record_id}).scalar_one_or_none()


_LOST = (
    sa.select(records.c.id)
    .where(sa.text(OPEN), records.c.lease_expires_at < later(sa.bindparam("minus_grace", type_=sa.Float())))
    .order_by(records.c.id)
    .limit(_ROWS)
    .with_for_update(skip_locked=True)
)
_CLOSE_LOST = (
    sa.update(records)
    .where(records.c.id.in_(_LOST.cte("lost").select()))
    .values(
        completed_at=now(),
        success=False,
        outcome=ActionOutcome.UNKNOWN,
        error_message=RECOVERED,
        stop_generation=sa.literal_column(stop_asking("action_records.proposal_id")),
    )
    .returning(*records.columns)
)
_FAIL_LOST = to(ActionStatus.FAILED).where(proposals.c.id.in_(sa.bindparam("proposal_ids", expanding=True)))


def recover(connection: sa.Connection, grace: float, by: str) -> list[ActionRecord]:
    """Fail some executions whose lease ran out more than `grace` seconds ago; their outcome is unknown."""
    found = [to_record(row) for row in connection.execute(_CLOSE_LOST, {"minus_grace": -grace})]
    if found:
        ids = [record.proposal_id for record in found]
        connection.execute(_FAIL_LOST, {"proposal_ids": ids, "step_by": by, "step_reason": RECOVERED})
    return sorted(found, key=_id)


def _id(record: ActionRecord) -> int:
    return record.id or 0


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


def report_late(connection: sa.Connection, record_id: int, by: str, data: dict[str, Any]) -> None:
    """Keep what a worker reports about an execution that was taken from it."""
    connection.execute(_REPORT_LATE, {"record_id": record_id, "note_by": by, "note_data": data})


# -- findings ----------------------------------------------------------------------------------------------------------

_UNSETTLED = sa.select(*records.columns).where(sa.text(UNSETTLED)).order_by(records.c.id)


def unsettled(connection: sa.Connection) -> list[ActionRecord]:
    """Return what nobody knows the outcome of, and nobody has settled, oldest first."""
    return [to_record(row) for row in connection.execute(_UNSETTLED)]


_SETTLE = (
    sa.update(records)
    .where(_OF_ONE, sa.text(UNSETTLED))
    .values(
        finding=sa.bindparam("new_finding", type_=records.c.finding.type),
        finding_at=now(),
        finding_by=sa.bindparam("new_finding_by"),
        finding_reason=sa.bindparam("new_finding_reason"),
    )
    .returning(*records.columns)
)
_RECORD = sa.select(records.c.outcome, records.c.finding, records.c.finding_by).where(_OF_ONE)


def settle(connection: sa.Connection, record_id: int, finding: Finding, by: str, reason: str) -> ActionRecord:
    """Write down what a person found out; the outcome stays unknown.

    Raises:
        RecordNotFoundError: There is no such record.
        FindingNotAllowedError: Its outcome is known, or somebody has settled it.
    """
    values = {
        "record_id": record_id,
        "new_finding": finding,
        "new_finding_by": by,
        "new_finding_reason": reason,
    }
    row = connection.execute(_SETTLE, values).one_or_none()
    if row is None:
        raise _explain_settle(connection, record_id)
    return to_record(row)


def _explain_settle(connection: sa.Connection, record_id: int) -> ActionError:
    found = connection.execute(_RECORD, {"record_id": record_id}).one_or_none()
    if found is None:
        return RecordNotFoundError(record_id=record_id)
    return FindingNotAllowedError(
        record_id=record_id, outcome=found.outcome, finding=found.finding, by=found.finding_by
    )


# -- cancel ------------------------------------------------------------------------------------------------------------

_REQUEST = (
    sa.update(records)
    .where(
        records.c.proposal_id == sa.bindparam("of_proposal", type_=sa.BigInteger()),
        sa.text(OPEN),
        records.c.cancel_requested_at.is_(None),
    )
    .values(
        cancel_requested_at=now(),
        cancel_requested_by=sa.bindparam("request_by"),
        cancel_reason=sa.bindparam("request_reason"),
    )
)
_IS_OPEN = sa.select(records.c.id).where(
    records.c.proposal_id == sa.bindparam("of_proposal", type_=sa.BigInteger()), sa.text(OPEN)
)


def ask_to_stop(connection: sa.Connection, proposal_id: int, by: str, reason: str) -> bool:
    """Ask a running execution to stop, once; return whether there is one."""
    values = {"of_proposal": proposal_id, "request_by": by, "request_reason": reason}
    asked_now = connection.execute(_REQUEST, values).rowcount > 0
    return asked_now or connection.execute(_IS_OPEN, {"of_proposal": proposal_id}).first() is not None
