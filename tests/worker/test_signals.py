"""SIGTERM and SIGINT end a worker by itself: the first lets what runs finish, the second breaks it off."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from operator_core.actions import ActionOutcome, ActionStatus, DatabaseError
from operator_core.db import ActionDB, Execution
from operator_core.worker import Worker, retry, worker
from operator_core.worker.signals import SIGNALS
from tests.support.factories import stored
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE
from tests.support.workbench import Diary, FaultyDB, at_work, ready, registry_of

Handlers = dict[int, Any]


def handlers() -> Handlers:
    return {number: signal.getsignal(number) for number in SIGNALS}


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@contextmanager
def handler_of_a_host(number: int, handler: Any) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


class Slow:
    """An action that says when it has begun, and ends when it may."""

    def __init__(self) -> None:
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()

    async def __call__(self, _: Execution) -> dict[str, bool]:
        self.begun.set()
        await self.may_end.wait()
        return {"finished": True}


def worker_of(db: ActionDB, act: Any, **settings: Any) -> Worker:
    return Worker(db, registry_of(act), **{"poll_interval": 0.02, "shutdown_timeout": 600, **settings})


async def outcome(db: ActionDB, number: int) -> ActionOutcome | None:
    (record,) = await db.get_records_for_proposal(number)
    return record.outcome


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("number", SIGNALS)
async def test_the_first_signal_lets_what_runs_finish(db: ActionDB, number: int) -> None:
    (running, waiting), act = await ready(db, 2), Slow()

    async with at_work(worker_of(db, act)) as working:
        await act.begun.wait()
        send(number)
        await asyncio.sleep(0.1)
        act.may_end.set()
        report = await working

    assert (report.succeeded, await outcome(db, running)) == (1, ActionOutcome.SUCCEEDED)
    assert await db.get_records_for_proposal(waiting) == []


@pytest.mark.parametrize("numbers", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)])
async def test_the_second_signal_breaks_off_what_runs(db: ActionDB, numbers: tuple[int, int]) -> None:
    (running,), act = await ready(db), Slow()
    stopping = worker_of(db, act)

    async with at_work(stopping) as working:
        await act.begun.wait()
        send(numbers[0])
        await until(lambda: stopping._signalled)
        send(numbers[1])
        report = await working

    assert len(report.aborted) == 1
    assert await outcome(db, running) is ActionOutcome.UNKNOWN


async def test_a_signal_ends_what_works_until_it_is_idle(db: ActionDB) -> None:
    act = Slow()
    (_, waiting) = await ready(db, 2)

    working = asyncio.create_task(worker_of(db, act).run_until_idle())
    await act.begun.wait()
    send(signal.SIGTERM)
    await asyncio.sleep(0.1)
    act.may_end.set()
    report = await working

    assert report.succeeded == 1
    assert await db.get_records_for_proposal(waiting) == []


async def test_a_signal_stops_every_worker_of_the_process(db: ActionDB) -> None:
    async with at_work(worker_of(db, Diary())) as first, at_work(worker_of(db, Diary())) as second:
        await asyncio.sleep(0.1)
        send(signal.SIGTERM)
        await asyncio.wait({first, second})

    assert first.result().aborted == second.result().aborted == []


async def test_a_worker_hears_signals_when_another_has_ended(db: ActionDB) -> None:
    before = handlers()
    ended = worker_of(db, Diary())

    async with at_work(ended) as first, at_work(worker_of(db, Diary())) as second:
        await asyncio.sleep(0.1)
        ended.stop()
        await first
        send(signal.SIGTERM)
        await second

    assert handlers() == before


async def test_what_stood_there_before_is_back_after_the_end(db: ActionDB) -> None:
    before = handlers()

    async with at_work(worker_of(db, Diary())):
        await asyncio.sleep(0.1)
        assert handlers() != before

    assert handlers() == before


async def test_what_stood_there_before_is_back_after_an_error(db: ActionDB, ledger: Ledger) -> None:
    before = handlers()
    connection = ledger.connect()
    connection.execute("ALTER TABLE action_proposals RENAME TO gone")
    connection.close()

    with pytest.raises(DatabaseError):
        await worker_of(db, Diary()).run()

    assert handlers() == before


async def test_a_host_that_handles_signals_itself_is_left_alone(db: ActionDB) -> None:
    before, seen = handlers(), list[Handlers]()

    async def act(_: Execution) -> None:
        seen.append(handlers())

    await ready(db)

    await worker_of(db, act).run_until_idle(handle_signals=False)

    assert seen == [before]


async def test_a_handler_of_the_host_is_called_as_well(db: ActionDB) -> None:
    heard: list[int] = []

    with handler_of_a_host(signal.SIGTERM, lambda number, _: heard.append(number)):
        async with at_work(worker_of(db, Diary())) as working:
            await asyncio.sleep(0.1)
            send(signal.SIGTERM)
            await working

    assert heard == [signal.SIGTERM]


async def test_a_handler_that_the_host_gave_to_its_loop_is_called_as_well(db: ActionDB) -> None:
    heard, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, heard.set)
    try:
        for _ in range(2):
            async with at_work(worker_of(db, Diary())) as working:
                await asyncio.sleep(0.1)
                send(signal.SIGTERM)
                await working
            await heard.wait()
            heard.clear()
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def test_a_signal_that_the_process_ignores_stays_ignored(db: ActionDB) -> None:
    with handler_of_a_host(signal.SIGINT, signal.SIG_IGN):
        async with at_work(worker_of(db, Diary())) as working:
            await asyncio.sleep(0.1)
            send(signal.SIGINT)
            await asyncio.sleep(0.1)
            assert not working.done()
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


async def test_a_worker_in_another_thread_hears_no_signals_and_works(ledger: Ledger, db: ActionDB) -> None:
    before, diary, seen = handlers(), Diary(), list[Handlers]()
    await ready(db)

    async def work() -> None:
        async with ActionDB(ledger.target) as own:
            await worker_of(own, diary).run_until_idle()
            seen.append(handlers())

    await asyncio.to_thread(asyncio.run, work())

    assert (len(diary.ids), seen) == (1, [before])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
async def test_a_forked_child_ends_by_a_signal_as_it_did_before(db: ActionDB) -> None:
    async with at_work(worker_of(db, Diary())):
        await asyncio.sleep(0.1)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.write(writing, b"ready")  # what comes before is lost: Python forgets what was pending at the fork
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(int(PATIENCE))
            signal.pause()
            os._exit(0)
        assert os.read(reading, 5) == b"ready"
        os.kill(child, signal.SIGTERM)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)

    assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM


PROGRAM = """
import asyncio, sys
from pathlib import Path
from pydantic import BaseModel
from operator_core.db import ActionDB
from operator_core.worker import ActionRegistry, Worker

