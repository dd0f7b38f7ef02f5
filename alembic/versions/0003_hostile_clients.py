"""What holds against a hostile client: a lock that needs a right, rows that can be read, steps that cannot be dated away.

A start and a stop meet at the empty table `kill_switch_barrier` instead of an advisory lock, which anybody may take.
The guards refuse what the library could not read back, write down when the database recorded an event, and refuse a
step whose event something swallows. Rows that are there already and break a new rule are named, and kept.

Locks on PostgreSQL: SHARE ROW EXCLUSIVE on the proposals, so that every start under the old guards has ended before
the new ones hold, and ACCESS EXCLUSIVE on the events for a column (nothing is rewritten); none on the latch, so that a
stop gets through while it runs. Both are taken first, in tries that give way to others.

Revision ID: 0003
Revises: 0002
"""

import logging
import re
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

log = logging.getLogger("operator_core.migrations")

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# Clients lock proposals before events: a try waits a moment only, lets everything go, and gives way as long as it took.
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
            LOCK TABLE action_proposals IN SHARE ROW EXCLUSIVE MODE;
            PERFORM set_config('lock_timeout', (1 + patience / 5)::text, true);
            LOCK TABLE action_events IN ACCESS EXCLUSIVE MODE;
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
# Who could stop before goes on to: with UPDATE on the latch, or through the function of an operator.
_GRANT_BARRIER = """DO $grant$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
        FROM pg_class AS c, aclexplode(c.relacl) AS a
        WHERE c.oid = to_regclass('kill_switch') AND a.privilege_type = 'UPDATE' AND a.grantee <> c.relowner
        UNION
        SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
        FROM pg_proc AS p, aclexplode(p.proacl) AS a
        WHERE p.proname = 'operator_core_engage' AND p.pronamespace = current_schema()::regnamespace
            AND a.privilege_type = 'EXECUTE' AND a.grantee <> p.proowner
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION operator_core_barrier() TO %s', name);
    END LOOP;
END
$grant$"""
_MAX_NAMED = 20


def upgrade() -> None:
    """Expand: what the code before this revision does goes on working."""
    if _dialect() == "postgresql":
        _execute(_by_name("0003")["FUNCTION operator_core_json_unreadable"])
        _name_unreadable_rows()
        op.execute(_LOCK)
    else:
        _name_unreadable_rows()
    op.create_table(
        "kill_switch_barrier",
        sa.Column("id", _ID, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_kill_switch_barrier")),
    )
    op.add_column("action_events", sa.Column("recorded_at", sa.DateTime(timezone=True)))
    _replace_guards("0002", "0003")
    if _dialect() == "postgresql":
        op.execute(_GRANT_BARRIER)


def downgrade() -> None:
    """Undo: when the events were recorded is lost."""
    if _dialect() == "sqlite":  # no column goes that a trigger names
        for name in _by_name("0003"):
            op.execute(f"DROP {name}")
        op.drop_column("action_events", "recorded_at")
        for statement in _guards("0002"):
            _execute(statement)
    else:
        op.execute(_LOCK)
        _replace_guards("0003", "0002")
        for function in ("barrier()", "json_unreadable(text)"):
            op.execute(f"DROP FUNCTION operator_core_{function}")
        op.drop_column("action_events", "recorded_at")
    op.drop_table("kill_switch_barrier")


def _name_unreadable_rows() -> None:
    """Say which rows the new guards would not have let in."""
    if op.get_context().as_sql:
        return
    for query in _statements(f"0003_{_dialect()}_unreadable"):
        found = op.get_bind().execute(sa.text(query.replace(":", r"\:"))).all()
        if found:
            table, keys = found[0][0], ", ".join(str(row[1]) for row in found[:_MAX_NAMED])
            more = "" if len(found) <= _MAX_NAMED else f" and {len(found) - _MAX_NAMED} more"
            log.warning(
                "%s: %s %s%s would no longer be let in. They are kept; reads pass over what they cannot read",
                table,
                "generation" if table == "kill_switch" else "id",
                keys,
                more,
            )


def _dialect() -> str:
    return op.get_context().dialect.name


def _guards(number: str) -> list[str]:
    return _statements(f"{number}_{_dialect()}")


def _statements(name: str) -> list[str]:
    text = (Path(__file__).parents[1] / "guards" / f"{name}.sql").read_text(encoding="utf-8")
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
