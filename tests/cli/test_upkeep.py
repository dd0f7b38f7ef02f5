"""`operator-core verify`, `export` and `prune`: is the ledger sound, what has happened, and what is old may go."""

import asyncio
import json
import os
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from operator_core.actions import ActionStatus
from operator_core.db import ActionDB, install_guards
from tests.cli.conftest import Run
from tests.migrations.support import within
from tests.support.factories import stored
from tests.support.history import drop_guards
from tests.support.ledger import Ledger


def now() -> str:
    return datetime.now(UTC).isoformat()


async def tamper(ledger: Ledger) -> None:
    """Change a row by hand, as somebody does who may drop the guards, and put them back."""
    drop_guards(ledger)
    with closing(ledger.connect()) as plain:
        plain.execute("UPDATE action_proposals SET reason = 'never mind'")
    await within(ledger, install_guards)


async def test_tables_that_agree_with_the_history_exit_with_0(db: ActionDB, command: Run) -> None:
    await stored(db, ActionStatus.COMPLETED)

    plain, as_json = command("verify"), command("verify", "--json")

    assert (plain.code, plain.out) == (0, "the tables and the history agree\n")
    assert (as_json.code, as_json.json) == (0, [])


async def test_a_difference_made_by_hand_is_found_and_exits_with_1(db: ActionDB, ledger: Ledger, command: Run) -> None:
    made = await stored(db, ActionStatus.COMPLETED)
    await tamper(ledger)

    plain, as_json = command("verify"), command("verify", "--json")

    assert (plain.code, as_json.code) == (1, 1)
    assert f"proposal {made.id}, reason: the history says store 4 is hot, the table never mind" in plain.out
    assert [(one["proposal_id"], one["field"]) for one in as_json.json] == [(made.id, "reason")]


async def test_the_history_is_written_one_event_a_line_in_order(db: ActionDB, command: Run) -> None:
    first, second = await stored(db, ActionStatus.COMPLETED), await stored(db)

    ran = command("export")

    events = [json.loads(line) for line in ran.out.splitlines()]
    assert [event["proposal_id"] for event in events] == [*[first.id] * 4, second.id]
    assert "5 events written to standard output" in ran.err


async def test_the_history_holds_the_decisions_after_the_step_that_they_follow(db: ActionDB, command: Run) -> None:
    made = await stored(db)
    given = await db.approve(made.id, by="anna", role="sre", reason="I looked")
    await db.revoke(given.id, by="bob", reason="hm")
    await db.reject(made.id, by="carl", reason="no")

    events = [json.loads(line) for line in command("export").out.splitlines()]

    assert [(event["kind"], event["to_status"], event["by"]) for event in events] == [
        ("step", "proposed", "agent"),
        ("approved", "proposed", "anna"),
        ("step", "validated", "anna"),
        ("revoked", "validated", "bob"),
        ("rejected", "validated", "carl"),
        ("step", "cancelled", "carl"),
    ]
    assert (events[1]["data"]["role"], events[1]["data"]["digest"], events[1]["reason"]) == (
        "sre",
        made.digest,
        "I looked",
    )
    assert events[3]["data"]["revokes"] == given.id


async def test_the_history_is_written_to_a_new_file(db: ActionDB, command: Run, tmp_path: Path) -> None:
    await stored(db, ActionStatus.COMPLETED)
    file = tmp_path / "history.jsonl"

    ran = command("export", "--output", str(file))

    assert (ran.code, ran.out) == (0, "")
    assert [json.loads(line)["to_status"] for line in file.read_text().splitlines()][-1] == "completed"
    assert not any(left.suffix == ".part" for left in await asyncio.to_thread(tmp_path.iterdir))


async def test_a_file_that_is_there_is_not_written_over(db: ActionDB, command: Run, tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    file.write_text("mine")

    ran = command("export", "--output", str(file))

    assert ran.code == 1
    assert "is there already; name a new file" in ran.err
    assert file.read_text() == "mine"


def named_history(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("history*"))


@pytest.mark.usefixtures("db")
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("elsewhere")])
async def test_what_is_not_a_file_is_not_written_to(command: Run, tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "history.jsonl")

    ran = command("export", "--output", str(tmp_path / "history.jsonl"))

    assert (ran.code, "is there already" in ran.err) == (1, True), ran.err
    assert named_history(tmp_path) == ["history.jsonl"]
    assert not (tmp_path / "elsewhere").exists()


async def test_a_file_that_cannot_be_written_is_one_clear_line(db: ActionDB, command: Run, tmp_path: Path) -> None:
    ran = command("export", "--output", str(tmp_path / "nowhere" / "history.jsonl"))

    assert ran.code == 1
    assert "Traceback" not in ran.err


async def test_only_histories_that_began_before_a_moment_are_written(db: ActionDB, command: Run) -> None:
    await stored(db)
    await asyncio.sleep(0.005)
    young = await stored(db)

    ran = command("export", "--before", str(young.status_at))

    assert [json.loads(line)["proposal_id"] for line in ran.out.splitlines()] == [1]


async def test_a_dry_run_says_what_would_go_and_touches_nothing(db: ActionDB, command: Run) -> None:
    made = await stored(db, ActionStatus.COMPLETED)

    ran = command("prune", "--before", now(), "--dry-run")

    assert ran.code == 0
    assert "1 proposals would go, with their records" in ran.out
    assert await db.get_proposal(made.id) == made


async def test_what_is_finished_goes_and_its_history_stays(db: ActionDB, command: Run) -> None:
    made, pending = await stored(db, ActionStatus.COMPLETED), await stored(db)

    ran = command("prune", "--before", now(), "--by", "ann", "--reason", "old")

    assert ran.code == 0
    assert "their history stays" in ran.out
    assert await db.list_proposals() == [pending]
    assert len(await db.get_events(made.id)) == 4


async def test_the_history_goes_too_where_somebody_says_so(db: ActionDB, command: Run) -> None:
    made = await stored(db, ActionStatus.COMPLETED)

    ran = command("prune", "--before", now(), "--include-events", "--json")

    assert (ran.json["proposals"], ran.json["events"]) == (1, 4)
    assert await db.get_events(made.id) == []


async def test_what_nobody_has_resolved_stays_and_is_named(db: ActionDB, command: Run) -> None:
    made = await stored(db, ActionStatus.VALIDATED)
    execution = await db.claim(made.id, worker="w")
    await execution.abandon("who knows")

    ran = command("prune", "--before", now())

    assert "1 stay: their unknown outcome is not resolved" in ran.out
    assert await db.get_proposal(made.id) is not None


async def test_a_date_in_the_future_is_refused(db: ActionDB, command: Run) -> None:
    made = await stored(db, ActionStatus.COMPLETED)

    ran = command("prune", "--before", (datetime.now(UTC) + timedelta(days=1)).isoformat())

    assert ran.code == 1
    assert "which is in the future" in ran.err
    assert await db.get_proposal(made.id) == made


@pytest.mark.parametrize("text", ["yesterday", "2026-02-30", "31.01.2026", ""])
async def test_a_mistyped_date_is_refused_with_one_to_copy(db: ActionDB, command: Run, text: str) -> None:
    ran = command("prune", "--before", text)

    assert ran.code == 1
    assert "is not a date; write 2026-01-31" in ran.err
    assert "NOTHING WAS DONE" in ran.err
