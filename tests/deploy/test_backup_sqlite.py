"""A copy of a stopped SQLite ledger, made in each way that docs/deploy.md names, is stopped."""

import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from operator_core.actions import ActionStatus
from operator_core.db import ActionDB, migrations
from tests.migrations.support import contents_of, schema_of
from tests.support.factories import proposal, running, stored
from tests.support.ledger import Ledger
from tests.support.roles import command, finished
from tests.support.stop_steps import stop


def by_backup(file: Path, copy: Path) -> None:
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def by_vacuum(file: Path, copy: Path) -> None:
    with closing(sqlite3.connect(file)) as source:
        source.execute("VACUUM INTO ?", (str(copy),))


def by_dump(file: Path, copy: Path) -> None:
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
        target.executescript("\n".join(source.iterdump()))


def by_shell(file: Path, copy: Path, *words: str) -> None:
    program = shutil.which("sqlite3")
    assert program is not None, "sqlite3 is not installed, and backups are made with it: install SQLite's shell"
    done = subprocess.run([program, str(file), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if words == (".dump",):
        subprocess.run([program, str(copy)], input=done.stdout, text=True, check=True)


def by_dump_of_the_shell(file: Path, copy: Path) -> None:
    by_shell(file, copy, ".dump")


def by_backup_of_the_shell(file: Path, copy: Path) -> None:
    by_shell(file, copy, f".backup '{copy}'")


def with_wal(file: Path, copy: Path) -> None:
    for end in ("", "-wal"):
        shutil.copy(f"{file}{end}", f"{copy}{end}")


def with_wal_and_shm(file: Path, copy: Path) -> None:
    for end in ("", "-wal", "-shm"):
        shutil.copy(f"{file}{end}", f"{copy}{end}")


def by_following_the_wal(file: Path, copy: Path) -> None:
    """Copy as Litestream does: an open reader keeps the log from being started anew, while file and log are copied."""
    with closing(sqlite3.connect(file, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM kill_switch").fetchone()
        with_wal(file, copy)
        reader.execute("ROLLBACK")


WAYS = [
    by_backup,
    by_vacuum,
    by_dump,
    by_dump_of_the_shell,
    by_backup_of_the_shell,
    with_wal,
    with_wal_and_shm,
    by_following_the_wal,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_a_stopped_file_is_copied_as_it_is_and_stopped(
    sqlite_path: Path, tmp_path: Path, way: Callable[[Path, Path], None]
) -> None:
    copy = tmp_path / "copy.db"
    async with ActionDB(sqlite_path) as db:
        await finished(db)
        await running(db)
        await stored(db, ActionStatus.VALIDATED)
        await stop(db, scope="ticket_id=4711")
        await stop(db)
        engaged = (await db.kill_switch_status()).engaged

        way(sqlite_path, copy)
        kept = (schema_of(Ledger(sqlite_path)), contents_of(Ledger(sqlite_path)))

    assert (schema_of(Ledger(copy)), contents_of(Ledger(copy))) == kept
    assert migrations.schema_status(copy).state is migrations.SchemaState.UP_TO_DATE
    async with ActionDB(copy, migrate="check") as again:
        assert await again.verify() == []
        assert (await again.kill_switch_status()).engaged == engaged
        assert (await again.create_proposal(proposal())).status is ActionStatus.CANCELLED
        assert (await stop(again)).generation > max(latch.generation for latch in engaged)


async def test_a_file_that_is_copied_without_its_wal_lacks_what_was_written_last(
    sqlite_path: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    async with ActionDB(sqlite_path) as db:
        await stop(db)

        shutil.copy(sqlite_path, copy)

    async with ActionDB(copy) as older:
        assert (await older.kill_switch_status()).engaged == ()


async def test_the_latch_of_a_copy_that_lost_a_stop_is_found_and_repaired(
    sqlite_path: Path, capsys: pytest.CaptureFixture
) -> None:
    async with ActionDB(sqlite_path) as db:
        engaged = (await stop(db)).generation
    with closing(sqlite3.connect(sqlite_path, isolation_level=None)) as plain:
        guards = plain.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in guards:
            plain.execute(f"DROP TRIGGER {name}")
        plain.execute("DELETE FROM kill_switch")
        plain.execute("INSERT INTO kill_switch (scope, generation) VALUES ('everything', 0)")
        for _, statement in guards:
            plain.execute(statement)

    found = await command(str(sqlite_path), "db", "check")
    repaired = await command(str(sqlite_path), "db", "repair")

    assert (found[0], "latch is behind its history" in found[1]) == (3, True)
    assert repaired[0] == 0, repaired[1]
    async with ActionDB(sqlite_path) as db:
        assert [latch.generation for latch in (await db.kill_switch_status()).engaged] == [engaged]