class Drain(BaseModel):
    seconds: float = 0.0

registry = ActionRegistry()

@registry.action("drain_store", auto_approve=True)
async def drain(parameters: Drain, execution):
    print("begun", flush=True)
    await asyncio.sleep(parameters.seconds)

async def main():
    async with ActionDB(Path(sys.argv[1])) as db:
        report = await Worker(db, registry, poll_interval=60).run()
        print(report.succeeded, len(report.aborted))

asyncio.run(main())
"""


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_program_that_awaits_run_lets_what_runs_finish_and_ends_by_itself(
    sqlite_path: Path, number: int
) -> None:
    async with ActionDB(sqlite_path) as db:
        made = await stored(db, ActionStatus.VALIDATED, parameters={"seconds": 1.0})
        program = subprocess.Popen(  # noqa: ASYNC220 - it is waited for in a thread
            [sys.executable, "-c", PROGRAM, str(sqlite_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert await asyncio.to_thread(program.stdout.readline) == "begun\n"
        program.send_signal(number)
        out, err = await asyncio.to_thread(program.communicate, timeout=PATIENCE)

        assert (program.returncode, out) == (0, "1 0\n"), err
        assert await outcome(db, made.id) is ActionOutcome.SUCCEEDED


# -- stop --------------------------------------------------------------------------------------------------------------


async def test_a_stop_from_another_thread_wakes_the_worker(db: ActionDB) -> None:
    stopped = worker_of(db, Diary(), poll_interval=3_600)

    async with at_work(stopped) as working:
        await asyncio.sleep(0.2)
        threading.Thread(target=stopped.stop).start()
        await working


async def test_a_stop_in_a_handler_of_the_host_wakes_the_worker(db: ActionDB) -> None:
    stopped = worker_of(db, Diary(), poll_interval=3_600)

    with handler_of_a_host(signal.SIGTERM, lambda *_: stopped.stop()):
        working = asyncio.create_task(stopped.run(handle_signals=False))
        await asyncio.sleep(0.2)
        send(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            await working


async def test_a_stop_ends_a_worker_that_waits_to_try_again(
    ledger: Ledger, db: ActionDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "_FIRST_PAUSE", 3_600)
    monkeypatch.setattr(retry, "_LONGEST_PAUSE", 3_600)

    async with FaultyDB(ledger.target, "list_", before=10**9) as faulty, at_work(worker_of(faulty, Diary())):
        await until(lambda: faulty.failures > 0)


async def test_a_stop_ends_in_time_where_the_database_never_answers(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker, "_FLUSH_TIMEOUT_SECONDS", 0.2)
    silent, asked = asyncio.Event(), asyncio.Event()

    class SilentDB(ActionDB):
        async def claim_many(self, *_: Any, **__: Any) -> None:
            asked.set()
            while not silent.is_set():  # as a call that settles first, however often it is cancelled
                try:
                    await silent.wait()
                except asyncio.CancelledError:
                    continue

    async with SilentDB(ledger.target) as db:
        async with at_work(worker_of(db, Diary(), shutdown_timeout=0.1)) as working:
            await asked.wait()
        silent.set()
        await asyncio.sleep(0.1)

    assert working.result().aborted == []
    assert "leaves a call behind: the database does not answer" in caplog.text
