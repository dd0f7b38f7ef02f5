"""Approvals: a person's yes is a row, policies say which are needed, and the guards let nothing run without them.

Nothing changes for a ledger without a policy, and for what is stored already. Code of the revision before goes on
working; under a policy the guards refuse its steps as they refuse everybody's.

Locks on PostgreSQL: ACCESS EXCLUSIVE on the proposals for a column (nothing is rewritten), so that every start under
the old guards has ended before the new ones hold; none on the latch, so that a stop gets through while it runs. The
lock is taken first, in tries that give way to others.

Revision ID: 0004
Revises: 0003
"""

import re
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)
_LOCK = """DO $lock$
DECLARE
    bound CONSTANT integer := (SELECT setting FROM pg_settings WHERE name = 'lock_timeout');
    longest CONSTANT integer := greatest(1, coalesce(nullif(bound, 0), 5000) / 3);
    give_up CONSTANT timestamptz := clock_timestamp() + interval '60 seconds';
    patience integer := least(50, longest);
    begun timestamptz;
BEGIN
    LOOP
        begun := clock_timestamp();
        BEGIN
            PERFORM set_config('lock_timeout', patience::text, true);
            LOCK TABLE action_proposals IN ACCESS EXCLUSIVE MODE;
            PERFORM set_config('lock_timeout', bound::text, true);
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() > give_up THEN RAISE; END IF;
        END;
        PERFORM pg_sleep(0.01 + extract(epoch FROM clock_timestamp() - begun));
        patience := least(1 + patience * 3 / 2, longest);
    END LOOP;
END
$lock$"""
_FUNCTIONS = (
    "approvals_insert()",
    "policies_change()",
    "policy_events_insert()",
    "write_policy_event()",
    "lacks_approval(boolean, bigint, text, text, text)",
    "approve(bigint, text, text, text, text, text, double precision)",
    "reject(bigint, text, text, text, text, text, bigint)",
    "revoke(bigint, text, text, text, text)",
)
_TABLES = ("approval_policy_events", "approval_policies", "action_approvals")


def upgrade() -> None:
    """Expand: what the code before this revision does goes on working."""
    if _dialect() == "postgresql":
        op.execute(_LOCK)
    _create_approvals()
    _create_policies()
    op.add_column("action_proposals", sa.Column("on_behalf_of", sa.Text()))
    _replace_guards("0003", "0004")


def downgrade() -> None:
    """Undo: every decision, every policy, and for whom something was proposed are lost."""
    if _dialect() == "sqlite":  # no column goes that a trigger names
        for name in _by_name("0004"):
            op.execute(f"DROP {name}")
        op.drop_column("action_proposals", "on_behalf_of")
        for table in _TABLES:
            op.drop_table(table)
        for statement in _guards("0003"):
            _execute(statement)
        return
    op.execute(_LOCK)
    _replace_guards("0004", "0003")
    for table in _TABLES:
        op.drop_table(table)
    for function in _FUNCTIONS:
        op.execute(f"DROP FUNCTION operator_core_{function}")
    op.drop_column("action_proposals", "on_behalf_of")


def _create_approvals() -> None:
    op.create_table(
        "action_approvals",
        sa.Column("id", _ID, sa.Identity(always=True), nullable=False),
        sa.Column("proposal_id", sa.BigInteger(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("role", sa.Text()),
        sa.Column("login", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME),
        sa.Column("digest", sa.Text()),
        sa.Column("revokes", sa.BigInteger()),
        sa.Column("replaced_by", sa.BigInteger()),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "decision IN ('approved', 'rejected', 'revoked')", name=op.f("ck_action_approvals_decision")
        ),
        sa.CheckConstraint("kind IN ('human', 'agent', 'system')", name=op.f("ck_action_approvals_kind")),
        sa.CheckConstraint("(decision = 'revoked') = (revokes IS NOT NULL)", name=op.f("ck_action_approvals_revokes")),
        sa.CheckConstraint("decision = 'approved' OR expires_at IS NULL", name=op.f("ck_action_approvals_expires_at")),
        sa.CheckConstraint(
            "decision = 'rejected' OR replaced_by IS NULL", name=op.f("ck_action_approvals_replaced_by")
        ),
        sa.CheckConstraint("decision = 'approved' OR reason IS NOT NULL", name=op.f("ck_action_approvals_reason")),
        sa.CheckConstraint("id BETWEEN 1 AND 9007199254740991", name=op.f("ck_action_approvals_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_action_approvals")),
        sa.UniqueConstraint("revokes", name=op.f("uq_action_approvals_revokes")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_action_approvals_proposal_id", "action_approvals", ["proposal_id", "id"])


def _create_policies() -> None:
    op.create_table(
        "approval_policies",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), server_default="", nullable=False),
        sa.Column("approvals", sa.Integer(), server_default="1", nullable=False),
        sa.Column("four_eyes", sa.Text(), server_default="proposer", nullable=False),
        sa.Column("humans_only", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("expires_seconds", sa.Double()),
        sa.Column("in_force", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint("approvals BETWEEN 0 AND 99", name=op.f("ck_approval_policies_approvals")),
        sa.CheckConstraint("four_eyes IN ('no', 'proposer', 'principal')", name=op.f("ck_approval_policies_four_eyes")),
        sa.PrimaryKeyConstraint("scope", "role", name=op.f("pk_approval_policies")),
        sa.UniqueConstraint("version", name=op.f("uq_approval_policies_version")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "approval_policy_events",
        sa.Column("id", _ID, sa.Identity(always=True), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("approvals", sa.Integer(), nullable=False),
        sa.Column("four_eyes", sa.Text(), nullable=False),
        sa.Column("humans_only", sa.Boolean(), nullable=False),
        sa.Column("expires_seconds", sa.Double()),
        sa.Column("in_force", sa.Boolean(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint("id BETWEEN 1 AND 9007199254740991", name=op.f("ck_approval_policy_events_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval_policy_events")),
        sa.UniqueConstraint("version", name=op.f("uq_approval_policy_events_version")),
        sqlite_autoincrement=True,
    )


def _dialect() -> str:
    return op.get_context().dialect.name


def _guards(number: str) -> list[str]:
    file = Path(__file__).parents[1] / "guards" / f"{number}_{_dialect()}.sql"
    text = file.read_text(encoding="utf-8")
    return text.partition("\n")[2].removesuffix("\n").split("\n-- next\n")


def _by_name(number: str) -> dict[str, str]:
    """Return the statements that create something, by its kind and name: `TRIGGER operator_core_...`."""
    named = ((re.match(r"CREATE (?:OR REPLACE )?(TRIGGER|FUNCTION) (\w+)", text), text) for text in _guards(number))
    return {f"{found[1]} {found[2]}": text for found, text in named if found}


def _replace_guards(before: str, after: str) -> None:
    """Create what is new or altered, and touch nothing else: on PostgreSQL a dropped trigger would lock its table."""
    old = _by_name(before)
    for name, statement in _by_name(after).items():
        if old.get(name) == statement:
            continue
        if _dialect() == "sqlite" and name in old:
            op.execute(f"DROP {name}")
        _execute(
            statement.replace("CREATE TRIGGER", "CREATE OR REPLACE TRIGGER") if _dialect() != "sqlite" else statement
        )
    for statement in _guards(after):
        if statement.startswith("DO "):
            _execute(statement)


def _execute(statement: str) -> None:
    op.execute(sa.text(statement.replace(":", r"\:")))
