"""`operator-core drill`: a stop and an approval for practice, on the real ledger."""

from contextlib import closing
from pathlib import Path

import pytest

from operator_core.actions import ActionStatus, ApprovalRule, DatabaseAccessError, Scope
from operator_core.db import ActionDB
from operator_core.db.repository.approvals import ApprovalMixin
from tests.cli.conftest import Run, run_command
from tests.support.factories import stored
from tests.support.ledger import Ledger


@pytest.mark.parametrize("as_json", [False, True])
async def test_a_drill_stops_what_it_started_and_leaves_all_of_it_cancelled(
    db: ActionDB, command: Run, as_json: bool
) -> None:
    bystander = await stored(db, ActionStatus.VALIDATED)

    ran = command("drill", *["--json"] * as_json)

    found = await db.count_proposals()
    assert ran.code == 0, ran.err
    assert "0 late starts" in ran.out or ran.json["late_starts"] == 0
    assert "a start without an approval was refused" in ran.out or ran.json["refused_without_approval"] is True
    assert found[ActionStatus.CANCELLED] == sum(found.values()) - 1
    assert (await db.get_proposal(bystander.id)).status is ActionStatus.VALIDATED
    assert (await db.kill_switch_status()).engaged == ()


async def test_there_is_no_drill_while_a_stop_is_engaged(db: ActionDB, command: Run) -> None:
    await db.engage_kill_switch(by="ann", reason="fire", scope=Scope(ticket_id=7))

    ran = command("drill")

    assert ran.code == 1
    assert "release it, or practise later" in ran.err
    assert await db.list_proposals() == []


@pytest.mark.parametrize("arguments", [["--starters", "0"], ["--proposals", "-1"]])
def test_a_drill_needs_something_to_do(sqlite_path: Path, arguments: list[str]) -> None:
    ran = run_command("drill", *arguments, "--url", str(sqlite_path))

    assert ran.code == 1
    assert "is not a number from 1 to" in ran.err


# -- approvals ---------------------------------------------------------------------------------------------------------


async def test_what_a_drill_does_about_approvals_leaves_no_trace(db: ActionDB, ledger: Ledger, command: Run) -> None:
    ran = command("drill", "--proposals", "6")

    tables = ("approval_policies", "approval_policy_events", "action_approvals", "action_proposals")
    with closing(ledger.connect()) as connection:
        counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]
    assert (ran.code, counts) == (0, [0, 0, 0, 6])
    assert await db.verify() == []


async def test_a_drill_runs_where_a_policy_for_everything_asks_people_and_leaves_that_as_it_was(
    db: ActionDB, command: Run
) -> None:
    rules = [ApprovalRule(approvals=2), ApprovalRule(role="sre")]
    policy = await db.set_approval_policy("everything", rules, by="ann", reason="x")

    ran = command("drill", "--json")

    assert (ran.code, ran.json["passed"], ran.json["late_starts"]) == (0, True, 0)
    assert ran.json["started"] > 0
    assert await db.approval_policies() == [policy]
    assert (await db.count_proposals())[ActionStatus.CANCELLED] == 40


async def test_a_drill_that_may_not_set_a_policy_says_so(
    db: ActionDB, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ApprovalMixin, "set_approval_policy", _refused)

    free = command("drill", "--proposals", "6")
    monkeypatch.undo()
    await db.set_approval_policy("everything", [ApprovalRule()], by="ann", reason="x")
    monkeypatch.setattr(ApprovalMixin, "set_approval_policy", _refused)
    monkeypatch.setattr(ActionDB, "set_approval_policy", _refused)
    asked = command("drill", "--proposals", "6")

    assert (free.code, asked.code) == (0, 1)
    assert "not tried, because this login may not set one" in free.out
    assert "run it as the owner of the tables" in asked.err
    assert (await db.count_proposals())[ActionStatus.CANCELLED] == 6


async def _refused(*_: object, **__: object) -> None:
    raise DatabaseAccessError(url="the test", detail="permission denied")


async def test_a_drill_fails_where_something_starts_without_an_approval(
    db: ActionDB, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing_is_set(*_: object, **__: object) -> None: ...

    monkeypatch.setattr(ApprovalMixin, "set_approval_policy", nothing_is_set)

    ran = command("drill", "--proposals", "6")

    assert ran.code == 1
    assert "a start WITHOUT AN APPROVAL got through" in ran.out
