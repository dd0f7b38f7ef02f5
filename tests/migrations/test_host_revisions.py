"""Takes our revisions in a host's own chain of migrations: from nothing, the next one, back, and into a script."""

from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace

import psycopg
import pytest
import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

from operator_core.actions import ActionStatus, InvalidArgumentError, NameTakenError, RevisionUnknownError
from operator_core.db import ActionDB, install_guards, migrations, upgrade
from operator_core.db.guards import statements
from operator_core.db.migrations import environment
from operator_core.db.migrations.autogenerate import run_revisions
from tests.migrations.host_project import BESIDE, INSIDE, Host
from tests.migrations.support import (
    add_revision,
    contents_of,
    create_from_models,
    fill,
    next_revision,
    schema_of,
    version_of,
    within,
)
from tests.support.alembic_race import blocking
from tests.support.factories import stored
from tests.support.ledger import Ledger

PREVIOUS, HEAD = migrations.REVISIONS[-2:]
IMPORT = "from operator_core.db.migrations.autogenerate import run_revisions"
UP_TO_DATE = migrations.SchemaStatus(HEAD, migrations.SchemaState.UP_TO_DATE)


def without_our_version(ledger: Ledger) -> None:
    """Make of a ledger one that a host's own migrations have made."""
    with closing(ledger.connect()) as plain:
        plain.execute(f"DROP TABLE {migrations.VERSION_TABLE}")


def ours_of(ledger: Ledger) -> dict[str, str]:
    """Return the schema without what is the host's."""
    return {name: text for name, text in schema_of(ledger).items() if "invoices" not in name and "alembic" not in name}


# -- a project of a host, by its command line --------------------------------------------------------------------------


@pytest.fixture
def beside(host: Host) -> Host:
    """A host with a table of its own, whose chain goes on with our revisions."""
    host.configure(*BESIDE)
    host.autogenerate()
    host.revise("hand", IMPORT, f"run_revisions(op, 'base', '{PREVIOUS}')", f"run_revisions(op, '{PREVIOUS}', 'base')")
    host.revise(
        "next", IMPORT, f"run_revisions(op, '{PREVIOUS}', '{HEAD}')", f"run_revisions(op, '{HEAD}', '{PREVIOUS}')"
    )
    return host


async def test_a_chain_of_a_host_takes_each_of_our_revisions_and_goes_back(beside, migrated):
    beside.alembic("upgrade", "head")
    beside.alembic("check")
    made = ours_of(beside.ledger)
    async with ActionDB(beside.ledger.target) as db:
        await stored(db, ActionStatus.COMPLETED)
        assert await db.verify() == []
    beside.alembic("downgrade", "-1")
    before = version_of(beside.ledger)
    beside.alembic("downgrade", "-1")

    assert (made, before) == (schema_of(migrated), PREVIOUS)
    assert {name for name in ours_of(beside.ledger) if "sqlite_sequence" not in name and "version" not in name} == set()
    assert "table invoices" in schema_of(beside.ledger)


async def test_the_script_of_such_a_chain_makes_the_same_ledger(beside, other_empty, migrated):
    script = beside.alembic("upgrade", "head", "--sql")

    with closing(other_empty.connect()) as plain:
        plain.executescript(script) if other_empty.is_sqlite else plain.execute(script)

    assert ours_of(other_empty) == schema_of(migrated)
    assert migrations.schema_status(other_empty.target) == UP_TO_DATE


@pytest.mark.parametrize("sql", [False, True], ids=["online", "by a script"])
async def test_a_host_that_has_our_tables_in_its_chain_takes_the_next_revision_there(host, migrated, sql):
    upgrade(host.ledger.target, PREVIOUS)
    without_our_version(host.ledger)
    host.configure(*BESIDE)
    host.autogenerate()
    host.revise("next", IMPORT, f"run_revisions(op, '{PREVIOUS}', '{HEAD}')")

    if sql:
        script = host.alembic("upgrade", "head", "--sql")
        with closing(host.ledger.connect()) as plain:
            plain.execute("DROP TABLE alembic_version")  # autogenerate has made it, and the script makes it
            plain.executescript(script) if host.ledger.is_sqlite else plain.execute(script)
    else:
        host.alembic("upgrade", "head")
    host.alembic("check")

    assert ours_of(host.ledger) == schema_of(migrated)
    assert migrations.schema_status(host.ledger.target) == UP_TO_DATE


def test_tables_that_autogenerate_wrote_are_taken_over(host, migrated):
    host.configure(*INSIDE, target="[host, ours]")
    host.autogenerate()
    host.revise("hand", IMPORT, f"run_revisions(op, '{HEAD}', '{HEAD}')")
    host.alembic("upgrade", "head")
    host.configure(*BESIDE)

    host.alembic("check")

    assert ours_of(host.ledger).keys() == schema_of(migrated).keys()
    assert migrations.schema_status(host.ledger.target) == UP_TO_DATE


# -- on a connection of a host -----------------------------------------------------------------------------------------


def on(ledger: Ledger, act: Callable[[Operations], None]) -> None:
    """Call `act` as a host's migration is called, in a transaction."""
    url = f"sqlite:///{ledger.target}" if ledger.is_sqlite else blocking(str(ledger.target))
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"transactional_ddl": True})
        with context.begin_transaction():
            act(Operations(context))


