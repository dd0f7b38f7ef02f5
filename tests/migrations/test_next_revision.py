"""Adds a revision after the last one: failing, rebuilding, dropping; and code that stands before or behind it."""

from contextlib import closing

import pytest

from operator_core.actions import ConstraintError, RevisionUnknownError, SchemaOutOfDateError, SchemaTooNewError
from operator_core.db import ActionDB, downgrade, migrations, upgrade
from tests.migrations.support import add_revision, contents_of, fill, next_revision, schema_of, set_version, version_of
from tests.support.factories import proposal, running, stored
from tests.support.history import check_history
from tests.support.plain_sql import on_sqlite, rows

COLOUR = 'op.add_column("action_proposals", sa.Column("colour", sa.Text()))'
REBUILD = """
with op.batch_alter_table("action_proposals", recreate="always", table_kwargs={"sqlite_autoincrement": True}) as batch:
    batch.add_column(sa.Column("colour", sa.Text()))
"""
FAIL = f"""
op.create_table("half", sa.Column("id", sa.Integer(), primary_key=True))
op.execute("INSERT INTO half VALUES (1)")
{COLOUR}
raise RuntimeError("the power went")
"""
DROP = "operator_core_prunes_delete"


async def test_a_migration_that_fails_leaves_everything_as_it_was(ledger, monkeypatch, tmp_path):
    await fill(ledger)
    before = (schema_of(ledger), contents_of(ledger))
    add_revision(monkeypatch, tmp_path, FAIL)

    with pytest.raises(RuntimeError, match="the power went"):
        upgrade(ledger.target)

    assert (schema_of(ledger), contents_of(ledger)) == before


def test_a_chain_that_fails_in_an_empty_database_leaves_it_empty(empty, monkeypatch, tmp_path):
    add_revision(monkeypatch, tmp_path, FAIL)

    with pytest.raises(RuntimeError, match="the power went"):
        upgrade(empty.target)

    assert schema_of(empty) == {}


async def test_a_failed_migration_can_be_repeated(ledger, monkeypatch, tmp_path):
    await fill(ledger)
    with monkeypatch.context() as first:
        add_revision(first, tmp_path, FAIL)
        with pytest.raises(RuntimeError):
            upgrade(ledger.target)
    add_revision(monkeypatch, tmp_path / "again", COLOUR)

    upgrade(ledger.target)

    assert version_of(ledger) == migrations.HEAD
    assert check_history(ledger) == []


async def test_a_failed_downgrade_leaves_everything_as_it_was(ledger, monkeypatch, tmp_path):
    add_revision(monkeypatch, tmp_path, COLOUR, downgrade=FAIL.replace(COLOUR, ""))
    upgrade(ledger.target)
    before = (schema_of(ledger), contents_of(ledger))

    with pytest.raises(RuntimeError, match="the power went"):
        downgrade(ledger.target, "base")

    assert (schema_of(ledger), contents_of(ledger)) == before


# -- rebuilding a table on SQLite --------------------------------------------------------------------------------------


@on_sqlite
async def test_a_rebuild_keeps_the_guards(ledger, monkeypatch, tmp_path):
    await fill(ledger)
    before = schema_of(ledger)
    add_revision(monkeypatch, tmp_path, REBUILD)

    upgrade(ledger.target)

    after = schema_of(ledger)
    assert {name: text for name, text in after.items() if name.startswith(("trigger", "index"))} == {
        name: text for name, text in before.items() if name.startswith(("trigger", "index"))
    }
    assert "colour" in after["table action_proposals"]
    assert set(before) == set(after)


@on_sqlite
async def test_a_rebuild_of_a_parent_keeps_its_children(ledger, monkeypatch, tmp_path):
    await fill(ledger)
    before = contents_of(ledger)
    add_revision(monkeypatch, tmp_path, REBUILD)

    upgrade(ledger.target)

    after = contents_of(ledger)
    same = set(before) - {"action_proposals", migrations.VERSION_TABLE}
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert after["action_proposals"] == [row.removesuffix(")") + ", None)" for row in before["action_proposals"]]


@on_sqlite
async def test_a_rebuild_gives_no_id_again(ledger, monkeypatch, tmp_path):
    await fill(ledger)
    with closing(ledger.connect()) as plain:
        highest = rows(plain, "SELECT max(proposal_id) FROM action_events")[0][0]
    add_revision(monkeypatch, tmp_path, REBUILD)

    upgrade(ledger.target)

    async with ActionDB(ledger.target) as db:
        assert (await db.create_proposal(proposal())).id == highest + 1


@on_sqlite
async def test_a_rebuilt_ledger_is_guarded_and_works(ledger, monkeypatch, tmp_path):
    await fill(ledger)
    add_revision(monkeypatch, tmp_path, REBUILD)

    upgrade(ledger.target)

    async with ActionDB(ledger.target) as db:
        record = await running(db)
        await db.finish_execution(record.id, success=True)
    assert check_history(ledger) == []


