"""The ends of many executions: in one statement for each state that they reach, if the engine can."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from operator_core.actions.errors import UnreadableRowError
from operator_core.actions.lifecycle import ActionOutcome, ActionStatus
from operator_core.actions.types import StoredRecord
from operator_core.actions.validation import dump_json
from operator_core.db.engine.capabilities import supports_writable_cte
from operator_core.db.functions import json_item, json_rows, now
from operator_core.db.guards.conditions import requested_stop
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.schema import proposals, records
from operator_core.db.stores import endings
from operator_core.db.stores.mapping import to_record
from operator_core.db.stores.reading import require_readable
from operator_core.db.stores.records import status_for_outcome
from operator_core.db.stores.transitions import (
    refused_together,
    refusing_together,
    step_values,
    transition_from,
)


class Ending(NamedTuple):
    """How the execution of one record has ended, and whose report that is."""

    record_id: int
    outcome: ActionOutcome
    error_message: str | None
    result_data: dict[str, Any] | None
    by: str

    @property
    def target(self) -> ActionStatus:
        """The state that the proposal reaches."""
        return status_for_outcome(self.outcome)


_TYPES: tuple[sa.types.TypeEngine[Any], ...] = (
    sa.BigInteger(),
    records.c.outcome.type,
    records.c.error_message.type,
    records.c.result_data.type,
    sa.Text(),
)
_rows = json_rows(sa.bindparam("ends", type_=sa.Text())).table_valued("value", "position", name="j")
_ENDS = sa.select(
    *(
        json_item(_rows.c.value, place, kind).label(name)
        for place, (name, kind) in enumerate(zip(Ending._fields, _TYPES, strict=True))
    )
).cte("ends")
_SUCCEEDED = sa.cast(_ENDS.c.outcome, sa.Text()) == sa.literal_column(f"'{ActionOutcome.SUCCEEDED}'")


def _finishing(target: ActionStatus) -> sa.Executable:
    closing = sa.update(records).where(records.c.id == _ENDS.c.record_id, records.c.completed_at.is_(None))
    closing = closing.values(
        completed_at=now(),
        success=_SUCCEEDED,
        outcome=_ENDS.c.outcome,
        error_message=_ENDS.c.error_message,
        result_data=_ENDS.c.result_data,
        stop_generation=sa.literal_column(requested_stop("action_records.proposal_id")),
    )
    returned: list[sa.ColumnElement[Any]] = [*records.columns, _ENDS.c.by.label("ended_by")]
    closed = closing.returning(*returned).cte("closed")
    moved = (
        sa.update(proposals)
        .where(sa.text(transition_from(target)), proposals.c.id == closed.c.proposal_id)
        .values(step_values(target, now(), by=closed.c.ended_by, reason=closed.c.error_message))
        .returning(proposals.c.id)
    ).cte("moved")
    columns = [closed.c[column.name] for column in records.columns]
    return sa.select(*columns).select_from(closed.join(moved, moved.c.id == closed.c.proposal_id))


_FINISHING = {status: _finishing(status) for status in (status_for_outcome(outcome) for outcome in ActionOutcome)}


@unit(TransactionMode.MULTI_WRITE)
def finish_alike(connection: sa.Connection, ends: Sequence[Ending]) -> dict[int, StoredRecord]:
    """Close records whose proposals all reach the same state; return the closed records by id.

    On PostgreSQL an execution that has ended before is missing from the answer, and the others are recorded; on SQLite
    it is refused, with all others. `endings.finish` says why.
    """
    if not supports_writable_cte(connection):
        return {end.record_id: require_readable(endings.finish(connection, *end)) for end in ends}
    values = {"ends": json.dumps([_as_row(end) for end in ends], ensure_ascii=False)}
    with refusing_together():
        rows = connection.execute(_FINISHING[ends[0].target], values).all()
    return {record.id: record for record in map(to_record, rows)}


def _as_row(end: Ending) -> list[Any]:
    result = None if end.result_data is None else dump_json(end.result_data)
    return [end.record_id, end.outcome.value, end.error_message, result, end.by]


@unit(TransactionMode.TRANSACTION)
def finish_all(connection: sa.Connection, ends: Sequence[Ending]) -> list[StoredRecord | UnreadableRowError]:
    """Close records, all or none; return them in the order of the ends.

    Raises:
        GuardRefusal: One of them was refused; `finish_each` says which one, and why.
    """
    closed: dict[int, StoredRecord] = {}
    for alike in by_target(ends).values():
        closed |= finish_alike(connection, alike)
    if len(closed) < len(ends):
        raise refused_together("00000")
    return [closed[end.record_id] for end in ends]


@unit(TransactionMode.TRANSACTION)
def finish_each(connection: sa.Connection, ends: Sequence[Ending]) -> list[StoredRecord | UnreadableRowError]:
    """Close records, one after the other.

    Raises:
        GuardRefusal, RecordNotFoundError, TransitionNotAllowedError: One of them was refused; none is closed.
    """
    return [endings.finish(connection, *end) for end in ends]


def by_target(ends: Sequence[Ending]) -> Mapping[ActionStatus, list[Ending]]:
    """Return ends by the state that their proposals reach."""
    groups: dict[ActionStatus, list[Ending]] = {}
    for end in ends:
        groups.setdefault(end.target, []).append(end)
    return groups
