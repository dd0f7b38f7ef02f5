"""`operator-core db ...`: what a deploy asks, by words and by exit codes."""

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from operator_core.actions import ActionStatus
from operator_core.db import ActionDB, migrations
from operator_core.db.guards import sqlite
from tests.cli.conftest import Run, run_command
from tests.migrations.support import set_version
from tests.support.factories import stored
from tests.support.ledger import Ledger

NOBODY = "postgresql://nobody:hush@127.0.0.1:1/nothing"


def test_a_ledger_that_is_up_to_date_is_found_so(command: Run) -> None:
    ran = command("db", "check")

    assert (ran.code, ran.err) == (0, "")
    assert f"is up to date: revision {migrations.HEAD}" in ran.out


@pytest.mark.parametrize(("revision", "state"), [("0001", "behind"), ("", "at a revision that nobody knows")])
def test_what_is_behind_or_unknown_is_told_apart(ledger: Ledger, command: Run, revision: str, state: str) -> None:
    set_version(ledger, revision)

    ran = command("db", "check", "--json")

    assert (ran.json["revision"], ran.json["state"]) == (revision, state)
    assert ran.code == (3 if state == "behind" else 4)


@pytest.mark.parametrize("steps", [1, 2])
def test_what_is_ahead_exits_with_4(ledger: Ledger, command: Run, steps: int) -> None:
    set_version(ledger, f"{int(migrations.HEAD) + steps:04d}")

    ran = command("db", "check")

    assert ran.code == 4
    assert "is ahead" in ran.out


def test_a_missing_guard_is_named(sqlite_path: Path) -> None:
    guard = next(iter(sqlite.triggers()))
    with closing(Ledger(sqlite_path).connect()) as plain:
        plain.execute(f"DROP TRIGGER {guard}")

    ran = run_command("db", "check", "--url", str(sqlite_path))

    assert ran.code == 3
    assert f"{guard} is missing" in ran.out


def test_a_file_that_is_not_there_is_behind_and_stays_away(tmp_path: Path) -> None:
    ran = run_command("db", "check", "--url", str(tmp_path / "none.db"))

    assert ran.code == 3
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_cannot_be_reached_exits_with_1_and_keeps_the_password() -> None:
    ran = run_command("db", "check", "--url", NOBODY)

    assert ran.code == 1
    assert "hush" not in ran.out + ran.err
    assert "Traceback" not in ran.err


async def test_check_waits_until_somebody_has_upgraded(tmp_path: Path) -> None:
    file = tmp_path / "later.db"
    waiting = asyncio.create_task(asyncio.to_thread(run_command, "db", "check", "--timeout", "100", "--url", str(file)))
    await asyncio.sleep(0.5)
    await asyncio.to_thread(migrations.upgrade, file)

    ran = await waiting

    assert ran.code == 0


async def test_down_and_up_again_keeps_what_both_revisions_hold(ledger: Ledger, command: Run) -> None:
    async with ActionDB(ledger.target) as db:
        made = await stored(db, ActionStatus.COMPLETED)

    down, up = command("db", "downgrade", "0001"), command("db", "upgrade", "--lock-timeout", "60s")

    assert (down.code, up.code) == (0, 0)
    assert "is at revision 0001" in down.out
    async with ActionDB(ledger.target) as db:
        assert await db.get_proposal(made.id) == made


def test_an_upgrade_can_be_printed_instead(ledger: Ledger, command: Run) -> None:
    ran = command("db", "upgrade", "0001:0002", "--sql")

    assert ran.code == 0
    assert "CREATE TABLE action_notes" in ran.out


def test_a_revision_that_there_is_not_is_one_clear_line(command: Run) -> None:
    ran = command("db", "upgrade", "0099")

    assert ran.code == 1
    assert "0099" in ran.err
    assert "Traceback" not in ran.err


def test_the_history_names_every_revision() -> None:
    ran = run_command("db", "history")

    assert [line.split()[0] for line in ran.out.splitlines()] == list(migrations.REVISIONS)
