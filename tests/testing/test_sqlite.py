"""`fresh_sqlite`: a migrated file in one line, also within an event loop, and what it says to a mistake."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from operator_core.actions import DatabaseNotFoundError
from operator_core.db import ActionDB
from operator_core.db.migrations.status import SchemaState, schema_status
from operator_core.testing import fresh_sqlite, make_proposal, sqlite


@pytest.fixture
def upgrades(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Count what is migrated, from a process in which nothing was."""
    done: list[Path] = []
    migrate = sqlite.upgrade

    def upgrade(file: Path) -> None:
        done.append(file)
        migrate(file)

    sqlite._template.cache_clear()
    monkeypatch.setattr(sqlite, "upgrade", upgrade)
    return done


def test_it_is_migrated_and_has_its_guards(tmp_path):
    assert schema_status(fresh_sqlite(tmp_path)).state is SchemaState.UP_TO_DATE


async def test_it_is_made_within_an_event_loop_too(tmp_path, upgrades):
    async with ActionDB(fresh_sqlite(tmp_path), migrate="check") as db:
        made = await db.create_proposal(make_proposal())

    assert (made.id, len(upgrades)) == (1, 1)


def test_a_process_migrates_once(tmp_path, upgrades):
    files = [fresh_sqlite(tmp_path, f"{number}.db") for number in range(5)]

    assert len({file.read_bytes() for file in files}) == 1
    assert len(upgrades) == 1


def test_threads_migrate_once(tmp_path, upgrades):
    threads = [threading.Thread(target=fresh_sqlite, args=(tmp_path, f"{number}.db")) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(list(tmp_path.iterdir())), len(upgrades)) == (4, 1)


def test_it_is_one_file_and_the_template_leaves_none(tmp_path, upgrades):
    file = fresh_sqlite(str(tmp_path))

    assert list(tmp_path.iterdir()) == [file]
    assert not upgrades[0].parent.exists()


def test_what_is_written_to_one_is_not_in_the_next(tmp_path):
    async def propose(file: Path) -> int | None:
        async with ActionDB(file) as db:
            return (await db.create_proposal(make_proposal())).id

    ids = [asyncio.run(propose(fresh_sqlite(tmp_path, name))) for name in ("one.db", "two.db")]

    assert ids == [1, 1]


def test_it_is_in_wal_mode_from_the_first_connection_on(tmp_path):
    with closing(sqlite3.connect(fresh_sqlite(tmp_path))) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_folder_that_is_missing_is_named(tmp_path):
    with pytest.raises(DatabaseNotFoundError, match=f"there is no folder {tmp_path / 'gone'}"):
        fresh_sqlite(tmp_path / "gone")


def test_a_file_that_is_there_stays_as_it_is(tmp_path):
    (tmp_path / "ledger.db").write_text("mine")

    with pytest.raises(FileExistsError, match="give another folder, or another name"):
        fresh_sqlite(tmp_path)

    assert (tmp_path / "ledger.db").read_text() == "mine"


def test_importing_it_all_imports_no_test_runner():
    program = "import sys, operator_core.testing; print([n for n in sys.modules if n.split('.')[0] in RUNNERS])"
    program = program.replace("RUNNERS", "('pytest', '_pytest', 'unittest', 'hypothesis', 'asyncpg', 'alembic')")

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.stdout.strip(), done.stderr) == ("[]", "")
