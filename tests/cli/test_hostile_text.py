"""No text of an agent reaches a terminal raw, or makes a line of its own, in no command: neither words nor errors."""

import asyncio
import io
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from operator_core.actions import ActionStatus, ApprovalRule, Discrepancy, Resolution
from operator_core.cli import output, worker
from operator_core.cli.main import main
from operator_core.db import ActionDB
from operator_core.worker import Worker
from tests.legacy.predecessor import ZONE, Predecessor
from tests.support.factories import proposal, stored
from tests.support.history import write_past_guards
from tests.support.hostile import HOSTILE, assert_harmless
from tests.support.ledger import Ledger
from tests.support.workbench import registry_of


async def fill(target: Path | str, text: str) -> None:
    """Write `text` into every column of a ledger that takes one."""
    async with ActionDB(target) as db:
        common = {"action_name": text, "reason": text, "proposed_by": text, "parameters": {text: [text]}}
        await db.create_proposal(proposal(**common), idempotency_key=text)
        for _ in range(3):
            made = await db.create_proposal(proposal(**common))
            await db.update_proposal_status(made.id, ActionStatus.VALIDATED, by=text, reason=text)
        failed = await db.claim(2, worker=text)
        await db.request_cancel(2, by=text, reason=text)
        await failed.fail(text, {text: text})
        await db.claim(3, worker=text, lease_seconds=0.001)
        await asyncio.sleep(0.01)
        (lost,) = await db.recover_expired_leases(by=text)
        await db.resolve_unknown(lost.id, resolution=Resolution.PARTLY, by=text, reason=text)
        await db.claim(4, worker=text)
        receipt = await db.engage_kill_switch(by=text, reason=text, scope=f"action_name={text}")
        await db.release_kill_switch(by=text, reason=text, generation=receipt.generation)
        await db.engage_kill_switch(by=text, reason=text, scope=f"proposed_by={text}")
        await decide(db, {**common, "proposed_by": "another", "on_behalf_of": text}, text)


async def decide(db: ActionDB, common: dict[str, Any], text: str) -> None:
    """Write `text` into every column of decisions and policies, about proposals from 5 on that no stop covers.

    As `by` and `role` the library refuses what does not show; `forge` writes it there.
    """
    strict = [ApprovalRule(approvals=2), ApprovalRule(role="sre")]
    await db.set_approval_policy(f"action_name={text}", strict, by="ann", reason=text)
    made = [await db.create_proposal(proposal(**common)) for _ in range(3)]
    approval = await db.approve(made[0].id, by="ann", role="sre", reason=text)
    await db.revoke(approval.id, by="ann", role="sre", reason=text)
    await db.approve(made[0].id, by="ann", role="sre", reason=text)
    await db.reject(made[1].id, by="ann", role="sre", reason=text)
    await db.supersede(made[2].id, parameters={text: text}, by="an editor", reason=text)


def forge(target: Path | str, text: str) -> None:
    """Write `text` behind the guards where only plain SQL writes it: the people and roles of decisions and policies."""
    quoted = "'" + text.replace("'", "''") + "'"
    renamed = f"\"by\" = {quoted}, role = CASE role WHEN 'sre' THEN {quoted} ELSE role END"
    tables = ("action_approvals", "approval_policies", "approval_policy_events")
    write_past_guards(Ledger(target), *(f"UPDATE {table} SET {renamed} WHERE \"by\" = 'ann'" for table in tables))


LINES = [
    "status", "list", "unknown", "verify", "export", "recover", "db check", *(f"show {n}" for n in range(1, 5)),
    "prune --before 2000-01-01 --reason {} --by {}", "list --action-name {}", "cancel 1 --reason {} --by {}",
    "cancel 2 --reason {} --by {}", "resolve 2 --resolution happened --reason {} --by {}", "drill --by {}",
    "release --generation 9 --reason {} --by {}", "release --generation 2 --reason {} --by {}",
    "pending", "pending --role {}", "policy list", *(f"show {n}" for n in range(5, 9)),
    "approve 5 --by ben --reason {}", "approve 8 --by ben --role sre --reason {} --digest {}",
    "approve 8 --by ben --role sre --reason {} --expires 1h", "approve 9 --by ben", "approve 5 --registry {}",
    "revoke 3 --by ben --reason {}", "revoke 3 --by ben --reason {}",
    "supersede 8 --parameters NEW --by ben --reason {}", "reject 9 --by ben --reason {} --role sre --digest {}",
    "reject 9 --by ben --reason {} --role sre",
    "policy set action_name={} --approvals 1 --role sre --by ben --reason {}",
    "policy set action_name={} --remove --by ben --reason {}", "policy set {} --approvals 1 --by ben --reason {}",
    "pending", "verify", "stop --reason {} --by {} --scope action_name={}", "status",
]  # fmt: skip


def _run(*arguments: str) -> int:
    try:
        return main(arguments)
    except SystemExit as ended:
        return int(str(ended.code))


