"""Compares what the migrations make with what the models, the generator of the guards and the code say, in full."""

import re
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from operator_core.db import ActionDB, guards, install_guards, metadata, migrations, upgrade
from operator_core.db.guards import statements
from operator_core.db.guards.postgresql_inspection import CATALOG
from tests.migrations.freeze_catalog import catalog_of
from tests.migrations.support import create_from_models, schema_of, within
from tests.support.factories import proposal
from tests.support.ledger import Ledger


async def test_a_migrated_database_is_what_the_models_make(empty, other_empty):
    await within(other_empty, create_from_models)

    upgrade(empty.target)

    assert schema_of(empty, version_table=False) == schema_of(other_empty)


async def test_install_guards_may_be_repeated(empty):
    await within(empty, create_from_models)
    once = schema_of(empty)

    await within(empty, install_guards)

    assert schema_of(empty) == once


async def test_install_guards_works_through_psycopg_too(postgres_url):
    ledger = Ledger(postgres_url)
    before = schema_of(ledger)

    await within(ledger, install_guards, driver="postgresql+psycopg")

    assert schema_of(ledger) == before


def test_the_comparison_sees_every_named_part_of_the_models(ledger):
    found = schema_of(ledger)
    seen = " ".join([*found, *found.values()])
    parts = [part for table in metadata.tables.values() for part in (*table.constraints, *table.indexes)]
    names = [part.name for part in parts if not isinstance(part, sa.PrimaryKeyConstraint)]  # SQLite gives those no name

    missing = [name for name in [*metadata.tables, *names] if not re.search(rf"\b{name}\b", seen)]

    assert missing == []
    assert len(names) > len(metadata.tables)


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_the_frozen_guards_are_what_the_generator_makes(dialect):
    file = migrations.scripts() / "guards" / f"{migrations.HEAD}_{dialect}.sql"

    _, _, frozen = file.read_text(encoding="utf-8").partition("\n")

    assert frozen.removesuffix("\n").split("\n-- next\n") == statements(dialect)


def test_the_frozen_catalog_of_postgresql_is_what_the_migrations_make(postgres_url):
    """Write it anew: `PYTHONPATH=. .venv/bin/python tests/migrations/freeze_catalog.py`."""
    file = Path(guards.__file__).parent / CATALOG

    assert catalog_of(postgres_url) == file.read_text(encoding="utf-8")


def test_the_scripts_are_one_line_of_revisions_that_the_code_knows():
    scripts = ScriptDirectory(str(migrations.scripts()))

    found = [script.revision for script in scripts.walk_revisions()][::-1]

    assert scripts.get_heads() == [migrations.HEAD]
    assert found == list(migrations.REVISIONS)
    assert found == [f"{number:04d}" for number in range(1, len(found) + 1)]


@pytest.mark.parametrize("script", sorted(migrations.scripts().glob("versions/*.py")), ids=lambda file: file.stem)
def test_a_revision_imports_nothing_of_this_library_and_of_alembic_only_what_is_replaced(script):
    text = script.read_text(encoding="utf-8")

    assert "operator_core" not in " ".join(re.findall(r"^\s*(?:from|import) .*", text, re.MULTILINE))
    assert set(re.findall(r"^.*\balembic\b.*$", text, re.MULTILINE)) == {"from alembic import op"}
    assert len(migrations.REVISIONS) == len(list(migrations.scripts().glob("versions/*.py")))


async def test_tables_from_our_metadata_have_their_guards_and_a_second_call_changes_nothing(empty):
    await within(empty, metadata.create_all)
    made = schema_of(empty)

    await within(empty, metadata.create_all)

    assert schema_of(empty) == made
    async with ActionDB(empty.target, migrate="check") as db:
        assert (await db.create_proposal(proposal())).id == 1


async def test_a_part_of_our_tables_gets_no_guards(empty):
    part = [metadata.tables["kill_switch"]]

    await within(empty, lambda connection: metadata.create_all(connection, tables=part))

    assert [name for name in schema_of(empty) if name.startswith("trigger")] == []
