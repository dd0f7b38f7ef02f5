"""The ledger: proposals, records, history, prunes, the latch, and the guards of both engines.

Revision ID: 0001
Revises:
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = ("kill_switch_events", "kill_switch", "action_prunes", "action_events", "action_records", "action_proposals")
_FUNCTIONS = (
    "proposals_insert",
    "proposals_update",
    "proposals_delete",
    "records_insert",
    "records_update",
    "records_delete",
    "kill_switch_counter",
    "kill_switch_change",
    "refuse_always",
    "events_insert",
    "kill_switch_events_insert",
    "write_event",
    "write_kill_switch_event",
)
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create everything."""
    _create_proposals()
    _create_records()
    _create_events()
    _create_prunes()
    _create_kill_switch()
    op.execute("INSERT INTO kill_switch (scope, generation) VALUES ('everything', 0)")
    for statement in _guards():
        op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade() -> None:
    """Drop everything: the history is lost."""
    if _dialect() == "sqlite":
        for statement in _guards():
            op.execute(f"DROP TRIGGER {statement.split()[2]}")
    for table in _TABLES:
        op.drop_table(table)
    if _dialect() == "postgresql":
        for function in _FUNCTIONS:
            op.execute(f"DROP FUNCTION operator_core_{function}()")


def _dialect() -> str:
    return op.get_context().dialect.name


def _guards() -> list[str]:
    file = Path(__file__).parents[1] / "guards" / f"0001_{_dialect()}.sql"
    _, _, text = file.read_text(encoding="utf-8").partition("\n")
    return text.removesuffix("\n").split("\n-- next\n")


def _id() -> sa.Column[int]:
    return sa.Column("id", _ID, sa.Identity(always=True), nullable=False)


