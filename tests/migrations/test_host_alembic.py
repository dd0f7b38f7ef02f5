"""Puts a host's own Alembic beside ours, in one database: a real project, run by its command line."""

from contextlib import closing

import pytest

from operator_core.actions import ActionStatus, GuardMissingError
from operator_core.db import ActionDB, migrations, upgrade
from operator_core.db.migrations.autogenerate import exclude_operator_core
from operator_core.db.schema import Base
from tests.migrations.host_project import BESIDE, INSIDE, Host, named_in
from tests.migrations.support import contents_of, create_from_models, fill, schema_of, within
from tests.support.factories import stored

# -- beside us ---------------------------------------------------------------------------------------------------------


async def test_a_host_and_we_leave_each_other_alone(host):
    upgrade(host.ledger.target)
    await fill(host.ledger)
    before = (schema_of(host.ledger), contents_of(host.ledger))
    host.configure(*BESIDE)

    generated = host.autogenerate()
    host.alembic("upgrade", "head")
    host.alembic("check")
    beside = contents_of(host.ledger)
    standing = migrations.schema_status(host.ledger.target).state
    host.alembic("downgrade", "base")

    after = {name: text for name, text in schema_of(host.ledger).items() if "alembic_version" not in name}
    assert (named_in(generated), "invoices" in generated) == (set(), True)
    assert standing is migrations.SchemaState.UP_TO_DATE
    assert {name: beside[name] for name in before[1]} == before[1]
    assert (after, {name: contents_of(host.ledger)[name] for name in before[1]}) == before


def test_a_host_that_does_not_say_so_would_drop_our_tables(host):
    upgrade(host.ledger.target)
    host.configure()

    assert set(Base.metadata.tables) < named_in(host.autogenerate())


def test_our_upgrade_leaves_the_revision_of_a_host_alone(host):
    host.configure(*BESIDE)
    host.autogenerate()
    host.alembic("upgrade", "head")
    before = contents_of(host.ledger)

    upgrade(host.ledger.target)

    after = contents_of(host.ledger)
    assert {name: after[name] for name in before if name != "sqlite_sequence"} == before
    assert host.alembic("current").strip().endswith("(head)")


def test_a_host_joins_our_filter_with_its_own(host):
    upgrade(host.ledger.target)
    with closing(host.ledger.connect()) as plain:
        plain.execute("CREATE TABLE attic (id INTEGER PRIMARY KEY)")
    host.configure(
        BESIDE[0],
        "include_name=lambda *found: exclude_operator_core(*found) and known(*found)",
        prepared='known = lambda name, kind, parents: kind != "table" or name != "attic"',
    )

    generated = host.autogenerate()

    assert (named_in(generated), "attic" in generated, "invoices" in generated) == (set(), False, True)


def test_a_host_that_looks_into_every_schema_leaves_our_tables_alone(host):
    upgrade(host.ledger.target)
    host.configure(BESIDE[0], f"{BESIDE[1]}, include_schemas=True")

    assert named_in(host.autogenerate()) == set()


@pytest.mark.parametrize("kind", ["index", "column", "unique_constraint", "foreign_key_constraint"])
def test_what_belongs_to_our_tables_is_ours(kind):
    found = {
        table: exclude_operator_core("id", kind, {"schema_name": None, "table_name": table})
        for table in ("invoices", "kill_switch")
    }

    assert found == {"invoices": True, "kill_switch": False}


# -- in the host's own chain -------------------------------------------------------------------------------------------


@pytest.fixture
def chain(host: Host) -> Host:
    """A host that has our metadata in its own chain, as autogenerate writes it."""
    host.configure(*INSIDE, target="[host, ours]")
    generated = host.autogenerate()
    assert named_in(generated) == set(Base.metadata.tables)
    assert "operator_core" not in generated
    return host


def guard(host: Host) -> None:
    host.revise("hand", "from operator_core.db import install_guards", "install_guards(op)")


async def test_tables_of_a_hosts_chain_are_refused_without_guards(chain):
    chain.alembic("upgrade", "head")

    with pytest.raises(GuardMissingError):
        async with ActionDB(chain.ledger.target):
            pytest.fail("opened")


async def test_a_hosts_chain_that_installs_the_guards_makes_a_ledger(chain, other_empty):
    await within(other_empty, create_from_models)
    guard(chain)

    chain.alembic("upgrade", "head")
    chain.alembic("check")

    made = {
        name: text for name, text in schema_of(chain.ledger).items() if "invoices" not in name and "alembic" not in name
    }
    async with ActionDB(chain.ledger.target) as db:
        await stored(db, ActionStatus.COMPLETED)
        assert await db.verify() == []
    assert made == schema_of(other_empty)


async def test_the_offline_script_of_a_hosts_chain_makes_a_ledger(chain, other_empty):
    guard(chain)
    script = chain.alembic("upgrade", "head", "--sql")

    with closing(other_empty.connect()) as plain:
        plain.executescript(script) if other_empty.is_sqlite else plain.execute(script)

    async with ActionDB(other_empty.target) as db:
        await stored(db, ActionStatus.COMPLETED)
        assert await db.verify() == []


# -- ours within the host's --------------------------------------------------------------------------------------------

TWO_TABLES = """
for name in ("before", "after"):
        op.create_table(name, sa.Column("id", sa.Integer(), primary_key=True))
        if name == "before":
            upgrade_ledger(TARGET)
"""


@pytest.mark.parametrize("where", ["another database", "the same database"])
def test_an_upgrade_within_a_migration_of_a_host_leaves_that_one_alone(host, other_empty, where):
    ledger = other_empty if where == "another database" or host.ledger.is_sqlite else host.ledger
    host.configure()
    target = f"Path({str(ledger.target)!r})" if ledger.is_sqlite else repr(str(ledger.target))
    host.revise(
        "hand",
        "from pathlib import Path; from operator_core.db import upgrade as upgrade_ledger",
        TWO_TABLES.strip().replace("TARGET", target),
    )

    host.alembic("upgrade", "head")

    beside = schema_of(host.ledger)
    assert {"table before", "table after"} <= set(beside)
    assert ("table kill_switch" in beside) == (ledger is host.ledger)
    assert ("table after" in schema_of(ledger)) == (ledger is host.ledger)
    assert migrations.schema_status(ledger.target).state is migrations.SchemaState.UP_TO_DATE