async def test_every_command_prints_the_lines_that_it_prints_for_harmless_text(
    ledger: Ledger, sqlite_template: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new.json").write_text(json.dumps({HOSTILE: HOSTILE}))
    harmless = Path(shutil.copy(sqlite_template, tmp_path / "harmless.db"))
    printed: dict[str, list[tuple[int, int]]] = {}

    for text, target in (("x", harmless), (HOSTILE, ledger.target)):
        await fill(target, text)
        forge(target, text)
        printed[text] = []
        for line in LINES:
            words = line.replace("NEW", str(tmp_path / "new.json")).split()
            arguments = [text if word == "{}" else word.replace("{}", text) for word in words]
            code = await asyncio.to_thread(_run, *arguments, "--url", str(target))
            out, err = capfd.readouterr()
            assert_harmless(out + err)
            assert "Traceback" not in err
            lines = [one for one in (out + err).splitlines() if not one.startswith("  CAREFUL")]
            printed[text].append((code, len(lines)))

    assert printed[HOSTILE] == printed["x"]
    assert {code for code, _ in printed["x"]} == {0, 1}


@pytest.mark.parametrize(
    "arguments",
    [
        [HOSTILE], [f"--{HOSTILE}"], ["list", HOSTILE], ["list", "--status", HOSTILE], ["list", "--ticket", HOSTILE],
        ["stop", "--reason", "x", "--scope", HOSTILE], ["stop", "--reason", "x", "--scope", f"ticket_id={HOSTILE}"],
        ["stop", "--reason", "x", "--timeout", HOSTILE], ["resolve", "1", "--resolution", HOSTILE, "--reason", "x"],
        ["prune", "--before", HOSTILE], ["drill", "--proposals", HOSTILE], ["worker", HOSTILE],
        ["worker", f"os:{HOSTILE}"], ["db", "upgrade", HOSTILE], ["db", "downgrade", HOSTILE], ["db", HOSTILE],
        ["import-legacy", HOSTILE, "--timezone", "UTC"], ["show", "1", "--url", f"{HOSTILE[:99]}.db"],
        ["status", "--url", f"postgresql://{HOSTILE}@127.0.0.1:1/{HOSTILE}"], ["status", "--url", f"{HOSTILE}://x"],
        ["stop", "--reason", HOSTILE, "--by", HOSTILE, "--timeout", "0", "--url", "postgresql://127.0.0.1:1/x"],
        ["pending", HOSTILE], ["pending", "--limit", HOSTILE], ["approve", HOSTILE],
        ["approve", "1", "--kind", HOSTILE], ["approve", "1", "--by", HOSTILE], ["approve", "1", "--role", HOSTILE],
        ["approve", "1", "--digest", HOSTILE], ["policy", "set", "everything", "--by", HOSTILE, "--reason", "x"],
        ["approve", "1", "--expires", HOSTILE], ["approve", "1", "--registry", f"os:{HOSTILE}"],
        ["reject", "1", "--reason", HOSTILE, "--by", HOSTILE], ["revoke", "1", "--reason", HOSTILE, "--role", HOSTILE],
        ["supersede", "1", "--reason", "x", "--parameters", HOSTILE], ["policy", HOSTILE],
        ["policy", "set", HOSTILE, "--reason", "x"], ["policy", "set", "everything", "--approvals", HOSTILE],
        ["policy", "set", "everything", "--four-eyes", HOSTILE, "--reason", "x"],
        ["policy", "set", "everything", "--role", HOSTILE, "--role", HOSTILE, "--reason", "x"],
        ["export", "--output", f"no such folder/{HOSTILE}"], ["show", "--json", "99"],
    ],
    ids=lambda arguments: " ".join(arguments).replace(HOSTILE, "HOSTILE").replace("/", "."),
)  # fmt: skip
def test_an_argument_that_is_refused_is_repeated_printably(
    sqlite_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPERATOR_CORE_DATABASE_URL", str(sqlite_path))

    code = _run(*arguments)

    printed = capfd.readouterr()
    assert code == 1
    assert_harmless(printed.out + printed.err)
    assert "Traceback" not in printed.err


def test_a_fault_of_the_command_itself_is_shown_printably_and_exits_with_1(
    sqlite_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError(HOSTILE)

    monkeypatch.setattr(ActionDB, "kill_switch_status", broken)

    code = main(["status", "--url", str(sqlite_path)])

    printed = capfd.readouterr()
    assert code == 1
    assert_harmless(printed.err)
    assert "ZeroDivisionError: x" in printed.err
    assert printed.err.endswith("broke off: NOT KNOWN TO BE DONE\n")


def test_a_difference_is_shown_printably(capfd: pytest.CaptureFixture[str]) -> None:
    found = Discrepancy(proposal_id=1, field=HOSTILE, expected=HOSTILE, found=HOSTILE)

    output.print_text(str(found))

    assert_harmless(capfd.readouterr().out)


def test_a_row_of_the_predecessor_that_is_rejected_is_named_printably(
    sqlite_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    old = Predecessor(tmp_path / "old.db")
    old.proposal(HOSTILE)
    old.proposal(action_name=HOSTILE, proposed_at=HOSTILE)

    code = _run("import-legacy", "--timezone", ZONE, str(old.path), "--url", str(sqlite_path))

    printed = capfd.readouterr()
    assert code == 0
    assert_harmless(printed.out + printed.err)
    assert "rejected: 2 rows" in printed.out


async def test_a_worker_writes_one_line_an_entry_whatever_it_meets(db: ActionDB) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s %(worker)s"))
    logger = logging.getLogger("operator_core")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)

    async def act(_: Any) -> None:
        raise ValueError(HOSTILE)

    await stored(db, action_name=HOSTILE, parameters={})
    await stored(db, action_name=HOSTILE, parameters={"store": HOSTILE})
    try:
        await Worker(db, registry_of(act, HOSTILE), name="w1").run_until_idle()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)

    assert_harmless(stream.getvalue())
    entries = [line for line in stream.getvalue().split("\n") if line.startswith("operator_core.worker ")]
    assert len(entries) == 4


def test_the_worker_command_logs_the_entries_of_other_libraries_printably(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    worker._log_to_stderr()

    logging.getLogger("another").warning(f"failed: {HOSTILE}")  # noqa: G004 - as many do

    assert_harmless(capfd.readouterr().err)
