"""`operator-core worker`, `recover`, `unknown` and `resolve`: work, and what is left of lost work."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from operator_core.actions import ActionOutcome, ActionStatus, Resolution, StoredRecord
from operator_core.db import ActionDB
from tests.cli.conftest import Ran, Run
from tests.support.factories import running, stored
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE

MODULE = """
import asyncio
from pydantic import BaseModel
from operator_core.worker import ActionRegistry

class Drain(BaseModel):
    store: int = 4
    seconds: float = 0.0

registry = ActionRegistry()
other = {"is": "no registry"}

@registry.action("drain_store", auto_approve=True)
async def drain(parameters, execution):
    await asyncio.sleep(parameters.seconds)
    return {"drained": parameters.store}
""".replace("(parameters,", "(parameters: Drain,")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the module of the actions."""
    (tmp_path / "acts.py").write_text(MODULE)
    return tmp_path


@contextmanager
def started(folder: Path, ledger: Ledger, name: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a worker as a service manager does, and leave none behind."""
    command = [sys.executable, "-m", "operator_core", "worker", name, "--url", str(ledger.target), *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: "subprocess.Popen[str]") -> Ran:
    out, err = process.communicate(timeout=PATIENCE)
    return Ran(process.returncode, out, err)


@pytest.mark.parametrize("name", ["acts:registry", "acts"])
async def test_a_worker_does_what_is_proposed_and_sigterm_ends_it_with_0(
    db: ActionDB, ledger: Ledger, folder: Path, name: str
) -> None:
    made = await stored(db, parameters={"store": 7})

    with started(folder, ledger, name, "--json") as process:
        done = await db.wait_for(made.id, timeout=PATIENCE, poll_interval=0.05)
        process.send_signal(signal.SIGTERM)
        ran = await asyncio.to_thread(ended, process)

    assert (ran.code, done.status, ran.json["succeeded"]) == (0, ActionStatus.COMPLETED, 1)


async def test_a_worker_that_breaks_something_off_ends_with_1(db: ActionDB, ledger: Ledger, folder: Path) -> None:
    made = await stored(db, parameters={"seconds": 3_600})

    with started(folder, ledger, "acts", "--json", "--shutdown-timeout", "0.1", "--name", "w") as process:
        await db.wait_for(made.id, ActionStatus.EXECUTING, timeout=PATIENCE, poll_interval=0.05)
        process.send_signal(signal.SIGTERM)
        ran = await asyncio.to_thread(ended, process)

    (record,) = await db.list_unresolved()
    assert (ran.code, ran.json["aborted"], record.worker) == (1, [record.id], "w")


async def test_a_worker_that_does_not_validate_leaves_what_is_proposed(
    db: ActionDB, ledger: Ledger, folder: Path
) -> None:
    made, approved = await stored(db), await stored(db, ActionStatus.VALIDATED)

    with started(folder, ledger, "acts", "--no-validate"):
        await db.wait_for(approved.id, timeout=PATIENCE, poll_interval=0.05)

    found = await db.get_proposal(made.id)
    assert found is not None
    assert found.status is ActionStatus.PROPOSED


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing:registry", "missing:registry cannot be imported: No module named 'missing'"),
        ("acts:missing", "acts:missing cannot be imported: module 'acts' has no attribute 'missing'"),
        ("acts:other", "acts:other is a dict; an ActionRegistry is wanted"),
        (":registry", ":registry cannot be imported"),
        ("..acts", "..acts cannot be imported"),
    ],
)
def test_a_registry_that_is_not_there_is_one_clear_line(
    sqlite_path: Path, folder: Path, name: str, message: str
) -> None:
    with started(folder, Ledger(sqlite_path), name) as process:
        ran = ended(process)

    assert ran.code == 1
    assert message in ran.err
    assert "Traceback" not in ran.err


# -- what is left of lost work -----------------------------------------------------------------------------------------


async def lost(db: ActionDB) -> StoredRecord:
    """Return the record of a worker that was lost, not recovered yet."""
    made = await stored(db, ActionStatus.VALIDATED)
    execution = await db.claim(made.id, worker="gone", lease_seconds=0.001)
    await asyncio.sleep(0.05)
    return execution.record


async def unresolved(db: ActionDB) -> StoredRecord:
    """Return a record that nobody knows the outcome of."""
    await lost(db)
    (record,) = await db.recover_expired_leases()
    return record


async def test_what_was_lost_is_recovered_in_the_name_of_a_person(db: ActionDB, command: Run) -> None:
    record = await lost(db)

    ran = command("recover", "--by", "ann")

    found = await db.get_proposal(record.proposal_id)
    assert found is not None
    assert (ran.code, found.status, found.status_by) == (0, ActionStatus.FAILED, "ann")
    assert f"record {record.id}, proposal {record.proposal_id}: unknown, worker gone" in ran.out


async def test_the_grace_of_a_recovery_leaves_the_young_alone(db: ActionDB, command: Run) -> None:
    await lost(db)

    ran = command("recover", "--grace-period", "3600")

    assert (ran.code, ran.out) == (0, "nothing is lost\n")


async def test_what_nobody_knows_is_listed(db: ActionDB, command: Run) -> None:
    record = await unresolved(db)

    plain, as_json = command("unknown"), command("unknown", "--json")

    assert f"operator-core resolve {record.id} --resolution" in plain.out
    assert [one["id"] for one in as_json.json] == [record.id]


async def test_where_everything_is_known_the_list_says_so(db: ActionDB, command: Run) -> None:
    assert command("unknown").out == "every outcome is known or resolved\n"


@pytest.mark.parametrize("finding", Resolution)
async def test_a_person_settles_what_was_unknown(db: ActionDB, command: Run, finding: Resolution) -> None:
    record = await unresolved(db)

    ran = command("resolve", str(record.id), "--resolution", finding, "--reason", "I looked", "--by", "ann")

    resolved = await db.get_record(record.id)
    assert resolved is not None
    assert ran.code == 0
    assert (resolved.outcome, resolved.resolution, resolved.resolution_by) == (ActionOutcome.UNKNOWN, finding, "ann")


async def test_a_finding_may_be_written_without_blanks(db: ActionDB, command: Run) -> None:
    record = await unresolved(db)

    ran = command("resolve", str(record.id), "--resolution", "did_not_happen", "--reason", "I looked", "--json")

    assert ran.json["resolution"] == Resolution.DID_NOT_HAPPEN


async def test_a_finding_that_is_none_exits_with_1_and_lists_those_there_are(db: ActionDB, command: Run) -> None:
    record = await unresolved(db)

    ran = command("resolve", str(record.id), "--resolution", "maybe", "--reason", "I looked")

    assert ran.code == 1
    assert "'maybe' is none of: happened, did not happen, partly" in ran.err
    assert await db.list_unresolved() == [record]


async def test_what_is_known_cannot_be_resolved(db: ActionDB, command: Run) -> None:
    await stored(db, ActionStatus.COMPLETED)

    ran = command("resolve", "1", "--resolution", "happened", "--reason", "I looked")

    assert ran.code == 1
    assert "only an unknown outcome can be resolved" in ran.err


async def test_what_is_executing_is_asked_to_stop(db: ActionDB, command: Run) -> None:
    record = await running(db)

    ran = command("cancel", str(record.proposal_id), "--reason", "not now", "--by", "ann")

    asked = await db.get_record(record.id)
    assert asked is not None
    assert (ran.code, asked.cancel_requested_by, asked.cancel_reason) == (0, "ann", "not now")
    assert "it is executing: it was asked to stop, and its worker answers" in ran.out


async def test_what_was_said_about_an_action_is_shown_with_its_steps(db: ActionDB, command: Run) -> None:
    record = await unresolved(db)
    await db.resolve_unknown(record.id, resolution=Resolution.PARTLY, by="ann", reason="I looked")

    plain, as_json = command("show", str(record.proposal_id)), command("show", str(record.proposal_id), "--json")

    assert "resolved" in plain.out
    assert [event["kind"] for event in as_json.json["events"]] == [*["step"] * 4, "resolved"]