@on_sqlite
@pytest.mark.parametrize(
    "statement",
    [f"DROP TRIGGER {DROP}", f'drop trigger if exists main."{DROP}"', f"  DROP  TRIGGER\\n{DROP};"],
)
def test_a_trigger_that_a_revision_drops_stays_dropped(ledger, monkeypatch, tmp_path, statement):
    before = schema_of(ledger)
    add_revision(monkeypatch, tmp_path, f"op.execute('''{statement}''')\n{REBUILD}")

    upgrade(ledger.target)

    assert set(before) - set(schema_of(ledger)) == {f"trigger {DROP}"}


@on_sqlite
def test_a_trigger_that_a_revision_replaces_is_not_put_back(ledger, monkeypatch, tmp_path):
    looser = f"CREATE TRIGGER {DROP} BEFORE DELETE ON action_prunes BEGIN SELECT 1; END"
    add_revision(monkeypatch, tmp_path, f"op.execute('DROP TRIGGER {DROP}'); op.execute('{looser}')\n{REBUILD}")

    upgrade(ledger.target)

    assert schema_of(ledger)[f"trigger {DROP}"] == looser


@on_sqlite
async def test_a_revision_that_orphans_rows_is_refused_and_undone(ledger, monkeypatch, tmp_path):
    await fill(ledger)
    before = (schema_of(ledger), contents_of(ledger))
    add_revision(
        monkeypatch,
        tmp_path,
        "op.execute('DROP TRIGGER operator_core_proposals_delete'); op.execute('DELETE FROM action_proposals')",
    )

    with pytest.raises(ConstraintError, match="without their parents"):
        upgrade(ledger.target)

    assert (schema_of(ledger), contents_of(ledger)) == before


# -- code and schema of different age ----------------------------------------------------------------------------------


async def test_code_refuses_the_schema_before_its_own(ledger, monkeypatch, tmp_path):
    add_revision(monkeypatch, tmp_path, COLOUR)

    with pytest.raises(SchemaOutOfDateError, match="operator-core db upgrade") as caught:
        async with ActionDB(ledger.target, migrate="check"):
            pytest.fail("opened")

    assert (caught.value.current, caught.value.expected) == (migrations.REVISIONS[-2], migrations.HEAD)


async def test_opening_upgrades_a_sqlite_ledger_that_is_behind(sqlite_path, monkeypatch, tmp_path):
    add_revision(monkeypatch, tmp_path, COLOUR)

    async with ActionDB(sqlite_path) as db:
        made = await stored(db)

    assert made.id == 1


async def test_code_works_on_the_schema_after_its_own(ledger, monkeypatch, tmp_path):
    with monkeypatch.context() as later:
        add_revision(later, tmp_path, COLOUR)
        upgrade(ledger.target)

    async with ActionDB(ledger.target) as db:
        record = await running(db)
        await db.finish_execution(record.id, success=True)

    assert version_of(ledger) == next_revision()
    assert check_history(ledger) == []


async def test_code_refuses_the_schema_two_after_its_own(ledger):
    set_version(ledger, next_revision(2))

    with pytest.raises(SchemaTooNewError) as caught:
        async with ActionDB(ledger.target):
            pytest.fail("opened")

    assert (caught.value.current, caught.value.expected) == (next_revision(2), migrations.HEAD)


@pytest.mark.parametrize("revision", ["0000", "head", "9999", "1f2e3d4c5b6a", ""])
async def test_code_refuses_a_revision_that_it_does_not_know(ledger, revision):
    set_version(ledger, revision)

    with pytest.raises((SchemaTooNewError, SchemaOutOfDateError)) as caught:
        async with ActionDB(ledger.target):
            pytest.fail("opened")

    assert caught.value.current == revision


async def test_a_ledger_that_a_host_made_from_the_metadata_is_told_by_its_guards(ledger):
    with closing(ledger.connect()) as plain:
        plain.execute(f"DROP TABLE {migrations.VERSION_TABLE}")

    async with ActionDB(ledger.target) as db:
        assert await db.create_proposal(proposal())


async def test_a_ledger_whose_version_table_is_empty_is_refused(ledger):
    with closing(ledger.connect()) as plain:
        plain.execute(f"DELETE FROM {migrations.VERSION_TABLE}")
    before = (schema_of(ledger), contents_of(ledger))

    for act in (upgrade, migrations.schema_status):
        with pytest.raises(RevisionUnknownError, match="does not say at which revision"):
            act(ledger.target)
    with pytest.raises(RevisionUnknownError):
        async with ActionDB(ledger.target, migrate="check"):
            pytest.fail("opened")

    assert (schema_of(ledger), contents_of(ledger)) == before


async def test_the_command_that_the_error_names_has_no_password(postgres):
    postgres_url = postgres.url(postgres.create_database())

    with pytest.raises(SchemaOutOfDateError) as caught:
        async with ActionDB(postgres_url):
            pytest.fail("opened")

    assert postgres.password in postgres_url
    assert postgres.password not in f"{caught.value}{caught.value.__dict__}"
