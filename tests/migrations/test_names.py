"""Meets a host's own tables, views, sequences, indexes, types and functions under names of ours."""

import asyncio
from contextlib import closing

import pytest

from operator_core.actions import DatabaseUrlError, NameTakenError
from operator_core.cli.main import main
from operator_core.db import ActionDB, metadata, migrations, upgrade
from operator_core.db.schema import Base
from tests.migrations.support import add_revision, contents_of, schema_of, version_of, within
from tests.support.factories import stored
from tests.support.ledger import Ledger

TABLES = (*metadata.tables, migrations.VERSION_TABLE)
TAKEN = {
    **{f"table {name}": f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, note TEXT)" for name in TABLES},
    "view action_events": "CREATE VIEW action_events AS SELECT 1 AS id",
    "index ix_action_proposals_open": "CREATE TABLE mine (id INTEGER); "
    "CREATE INDEX ix_action_proposals_open ON mine (id)",
}
ON_SQLITE = {
    "table Action_Events": "CREATE TABLE Action_Events (id INTEGER)",
    "trigger operator_core_proposals_insert": "CREATE TABLE mine (id INTEGER); "
    "CREATE TRIGGER operator_core_proposals_insert BEFORE INSERT ON mine BEGIN SELECT 1; END",
}
ON_POSTGRESQL = {
    "sequence kill_switch": "CREATE SEQUENCE kill_switch",
    "materialized view action_notes": "CREATE MATERIALIZED VIEW action_notes AS SELECT 1 AS id",
    "index pk_kill_switch": "CREATE TABLE mine (id INTEGER CONSTRAINT pk_kill_switch PRIMARY KEY)",
    "type action_records": "CREATE TYPE action_records AS ENUM ('a')",
    "type action_prunes": "CREATE TYPE action_prunes AS (a integer)",
    "function operator_core_sweep": "CREATE FUNCTION operator_core_sweep() RETURNS int LANGUAGE sql AS 'SELECT 1'",
}
CASES = [
    *(("sqlite", name, text) for name, text in (TAKEN | ON_SQLITE).items()),
    *(("postgresql", name, text) for name, text in (TAKEN | ON_POSTGRESQL).items()),
]
BESIDE = {
    "sqlite": "CREATE TABLE actions (id INTEGER); CREATE INDEX kill ON actions (id)",
    "postgresql": 'CREATE TABLE "Action_Events" (id int); CREATE SCHEMA other; '
    "CREATE TABLE other.kill_switch (id int); CREATE FUNCTION kill_switch() RETURNS int LANGUAGE sql AS 'SELECT 1'; "
    "CREATE TYPE operator_core_engage AS ENUM ()",
}


def run(ledger: Ledger, statements: str) -> None:
    with closing(ledger.connect()) as plain:
        plain.executescript(statements) if ledger.is_sqlite else plain.execute(statements)


async def opened(ledger: Ledger, **options: str) -> None:
    async with ActionDB(ledger.target, **options):
        pytest.fail("opened")


def state_of(ledger: Ledger) -> object:
    """Return all that a database holds, of a file every byte."""
    return ledger.target.read_bytes() if ledger.is_sqlite else (schema_of(ledger), contents_of(ledger))


@pytest.mark.parametrize(("empty", "name", "statements"), CASES, indirect=["empty"])
async def test_what_a_host_has_under_a_name_of_ours_is_named_and_left_alone(empty, name, statements):
    run(empty, statements)
    before = state_of(empty)
    calls = [
        lambda: asyncio.to_thread(upgrade, empty.target),
        lambda: asyncio.to_thread(migrations.schema_status, empty.target),
        lambda: opened(empty),
        lambda: opened(empty, migrate="check"),
    ]

    for call in calls:
        with pytest.raises(NameTakenError, match=name) as caught:
            await call()
        assert caught.value.names == (name,)

    assert state_of(empty) == before


@pytest.mark.parametrize("words", [("status",), ("db", "check"), ("db", "upgrade")])
def test_every_command_says_it_without_a_traceback(empty, words, capsys):
    run(empty, TAKEN["table kill_switch"])
    before = state_of(empty)

    code = main([*words, "--url", str(empty.target)])

    printed = capsys.readouterr().err
    assert (code, state_of(empty)) == (1, before)
    assert "has table kill_switch, not ours" in printed
    assert ("One database for both" in printed, "Traceback" in printed) == (True, False)


@pytest.mark.parametrize("words", [("db", "check"), ("db", "upgrade")])
def test_no_file_is_left_beside_that_of_a_host(tmp_path, words):
    ledger = Ledger(tmp_path / "host.db")
    run(ledger, f"PRAGMA journal_mode = WAL; {TAKEN['table action_events']}")

    code = main([*words, "--url", str(ledger.target)])

    assert (code, list(tmp_path.iterdir())) == (1, [ledger.target])


def test_a_stop_says_that_it_stops_nothing_there(empty, capsys):
    run(empty, TAKEN["table kill_switch"])

    code = main(["stop", "--reason", "fire", "--timeout", "0.5", "--url", str(empty.target)])

    printed = capsys.readouterr().err
    assert (code, "NOTHING IS STOPPED" in printed, "Traceback" in printed) == (1, True, False)