def _create_proposals() -> None:
    op.create_table(
        "action_proposals",
        _id(),
        sa.Column("ticket_id", sa.BigInteger()),
        sa.Column("action_name", sa.Text(), nullable=False),
        sa.Column("action_type", sa.Text(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="proposed", nullable=False),
        sa.Column("proposed_at", _TIME, nullable=False),
        sa.Column("proposed_by", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("status_at", _TIME, nullable=False),
        sa.Column("status_by", sa.Text(), nullable=False),
        sa.Column("status_reason", sa.Text()),
        sa.Column("validated_at", _TIME),
        sa.Column("executing_at", _TIME),
        sa.Column("completed_at", _TIME),
        sa.Column("failed_at", _TIME),
        sa.Column("cancelled_at", _TIME),
        sa.CheckConstraint(
            "status IN ('proposed', 'validated', 'executing', 'completed', 'failed', 'cancelled')",
            name=op.f("ck_action_proposals_status"),
        ),
        sa.CheckConstraint(
            "action_type IN ('subject', 'tool', 'workflow')",
            name=op.f("ck_action_proposals_action_type"),
        ),
        sa.CheckConstraint(
            "(status NOT IN ('validated', 'executing', 'completed', 'failed') OR validated_at IS NOT NULL) AND (status NOT IN ('proposed') OR validated_at IS NULL) AND (status <> 'validated' OR status_at = validated_at)",
            name=op.f("ck_action_proposals_validated_at"),
        ),
        sa.CheckConstraint(
            "(status NOT IN ('executing', 'completed', 'failed') OR executing_at IS NOT NULL) AND (status NOT IN ('proposed', 'validated') OR executing_at IS NULL) AND (status <> 'executing' OR status_at = executing_at)",
            name=op.f("ck_action_proposals_executing_at"),
        ),
        sa.CheckConstraint(
            "(status NOT IN ('completed') OR completed_at IS NOT NULL) AND (status NOT IN ('proposed', 'validated', 'executing', 'failed', 'cancelled') OR completed_at IS NULL) AND (status <> 'completed' OR status_at = completed_at)",
            name=op.f("ck_action_proposals_completed_at"),
        ),
        sa.CheckConstraint(
            "(status NOT IN ('failed') OR failed_at IS NOT NULL) AND (status NOT IN ('proposed', 'validated', 'executing', 'completed', 'cancelled') OR failed_at IS NULL) AND (status <> 'failed' OR status_at = failed_at)",
            name=op.f("ck_action_proposals_failed_at"),
        ),
        sa.CheckConstraint(
            "(status NOT IN ('cancelled') OR cancelled_at IS NOT NULL) AND (status NOT IN ('proposed', 'validated', 'executing', 'completed', 'failed') OR cancelled_at IS NULL) AND (status <> 'cancelled' OR status_at = cancelled_at)",
            name=op.f("ck_action_proposals_cancelled_at"),
        ),
        sa.CheckConstraint("id BETWEEN 1 AND 9007199254740991", name=op.f("ck_action_proposals_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_action_proposals")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_action_proposals_open",
        "action_proposals",
        ["status", "id"],
        postgresql_where=sa.text(_OPEN),
        sqlite_where=sa.text(_OPEN),
    )
    op.create_index(
        "ix_action_proposals_ticket_id",
        "action_proposals",
        ["ticket_id", "id"],
        postgresql_where=sa.text("ticket_id IS NOT NULL"),
        sqlite_where=sa.text("ticket_id IS NOT NULL"),
    )


_OPEN = "status = 'proposed' OR status = 'validated' OR status = 'executing'"


def _create_records() -> None:
    op.create_table(
        "action_records",
        _id(),
        sa.Column("proposal_id", sa.BigInteger(), nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("completed_at", _TIME),
        sa.Column("success", sa.Boolean()),
        sa.Column("error_message", sa.Text()),
        sa.Column("result_data", sa.JSON()),
        sa.Column("outcome", sa.Text()),
        sa.Column("cancel_requested_at", _TIME),
        sa.Column("cancel_requested_by", sa.Text()),
        sa.Column("cancel_reason", sa.Text()),
        sa.Column("stop_generation", sa.BigInteger()),
        sa.CheckConstraint(
            "outcome IN ('succeeded', 'failed', 'stopped', 'unknown')",
            name=op.f("ck_action_records_outcome"),
        ),
        sa.CheckConstraint(
            "(completed_at IS NULL) = (outcome IS NULL)",
            name=op.f("ck_action_records_completed_at"),
        ),
        sa.CheckConstraint(
            "(success IS NULL) = (outcome IS NULL) AND (success IS NULL OR success = (outcome = 'succeeded'))",
            name=op.f("ck_action_records_success"),
        ),
        sa.CheckConstraint(
            "(cancel_requested_at IS NULL) = (cancel_requested_by IS NULL)",
            name=op.f("ck_action_records_cancel_requested_at"),
        ),
        sa.CheckConstraint(
            "stop_generation IS NULL OR completed_at IS NOT NULL", name=op.f("ck_action_records_stop_generation")
        ),
        sa.CheckConstraint("id BETWEEN 1 AND 9007199254740991", name=op.f("ck_action_records_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_action_records")),
        sa.ForeignKeyConstraint(
            ["proposal_id"], ["action_proposals.id"], name=op.f("fk_action_records_proposal_id_action_proposals")
        ),
        sa.UniqueConstraint("proposal_id", name=op.f("uq_action_records_proposal_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_action_records_stop_generation",
        "action_records",
        ["stop_generation"],
        postgresql_where=sa.text("stop_generation IS NOT NULL"),
        sqlite_where=sa.text("stop_generation IS NOT NULL"),
    )


def _create_events() -> None:
    op.create_table(
        "action_events",
        _id(),
        sa.Column("proposal_id", sa.BigInteger(), nullable=False),
        sa.Column("from_status", sa.Text()),
        sa.Column("to_status", sa.Text(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.JSON()),
        sa.CheckConstraint("id BETWEEN 1 AND 9007199254740991", name=op.f("ck_action_events_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_action_events")),
        sa.UniqueConstraint("proposal_id", "to_status", name=op.f("uq_action_events_proposal_id_to_status")),
        sqlite_autoincrement=True,
    )


def _create_prunes() -> None:
    op.create_table(
        "action_prunes",
        _id(),
        sa.Column("before", _TIME, nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.CheckConstraint("id BETWEEN 1 AND 9007199254740991", name=op.f("ck_action_prunes_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_action_prunes")),
        sqlite_autoincrement=True,
    )


def _create_kill_switch() -> None:
    op.create_table(
        "kill_switch",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("engaged_at", _TIME),
        sa.Column("engaged_by", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.Column("released_at", _TIME),
        sa.Column("released_by", sa.Text()),
        sa.Column("release_reason", sa.Text()),
        sa.CheckConstraint(
            "scope = 'everything' OR scope LIKE 'action_type=_%' OR scope LIKE 'action_name=_%' OR scope LIKE 'proposed_by=_%' OR scope LIKE 'ticket_id=_%'",
            name=op.f("ck_kill_switch_scope"),
        ),
        sa.CheckConstraint(
            "(engaged_at IS NULL) = (generation = 0) AND (engaged_by IS NULL) = (engaged_at IS NULL) AND (reason IS NULL) = (engaged_at IS NULL)",
            name=op.f("ck_kill_switch_engaged"),
        ),
        sa.CheckConstraint(
            "(released_at IS NULL OR engaged_at IS NOT NULL) AND (released_by IS NULL) = (released_at IS NULL) AND (release_reason IS NULL) = (released_at IS NULL)",
            name=op.f("ck_kill_switch_released"),
        ),
        sa.PrimaryKeyConstraint("scope", name=op.f("pk_kill_switch")),
        sa.UniqueConstraint("generation", name=op.f("uq_kill_switch_generation")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "kill_switch_events",
        _id(),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("change", sa.Text(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "change IN ('engaged', 'released')",
            name=op.f("ck_kill_switch_events_change"),
        ),
        sa.CheckConstraint("id BETWEEN 1 AND 9007199254740991", name=op.f("ck_kill_switch_events_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_kill_switch_events")),
        sa.UniqueConstraint("generation", "change", name=op.f("uq_kill_switch_events_generation_change")),
        sqlite_autoincrement=True,
    )