def revise(ledger: Ledger, start: str, end: str) -> None:
    on(ledger, lambda op: run_revisions(op, start, end))


@pytest.mark.parametrize("guards", ["its own", "those of the newest code"])
def test_the_guards_of_a_ledger_that_is_taken_over_are_those_of_its_revision(empty, migrated, guards):
    upgrade(empty.target, PREVIOUS)
    without_our_version(empty)
    if guards != "its own":  # as `install_guards` in an older migration does, where it can
        with closing(empty.connect()) as plain:
            for statement in statements("sqlite" if empty.is_sqlite else "postgresql"):
                with suppress(Exception):
                    plain.execute(statement)

    revise(empty, PREVIOUS, HEAD)

    assert schema_of(empty) == schema_of(migrated)


async def test_a_ledger_that_is_taken_over_keeps_what_it_holds(ledger, monkeypatch, tmp_path):
    await fill(ledger)
    before = contents_of(ledger)
    without_our_version(ledger)
    add_revision(monkeypatch, tmp_path, 'op.add_column("action_prunes", sa.Column("colour", sa.Text()))')

    with pytest.raises(RevisionUnknownError, match="run_revisions"):
        upgrade(ledger.target)
    revise(ledger, HEAD, next_revision(0))

    untouched = set(before) - {"action_prunes", migrations.VERSION_TABLE}
    assert {name: contents_of(ledger)[name] for name in untouched} == {name: before[name] for name in untouched}
    assert version_of(ledger) == migrations.HEAD
    upgrade(ledger.target)


async def test_a_ledger_that_a_host_made_from_the_models_goes_on_without_a_version_table(empty):
    await within(empty, create_from_models)

    for act in (upgrade, lambda target: migrations.downgrade(target, "base")):
        with pytest.raises(RevisionUnknownError, match="One database for both"):
            act(empty.target)
    async with ActionDB(empty.target) as db:
        await stored(db)

    assert migrations.schema_status(empty.target) == UP_TO_DATE


async def test_what_is_wrong_with_a_ledger_without_a_version_table_may_be_its_revision(empty):
    upgrade(empty.target, PREVIOUS)
    without_our_version(empty)

    report = migrations.schema_status(empty.target)

    assert report.state is migrations.SchemaState.GUARD_MISSING
    assert "a host's own migrations" in report.guards[-1]


@pytest.mark.parametrize(("start", "end"), [("base", HEAD), (PREVIOUS, HEAD), (PREVIOUS, "base")])
def test_a_migration_of_a_host_that_expects_another_revision_changes_nothing(ledger, start, end):
    before = (schema_of(ledger), contents_of(ledger))

    with pytest.raises(InvalidArgumentError, match=f"start is '{start}', and the ledger is at '{HEAD}'"):
        revise(ledger, start, end)

    assert (schema_of(ledger), contents_of(ledger)) == before


@pytest.mark.parametrize(("start", "end"), [("head", HEAD), (HEAD, "0999"), ("", HEAD), (PREVIOUS, "head")])
def test_a_revision_is_named_by_its_number(empty, start, end):
    with pytest.raises(InvalidArgumentError, match=f"this version of operator-core has base, .*{HEAD}"):
        revise(empty, start, end)

    assert schema_of(empty) == {}


@pytest.mark.parametrize("start", ["base", PREVIOUS])
def test_a_table_of_the_hosts_own_is_not_taken_over(empty, start):
    with closing(empty.connect()) as plain:
        plain.execute("CREATE TABLE kill_switch (id INTEGER)")
    before = schema_of(empty)

    with pytest.raises(NameTakenError, match="table kill_switch"):
        revise(empty, start, HEAD)

    assert schema_of(empty) == before


def test_two_hosts_that_migrate_at_once_queue_for_each_other(postgres):
    empty = Ledger(postgres.url(postgres.create_database()))
    with closing(empty.connect()) as plain, plain.transaction():
        plain.execute("SELECT pg_advisory_xact_lock(%s)", [0x6F70_636F_7265_6D67])

        def ours(op: Operations) -> None:
            with pytest.MonkeyPatch.context() as patch:
                lock = replace(environment.MIGRATION_LOCK, timeout=0.2)
                patch.setattr("operator_core.db.migrations.within.MIGRATION_LOCK", lock)
                run_revisions(op, "base", HEAD)

        with pytest.raises(Exception, match="another process is migrating it"):
            on(empty, ours)
    revise(empty, "base", HEAD)

    assert version_of(empty) == HEAD


def test_install_guards_after_our_revisions_changes_nothing(ledger):
    before = schema_of(ledger)

    on(ledger, install_guards)

    assert schema_of(ledger) == before


def test_a_downgrade_within_a_migration_that_fails_later_is_undone(postgres_url):
    ledger = Ledger(postgres_url)
    before = (schema_of(ledger), contents_of(ledger))

    def fail(op: Operations) -> None:
        run_revisions(op, HEAD, "base")
        raise psycopg.Error

    with pytest.raises(psycopg.Error):
        on(ledger, fail)

    assert (schema_of(ledger), contents_of(ledger)) == before
