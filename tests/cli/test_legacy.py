"""`operator-core import-legacy`: take over the database of the predecessor, all of it or nothing."""

from pathlib import Path

import pytest

from operator_core.db import ActionDB
from tests.cli.conftest import Run, run_command
from tests.legacy.predecessor import ZONE, Predecessor, read_rejects

IMPORT = ("import-legacy", "--timezone", ZONE)


@pytest.fixture
def old(tmp_path: Path) -> Predecessor:
    """A database of the predecessor with a row in each state, and one that cannot be true."""
    made = Predecessor(tmp_path / "old.db")
    made.one_of_each()
    made.proposal("lost", proposed_at="2024-10-27T02:30:00")
    made.proposal(proposed_at="2024-10-27T02:30:00")
    return made


async def test_it_is_imported_and_every_row_that_is_not_is_named(db: ActionDB, command: Run, old: Predecessor) -> None:
    ran = command(*IMPORT, str(old.path))

    assert ran.code == 0
    assert "imported: 8 proposals with 3 records" in ran.out
    assert "rejected: proposal 8 has the status 'lost', which is none of" in ran.out
    assert "proposal 9 has a proposed_at, 2024-10-27T02:30:00, that came twice in Europe/Berlin" in ran.out
    assert f"rejected: 1 rows, in {old.path}.rejects.jsonl" in ran.out
    assert "outcome unknown: 1 " in ran.out
    assert "proposed or validated: 3;" in ran.out
    assert (len(await db.list_proposals()), await db.verify()) == (8, [])


async def test_it_speaks_json(db: ActionDB, command: Run, old: Predecessor) -> None:
    ran = command(*IMPORT, str(old.path), "--json")

    assert (ran.code, ran.json["proposals"], ran.json["rejected"]) == (0, 8, 1)
    assert [(one["table"], one["id"], one["rejected"]) for one in ran.json["notes"]] == [
        ("action_proposals", 5, False),
        ("action_proposals", 8, True),
        ("action_proposals", 9, False),
    ]


async def test_again_it_says_that_all_is_there(db: ActionDB, command: Run, old: Predecessor) -> None:
    command(*IMPORT, str(old.path))

    ran = command(*IMPORT, str(old.path))

    assert ran.code == 0
    assert "imported: 0 proposals with 0 records" in ran.out
    assert "there already, and left as they are: 8 proposals" in ran.out


async def test_rows_are_rejected_where_somebody_says_so(command: Run, old: Predecessor, tmp_path: Path) -> None:
    ran = command(*IMPORT, str(old.path), "--rejects", str(tmp_path / "later.jsonl"))

    assert ran.code == 0
    assert [line["row"]["id"] for line in read_rejects(tmp_path / "later.jsonl")] == [8]


async def test_a_dry_run_writes_nothing(db: ActionDB, command: Run, old: Predecessor) -> None:
    ran = command(*IMPORT, str(old.path), "--dry-run")

    assert ran.code == 0
    assert "would be imported: 8 proposals with 3 records" in ran.out
    assert await db.list_proposals() == []


async def test_under_a_stop_nothing_is_imported_and_it_says_so(db: ActionDB, command: Run, old: Predecessor) -> None:
    await db.engage_kill_switch(by="anna", reason="smoke")

    ran = command(*IMPORT, str(old.path))

    assert ran.code == 1
    assert "NOTHING WAS IMPORTED: a stop is engaged; release it first" in ran.err
    assert await db.list_proposals() == []


async def test_a_bar_is_shown_on_a_terminal_only(command: Run, old: Predecessor) -> None:
    assert command(*IMPORT, str(old.path)).err == ""


def test_without_a_time_zone_nothing_is_done(sqlite_path: Path, old: Predecessor) -> None:
    ran = run_command("import-legacy", str(old.path), "--url", str(sqlite_path))

    assert ran.code == 1
    assert "--timezone" in ran.err
    assert "NOTHING WAS DONE" in ran.err


def test_a_mistyped_ledger_is_not_made(old: Predecessor, tmp_path: Path) -> None:
    ran = run_command(*IMPORT, str(old.path), "--url", str(tmp_path / "mistyped.db"))

    assert ran.code == 1
    assert "NOTHING WAS IMPORTED: no ledger at" in ran.err
    assert not (tmp_path / "mistyped.db").exists()


def test_a_wrong_old_file_is_one_clear_line(sqlite_path: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong.db").write_text("this is no database, whatever its name says\n" * 100)

    ran = run_command(*IMPORT, str(tmp_path / "wrong.db"), "--url", str(sqlite_path))

    assert ran.code == 1
    assert "wrong.db cannot be imported: file is not a database" in ran.err
    assert "Traceback" not in ran.err
