"""How a worker and its actions end: by a stop, by a cancel request, by SIGTERM, or because the lease was lost."""

import asyncio
import logging
import os
import signal
from contextlib import suppress
from typing import Any

import pytest

from operator_core.actions import ActionOutcome, ActionStatus, DatabaseError
from operator_core.db import ActionDB, Execution
from operator_core.db.stores import claims
from operator_core.worker import Worker
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE
from tests.support.workbench import Diary, at_work, found, ready, registry_of

FOREVER = 3_600


class Begun:
    """An action that says when it has begun, and then waits."""

    def __init__(self, *, stubborn: bool = False) -> None:
        self.event, self.checked, self._stubborn = asyncio.Event(), False, stubborn

    async def __call__(self, execution: Execution) -> dict[str, bool]:
        self.event.set()
        await execution.wait_for_stop()
        if not self._stubborn:
            execution.raise_if_stopped()
        return {"anyway": True}


async def asleep(execution: Execution) -> None:
    await asyncio.sleep(FOREVER)


def worker_of(db: ActionDB, act, **settings) -> Worker:
    return Worker(db, registry_of(act), name="w", **{"poll_interval": 0.02, **settings})


async def outcome(db: ActionDB, number: int) -> ActionOutcome | None:
    (record,) = await db.get_records_for_proposal(number)
    return record.outcome


async def until_executing(db: ActionDB, number: int) -> None:
    await db.wait_for(number, ActionStatus.EXECUTING, poll_interval=0.02)


# -- stops -------------------------------------------------------------------------------------------------------------


async def test_an_action_that_checks_answers_a_stop(db: ActionDB) -> None:
    (number,), act = await ready(db), Begun()

    async with at_work(worker_of(db, act)) as running:
        await act.event.wait()
        await db.engage_kill_switch(by="ann", reason="fire")
        await db.wait_for(number, poll_interval=0.02)

    assert await outcome(db, number) is ActionOutcome.STOPPED
    assert running.result().stopped == 1


async def test_an_action_that_checks_answers_a_person_who_cancels_it(db: ActionDB) -> None:
    (number,), act = await ready(db), Begun()

    async with at_work(worker_of(db, act)):
        await act.event.wait()
        await db.request_cancel(number, by="ann", reason="not now")
        ended = await db.wait_for(number, poll_interval=0.02)

    assert (ended.status, await outcome(db, number)) == (ActionStatus.CANCELLED, ActionOutcome.STOPPED)


async def test_an_action_that_finishes_in_spite_of_a_stop_is_recorded_as_it_ended(db: ActionDB) -> None:
    (number,), act = await ready(db), Begun(stubborn=True)

    async with at_work(worker_of(db, act)) as running:
        await act.event.wait()
        await db.engage_kill_switch(by="ann", reason="fire")
        await db.wait_for(number, poll_interval=0.02)

    (record,) = await db.get_records_for_proposal(number)
    assert (record.outcome, record.result_data) == (ActionOutcome.SUCCEEDED, {"anyway": True})
    assert running.result().succeeded == 1


async def test_a_worker_goes_on_after_a_release(db: ActionDB) -> None:
    diary = Diary()

    async with at_work(worker_of(db, diary)):
        receipt = await db.engage_kill_switch(by="ann", reason="fire")
        await db.release_kill_switch(by="ann", reason="out", generation=receipt.generation)
        (number,) = await ready(db)
        await db.wait_for(number, poll_interval=0.02)

    assert diary.ids == [number]


# -- the end of the worker ---------------------------------------------------------------------------------------------


async def test_a_worker_that_is_told_to_stop_claims_nothing_more(db: ActionDB) -> None:
    worker = worker_of(db, Diary())
    worker.stop()
    (number,) = await ready(db)

    async with asyncio.timeout(PATIENCE):
        await worker.run()

    assert (await found(db, number)).status is ActionStatus.VALIDATED


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_what_runs_finish_within_the_grace(db: ActionDB, number: signal.Signals) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def act(_: Execution) -> None:
        begun.set()
        await go_on.wait()

    (proposal,) = await ready(db)
    worker = worker_of(db, act, shutdown_timeout=60)
    async with worker.handling_signals(), at_work(worker) as running:
        await begun.wait()
        os.kill(os.getpid(), number)
        await asyncio.sleep(0.05)
        go_on.set()
        await running

    assert await outcome(db, proposal) is ActionOutcome.SUCCEEDED


async def test_signals_do_what_they_did_before_once_the_worker_is_gone(db: ActionDB) -> None:
    before = signal.getsignal(signal.SIGTERM)

    async with worker_of(db, Diary()).handling_signals():
        pass

    assert signal.getsignal(signal.SIGTERM) == before


async def test_what_outlasts_the_grace_is_broken_off_and_nobody_knows_its_outcome(
    db: ActionDB, caplog: pytest.LogCaptureFixture
) -> None:
    (number,) = await ready(db)

    async with at_work(worker_of(db, asleep, shutdown_timeout=0.05)) as running:
        await until_executing(db, number)

    (record,) = await db.list_unresolved()
    assert (record.proposal_id, record.outcome) == (number, ActionOutcome.UNKNOWN)
    assert record.error_message == "broken off: its worker had to end"
    assert running.result().aborted == [record.id]


