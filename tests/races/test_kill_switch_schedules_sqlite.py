"""Forced schedules on SQLite: the one writer of the file takes the place of the barrier, also when it is frozen."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from operator_core.actions import ActionStatus, DatabaseLockedError, StopFailedError
from operator_core.db import ActionDB
from operator_core.db.errors import error_code
from tests.cli.conftest import run_command
from tests.support.factories import stored
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.plain_sql import on_sqlite
from tests.support.stop_steps import client, engaged, propose, record, start, started, status_of, stop, validate

pytestmark = on_sqlite
WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
for statement in sys.argv[2:]:
    connection.execute(statement)
print("holding", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""
SHORT = 0.5  # seconds for what fails, however long it tries


@pytest.fixture(autouse=True)
def _history(ledger: Ledger) -> Iterator[None]:
    yield
    assert check_history(ledger) == []


async def validated(db: ActionDB) -> int:
    return (await stored(db, ActionStatus.VALIDATED)).id or 0


@contextmanager
def writer(file: Path, *statements: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that holds the write lock in the middle of a transaction, until its input ends."""
    command = [sys.executable, "-c", WRITER, str(file), *statements]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"holding\n"
            yield process
        finally:
            process.kill()


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux says who holds the file")
async def test_a_frozen_writer_is_named_and_nothing_can_start_beside_it(ledger, db, plain):
    number = await validated(db)

    async with ActionDB(ledger.target, lock_timeout=SHORT) as other:
        with writer(ledger.target) as frozen:
            frozen.send_signal(signal.SIGSTOP)
            with pytest.raises(StopFailedError, match=f"process {frozen.pid} holds the file; no other start can"):
                await stop(db, timeout=SHORT)
            with pytest.raises(DatabaseLockedError):
                await other.start_execution(number)
            frozen.send_signal(signal.SIGCONT)
            frozen.communicate()
    receipt = await stop(db)

    assert (receipt.cancelled, started(plain)) == ((number,), [])


async def test_a_ledger_can_be_opened_and_stopped_while_a_writer_holds_the_file(ledger):
    with writer(ledger.target) as frozen:
        async with ActionDB(ledger.target, migrate="check", lock_timeout=SHORT) as opened:
            with pytest.raises(StopFailedError, match=f"process {frozen.pid} holds the file"):
                await stop(opened, timeout=SHORT)


async def test_a_stop_comes_through_when_the_writer_goes_on_within_the_deadline(ledger, db):
    with writer(ledger.target) as frozen:
        frozen.send_signal(signal.SIGSTOP)
        engaging = asyncio.create_task(stop(db))
        await asyncio.sleep(0.1)
        was_done = engaging.done()
        frozen.send_signal(signal.SIGCONT)
        frozen.communicate()
        receipt = await engaging

    assert (was_done, receipt.generation) == (False, 1)


async def test_a_writer_that_is_killed_in_the_middle_of_a_start_does_not_hold_up_the_stop(ledger, db, plain):
    number = await validated(db)

    with writer(ledger.target, start(number), record(number)) as starter:
        engaging = asyncio.create_task(stop(db))
        await asyncio.sleep(0.05)
        os.kill(starter.pid, signal.SIGKILL)
        receipt = await engaging

    assert (receipt.cancelled, receipt.still_executing, started(plain)) == ((number,), (), [])


async def test_a_start_that_is_under_way_is_waited_for_and_is_in_the_receipt(ledger, db, plain):
    number = await validated(db)

    with client(ledger, "BEGIN IMMEDIATE") as starter:
        starter.execute(start(number))
        starter.execute(record(number))
        engaging = asyncio.create_task(stop(db))
        await asyncio.sleep(0.1)
        was_done = engaging.done()
        starter.execute("COMMIT")
        receipt = await engaging

    assert (was_done, [one.proposal_id for one in receipt.still_executing]) == (False, [number])
    assert started(plain) == [number]


