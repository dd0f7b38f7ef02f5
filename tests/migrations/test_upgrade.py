"""Moves databases up and down: filled, six processes at once, beside a host's own Alembic, and from every caller."""

import asyncio
from contextlib import closing

import pytest
from alembic import command

from operator_core.actions import (
    DatabaseNotFoundError,
    SchemaOutOfDateError,
)
from operator_core.db import ActionDB, downgrade, migrations, upgrade
from tests.migrations.support import add_revision, contents_of, fill, schema_of, upgrade_at_once, version_of
from tests.support.alembic_race import config_of
from tests.support.factories import proposal, stored
from tests.support.ledger import Ledger
from tests.support.plain_sql import rows


async def test_many_processes_at_once_upgrade_an_empty_and_a_filled_ledger(empty, migrated, monkeypatch, tmp_path):
    await fill(migrated)
    before = contents_of(migrated)
    scripts = add_revision(monkeypatch, tmp_path, 'op.add_column("action_prunes", sa.Column("colour", sa.Text()))')

    problems = upgrade_at_once(scripts, empty, migrated)

    assert problems == []
    assert [version_of(empty), version_of(migrated)] == [migrations.HEAD] * 2
    assert schema_of(empty) == schema_of(migrated)
    untouched = set(before) - {"action_prunes", migrations.VERSION_TABLE}
    assert {name: contents_of(migrated)[name] for name in untouched} == {name: before[name] for name in untouched}


async def test_a_filled_ledger_goes_down_and_up_again(ledger):
    before = schema_of(ledger)
    await fill(ledger)

    downgrade(ledger.target, "base")
    emptied = contents_of(ledger)
    upgrade(ledger.target)

    assert {name for name, kept in emptied.items() if kept and not name.startswith("sqlite_")} == set()
    assert set(emptied) - {"sqlite_sequence"} == {migrations.VERSION_TABLE}
    assert schema_of(ledger) == before
    async with ActionDB(ledger.target) as db:
        assert (await db.create_proposal(proposal())).id == 1


async def test_an_upgrade_of_a_current_ledger_changes_nothing(ledger):
    await fill(ledger)
    before = (schema_of(ledger), contents_of(ledger))

    upgrade(ledger.target)

    assert (schema_of(ledger), contents_of(ledger)) == before


async def test_an_id_that_was_given_is_never_given_again(ledger):
    await fill(ledger)
    with closing(ledger.connect()) as plain:
        highest = rows(plain, "SELECT max(proposal_id) FROM action_events")[0][0]

    async with ActionDB(ledger.target) as db:
        made = await stored(db)

    assert made.id == highest + 1


async def test_the_alembic_of_a_host_is_left_alone(empty):
    with closing(empty.connect()) as plain:
        plain.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
        plain.execute("INSERT INTO alembic_version VALUES ('host')")
        plain.execute("CREATE TABLE invoices (id INTEGER PRIMARY KEY, total INTEGER)")
        plain.execute("CREATE INDEX ix_invoices_total ON invoices (total)")
        plain.execute("INSERT INTO invoices VALUES (1, 4711)")
    before = (schema_of(empty), contents_of(empty))

    upgrade(empty.target)
    command.check(config_of(empty.target))
    beside = contents_of(empty)
    downgrade(empty.target, "base")

    after = {
        name: text for name, text in schema_of(empty, version_table=False).items() if "sqlite_sequence" not in name
    }
    assert {name: beside[name] for name in before[1]} == before[1]
    assert after == before[0]


def test_alembic_check_sees_a_model_that_no_migration_made(ledger):
    with closing(ledger.connect()) as plain:
        plain.execute("DROP INDEX ix_action_proposals_open")

    with pytest.raises(Exception, match="ix_action_proposals_open"):
        command.check(config_of(ledger.target))


async def test_the_upgrade_works_within_a_running_loop(empty):
    await ActionDB(empty.target).migrate()

    assert version_of(empty) == migrations.HEAD


async def test_the_blocking_upgrade_works_within_a_running_loop_and_in_a_thread(empty):
    upgrade(empty.target)
    await asyncio.to_thread(downgrade, empty.target, "base")
    await asyncio.to_thread(upgrade, empty.target)

    assert version_of(empty) == migrations.HEAD


@pytest.mark.parametrize("driver", ["postgresql", "postgres", "postgresql+asyncpg", "postgresql+psycopg"])
def test_every_postgresql_url_leads_to_the_same_schema(postgres, postgres_url, driver):
    made = Ledger(postgres.url(postgres.create_database(), driver=driver))

    upgrade(made.target)

    assert schema_of(made) == schema_of(Ledger(postgres_url))


@pytest.mark.parametrize("driver", ["sqlite", "sqlite+aiosqlite", "sqlite+pysqlite"])
def test_every_sqlite_url_leads_to_the_same_schema(sqlite_path, tmp_path, driver):
    file = tmp_path / "by url.db"

    upgrade(f"{driver}:///{file}")

    assert schema_of(Ledger(file)) == schema_of(Ledger(sqlite_path))


async def test_opening_creates_a_sqlite_ledger(tmp_path):
    file = tmp_path / "new.db"

    async with ActionDB(file) as db:
        made = await stored(db)

    assert made.id == 1
    assert version_of(Ledger(file)) == migrations.HEAD


async def test_opening_creates_a_ledger_in_memory():
    async with ActionDB("sqlite://") as db:
        assert (await stored(db)).id == 1


async def test_opening_with_check_creates_no_file(tmp_path):
    with pytest.raises(DatabaseNotFoundError):
        async with ActionDB(tmp_path / "new.db", migrate="check"):
            pytest.fail("opened")

    assert list(tmp_path.iterdir()) == []


async def test_opening_with_check_makes_nothing_in_an_empty_database(empty):
    with closing(empty.connect()):
        pass

    with pytest.raises((SchemaOutOfDateError, DatabaseNotFoundError)):
        async with ActionDB(empty.target, migrate="check"):
            pytest.fail("opened")

    assert schema_of(empty) == {}


async def test_opening_never_migrates_postgresql(postgres):
    made = Ledger(postgres.url(postgres.create_database()))

    with pytest.raises(SchemaOutOfDateError, match="operator-core db upgrade") as caught:
        async with ActionDB(made.target):
            pytest.fail("opened")

    assert (caught.value.current, caught.value.expected) == (None, migrations.HEAD)
    assert schema_of(made) == {}
