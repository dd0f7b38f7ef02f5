"""Alters what a promise rests on, one property after the other: `db check` and opening name it, until it is undone."""

import re
from contextlib import closing

import pytest
import sqlalchemy as sa

from operator_core.actions import GuardMissingError
from operator_core.db import ActionDB, install_guards, migrations
from operator_core.db.guards import inspect, postgresql_inspection
from operator_core.db.guards.conditions import GUARDED_TABLES
from operator_core.db.migrations.status import SchemaState
from tests.migrations.altered_postgresql import ON_POSTGRESQL, SWALLOW
from tests.migrations.altered_sqlite import ON_SQLITE, ignoring, rewritten
from tests.migrations.support import next_revision, set_version, within
from tests.support.factories import stored
from tests.support.ledger import Ledger


def run(ledger: Ledger, text: str) -> None:
    with closing(ledger.connect()) as plain:
        if ledger.is_sqlite:
            plain.execute("PRAGMA legacy_alter_table = ON")  # triggers keep naming what is renamed
            plain.executescript(text)
        else:
            plain.execute(text.replace("{database}", plain.info.dbname))


async def see(ledger: Ledger, done: str, undone: str, named: str) -> None:
    """Alter something, see that it is named, and that nothing is named when it is undone."""
    run(ledger, done)
    report = migrations.schema_status(ledger.target)
    with pytest.raises(GuardMissingError) as caught:
        await ActionDB(ledger.target).open()
    run(ledger, undone)
    if ledger.is_sqlite and "RENAME" in done:  # the triggers went along with their table
        await within(ledger, install_guards)

    assert report.state is SchemaState.GUARD_MISSING
    assert named in "\n".join(report.guards)
    assert caught.value.guards == report.guards
    assert migrations.schema_status(ledger.target).guards == ()
    async with ActionDB(ledger.target) as db:
        await stored(db)


@pytest.mark.parametrize("altered", ON_POSTGRESQL)
async def test_what_is_altered_on_postgresql_is_named_until_it_is_undone(postgres_url, altered):
    await see(Ledger(postgres_url), *ON_POSTGRESQL[altered])


@pytest.mark.parametrize("altered", ON_SQLITE)
async def test_what_is_altered_on_sqlite_is_named_until_it_is_undone(sqlite_path, altered):
    await see(Ledger(sqlite_path), *ON_SQLITE[altered])


def drops() -> dict[str, str]:
    """Return by its name the statement that takes away each constraint and each unique index of PostgreSQL."""
    expected = postgresql_inspection.expected()
    made = {name: f"ALTER TABLE {table} DROP CONSTRAINT {name} CASCADE" for table, name in expected["constraint"]}
    unique = [name for (_, name), text in expected["index"].items() if text.startswith("UNIQUE") and name not in made]
    return {**made, **{name: f"DROP INDEX {name}" for name in unique}}


async def test_each_constraint_and_each_unique_index_of_postgresql_is_named_with_what_mends_it(postgres_url):
    def look(connection: sa.Connection) -> dict[str, bool]:
        held = {}
        for name, drop in drops().items():
            with connection.begin_nested() as savepoint:
                connection.exec_driver_sql(drop)
                found = inspect(connection)
                named = any(f" {name} of " in text and " is missing: " in text for text in found)
                for text in found:
                    connection.exec_driver_sql(text.partition(" is missing: ")[2])
                held[name] = named and inspect(connection) == ()
                savepoint.rollback()
        return held

    held = await within(Ledger(postgres_url), look)

    assert held == dict.fromkeys(drops(), True)
    assert len(held) > 40


async def test_each_clause_of_each_table_of_sqlite_is_named(sqlite_path):
    ledger = Ledger(sqlite_path)
    with closing(ledger.connect()) as plain:
        found = plain.execute("SELECT name, sql FROM sqlite_master WHERE sql LIKE '%CONSTRAINT%'").fetchall()
    names = [
        (table, name)
        for table, sql in found
        if table in GUARDED_TABLES
        for name in re.findall(r"CONSTRAINT (\w+)", sql)
    ]

    for table, name in names:
        there, back = rewritten(table, f"CONSTRAINT {name} ", "CONSTRAINT host ")
        run(ledger, there)
        guards = migrations.schema_status(sqlite_path).guards
        run(ledger, back)
        assert any(name in text and table in text for text in guards), name

    assert migrations.schema_status(sqlite_path).guards == ()
    assert len(names) > 25


# -- what a host may add -----------------------------------------------------------------------------------------------