async def test_a_start_that_waits_for_the_lock_while_the_stop_is_committed_is_refused(ledger, db, plain):
    number = await validated(db)

    async with ActionDB(ledger.target) as other:
        with client(ledger, "BEGIN IMMEDIATE") as holder:
            engaging = asyncio.create_task(stop(db))
            starting = asyncio.create_task(other.start_execution(number))
            await asyncio.sleep(0.05)
            holder.execute("COMMIT")
            receipt = await engaging
            outcome = (await asyncio.gather(starting, return_exceptions=True))[0]

    # Whoever gets the lock first: either it runs and is in the receipt, or it was refused.
    running = [one.proposal_id for one in receipt.still_executing]
    assert running == started(plain) == ([] if isinstance(outcome, Exception) else [number])


async def test_what_a_host_proposes_in_a_transaction_is_swept_by_the_stop_that_waits_for_it(ledger, db, plain):
    with client(ledger, "BEGIN IMMEDIATE") as host:
        number = propose(host)
        validate(host, number)
        engaging = asyncio.create_task(stop(db))
        await asyncio.sleep(0.05)
        host.execute("COMMIT")
        receipt = await engaging

    assert (receipt.cancelled, receipt.not_yet_cancelled, status_of(plain, number)) == ((number,), (), "cancelled")


async def test_a_reader_with_an_old_snapshot_neither_delays_the_stop_nor_starts_in_it(ledger, db, plain):
    number = await validated(db)

    with client(ledger, "BEGIN DEFERRED") as reader:
        seen = reader.execute("SELECT status FROM action_proposals").fetchall()
        receipt = await stop(db)
        again = reader.execute("SELECT status FROM action_proposals").fetchall()
        with pytest.raises(sqlite3.OperationalError) as caught:
            reader.execute(start(number))

    assert (seen, again, receipt.cancelled) == ([("validated",)], [("validated",)], (number,))
    assert (error_code(caught.value), started(plain)) == ("SQLITE_BUSY_SNAPSHOT", [])


async def test_a_stop_that_failed_leaves_nothing_behind(ledger, db):
    made = await stored(db, ActionStatus.VALIDATED)

    with client(ledger, "BEGIN IMMEDIATE"), pytest.raises(StopFailedError):
        await stop(db, timeout=SHORT)

    with closing(ledger.connect()) as plain:
        assert (engaged(plain), status_of(plain, made.id)) == ([], "validated")


HOLDERS = {
    "a reader of the -shm": (
        "descriptor = os.open(path + '-shm', os.O_RDONLY)",
        "fcntl.fcntl(descriptor, fcntl.F_SETLK, struct.pack('hhqqi4x', fcntl.F_RDLCK, 0, 120, 1, 0))",
    ),
    "a lock that belongs to no process": (
        "descriptor = os.open(path + '-shm', os.O_RDONLY)",
        "fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack('hhqqi4x', fcntl.F_RDLCK, 0, 120, 1, 0))",
    ),
    "a connection in exclusive mode": (
        "connection = sqlite3.connect(path, isolation_level=None)",
        "connection.execute('PRAGMA locking_mode = EXCLUSIVE')",
        "connection.execute('BEGIN IMMEDIATE')",
    ),
}


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux says who holds the file")
@pytest.mark.parametrize("kind", HOLDERS)
def test_whoever_keeps_a_stop_out_is_named_however_the_file_is_locked(sqlite_path: Path, kind: str) -> None:
    with closing(sqlite3.connect(sqlite_path)) as keeps_the_log:
        keeps_the_log.execute("SELECT 1 FROM kill_switch").fetchall()
        if kind == "a connection in exclusive mode":
            keeps_the_log.close()  # it needs to be alone
        lines = ("import fcntl, os, sqlite3, struct, sys", "path = sys.argv[1]", *HOLDERS[kind])
        program = "\n".join([*lines, "print('holding', flush=True)", "sys.stdin.read()"])
        command = [sys.executable, "-c", program, str(sqlite_path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            try:
                assert holder.stdout is not None
                assert holder.stdout.readline() == b"holding\n"
                failed = run_command("stop", "--reason", "fire", "--timeout", "0.5", "--url", str(sqlite_path))
            finally:
                holder.kill()

    assert failed.code == 1
    assert str(holder.pid) in failed.err
