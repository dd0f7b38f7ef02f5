"""Retention: old finished proposals may be deleted, after a prune row records the actor and the reason."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from operator_core.actions.lifecycle import TERMINAL
from operator_core.actions.reports import PruneReport
from operator_core.db.functions import now
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.schema import approvals, events, notes, proposals, prunes, records, sql_list
from operator_core.db.types import UtcDateTime

ROWS = 500  # of one transaction

_BEFORE: sa.BindParameter[datetime] = sa.bindparam("before", type_=UtcDateTime())
_AFTER: sa.BindParameter[int] = sa.bindparam("after_id", type_=sa.BigInteger())
_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)

_PERMIT = sa.insert(prunes).values(
    before=_BEFORE,
    by=sa.bindparam("prune_by"),
    reason=sa.bindparam("prune_reason"),
    at=now(),
    keep_events=sa.bindparam("keep"),
)


@unit(TransactionMode.TRANSACTION)
def record_prune(connection: sa.Connection, before: datetime, by: str, reason: str, *, keep_events: bool) -> None:
    """Record that what was finished before a moment may be deleted; the database's guards check this."""
    values = {"before": before, "prune_by": by, "prune_reason": reason, "keep": keep_events}
    connection.execute(_PERMIT, values)


_FINISHED = sa.text(f"action_proposals.status IN ({sql_list(TERMINAL)})")
_IS_UNRESOLVED = sa.exists().where(
    records.c.proposal_id == proposals.c.id, sa.text("action_records.outcome = 'unknown'"), records.c.finding.is_(None)
)
# A client may date its steps freely, but not when they were recorded.
_recorded_at: sa.ColumnElement[datetime | None] = sa.func.max(events.c.recorded_at, type_=UtcDateTime())
_RECORDED_AT = sa.select(_recorded_at).where(events.c.proposal_id == proposals.c.id).scalar_subquery()
_OLD = (
    _FINISHED,
    proposals.c.status_at < _BEFORE,
    sa.func.coalesce(_RECORDED_AT, proposals.c.status_at, type_=UtcDateTime()) < _BEFORE,
)
_PRUNABLE = sa.select(proposals.c.id).where(*_OLD, ~_IS_UNRESOLVED, proposals.c.id > _AFTER)
_NEXT = _PRUNABLE.order_by(proposals.c.id).limit(ROWS)
_DELETE_RECORDS = sa.delete(records).where(records.c.proposal_id.in_(_IDS))
_DELETE_PROPOSALS = sa.delete(proposals).where(proposals.c.id.in_(_IDS))


@unit(TransactionMode.TRANSACTION)
def prune(connection: sa.Connection, before: datetime, after_id: int) -> Sequence[int]:
    """Delete some proposals with their records, the lowest ids after `after_id`; return their ids, none at the end."""
    ids = connection.scalars(_NEXT, {"before": before, "after_id": after_id}).all()
    if ids:
        connection.execute(_DELETE_RECORDS, {"ids": ids})
        connection.execute(_DELETE_PROPOSALS, {"ids": ids})
    return ids


_HAS_PROPOSAL = sa.exists().where(proposals.c.id == events.c.proposal_id)
_HAS_LATER_DECISION = sa.exists().where(approvals.c.proposal_id == events.c.proposal_id, approvals.c.at >= _BEFORE)
_HAS_LATER_NOTE = sa.exists().where(notes.c.proposal_id == events.c.proposal_id, notes.c.at >= _BEFORE)
_FORGETTABLE = (
    sa.select(events.c.proposal_id)
    .where(events.c.proposal_id > _AFTER, ~_HAS_PROPOSAL, ~_HAS_LATER_NOTE, ~_HAS_LATER_DECISION)
    .group_by(events.c.proposal_id)
    .having(
        sa.func.max(events.c.at, type_=UtcDateTime()) < _BEFORE,
        sa.func.max(sa.func.coalesce(events.c.recorded_at, events.c.at), type_=UtcDateTime()) < _BEFORE,
    )
    .order_by(events.c.proposal_id)
    .limit(ROWS)
)
_DELETE_EVENTS = sa.delete(events).where(events.c.proposal_id.in_(_IDS))
_DELETE_NOTES = sa.delete(notes).where(notes.c.proposal_id.in_(_IDS))
_DELETE_DECISIONS = sa.delete(approvals).where(approvals.c.proposal_id.in_(_IDS))
_DELETIONS = (_DELETE_NOTES, _DELETE_DECISIONS, _DELETE_EVENTS)  # the events last: they say when it all ended


@unit(TransactionMode.TRANSACTION)
def prune_events(connection: sa.Connection, before: datetime, after_id: int) -> tuple[Sequence[int], int]:
    """Delete the history of some deleted proposals; return their ids, and the number of events."""
    ids = connection.scalars(_FORGETTABLE, {"before": before, "after_id": after_id}).all()
    if not ids:
        return ids, 0
    counts = [connection.execute(statement, {"ids": ids}).rowcount for statement in _DELETIONS]
    return ids, sum(counts)


_COUNT_PRUNABLE = sa.select(sa.func.count()).select_from(_PRUNABLE.subquery())
_COUNT_UNRESOLVED = sa.select(sa.func.count()).select_from(proposals).where(*_OLD, _IS_UNRESOLVED)
_later_event, _later_note = events.alias("later_event"), notes.alias("later_note")
_later_decision = approvals.alias("later_decision")
_LATER = (
    (_later_event, sa.or_(_later_event.c.at >= _BEFORE, _later_event.c.recorded_at >= _BEFORE)),
    (_later_note, _later_note.c.at >= _BEFORE),
    (_later_decision, _later_decision.c.at >= _BEFORE),
)
_COUNT_EVENTS = sa.select(
    *(
        sa.select(sa.func.count())
        .where(
            sa.or_(table.c.proposal_id.in_(_PRUNABLE), ~sa.exists().where(proposals.c.id == table.c.proposal_id)),
            *(~sa.exists().where(one.c.proposal_id == table.c.proposal_id, is_later) for one, is_later in _LATER),
            table.c.at < _BEFORE,
        )
        .scalar_subquery()
        for table in (events, notes, approvals)
    )
)


@unit(TransactionMode.SNAPSHOT)
def count(connection: sa.Connection, before: datetime, *, keep_events: bool) -> PruneReport:
    """Return what a prune would delete, and what it would leave as unresolved; needs one snapshot."""
    values = {"before": before, "after_id": 0}
    event_count = 0 if keep_events else sum(connection.execute(_COUNT_EVENTS, values).one())
    return PruneReport(
        before=before,
        proposals=connection.execute(_COUNT_PRUNABLE, values).scalar_one(),
        events=event_count,
        unresolved=connection.execute(_COUNT_UNRESOLVED, values).scalar_one(),
    )
