"""A backup of a stopped ledger that was restored is stopped, in every way that docs/deploy.md names."""

import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from operator_core.actions import ActionError, ActionStatus, RevisionUnknownError
from operator_core.db import ActionDB, migrations, upgrade
from tests.migrations.support import contents_of, schema_of
from tests.support.factories import proposal, running, stored
from tests.support.ledger import Ledger
from tests.support.postgres import PrivatePostgres
from tests.support.roles import (
    AFTER_EACH_UPGRADE,
    APP,
    NO_PRIVILEGE,
    ONCE,
    OPERATOR,
    OWNER,
    Deployed,
    command,
    finished,
    refusal,
)
from tests.support.stop_steps import stop

SCOPE = "ticket_id=4711"


def run_program(server: PrivatePostgres, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of PostgreSQL, of the version of the server where that is our own."""
    found = server._bin / name if server.owned else shutil.which(name)
    assert found is not None, f"{name} is not installed, and backups are made with it: install PostgreSQL's client"
    environment = {variable: value for variable, value in os.environ.items() if not variable.startswith("PG")}
    return subprocess.run([str(found), *words], capture_output=True, text=True, check=False, env=environment)


@dataclass
class Backups:
    """A ledger with two stops, what ran, what runs, what was pruned and what is pending, and its backups."""

    deployed: Deployed
    folder: Path

    def prepared(self) -> Deployed:
        """Return an empty database for a restore, with the rights on it and its schema that no dump holds."""
        other = self.deployed.another()
        other._run_within(ONCE[ONCE.index("\\connect ledger") + 1 :])
        return other

    def dump(self, *words: str, name: str = "ledger.dump") -> str:
        """Make a backup as the owner, and return its path."""
        file = str(self.folder / name)
        made = run_program(
            self.deployed.server, "pg_dump", *words, f"--file={file}", Ledger(self.deployed.url(OWNER)).dsn
        )
        assert made.returncode == 0, made.stderr
        return file

    def restore(self, other: Deployed, file: str, *words: str, by: str | None = None, fails: bool = False) -> str:
        """Restore a backup, as a superuser unless `by` says otherwise, and return what was complained of."""
        url = other.server.url(other.database) if by is None else other.url(by)
        stops = [] if fails else ["--exit-on-error"]
        done = run_program(other.server, "pg_restore", *stops, *words, "--dbname", Ledger(url).dsn, file)
        assert (done.returncode != 0) == fails, done.stderr
        return done.stderr

    def read(self, other: Deployed, file: str) -> None:
        """Run a plain dump."""
        target = Ledger(other.server.url(other.database)).dsn
        done = run_program(other.server, "psql", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={file}", target)
        assert done.returncode == 0, done.stderr


@pytest.fixture
async def backups(deployed: Deployed, app: ActionDB, tmp_path: Path) -> Backups:
    """A ledger that is stopped, by everything and by a ticket, and something pending that no stop covers."""
    await finished(app)
    await running(app)
    await stored(app, ActionStatus.VALIDATED)
    await stop(app, scope=SCOPE)
    await stop(app)
    return Backups(deployed, tmp_path)


def rows_of(ledger: Ledger) -> dict[str, list[str]]:
    """Return every row of the tables; the counters of ids are compared by `verify`."""
    return {name: rows for name, rows in contents_of(ledger).items() if not name.endswith("_seq")}


def plain(backups: Backups, other: Deployed) -> None:
    backups.read(other, backups.dump("--format=plain"))


def as_inserts(backups: Backups, other: Deployed) -> None:
    backups.read(other, backups.dump("--format=plain", "--inserts", "--rows-per-insert=2"))


def custom(backups: Backups, other: Deployed) -> None:
    backups.restore(other, backups.dump("--format=custom"))


def tar(backups: Backups, other: Deployed) -> None:
    backups.restore(other, backups.dump("--format=tar"))


def directory(backups: Backups, other: Deployed) -> None:
    backups.restore(other, backups.dump("--format=directory"), "--jobs=2")


def clean(backups: Backups, other: Deployed) -> None:
    upgrade(other.url(OWNER))
    backups.restore(other, backups.dump("--format=custom"), "--clean", "--if-exists")


def sections(backups: Backups, other: Deployed) -> None:
    file = backups.dump("--format=custom")
    for section in ("pre-data", "data", "post-data"):
        backups.restore(other, file, f"--section={section}")


def schema_then_data(backups: Backups, other: Deployed) -> None:
    backups.restore(other, backups.dump("--format=custom", "--schema-only", name="schema"))
    with pytest.raises(RevisionUnknownError):
        migrations.schema_status(other.url(OWNER))
    data = backups.dump("--format=custom", "--data-only", name="data")
    backups.restore(other, data, "--data-only", "--disable-triggers")


def one_schema(backups: Backups, other: Deployed) -> None:
    backups.restore(other, backups.dump("--format=custom", "--schema=public"), "--clean", "--if-exists")


def one_transaction(backups: Backups, other: Deployed) -> None:
    backups.restore(other, backups.dump("--format=custom"), "--single-transaction")


WHOLE = [plain, as_inserts, custom, tar, directory, clean, sections, schema_then_data, one_schema, one_transaction]


@pytest.mark.parametrize("way", WHOLE, ids=lambda way: way.__name__)
async def test_a_stopped_ledger_is_restored_as_it_was_and_stopped(
    backups: Backups, app: ActionDB, way: Callable[[Backups, Deployed], None]
) -> None:
    other = backups.prepared()
    source = Ledger(backups.deployed.server.url(backups.deployed.database))

    way(backups, other)

    restored = Ledger(other.server.url(other.database))
    assert (schema_of(restored), rows_of(restored)) == (schema_of(source), rows_of(source))
    await is_stopped(other, app)
    with closing(other.connect(APP)) as plainly:
        assert refusal(plainly, "DELETE FROM action_events") == NO_PRIVILEGE


async def is_stopped(other: Deployed, app: ActionDB) -> None:
    """See that a restored ledger is sound and stopped as the other one is, and that it can be stopped again."""
    assert migrations.schema_status(other.url(OWNER)).state is migrations.SchemaState.UP_TO_DATE
    async with ActionDB(other.url(APP)) as again, ActionDB(other.url(OPERATOR)) as operator:
        assert await again.verify() == []
        assert (await again.kill_switch_status()).engaged == (await app.kill_switch_status()).engaged
        for scope in (None, SCOPE):
            made = await again.create_proposal(proposal())
            assert made.status is ActionStatus.CANCELLED
            await is_engaged_anew(operator, scope)


async def is_engaged_anew(db: ActionDB, scope: str | None = None) -> None:
    """See that a stop takes a generation above all that were there."""
    before = max(latch.generation for latch in (await db.kill_switch_status()).engaged)
    assert (await stop(db, scope=scope)).generation > before


# -- what a restore leaves behind --------------------------------------------------------------------------------------


async def test_data_alone_in_an_upgraded_database_is_found_and_repaired(backups: Backups, app: ActionDB) -> None:
    other = backups.prepared()
    upgrade(other.url(OWNER))
    other.run(AFTER_EACH_UPGRADE, OWNER)

    complaints = backups.restore(
        other, backups.dump("--format=custom"), "--data-only", "--disable-triggers", fails=True
    )
    found = await command(other.url(OWNER), "db", "check")
    repaired = await command(other.url(OWNER), "db", "repair")

    assert "pk_kill_switch" in complaints
    assert (found[0], "latch is behind its history" in found[1]) == (3, True)
    assert repaired[0] == 0, repaired[1]
    await is_stopped(other, app)


async def test_a_stop_is_engaged_although_a_restore_has_lost_the_latch(backups: Backups, app: ActionDB) -> None:
    other = backups.prepared()
    upgrade(other.url(OWNER))
    other.run(AFTER_EACH_UPGRADE, OWNER)
    backups.restore(other, backups.dump("--format=custom"), "--data-only", "--disable-triggers", fails=True)
    before = max(latch.generation for latch in (await app.kill_switch_status()).engaged)

    code, said = await command(other.url(APP), "stop", "--reason", "restored")

    assert code in (0, 2), said
    with closing(other.connect()) as plainly:
        (found,) = plainly.execute("SELECT generation FROM kill_switch WHERE scope = 'everything'").fetchone() or (0,)
    assert found > before


@pytest.mark.parametrize("table", ["action_proposals", "action_events", "kill_switch_events"])
def test_a_restore_of_data_alone_is_refused_by_the_guards(backups: Backups, table: str) -> None:
    other = backups.prepared()
    upgrade(other.url(OWNER))
    before = rows_of(Ledger(other.server.url(other.database)))

    complaints = backups.restore(other, backups.dump("--format=custom"), "--data-only", f"--table={table}", fails=True)

    assert "OC00" in complaints
    assert rows_of(Ledger(other.server.url(other.database))) == before


async def test_counters_that_were_left_behind_are_found_and_repaired(backups: Backups, app: ActionDB) -> None:
    other = backups.prepared()
    custom(backups, other)
    with closing(other.connect()) as plainly:
        plainly.execute("SELECT setval(pg_get_serial_sequence('action_proposals', 'id'), 1, false)")

    found = await command(other.url(OWNER), "verify")
    repaired = await command(other.url(OWNER), "db", "repair")

    assert (found[0], "action_proposals.id" in found[1]) == (1, True)
    assert repaired[0] == 0, repaired[1]
    await is_stopped(other, app)


async def test_a_restore_without_owner_and_privileges_is_found_and_repaired(backups: Backups, app: ActionDB) -> None:
    other = backups.prepared()
    backups.restore(other, backups.dump("--format=custom"), "--no-owner", "--no-privileges", by=OWNER)
    found = await command(other.url(OWNER), "db", "check")
    repaired = await command(other.url(OWNER), "db", "repair")
    other.run(AFTER_EACH_UPGRADE, OWNER)

    assert (found[0], "may be called" in found[1]) == (3, True)
    assert repaired[0] == 0, repaired[1]
    await is_stopped(other, app)


@pytest.mark.parametrize(
    "tables", [("kill_switch",), ("action_proposals", "action_records"), ("operator_core_version",)]
)
async def test_some_tables_alone_are_no_ledger_and_nothing_starts_there(
    backups: Backups, tables: tuple[str, ...]
) -> None:
    other = backups.prepared()
    backups.restore(other, backups.dump("--format=custom"), *(f"--table={table}" for table in tables))

    code, said = await command(other.url(OWNER), "db", "check")

    assert code != 0, said
    assert "Traceback" not in said
    with pytest.raises(ActionError):
        async with ActionDB(other.url(OWNER)):
            pytest.fail("opened")


async def test_all_tables_without_their_guards_are_named(backups: Backups) -> None:
    other = backups.prepared()
    tables = [f"--table={name}" for name in contents_of(Ledger(backups.deployed.server.url(backups.deployed.database)))]
    backups.restore(other, backups.dump("--format=custom"), *tables)

    code, said = await command(other.url(OWNER), "db", "check")

    assert (code, "is missing" in said) == (3, True)
