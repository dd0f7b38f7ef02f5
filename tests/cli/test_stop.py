"""`operator-core stop`, `release` and `status`: what a person types at three in the morning."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from operator_core.actions import ActionStatus, KillSwitchEngagedError, Scope
from operator_core.db import ActionDB
from tests.cli.conftest import Run, run_command
from tests.support.factories import proposal, running, stored
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE


async def test_a_confirmed_stop_exits_with_0_and_nothing_starts_any_more(db: ActionDB, command: Run) -> None:
    waiting = await stored(db, ActionStatus.VALIDATED)

    ran = command("stop", "--reason", "fire", "--by", "alice")

    found = await db.get_proposal(waiting.id)
    later = await db.create_proposal(proposal())
    assert ran.code == 0, ran.err
    assert ran.out.startswith("STOPPED")
    assert (found.status, found.status_by, found.status_reason) == ("cancelled", "alice", "fire")
    assert later.status is ActionStatus.CANCELLED


async def test_the_receipt_as_json_is_one_object_with_the_names_of_the_receipt(db: ActionDB, command: Run) -> None:
    waiting, record = await stored(db), await running(db)

    ran = command("stop", "--reason", "fire", "--json")

    receipt = ran.json
    assert (receipt["confirmed"], receipt["generation"], receipt["scope"]) == (True, 1, "everything")
    assert receipt["cancelled"] == [waiting.id]
    assert [one["record_id"] for one in receipt["still_executing"]] == [record.id]
    assert receipt["stop_ms"] >= receipt["publish_ms"] > 0


async def test_a_scoped_stop_touches_nothing_else(db: ActionDB, command: Run) -> None:
    other, covered = await stored(db, action_name="page_on_call"), await stored(db)

    ran = command("stop", "--reason", "fire", "--scope", "action_name=drain_store")

    assert ran.code == 0
    assert (await db.get_proposal(other.id)).status is ActionStatus.PROPOSED
    assert (await db.get_proposal(covered.id)).status is ActionStatus.CANCELLED


def test_the_short_name_of_postgresql_in_a_url_will_do(postgres_url: str) -> None:
    ran = run_command(
        "stop", "--reason", "fire", "--url", Ledger(postgres_url).dsn.replace("postgresql", "postgres", 1)
    )

    assert ran.code == 0, ran.err


async def test_the_login_name_stands_in_for_a_missing_name(db: ActionDB, command: Run) -> None:
    command("stop", "--reason", "fire")

    status = await db.kill_switch_status()

    assert status.engaged[0].by


async def test_a_release_needs_the_number_of_the_stop(db: ActionDB, command: Run) -> None:
    command("stop", "--reason", "fire")
    command("stop", "--reason", "more fire")

    stale = command("release", "--reason", "out", "--generation", "1")
    right = command("release", "--reason", "out", "--generation", "2")

    assert (stale.code, right.code) == (1, 0)
    assert "stop 1 is not engaged" in stale.err
    assert (await db.kill_switch_status()).engaged == ()


async def test_the_status_says_who_stopped_and_who_still_runs(db: ActionDB, command: Run) -> None:
    record = await running(db)
    command("stop", "--reason", "fire", "--by", "alice")

    ran = command("status")

    assert "ENGAGED: stop 1 (everything)" in ran.out
    assert "by alice: fire" in ran.out
    assert f"record {record.id}" in ran.out
    assert "silent" in ran.out


async def test_the_status_is_watched_until_it_is_ended(db: ActionDB, ledger: Ledger) -> None:
    watching = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "operator_core", "status", "--watch", "--url", str(ledger.target),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(PATIENCE):
        first = await watching.stdout.readline()
        await db.engage_kill_switch(by="alice", reason="fire")
        while b"ENGAGED" not in (line := await watching.stdout.readline()):
            assert line
        watching.send_signal(signal.SIGINT)
        await watching.communicate()

    assert first == b"not engaged\n"


@pytest.mark.parametrize("name", ["stop --reason x", "release --reason x --generation 1", "status", "list", "show 1",
                                  "cancel 1", "drill"])  # fmt: skip
def test_no_command_creates_a_ledger(name: str, tmp_path: Path) -> None:
    file = tmp_path / "mistyped.db"

    ran = run_command(*name.split(), "--url", str(file))

    assert ran.code == 1
    assert f"no ledger at {file}" in ran.err
    assert not file.exists()


@pytest.mark.parametrize("name", ["stop --reason x", "status"])
def test_a_file_that_holds_something_else_is_left_alone(name: str, tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER)")
    before = file.read_bytes()

    ran = run_command(*name.split(), "--url", str(file))

    assert ran.code == 1
    assert f"no ledger at {file}" in ran.err
    assert file.read_bytes() == before


def test_an_empty_postgresql_database_holds_no_ledger(postgres) -> None:
    ran = run_command("stop", "--reason", "x", "--url", postgres.url(postgres.create_database()))

    assert ran.code == 1
    assert "no ledger at" in ran.err


def test_a_mistyped_command_exits_with_1_and_says_that_nothing_was_done() -> None:
    ran = run_command("stop", "--raeson", "fire")

    assert ran.code == 1
    assert "NOTHING WAS DONE" in ran.err


def test_a_server_that_does_not_answer_is_a_loud_failure_with_a_statement_to_paste() -> None:
    ran = run_command(
        "stop", "--reason", "it's on fire", "--timeout", "0.3", "--url", "postgresql://u:hidden@127.0.0.1:1/d"
    )

    assert ran.code == 1
    assert "FAILED, NOTHING IS STOPPED" in ran.err
    assert "UPDATE kill_switch SET" in ran.err
    assert "reason = 'it''s on fire'" in ran.err
    assert "hidden" not in ran.err + ran.out


async def test_the_statement_to_paste_stops_everything(db: ActionDB, ledger: Ledger) -> None:
    waiting = await stored(db, ActionStatus.VALIDATED)
    text = Path(__file__).parents[2].joinpath("docs/runbook.md").read_text(encoding="utf-8")
    postgresql, sqlite = (part.split("```")[0] for part in text.split("```sql\n")[1:3])
    with closing(ledger.connect()) as connection:
        connection.execute(sqlite if ledger.is_sqlite else postgresql)

    with pytest.raises(KillSwitchEngagedError) as refused:
        await db.start_execution(waiting.id)

    assert refused.value.reason == "what you see"


def test_a_hung_start_is_named_and_can_be_terminated(postgres_url: str) -> None:
    ledger = Ledger(postgres_url)
    number = asyncio.run(_one_validated(postgres_url))
    hung = psycopg.connect(ledger.dsn)
    hung.execute("UPDATE action_proposals SET status = 'executing' WHERE id = %s", [number])
    pid = hung.info.backend_pid

    unconfirmed = run_command("stop", "--reason", "fire", "--timeout", "10", "--url", postgres_url)
    confirmed = run_command("stop", "--reason", "fire", "--timeout", "20", "--terminate", "--url", postgres_url)
    hung.close()

    assert unconfirmed.code == 2
    assert "ENGAGED, BUT NOT CONFIRMED" in unconfirmed.err
    assert f"pid {pid}" in unconfirmed.err
    assert confirmed.code == 0, confirmed.err
    assert "still executing: 0" in confirmed.out


async def _one_validated(url: str) -> int:
    async with ActionDB(url) as db:
        return (await stored(db, ActionStatus.VALIDATED)).id


def test_a_frozen_writer_of_the_file_is_named(sqlite_path: Path) -> None:
    code = f"import sqlite3, sys; c = sqlite3.connect({str(sqlite_path)!r}, isolation_level=None); "
    code += "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()

        failed = run_command("stop", "--reason", "fire", "--timeout", "0.3", "--url", str(sqlite_path))

        writer.stdin.close()
    assert failed.code == 1
    assert "holds the file" in failed.err
    assert not sys.platform.startswith("linux") or f"process {writer.pid}" in failed.err


async def test_missing_guards_make_a_stop_unconfirmed(db: ActionDB, ledger: Ledger, command: Run) -> None:
    table = "" if ledger.is_sqlite else " ON action_proposals"
    with closing(ledger.connect()) as connection:
        connection.execute(f"DROP TRIGGER operator_core_proposals_update{table}")

    ran = command("stop", "--reason", "fire")

    assert ran.code == 2
    assert "operator_core_proposals_update is missing" in ran.err
    assert (await db.kill_switch_status()).engaged[0].scope == Scope()


async def test_a_stop_works_on_the_schema_one_revision_newer(db: ActionDB, ledger: Ledger, command: Run) -> None:
    with closing(ledger.connect()) as connection:
        connection.execute("UPDATE operator_core_version SET version_num = '0002'")

    ran = command("stop", "--reason", "fire")

    assert ran.code == 0, ran.err


@pytest.mark.parametrize("arguments", [["--reason", "St\udcf6rung"], ["--reason", "x", "--by", "\udcf6"],
                                       ["--reason", "", "--by", ""]])  # fmt: skip
async def test_an_emergency_is_no_time_to_refuse_a_reason(db: ActionDB, command: Run, arguments: list[str]) -> None:
    ran = command("stop", *arguments)

    assert ran.code == 0, ran.err
    assert (await db.kill_switch_status()).engaged[0].by


@pytest.mark.parametrize("wait", ["nan", "inf", "-1", "soon"])
def test_a_wait_that_is_none_is_refused(sqlite_path: Path, wait: str) -> None:
    ran = run_command("stop", "--reason", "x", f"--timeout={wait}", "--url", str(sqlite_path))

    assert ran.code == 1
    assert "NOTHING WAS DONE" in ran.err


@pytest.mark.parametrize("url", ["", "mysql://host/name", "sqlite://ops.db", "nope.db"])
def test_a_stop_that_finds_no_ledger_says_that_nothing_is_stopped(url: str, tmp_path: Path) -> None:
    ran = run_command("stop", "--reason", "x", "--url", url and url.replace("nope", str(tmp_path / "nope")))

    assert ran.code == 1
    assert "FAILED, NOTHING IS STOPPED" in ran.err
    assert "Traceback" not in ran.err


def _held(file: Path) -> subprocess.Popen[bytes]:
    code = f"import sqlite3, sys; c = sqlite3.connect({str(file)!r}, isolation_level=None); "
    code += "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    holder.stdout.readline()
    return holder


def test_an_interrupted_stop_does_not_look_engaged(sqlite_path: Path) -> None:
    with _held(sqlite_path) as holder:
        begun = "import sys; from operator_core.cli.main import main; "
        begun += "sys.addaudithook(lambda event, _: event == 'sqlite3.connect' and print('begun', flush=True)); "
        begun += "sys.exit(main())"
        stop = subprocess.Popen(
            [sys.executable, "-c", begun, "stop", "--reason", "x", "--timeout", "600", "--url", str(sqlite_path)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        stop.stdout.readline()
        stop.send_signal(signal.SIGINT)
        _, complaint = stop.communicate()
        holder.stdin.close()

    assert stop.returncode in (1, 130)
    assert "STOPPED" in complaint


def test_a_reader_that_is_gone_does_not_turn_a_failure_into_a_success(sqlite_path: Path) -> None:
    with _held(sqlite_path) as holder:
        command = [sys.executable, "-m", "operator_core", "stop", "--json", "--reason", "x", "--timeout", "0.2"]
        stop = subprocess.Popen([*command, "--url", str(sqlite_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        stop.stdout.close()
        stop.wait()
        stop.stderr.close()
        holder.stdin.close()

    assert stop.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_screen_that_takes_nothing_does_not_turn_a_stop_into_a_failure(sqlite_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "operator_core", "stop", "--reason", "x", "--url", str(sqlite_path)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)

    assert done.returncode == 0, done.stderr


def test_a_stop_does_not_wait_for_what_it_does_not_need() -> None:
    program = "import sys, operator_core.cli.main; print([name for name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert "'operator_core.db.stores.kill_switch'" in loaded
    assert not any(f"'{name}" in loaded for name in ("alembic", "operator_core.legacy", "operator_core.worker"))