async def test_what_is_broken_off_is_logged_as_a_warning(db: ActionDB, caplog: pytest.LogCaptureFixture) -> None:
    (number,) = await ready(db)

    async with at_work(worker_of(db, asleep, shutdown_timeout=0.05)):
        await until_executing(db, number)

    (line,) = [vars(line) for line in caplog.records if line.levelno == logging.WARNING]
    assert (line["proposal_id"], "broken off" in line["message"]) == (number, True)


async def test_what_was_asked_to_stop_and_outlasts_the_grace_has_stopped(db: ActionDB) -> None:
    heard = asyncio.Event()

    async def act(execution: Execution) -> None:
        await execution.wait_for_stop()
        heard.set()
        await asyncio.sleep(FOREVER)

    (number,) = await ready(db)

    async with at_work(worker_of(db, act, shutdown_timeout=0.05)) as running:
        await until_executing(db, number)
        await db.request_cancel(number, by="ann", reason="not now")
        await heard.wait()

    assert await outcome(db, number) is ActionOutcome.STOPPED
    assert running.result().stopped == 1


async def test_an_action_that_does_not_end_is_named_as_still_running(db: ActionDB) -> None:
    go_on = asyncio.Event()

    async def deaf(_: Execution) -> None:
        while not go_on.is_set():
            with suppress(asyncio.CancelledError):
                await go_on.wait()

    (number,) = await ready(db)
    async with at_work(worker_of(db, deaf, shutdown_timeout=0.05)) as running:
        await until_executing(db, number)
    still_running = list(running.result().still_running)
    go_on.set()
    await db.wait_for(number, poll_interval=0.02)

    assert still_running == [1]


async def test_a_worker_whose_task_is_cancelled_breaks_off_what_runs(db: ActionDB) -> None:
    (number,), act = await ready(db), Begun()

    async with at_work(worker_of(db, act, shutdown_timeout=0.05)) as running:
        await act.event.wait()
        running.cancel()
        await asyncio.wait({running})

    assert running.cancelled()
    assert await outcome(db, number) is ActionOutcome.UNKNOWN


# -- what was lost -----------------------------------------------------------------------------------------------------


async def test_a_worker_recovers_what_another_has_lost(db: ActionDB, caplog: pytest.LogCaptureFixture) -> None:
    (number,) = await ready(db)
    await db.claim(number, worker="gone", lease_seconds=0.01)

    worker = worker_of(db, Diary(), lease_seconds=0.1)
    async with at_work(worker):
        while not worker.report.recovered:
            await asyncio.sleep(0.01)

    assert await outcome(db, number) is ActionOutcome.UNKNOWN
    assert [(vars(line)["worker"], vars(line)["proposal_id"]) for line in caplog.records] == [("w", number)]


async def test_an_action_that_somebody_else_has_ended_is_cancelled_and_reported_as_lost(db: ActionDB) -> None:
    ended = asyncio.Event()

    async def act(_: Execution) -> None:
        try:
            await asyncio.sleep(FOREVER)
        finally:
            ended.set()

    (number,) = await ready(db)
    async with at_work(worker_of(db, act)) as running:
        await until_executing(db, number)
        (record,) = await db.get_records_for_proposal(number)
        await db.finish_execution(record.id, success=False, by="ann")
        await ended.wait()

    assert running.result().lost == [record.id]
    assert (await found(db, number)).status_by == "ann"


# -- what no worker can mend -------------------------------------------------------------------------------------------


async def test_a_ledger_that_lacks_a_table_ends_a_worker_loudly(db: ActionDB, ledger: Ledger) -> None:
    async with at_work(worker_of(db, Diary())) as running:
        _rename(ledger)
        await asyncio.wait({running}, timeout=PATIENCE)

    with pytest.raises(DatabaseError):
        running.result()


async def test_a_ledger_that_loses_a_table_while_an_action_runs_ends_a_worker_loudly(
    db: ActionDB, ledger: Ledger
) -> None:
    async def act(_: Execution) -> None:
        _rename(ledger)

    await ready(db)

    with pytest.raises(DatabaseError):
        await worker_of(db, act).run_until_idle()


def _rename(ledger: Ledger) -> None:
    connection = ledger.connect()
    try:
        connection.execute("ALTER TABLE action_proposals RENAME TO gone")
    finally:
        connection.close()


async def test_what_a_cancelled_worker_has_claimed_is_failed_because_it_never_began(
    db: ActionDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    (number,) = await ready(db)
    assert db._transactions is not None
    claimed, run_to_its_end = asyncio.Event(), db._transactions._run_to_its_end

    async def answer_late(call: Any) -> None:
        await run_to_its_end(call)
        if call.unit is claims.claim_next:
            claimed.set()
            await asyncio.sleep(0.05)

    monkeypatch.setattr(db._transactions, "_run_to_its_end", answer_late)

    async with at_work(worker_of(db, Diary())) as running:
        await claimed.wait()
        running.cancel()
        await asyncio.wait({running})

    (record,) = await db.get_records_for_proposal(number)
    assert record.outcome is ActionOutcome.FAILED
    assert "never began" in str(record.error_message)