OF_A_HOST = {
    "a column that may be empty": "ALTER TABLE action_proposals ADD host text",
    "a plain index": "CREATE INDEX host ON action_proposals (proposed_by, id)",
    "a second index of the same rule": "CREATE UNIQUE INDEX uq_host ON action_records (worker, claim_key) "
    "WHERE outcome IS NULL",
}
OF_A_HOST_ON_POSTGRESQL = {
    "a foreign key of proposals": "CREATE TABLE tickets (id bigint PRIMARY KEY); ALTER TABLE action_proposals "
    "ADD CONSTRAINT fk_host FOREIGN KEY (ticket_id) REFERENCES tickets (id)",
    "a foreign key to proposals": "CREATE TABLE bills (proposal_id bigint REFERENCES action_proposals (id))",
    "a trigger that runs after": f"{SWALLOW}; CREATE TRIGGER host AFTER INSERT ON kill_switch_events FOR EACH ROW "
    "EXECUTE FUNCTION swallow()",
    "a constraint of another name": "ALTER TABLE action_events RENAME CONSTRAINT ck_action_events_id TO host",
    "a trigger that fires always": "ALTER TABLE kill_switch ENABLE ALWAYS TRIGGER operator_core_kill_switch_change",
    "statistics and storage": "CREATE STATISTICS host ON status, action_name FROM action_proposals; "
    "ALTER TABLE action_events SET (fillfactor = 90); ALTER TABLE action_events REPLICA IDENTITY FULL",
    "an index that is built again": "REINDEX TABLE action_events",
    "what is its own": "CREATE TABLE host (id int UNIQUE); CREATE RULE host AS ON INSERT TO host DO INSTEAD NOTHING; "
    "ALTER TABLE host ENABLE ROW LEVEL SECURITY",
}
OF_A_HOST_ON_SQLITE = {
    "the trigger of the documents": "CREATE TABLE tickets (id INTEGER); CREATE TRIGGER tickets_known "
    "BEFORE INSERT ON action_proposals WHEN NEW.ticket_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM tickets "
    "WHERE id = NEW.ticket_id) BEGIN SELECT RAISE(ABORT, 'no such ticket'); END",
    "a trigger that says ignore": "CREATE TRIGGER host AFTER INSERT ON action_events "
    "BEGIN SELECT 'RAISE(IGNORE)' /* RAISE(IGNORE) */; END",
    "a trigger of its own table": "CREATE TABLE host (id INTEGER); CREATE TRIGGER host_insert BEFORE INSERT ON host "
    "BEGIN SELECT RAISE(IGNORE); END",
}


@pytest.mark.parametrize("added", [*OF_A_HOST, *OF_A_HOST_ON_POSTGRESQL])
async def test_what_a_host_may_add_on_postgresql_is_no_fault(postgres_url, added):
    run(Ledger(postgres_url), {**OF_A_HOST, **OF_A_HOST_ON_POSTGRESQL}[added])

    assert migrations.schema_status(postgres_url).guards == ()


@pytest.mark.parametrize("added", [*OF_A_HOST, *OF_A_HOST_ON_SQLITE])
async def test_what_a_host_may_add_on_sqlite_is_no_fault(sqlite_path, added):
    run(Ledger(sqlite_path), {**OF_A_HOST, **OF_A_HOST_ON_SQLITE}[added])

    assert migrations.schema_status(sqlite_path).guards == ()


async def test_a_table_that_was_renamed_and_back_is_no_fault(sqlite_path):
    ledger = Ledger(sqlite_path)
    run(ledger, "ALTER TABLE action_prunes RENAME TO other; ALTER TABLE other RENAME TO action_prunes")

    await within(ledger, install_guards)

    assert migrations.schema_status(sqlite_path).guards == ()


# -- what only one connection sees -------------------------------------------------------------------------------------

TEMPORARY = {
    "a trigger": (
        "CREATE TEMP TRIGGER host BEFORE INSERT ON main.kill_switch_events BEGIN SELECT RAISE(IGNORE); END",
        "the trigger host on kill_switch_events",
    ),
    "a table": ("CREATE TEMP TABLE kill_switch AS SELECT * FROM main.kill_switch", "a temporary table hides kill_s"),
    "a view": ("CREATE TEMP VIEW kill_switch AS SELECT * FROM main.kill_switch", "a temporary view hides kill_switch"),
}


@pytest.mark.parametrize("temporary", TEMPORARY)
async def test_what_is_temporary_in_a_connection_of_a_host_is_named(sqlite_path, temporary):
    statement, named = TEMPORARY[temporary]

    def look(connection: sa.Connection) -> tuple[str, ...]:
        connection.exec_driver_sql(statement)
        return inspect(connection)

    assert any(named in text for text in await within(Ledger(sqlite_path), look))


async def test_a_temporary_latch_of_postgresql_is_named(postgres_url):
    def look(connection: sa.Connection) -> tuple[str, ...]:
        connection.exec_driver_sql("CREATE TEMP TABLE kill_switch AS SELECT * FROM kill_switch")
        return inspect(connection)

    found = await within(Ledger(postgres_url), look)

    assert "kill_switch is a temporary table, and must be an ordinary table" in found


# -- the next schema ---------------------------------------------------------------------------------------------------

ON_THE_NEXT_SCHEMA = (
    "a function of another owner",
    "a function that everybody may call",
    "row security",
    "a rule that drops rows",
    "a trigger that swallows rows",
    "a foreign key that is not enforced",
    "a table of another owner",
    "a table that a crash empties",
    "a table with a child",
    "a view in its place",
)


@pytest.mark.parametrize("altered", ON_THE_NEXT_SCHEMA)
async def test_what_no_schema_may_have_is_named_on_the_next_one_too(postgres_url, altered):
    ledger = Ledger(postgres_url)
    done, _, named = ON_POSTGRESQL[altered]
    set_version(ledger, next_revision())

    run(ledger, done)

    with pytest.raises(GuardMissingError, match=re.escape(named)):
        await ActionDB(postgres_url).open()


async def test_a_trigger_that_swallows_rows_is_named_on_the_next_schema_of_sqlite_too(sqlite_path):
    ledger = Ledger(sqlite_path)
    set_version(ledger, next_revision())

    run(ledger, ignoring("action_events"))

    with pytest.raises(GuardMissingError, match="the trigger host on action_events"):
        await ActionDB(sqlite_path).open()


@pytest.mark.parametrize("altered", ["a function that sees an old snapshot", "a constraint that is weaker"])
async def test_definitions_of_the_next_schema_may_differ(postgres_url, altered):
    ledger = Ledger(postgres_url)
    set_version(ledger, next_revision())

    run(ledger, ON_POSTGRESQL[altered][0])

    async with ActionDB(postgres_url) as db:
        await stored(db)
