"""`operator-core list`, `show`, `cancel` and `db upgrade`: the ledger by hand."""

import json
from pathlib import Path

from operator_core.actions import ActionStatus
from operator_core.db import ActionDB
from tests.cli.conftest import Run, run_command
from tests.support.factories import stored


async def test_the_list_shows_the_newest_first_and_pages_by_id(db: ActionDB, command: Run) -> None:
    made = [await stored(db) for _ in range(3)]

    first = command("list", "--json", "--limit", "2")
    second = command("list", "--json", "--limit", "2", "--before-id", str(made[1].id))

    ids = [[json.loads(line)["id"] for line in ran.out.splitlines()] for ran in (first, second)]
    assert ids == [[made[2].id, made[1].id], [made[0].id]]


async def test_one_proposal_is_shown_with_its_record_and_history(db: ActionDB, command: Run) -> None:
    done = await stored(db, ActionStatus.FAILED, parameters={"store": 4})

    plain, as_json = command("show", str(done.id)), command("show", str(done.id), "--json")

    assert '{"store":4}' in plain.out
    assert "executing -> failed" in plain.out
    assert [event["to_status"] for event in as_json.json["events"]] == ["proposed", "validated", "executing", "failed"]
    assert as_json.json["records"][0]["success"] is False


async def test_what_an_agent_wrote_cannot_steer_the_terminal(db: ActionDB, command: Run) -> None:
    made = await stored(db, reason="\x1b[2Jgone")

    ran = command("show", str(made.id))

    assert "\x1b" not in ran.out


async def test_a_pending_proposal_is_cancelled_by_hand(db: ActionDB, command: Run) -> None:
    made = await stored(db)

    ran = command("cancel", str(made.id), "--reason", "not now", "--by", "alice")

    found = await db.get_proposal(made.id)
    assert ran.code == 0
    assert (found.status, found.status_by, found.status_reason) == ("cancelled", "alice", "not now")


async def test_what_cannot_be_done_exits_with_1_and_says_why(db: ActionDB, command: Run) -> None:
    done = await stored(db, ActionStatus.COMPLETED)

    refused, unknown = command("cancel", str(done.id)), command("show", "999", "--json")

    assert (refused.code, unknown.code) == (1, 1)
    assert f"proposal {done.id} is completed and cannot become cancelled" in refused.err
    assert unknown.json["error"] == "ProposalNotFoundError"


def test_only_db_upgrade_creates_a_ledger(tmp_path: Path) -> None:
    file = tmp_path / "ops.db"

    upgraded = run_command("db", "upgrade", "--url", str(file))
    status = run_command("status", "--url", str(file))

    assert (upgraded.code, status.code) == (0, 0)
    assert status.out.startswith("not engaged")
