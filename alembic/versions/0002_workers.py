"""What workers need: leases, findings, validity, retries, idempotency keys, notes, and prunes of the history.

Locks on PostgreSQL: ACCESS EXCLUSIVE on the tables of proposals, records and prunes while their columns are added
(nothing is rewritten) and their indexes are built, SHARE ROW EXCLUSIVE on the events for a trigger; none on the latch,
so that a stop gets through while it runs. All are taken at once and first, in tries that give way to whoever works.

Revision ID: 0002
Revises: 0001
"""

import re
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)
_PROPOSALS = (
    ("valid_until", _TIME, ""),
    ("retry_of", sa.BigInteger(), ""),
    ("idempotency_key", sa.Text(), ""),
)
_RECORDS = (
    ("worker", sa.Text(), ""),
    ("lease_seconds", sa.Double(), ""),
    ("last_seen_at", _TIME, ""),
    (
        "lease_expires_at",
        _TIME,
        "CONSTRAINT ck_action_records_lease CHECK ((lease_seconds IS NULL) = (worker IS NULL) AND (last_seen_at IS NULL) = (worker IS NULL) AND (lease_expires_at IS NULL) = (worker IS NULL))",
    ),
    ("claim_key", sa.Text(), ""),
    (
        "finding",
        sa.Text(),
        "CONSTRAINT ck_action_records_finding CHECK (finding IN ('happened', 'did not happen', 'partly'))",
    ),
    ("finding_at", _TIME, ""),
    ("finding_by", sa.Text(), ""),
    (
        "finding_reason",
        sa.Text(),
        "CONSTRAINT ck_action_records_settled CHECK ((finding_at IS NULL) = (finding IS NULL) AND (finding_by IS NULL) = (finding IS NULL) AND (finding_reason IS NULL) = (finding IS NULL) AND (finding IS NULL OR outcome = 'unknown'))",
    ),
)
_INDEXES = (
    ("ix_action_proposals_validated", "action_proposals", ["id"], "status = 'validated'"),
    (
        "ix_action_proposals_valid_until",
        "action_proposals",
        ["valid_until"],
        "(status = 'proposed' OR status = 'validated') AND valid_until IS NOT NULL",
    ),
    (
        "uq_action_proposals_idempotency_key",
        "action_proposals",
        ["idempotency_key"],
        "idempotency_key IS NOT NULL",
    ),
    ("uq_action_records_worker", "action_records", ["worker", "claim_key"], "outcome IS NULL"),
    ("ix_action_records_unsettled", "action_records", ["id"], "outcome = 'unknown' AND finding IS NULL"),
    ("uq_action_notes_record_id", "action_notes", ["record_id", "kind"], "kind <> 'reported_late'"),
)
# Clients lock proposals before records, and records before proposals: whoever holds one and waits for the other meets
# them crosswise. So a try waits for the others a moment only, lets everything go, and gives way as long as it took.
_LOCK = """DO $lock$
DECLARE
    bound CONSTANT integer := (SELECT setting FROM pg_settings WHERE name = 'lock_timeout');
    longest CONSTANT integer := greatest(1, coalesce(nullif(bound, 0), 5000) / 3);
    give_up CONSTANT timestamptz := clock_timestamp() + interval '60 seconds';
    moment integer := least(50, longest);
    begun timestamptz;
BEGIN
    LOOP
        begun := clock_timestamp();
        BEGIN
            PERFORM set_config('lock_timeout', moment::text, true);
            LOCK TABLE action_proposals IN ACCESS EXCLUSIVE MODE;
            PERFORM set_config('lock_timeout', (1 + moment / 5)::text, true);
            LOCK TABLE action_records, action_prunes IN ACCESS EXCLUSIVE MODE;
            LOCK TABLE action_events IN SHARE ROW EXCLUSIVE MODE;
            PERFORM set_config('lock_timeout', bound::text, true);
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() > give_up THEN RAISE; END IF;
        END;
        PERFORM pg_sleep(0.01 + extract(epoch FROM clock_timestamp() - begun));
        moment := least(1 + moment * 3 / 2, longest);
    END LOOP;
END
$lock$"""
_NEW_FUNCTIONS = ("engage", "events_keep", "notes_insert", "prunes_insert", "sweep", "write_note")


def upgrade() -> None:
    """Expand: what the code before this revision does goes on working."""
    if _dialect() == "postgresql":
        op.execute(_LOCK)
    _create_notes()
    _add("action_records", _RECORDS)
    _add("action_proposals", _PROPOSALS)
    for name, table, columns, where in _INDEXES:  # not CONCURRENTLY: the chain is one transaction, whole or not at all
        condition = sa.text(where)
        unique = name.startswith("uq_")
        op.create_index(name, table, columns, unique=unique, postgresql_where=condition, sqlite_where=condition)
    op.add_column("action_prunes", sa.Column("keep_events", sa.Boolean(), server_default=sa.true(), nullable=False))
    _replace_guards("0001", "0002")


def downgrade() -> None:
    """Undo: what only these columns hold is lost."""
    on_sqlite = _dialect() == "sqlite"
    if not on_sqlite:
        op.execute(_LOCK)
    if on_sqlite:  # no column goes that a trigger names
        for name in _by_name("0002"):
            op.execute(f"DROP {name}")
    else:
        op.execute("DROP TRIGGER operator_core_records_written ON action_records")
        op.execute("DROP TRIGGER operator_core_prunes_insert ON action_prunes")
    op.drop_table("action_notes")
    for name, table, _, _ in reversed(_INDEXES[:-1]):
        op.drop_index(name, table)
    for table, columns in (("action_records", _RECORDS), ("action_proposals", _PROPOSALS)):
        for column, _, _ in reversed(columns):
            op.drop_column(table, column)
    op.drop_column("action_prunes", "keep_events")
    if on_sqlite:
        for statement in _guards("0001"):
            _execute(statement)
        return
    _replace_guards("0002", "0001")
    for function in _NEW_FUNCTIONS:
        op.execute(f"DROP FUNCTION operator_core_{function}")


def _dialect() -> str:
    return op.get_context().dialect.name


def _add(table: str, columns: tuple[tuple[str, sa.types.TypeEngine[object], str], ...]) -> None:
    """Add columns with their CHECKs: SQLite adds one column a statement, and a CHECK only with its column.

    On PostgreSQL one statement adds all, so that the CHECKs read the table once.
    """
    dialect = op.get_context().dialect
    added = [f"ADD COLUMN {name} {kind.compile(dialect=dialect)} {check}".rstrip() for name, kind, check in columns]
    for clauses in added if _dialect() == "sqlite" else [", ".join(added)]:
        op.execute(f"ALTER TABLE {table} {clauses}")


def _create_notes() -> None:
    op.create_table(
        "action_notes",
        sa.Column("id", _ID, sa.Identity(always=True), nullable=False),
        sa.Column("proposal_id", sa.BigInteger(), nullable=False),
        sa.Column("record_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.JSON()),
        sa.CheckConstraint(
            "kind IN ('cancel_requested', 'reported_late', 'resolved')", name=op.f("ck_action_notes_kind")
        ),
        sa.CheckConstraint("id BETWEEN 1 AND 9007199254740991", name=op.f("ck_action_notes_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_action_notes")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_action_notes_proposal_id", "action_notes", ["proposal_id"])


def _guards(number: str) -> list[str]:
    file = Path(__file__).parents[1] / "guards" / f"{number}_{_dialect()}.sql"
    _, _, text = file.read_text(encoding="utf-8").partition("\n")
    return text.removesuffix("\n").split("\n-- next\n")


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
