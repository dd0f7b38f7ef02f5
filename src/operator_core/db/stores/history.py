"""The store of events, which only the database writes, and which is read here."""

from collections.abc import Iterable, Sequence
from itertools import chain, groupby
from typing import Any

import sqlalchemy as sa

from operator_core.actions.types import ActionEvent, EventKind
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.schema import approvals, events, notes
from operator_core.db.stores import reading
from operator_core.db.stores.mapping import decision_event, to_approval, to_event

_IS_STEP: sa.ColumnClause[str] = sa.literal_column(f"'{EventKind.STEP}'")
_NONE = sa.cast(sa.null(), sa.BigInteger())
_STEPS: sa.Select[Any] = sa.select(
    *events.columns, _IS_STEP.label("kind"), sa.cast(sa.null(), sa.BigInteger()).label("record_id")
)
_NOTES: sa.Select[Any] = sa.select(
    *(notes.c.id, notes.c.proposal_id, notes.c.status.label("from_status"), notes.c.status.label("to_status")),
    *(notes.c[name] for name in ("at", "by", "reason", "generation", "data")),
    *(sa.cast(sa.null(), events.c.recorded_at.type).label("recorded_at"), notes.c.kind, notes.c.record_id),
)


_STEPS_OF = _STEPS.where(reading.in_id_range(events.c.proposal_id)).order_by(events.c.proposal_id, events.c.id)
_NOTES_OF = _NOTES.where(reading.in_id_range(notes.c.proposal_id)).order_by(notes.c.proposal_id, notes.c.id)
_DECISIONS_OF = (
    sa.select(*approvals.columns)
    .where(reading.in_id_range(approvals.c.proposal_id))
    .order_by(approvals.c.proposal_id, approvals.c.id)
)


@unit(TransactionMode.SNAPSHOT)
def of_proposals(connection: sa.Connection, first: int, last: int) -> reading.Found[ActionEvent]:
    """Return the events of the proposals of a range of ids, proposal by proposal, oldest first.

    A note or a decision follows the step to the state in which it was made, whatever the clocks say. Needs one
    snapshot.
    """
    values = {"first": first, "last": last}
    steps = reading.many(connection, _STEPS_OF, values, events.c.id, to_event)
    notes_found = reading.many(connection, _NOTES_OF, values, notes.c.id, to_event)
    decided = reading.many(connection, _DECISIONS_OF, values, approvals.c.id, to_approval)
    grouped: dict[int, list[ActionEvent]] = {}
    for event in chain(steps.items, notes_found.items, map(decision_event, decided.items)):
        grouped.setdefault(event.proposal_id, []).append(event)
    in_order = chain.from_iterable(_in_order(grouped[number]) for number in sorted(grouped))
    return reading.Found([*in_order], steps.unreadable + notes_found.unreadable + decided.unreadable)


def by_proposal(ordered: Iterable[ActionEvent]) -> dict[int, list[ActionEvent]]:
    """Group events that `of_proposals` returned by the ids of their proposals."""
    return {number: [*those] for number, those in groupby(ordered, key=lambda event: event.proposal_id)}


def _in_order(mixed: list[ActionEvent]) -> list[ActionEvent]:
    steps = [event for event in mixed if event.kind is EventKind.STEP]
    rank = {step.to_status: position for position, step in enumerate(steps)}
    return sorted(mixed, key=lambda event: (rank.get(event.to_status, len(steps)), event.kind is not EventKind.STEP))


@unit(TransactionMode.SNAPSHOT)
def of_proposal(connection: sa.Connection, proposal_id: int) -> list[ActionEvent]:
    """Return the events of a proposal, oldest first; needs one snapshot.

    Raises:
        UnreadableRowError: One of them cannot be read.
    """
    found = of_proposals(connection, proposal_id, proposal_id)
    if found.unreadable:
        raise found.unreadable[0]
    return found.items


_NEXT = (
    sa.select(events.c.proposal_id)
    .where(events.c.proposal_id > sa.bindparam("after_id", type_=sa.BigInteger()), sa.text("from_status IS NULL"))
    .order_by(events.c.proposal_id)
    .limit(sa.bindparam("rows", type_=sa.Integer()))
)


def next_proposals(connection: sa.Connection, after_id: int, rows: int) -> Sequence[int]:
    """Return the lowest ids of proposals with a history above `after_id`."""
    return connection.scalars(_NEXT, {"after_id": after_id, "rows": rows}).all()


_LAST: sa.Select[Any] = sa.select(sa.func.coalesce(sa.func.max(events.c.proposal_id), 0))


def last_proposal(connection: sa.Connection) -> int:
    """Return the highest id of a proposal that has a history, or 0."""
    return int(connection.execute(_LAST).scalar_one())