def test_what_only_looks_like_a_name_of_ours_is_in_nobodys_way(empty):
    run(empty, BESIDE["sqlite" if empty.is_sqlite else "postgresql"])

    upgrade(empty.target)

    assert version_of(empty) == migrations.HEAD


async def test_guards_are_not_installed_on_a_table_of_a_host(empty):
    run(empty, TAKEN["table action_events"])

    with pytest.raises(NameTakenError, match="table action_events"):
        await within(empty, metadata.create_all)

    assert [name for name in schema_of(empty) if name.startswith("trigger")] == []


def test_a_part_of_a_ledger_is_not_taken_for_one(empty):
    upgrade(empty.target)
    run(empty, f"DROP TABLE action_events; DROP TABLE {migrations.VERSION_TABLE}")

    with pytest.raises(NameTakenError, match="table kill_switch"):
        upgrade(empty.target)


def test_a_table_of_a_host_in_the_midst_of_a_ledger_without_a_version_table_is_named(empty):
    upgrade(empty.target)
    run(empty, f"DROP TABLE action_notes; DROP TABLE {migrations.VERSION_TABLE}; {TAKEN['table action_notes']}")

    with pytest.raises(NameTakenError) as caught:
        migrations.schema_status(empty.target)

    assert caught.value.names == ("table action_notes",)


def test_a_name_that_only_the_next_revision_needs_is_named_and_nothing_is_kept(ledger, monkeypatch, tmp_path):
    run(ledger, "CREATE TABLE colours (id INTEGER)")
    before = schema_of(ledger)
    make = 'op.create_table("shades", sa.Column("id", sa.Integer())); '
    add_revision(monkeypatch, tmp_path, make + 'op.create_table("colours", sa.Column("id", sa.Integer()))')

    with pytest.raises(NameTakenError, match="colours"):
        upgrade(ledger.target)

    assert schema_of(ledger) == before


def test_every_table_of_the_models_is_recognised_as_ours(ledger):
    with closing(ledger.connect()) as plain:
        plain.execute(f"DROP TABLE {migrations.VERSION_TABLE}")

    report = migrations.schema_status(ledger.target)

    assert report == migrations.SchemaStatus(migrations.HEAD, migrations.SchemaState.UP_TO_DATE)
    assert set(Base.metadata.tables) == {name for name in TABLES if name != migrations.VERSION_TABLE}


# -- rows of a host, and schemas ---------------------------------------------------------------------------------------


def test_rows_of_a_host_without_their_parents_keep_nobody_from_an_upgrade(sqlite_path, monkeypatch, tmp_path):
    ledger = Ledger(sqlite_path)
    run(ledger, "CREATE TABLE lines (id INTEGER, bill INTEGER REFERENCES bills (id)); INSERT INTO lines VALUES (1, 7)")
    add_revision(monkeypatch, tmp_path, 'op.add_column("action_prunes", sa.Column("colour", sa.Text()))')

    upgrade(sqlite_path)

    assert version_of(ledger) == migrations.HEAD


@pytest.fixture
def on_server(postgres) -> Ledger:
    """An empty database of the server."""
    return Ledger(postgres.url(postgres.create_database()))


def search(ledger: Ledger, path: str) -> None:
    """Set the search path of the next connections."""
    with closing(ledger.connect()) as plain:
        (name,) = plain.execute("SELECT current_database()").fetchone()
        plain.execute(f'ALTER DATABASE "{name}" SET search_path = {path}')


async def test_a_ledger_lives_in_a_schema_of_its_own_beside_a_host_that_has_its_names(on_server):
    run(on_server, "; ".join(text for name, text in TAKEN.items() if name.startswith("table")))
    run(on_server, "CREATE SCHEMA ledger")
    search(on_server, "ledger")

    upgrade(on_server.target)

    async with ActionDB(on_server.target) as db:
        await stored(db)
        assert await db.verify() == []


def test_two_ledgers_live_in_two_schemas(on_server):
    run(on_server, "CREATE SCHEMA one; CREATE SCHEMA two")
    for path in ("one", "two"):
        search(on_server, path)
        upgrade(on_server.target)

        assert migrations.schema_status(on_server.target).state is migrations.SchemaState.UP_TO_DATE


@pytest.mark.parametrize("path", ["nowhere", "''"])
def test_a_search_path_without_a_schema_is_named(on_server, path):
    search(on_server, path)

    with pytest.raises(DatabaseUrlError, match=r"search_path of .* begins with no schema that exists"):
        upgrade(on_server.target)


def test_an_upgrade_does_not_put_the_next_revision_into_another_schema(on_server, monkeypatch, tmp_path):
    upgrade(on_server.target)
    run(on_server, "CREATE SCHEMA other")
    search(on_server, "other, public")
    add_revision(monkeypatch, tmp_path, 'op.create_table("colours", sa.Column("id", sa.Integer()))')

    with pytest.raises(DatabaseUrlError, match="begins with other, and the ledger is in public"):
        upgrade(on_server.target)
