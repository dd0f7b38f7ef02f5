"""The tables of proposals, records and their history."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from operator_core.actions.lifecycle import (
    INITIAL,
    PENDING,
    TRANSITIONS,
    ActionOutcome,
    ActionStatus,
    Resolution,
    states_always_visited,
    states_possibly_visited,
)
from operator_core.actions.types import ActionType, EventKind
from operator_core.db.schema.base import Base, counts_from_1, one_of, sql_list, status_in
from operator_core.db.types import AUTOINCREMENT, BigId, EnumText, JsonText, UtcDateTime, partial_index


def _status_check(status: ActionStatus) -> sa.CheckConstraint:
    """Return the rule for the time at which `status` was reached: set exactly if the state requires it."""
    required = [state for state in TRANSITIONS if status in states_always_visited(state)]
    forbidden = [state for state in TRANSITIONS if status not in states_possibly_visited(state)]
    column = f"{status}_at"
    return sa.CheckConstraint(
        f"(status NOT IN ({sql_list(required)}) OR {column} IS NOT NULL) "
        f"AND (status NOT IN ({sql_list(forbidden)}) OR {column} IS NULL) "
        f"AND (status <> '{status}' OR status_at = {column})",
        name=column,
    )


CAN_EXPIRE = f"({status_in(PENDING)}) AND valid_until IS NOT NULL"


class ActionProposalRow(Base):
    """One proposal and its last step."""

    __tablename__ = "action_proposals"

    id: Mapped[int] = mapped_column(BigId, sa.Identity(always=True), primary_key=True)
    ticket_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    action_name: Mapped[str] = mapped_column(sa.Text)
    action_type: Mapped[ActionType] = mapped_column(EnumText(ActionType))
    parameters: Mapped[dict[str, Any]] = mapped_column(JsonText)
    reason: Mapped[str] = mapped_column(sa.Text)
    status: Mapped[ActionStatus] = mapped_column(EnumText(ActionStatus), server_default=INITIAL.value)
    proposed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    proposed_by: Mapped[str] = mapped_column(sa.Text)
    generation: Mapped[int] = mapped_column(sa.BigInteger)
    status_at: Mapped[datetime] = mapped_column(UtcDateTime)
    status_by: Mapped[str] = mapped_column(sa.Text)
    status_reason: Mapped[str | None] = mapped_column(sa.Text)
    validated_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    executing_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    completed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    failed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    cancelled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    valid_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    retry_of: Mapped[int | None] = mapped_column(sa.BigInteger)
    idempotency_key: Mapped[str | None] = mapped_column(sa.Text)
    on_behalf_of: Mapped[str | None] = mapped_column(sa.Text)

    __table_args__ = (
        one_of("status", TRANSITIONS),
        one_of("action_type", ActionType),
        *(_status_check(status) for status in TRANSITIONS if status is not INITIAL),
        partial_index(
            "ix_action_proposals_open",
            "status",
            "id",
            where=status_in([*PENDING, ActionStatus.EXECUTING]),
        ),
        partial_index("ix_action_proposals_validated", "id", where=f"status = '{ActionStatus.VALIDATED}'"),
        partial_index("ix_action_proposals_ticket_id", "ticket_id", "id", where="ticket_id IS NOT NULL"),
        partial_index("ix_action_proposals_valid_until", "valid_until", where=CAN_EXPIRE),
        partial_index(
            "uq_action_proposals_idempotency_key", "idempotency_key", where="idempotency_key IS NOT NULL", unique=True
        ),
        counts_from_1(),
        AUTOINCREMENT,
    )


IS_OPEN = "outcome IS NULL"
IS_UNRESOLVED = "outcome = 'unknown' AND finding IS NULL"
_LEASE = ("worker", "lease_seconds", "last_seen_at", "lease_expires_at")
_FINDING = ("finding", "finding_at", "finding_by", "finding_reason")


def _all_or_none(name: str, columns: tuple[str, ...], *more: str) -> sa.CheckConstraint:
    # It belongs to the last of its columns, where SQLite adds it to an existing table.
    first, *others = columns
    pairs = [f"({column} IS NULL) = ({first} IS NULL)" for column in others]
    return sa.CheckConstraint(" AND ".join([*pairs, *more]), name=name)


class ActionRecordRow(Base):
    """The one execution of a proposal."""

    __tablename__ = "action_records"

    id: Mapped[int] = mapped_column(BigId, sa.Identity(always=True), primary_key=True)
    proposal_id: Mapped[int] = mapped_column(sa.BigInteger, sa.ForeignKey("action_proposals.id"), unique=True)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    completed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    success: Mapped[bool | None] = mapped_column(sa.Boolean)
    error_message: Mapped[str | None] = mapped_column(sa.Text)
    result_data: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    outcome: Mapped[ActionOutcome | None] = mapped_column(EnumText(ActionOutcome))
    cancel_requested_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    cancel_requested_by: Mapped[str | None] = mapped_column(sa.Text)
    cancel_reason: Mapped[str | None] = mapped_column(sa.Text)
    stop_generation: Mapped[int | None] = mapped_column(sa.BigInteger)
    worker: Mapped[str | None] = mapped_column(sa.Text)
    lease_seconds: Mapped[float | None] = mapped_column(sa.Double)
    last_seen_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    lease_expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime, _all_or_none("lease", _LEASE))
    claim_key: Mapped[str | None] = mapped_column(sa.Text)
    finding: Mapped[Resolution | None] = mapped_column(EnumText(Resolution), one_of("finding", Resolution))
    finding_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finding_by: Mapped[str | None] = mapped_column(sa.Text)
    finding_reason: Mapped[str | None] = mapped_column(
        sa.Text, _all_or_none("settled", _FINDING, "(finding IS NULL OR outcome = 'unknown')")
    )

    __table_args__ = (
        one_of("outcome", ActionOutcome),
        sa.CheckConstraint("(completed_at IS NULL) = (outcome IS NULL)", name="completed_at"),
        sa.CheckConstraint(
            "(success IS NULL) = (outcome IS NULL) AND (success IS NULL OR success = (outcome = 'succeeded'))",
            name="success",
        ),
        sa.CheckConstraint("(cancel_requested_at IS NULL) = (cancel_requested_by IS NULL)", name="cancel_requested_at"),
        sa.CheckConstraint("stop_generation IS NULL OR completed_at IS NOT NULL", name="stop_generation"),
        partial_index("ix_action_records_stop_generation", "stop_generation", where="stop_generation IS NOT NULL"),
        partial_index("uq_action_records_worker", "worker", "claim_key", where=IS_OPEN, unique=True),
        partial_index("ix_action_records_unsettled", "id", where=IS_UNRESOLVED),
        counts_from_1(),
        AUTOINCREMENT,
    )


class ActionEventRow(Base):
    """One step of one proposal; without a foreign key, so that it outlives a pruned proposal."""

    __tablename__ = "action_events"

    id: Mapped[int] = mapped_column(BigId, sa.Identity(always=True), primary_key=True)
    proposal_id: Mapped[int] = mapped_column(sa.BigInteger)
    from_status: Mapped[ActionStatus | None] = mapped_column(EnumText(ActionStatus))
    to_status: Mapped[ActionStatus] = mapped_column(EnumText(ActionStatus))
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    by: Mapped[str] = mapped_column(sa.Text)
    reason: Mapped[str | None] = mapped_column(sa.Text)
    generation: Mapped[int] = mapped_column(sa.BigInteger)
    data: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    recorded_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        # No path through the transition table enters a state twice.
        sa.UniqueConstraint("proposal_id", "to_status"),
        counts_from_1(),
        AUTOINCREMENT,
    )


NOTES = (EventKind.CANCEL_REQUESTED, EventKind.REPORTED_LATE, EventKind.RESOLVED)


class ActionNoteRow(Base):
    """A remark about an execution while its proposal stayed in `status`; without a foreign key, like an event."""

    __tablename__ = "action_notes"

    id: Mapped[int] = mapped_column(BigId, sa.Identity(always=True), primary_key=True)
    proposal_id: Mapped[int] = mapped_column(sa.BigInteger)
    record_id: Mapped[int] = mapped_column(sa.BigInteger)
    kind: Mapped[EventKind] = mapped_column(EnumText(EventKind))
    status: Mapped[ActionStatus] = mapped_column(EnumText(ActionStatus))
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    by: Mapped[str] = mapped_column(sa.Text)
    reason: Mapped[str | None] = mapped_column(sa.Text)
    generation: Mapped[int] = mapped_column(sa.BigInteger)
    data: Mapped[dict[str, Any] | None] = mapped_column(JsonText)

    __table_args__ = (
        one_of("kind", NOTES),
        sa.Index("ix_action_notes_proposal_id", "proposal_id"),
        # A late worker may report several times; every other kind of note is unique.
        partial_index(
            "uq_action_notes_record_id",
            "record_id",
            "kind",
            where=f"kind <> '{EventKind.REPORTED_LATE}'",
            unique=True,
        ),
        counts_from_1(),
        AUTOINCREMENT,
    )


class ActionPruneRow(Base):
    """A permission to delete what was finished before a moment; kept for ever."""

    __tablename__ = "action_prunes"

    id: Mapped[int] = mapped_column(BigId, sa.Identity(always=True), primary_key=True)
    before: Mapped[datetime] = mapped_column(UtcDateTime)
    by: Mapped[str] = mapped_column(sa.Text)
    reason: Mapped[str] = mapped_column(sa.Text)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    keep_events: Mapped[bool] = mapped_column(sa.Boolean, server_default=sa.true())

    __table_args__ = (counts_from_1(), AUTOINCREMENT)


proposals = Base.metadata.tables["action_proposals"]
records = Base.metadata.tables["action_records"]
events = Base.metadata.tables["action_events"]
notes = Base.metadata.tables["action_notes"]
prunes = Base.metadata.tables["action_prunes"]
