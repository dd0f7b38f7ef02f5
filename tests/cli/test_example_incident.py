"""The sample program, run as its reader runs it."""

import asyncio
import json
import os
import re
import sys
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from operator_core.actions import ActionStatus, StoredProposal
from operator_core.db import ActionDB

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "examples" / "incident.py"
SAMPLE = ROOT / "examples" / "incident.jsonl"
REAL = ROOT.parent / "shared" / "data" / "agent_tool_calls.jsonl"

needs_real_data = pytest.mark.skipif(not REAL.exists(), reason="the real agent calls are not kept in the repository")


@dataclass(frozen=True)
class Run:
    code: int
    out: str
    err: str


async def run(*arguments: str | Path) -> Run:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        PROGRAM,
        *arguments,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONWARNINGS": "error"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return Run(process.returncode or 0, out.decode(), err.decode())


def lines_of(path: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """Return the calls of a file, and the numbers of the lines that hold none."""
    calls, broken = [], []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if isinstance(line, dict):
            calls.append(line)
        else:
            broken.append(number)
    return calls, broken


def expected_status(line: dict[str, Any]) -> ActionStatus:
    """Read off a line of the sample how its call must end: "flaw" marks what is broken on purpose."""
    if "flaw" in line or line["outcome"] is None:
        return ActionStatus.CANCELLED
    return ActionStatus.FAILED if line["outcome"].startswith("Error") else ActionStatus.COMPLETED


def final_counts(out: str) -> dict[ActionStatus, int]:
    """Read the last table of the program."""
    table = out.rpartition("Proposals by state")[2]
    return {ActionStatus(name): int(count) for name, count in re.findall(r"^  (\w+) +(\d+)$", table, re.MULTILINE)}


async def ledger(target: Path | str) -> list[StoredProposal]:
    async with ActionDB(target) as db:
        return (await db.list_proposals())[::-1]


async def test_every_line_of_the_sample_ends_as_the_file_says(tmp_path):
    calls, broken = lines_of(SAMPLE)

    done = await run("--database", tmp_path / "ops.db")

    expected = Counter(map(expected_status, calls))
    assert done.err == ""
    assert done.code == 0
    assert f"{len(calls) + len(broken)} lines = {len(calls)} proposals + {len(broken)} broken lines" in done.out
    assert final_counts(done.out) == {status: expected[status] for status in ActionStatus}


async def test_the_ledger_holds_every_call_of_the_sample_in_order_and_as_it_ended(tmp_path):
    calls, _ = lines_of(SAMPLE)

    await run("--database", tmp_path / "ops.db")

    held = await ledger(tmp_path / "ops.db")
    assert [(p.ticket_id, p.action_name, p.reason, p.status) for p in held] == [
        (line["ticket_id"], line["call"]["function"]["name"], line["reason"], expected_status(line)) for line in calls
    ]


async def test_the_calls_of_a_ticket_run_one_after_the_other(tmp_path):
    await run("--database", tmp_path / "ops.db", "--workers", "8")

    ran = [(p.ticket_id, p.executing_at, p.status_at) for p in await ledger(tmp_path / "ops.db") if p.executing_at]
    assert [
        (ended, ticket)
        for (ticket, _, ended), (next_, started, _) in pairwise(sorted(ran))
        if ticket == next_ and started < ended
    ] == []


async def test_everything_that_ran_was_claimed_by_the_worker(tmp_path):
    await run("--database", tmp_path / "ops.db")

    async with ActionDB(tmp_path / "ops.db") as db:
        ran = [p for p in await db.list_proposals() if p.executing_at]
        records = [record for p in ran for record in await db.get_records_for_proposal(p.id)]
    assert len(records) == len(ran)
    assert {record.worker for record in records} == {p.status_by for p in ran}


async def test_the_sample_is_an_incident_worth_reading():
    calls, broken = lines_of(SAMPLE)

    assert len(calls) >= 40
    assert len({line["ticket_id"] for line in calls}) >= 5
    assert broken
    assert any(line["outcome"] is None for line in calls)


async def test_lines_that_hold_no_call_are_reported_with_their_numbers(tmp_path):
    _, broken = lines_of(SAMPLE)

    done = await run("--database", tmp_path / "ops.db")

    assert [int(number) for number in re.findall(r"^line (\d+) is broken: .", done.out, re.MULTILINE)] == broken


async def test_arguments_that_cannot_be_parsed_are_kept_and_cancelled_with_the_reason(tmp_path):
    odd = ["{", "[1]", '"text"', '{"a": NaN}', '{"a": "\\u0000"}', '{"a": "\\ud800"}', "", "[" * 100_000]
    path = tmp_path / "odd.jsonl"
    path.write_text("".join(line_with(arguments) + "\n" for arguments in odd))

    done = await run(path, "--database", tmp_path / "ops.db")

    held = await ledger(tmp_path / "ops.db")
    assert done.code == 0
    assert len(held) == len(odd)
    assert all(set(p.parameters) == {"unparsed"} for p in held)
    assert all(p.status is ActionStatus.CANCELLED and "arguments" in (p.status_reason or "") for p in held)


async def test_an_answer_that_no_record_can_hold_is_kept_as_text(tmp_path):
    path = tmp_path / "odd.jsonl"
    path.write_text("".join(line_with("{}", outcome) + "\n" for outcome in ["NaN", '"\\u0000"', "\0", "[]", ""]))

    done = await run(path, "--database", tmp_path / "ops.db")

    assert done.code == 0
    assert final_counts(done.out)[ActionStatus.COMPLETED] == 5


def line_with(arguments: str, outcome: str | None = "done") -> str:
    call = {"id": "call_1", "type": "function", "function": {"name": "list_all_airports", "arguments": arguments}}
    return json.dumps({"ticket_id": 1, "call": call, "reason": "because", "outcome": outcome})


async def test_the_history_of_the_chosen_ticket_is_shown_step_by_step(tmp_path):
    calls, _ = lines_of(SAMPLE)
    ticket = 4101
    names = [line["call"]["function"]["name"] for line in calls if line["ticket_id"] == ticket]

    done = await run("--database", tmp_path / "ops.db", "--ticket", str(ticket))

    history = done.out.partition(f"History of ticket {ticket}")[2].partition("\nCancelled everything")[0]
    assert re.findall(r"^  #\d+ (\w+)", history, re.MULTILINE) == names
    ends = Counter(expected_status(line) for line in calls if line["ticket_id"] == ticket and line["outcome"])
    for status, count in ends.items():
        assert len(re.findall(rf"^ +[\d:.]+ {status.value} ", history, re.MULTILINE)) == count


async def test_what_never_ran_is_cancelled_at_the_end(tmp_path):
    calls, _ = lines_of(SAMPLE)
    left = sum("flaw" not in line and line["outcome"] is None for line in calls)

    done = await run("--database", tmp_path / "ops.db")

    assert f"pending in this ledger, whoever proposed it: {left} ({left} from this run)" in done.out


async def test_a_second_run_adds_to_the_ledger_and_accounts_for_its_own_only(tmp_path):
    first = await run("--database", tmp_path / "ops.db")

    second = await run("--database", tmp_path / "ops.db")

    assert second.code == 0
    assert final_counts(second.out) == final_counts(first.out)
    assert len(await ledger(tmp_path / "ops.db")) == 2 * sum(final_counts(first.out).values())


async def test_two_runs_at_once_share_a_ledger_although_each_cancels_all_that_is_pending(tmp_path):
    await run("--database", tmp_path / "ops.db")

    both = await asyncio.gather(*(run("--database", tmp_path / "ops.db") for _ in range(2)))

    assert [(done.code, done.err) for done in both] == [(0, ""), (0, "")]


@pytest.mark.parametrize("path", ["nowhere.jsonl", "."])
async def test_a_path_that_cannot_be_read_is_one_clear_line_and_exit_code_2(path):
    done = await run(path)

    assert done.code == 2
    assert re.fullmatch(rf"incident\.py: error: cannot read {re.escape(path)}: .+\n", done.err)


async def test_a_database_that_cannot_be_opened_is_one_clear_line_and_exit_code_2(tmp_path):
    done = await run("--database", tmp_path / "nowhere" / "ops.db")

    assert done.code == 2
    assert re.fullmatch(r"incident\.py: error: .+\n", done.err)


async def test_without_arguments_the_sample_runs_in_a_temporary_ledger_that_is_deleted():
    done = await run()

    named = re.search(r"temporary SQLite file, (.+);", done.out)
    assert done.code == 0
    assert named is not None
    assert not Path(named[1]).parent.exists()


@needs_real_data
async def test_real_agent_calls_are_all_accounted_for_on_sqlite(tmp_path):
    await assert_real_calls_are_accounted_for(tmp_path / "ops.db")


@needs_real_data
async def test_real_agent_calls_are_all_accounted_for_on_postgresql(postgres_url: str):
    await assert_real_calls_are_accounted_for(postgres_url)


async def assert_real_calls_are_accounted_for(target: Path | str) -> None:
    calls, _ = lines_of(REAL)

    done = await run(REAL, "--database", target, "--ticket", "0")

    held = await ledger(target)
    assert (done.code, done.err) == (0, "")
    assert "572 lines = 572 proposals + 0 broken lines" in done.out
    assert Counter(p.status for p in held) == {
        ActionStatus.COMPLETED: 539,
        ActionStatus.FAILED: 29,
        ActionStatus.CANCELLED: 4,
    }
    assert [as_called(p.ticket_id, p.action_name, p.parameters, p.reason) for p in held] == list(map(as_written, calls))
    for line, proposal in zip(calls, held, strict=True):
        failed = line["outcome"].startswith("Error")
        assert proposal.status is not ActionStatus.FAILED or failed
        assert proposal.status is not ActionStatus.COMPLETED or not failed
        # What our check refused, the airline's own system refused as well: the fault is the agent's.
        assert proposal.status is not ActionStatus.CANCELLED or (failed and proposal.status_reason)


def as_written(line: dict[str, Any]) -> tuple[object, ...]:
    function = line["call"]["function"]
    return as_called(line["ticket_id"], function["name"], json.loads(function["arguments"]), line["reason"])


def as_called(ticket: int | None, name: str, parameters: dict[str, Any], reason: str) -> tuple[object, ...]:
    return ticket, name, json.dumps(parameters), reason
