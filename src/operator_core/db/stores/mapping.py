"""The mapping between rows and DTOs, which no other module knows both of."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from pydantic import BaseModel, ValidationError

from operator_core.actions.approvals import Approval
from operator_core.actions.errors import (
    AlreadyStoredError,
    InvalidArgumentError,
    UnreadableRowError,
)
from operator_core.actions.types import (
    TRUSTED_CONTEXT,
    ActionEvent,
    ActionProposal,
    ActionRecord,
    EventKind,
    StoredProposal,
    StoredRecord,
    revalidated_fields,
)
from operator_core.actions.validation import dump_json
from operator_core.db.schema import approvals, events, notes, proposals, records
from operator_core.db.types import Undecodable, time_text

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
PROPOSER_COLUMNS = (
    "ticket_id",
    "action_name",
    "action_type",
    "parameters",
    "reason",
    "proposed_at",
    "proposed_by",
    "valid_until",
    "retry_of",
    "idempotency_key",
    "on_behalf_of",
)
"""The columns that the proposer fills in."""

RECORD_FIELDS = {column.name: column.name.replace("finding", "resolution") for column in records.columns}
"""The DTO field of each column; a resolution has another name in the tables."""
_COLUMNS = {field: column for column, field in RECORD_FIELDS.items()}
_PROPOSAL_FIELDS = tuple(column.name for column in proposals.columns)
_RECORD_FIELDS = tuple(RECORD_FIELDS.values())
_APPROVAL_FIELDS = tuple(column.name for column in approvals.columns)
_EVENT_FIELDS = (*(column.name for column in events.columns), "kind", "record_id")
_GIVEN_WITH_A_RECORD = ("proposal_id", "started_at")

Row = sa.Row[Any] | tuple[Any, ...]


def to_proposal(row: Row) -> StoredProposal:
    """Return the proposal of a row of all columns of `action_proposals`, in their order.

    Raises:
        UnreadableRowError: A column holds an invalid value.
    """
    return _decoded(StoredProposal, proposals, _PROPOSAL_FIELDS, row)


def to_record(row: Row) -> StoredRecord:
    """Return the record of a row of all columns of `action_records`, in their order.

    Raises:
        UnreadableRowError: A column holds an invalid value.
    """
    return _decoded(StoredRecord, records, _RECORD_FIELDS, row)


def to_approval(row: Row) -> Approval:
    """Return the decision of a row of all columns of `action_approvals`, in their order.

    Raises:
        UnreadableRowError: A column holds an invalid value.
    """
    return _decoded(Approval, approvals, _APPROVAL_FIELDS, row)


_OF_DECISION = {"kind", "role", "login", "expires_at", "digest", "revokes", "replaced_by"}


def decision_event(approval: Approval) -> ActionEvent:
    """Return a decision as an event of the history."""
    return ActionEvent(
        id=approval.id,
        kind=EventKind(approval.decision),
        proposal_id=approval.proposal_id,
        from_status=approval.status,
        to_status=approval.status,
        at=approval.at,
        by=approval.by,
        reason=approval.reason,
        generation=approval.generation,
        data=approval.model_dump(mode="json", include=_OF_DECISION),
    )


def to_event(row: Row) -> ActionEvent:
    """Return the event of a row of all columns of `action_events`, in their order, its kind and its record.

    Raises:
        UnreadableRowError: A column holds an invalid value.
    """
    table = events if row[_EVENT_FIELDS.index("kind")] == EventKind.STEP else notes
    return _decoded(ActionEvent, table, _EVENT_FIELDS, row)


def _decoded(model: type[M], table: sa.Table, fields: Sequence[str], row: Row) -> M:
    try:
        return model.model_validate(dict(zip(fields, row, strict=True)), context=TRUSTED_CONTEXT)
    except ValidationError as error:
        raise _unreadable(table, fields, row, error) from error


def _unreadable(table: sa.Table, fields: Sequence[str], row: Row, error: ValidationError) -> UnreadableRowError:
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = str(problem["loc"][0]) if problem["loc"] else None
    value = None if field is None else row[fields.index(field)]
    detail = value.detail if isinstance(value, Undecodable) else f"it is a {type(value).__name__}: {problem['msg']}"
    column = field if field is None else _COLUMNS.get(field, field)
    return UnreadableRowError(table=table.name, id=row[0], column=column, detail=detail)


def require_type(value: T, kind: type[T], path: str) -> T:
    """Return a DTO that an untyped caller passed; raise `InvalidArgumentError` if it has another type."""
    if not isinstance(value, kind):
        raise InvalidArgumentError(path=path, reason=f"is a {type(value).__name__}; give an {kind.__name__}")
    return value


def new_proposal(proposal: ActionProposal) -> dict[str, Any]:
    """Return the column values of a new proposal.

    Raises:
        AlreadyStoredError: It has an id, or a status other than proposed.
        ValueNotStorableError: `model_copy(update=...)` let in an unchecked value.
    """
    values = revalidated_fields(require_type(proposal, ActionProposal, "proposal"))
    if values["id"] is not None:
        raise AlreadyStoredError(kind="proposal", field="id", value=values["id"])
    if values["status"] is not ActionProposal.model_fields["status"].default:
        raise AlreadyStoredError(kind="proposal", field="status", value=str(values["status"]))
    return {name: values[name] for name in PROPOSER_COLUMNS}


def new_record(record: ActionRecord) -> dict[str, Any]:
    """Return the column values of a new, open record.

    Raises:
        AlreadyStoredError: It has an id or an outcome.
        ValueNotStorableError: `model_copy(update=...)` let in an unchecked value.
    """
    values = revalidated_fields(require_type(record, ActionRecord, "record"))
    for name, value in values.items():
        if name not in _GIVEN_WITH_A_RECORD and value is not None:
            raise AlreadyStoredError(kind="record", field=name, value=value)
    return {name: values[name] for name in _GIVEN_WITH_A_RECORD}


def as_json_array(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows of `PROPOSER_COLUMNS` as the JSON array of arrays that `json_rows` reads."""
    return json.dumps([[_as_json(row[name]) for name in PROPOSER_COLUMNS] for row in rows], ensure_ascii=False)


def _as_json(value: object) -> object:
    match value:
        case datetime():
            return time_text(value)
        case Mapping():
            return dump_json(cast("object", value))  # as text inside the array, so that both engines keep it exactly
        case _:
            return value
