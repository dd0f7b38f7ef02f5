"""The database is away at any moment of a worker's day: nothing is done twice, and what was done is recorded."""

import asyncio

import pytest

from operator_core.actions import ActionOutcome, ActionStatus
from operator_core.db import ActionDB, Execution
from operator_core.db.repository import claimed_action
from operator_core.worker import Worker
from tests.support.factories import stored
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.workbench import Diary, FaultyDB, at_work, found, ready, registry_of, worked

TIMES = 3
UNITS = ("claim_next", "finish")


@pytest.fixture
async def number(db: ActionDB) -> int:
    """The only proposal that there is to do."""
    return (await ready(db))[0]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("unit", UNITS)
async def test_what_fails_is_tried_again_and_nothing_is_done_twice(
    db: ActionDB, ledger: Ledger, number: int, unit: str, when: str
) -> None:
    diary = Diary({"drained": 4})

    async with FaultyDB(ledger.target, unit, **{when: TIMES}) as faulty:
        report = await worked(faulty, diary)

    assert faulty.failures  # once only where a repeated call finds what the first has done
    assert (diary.ids, report.succeeded, report.lost) == ([number], 1, [])


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("unit", UNITS)
async def test_what_was_done_is_recorded_once_the_database_is_back(
    db: ActionDB, ledger: Ledger, number: int, unit: str, when: str
) -> None:
    async with FaultyDB(ledger.target, unit, **{when: TIMES}) as faulty:
        await worked(faulty, Diary({"drained": 4}))

    (record,) = await db.get_records_for_proposal(number)
    assert (record.outcome, record.result_data) == (ActionOutcome.SUCCEEDED, {"drained": 4})
    assert [event.kind for event in await db.get_events(number)] == ["step"] * 4
    assert check_history(ledger) == []


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_failure_is_recorded_once_the_database_is_back(
    db: ActionDB, ledger: Ledger, number: int, when: str
) -> None:
    async def act(_: Execution) -> None:
        raise ValueError("too hot")

    async with FaultyDB(ledger.target, "finish", **{when: TIMES}) as faulty:
        report = await worked(faulty, act)

    (record,) = await db.get_records_for_proposal(number)
    assert (record.outcome, record.error_message, report.failed) == (ActionOutcome.FAILED, "ValueError: too hot", 1)


async def test_a_claim_whose_answer_was_lost_is_found_again_under_its_key(
    db: ActionDB, ledger: Ledger, number: int
) -> None:
    other = (await ready(db))[0]
    seen: list[int] = []

    async def act(execution: Execution) -> None:
        seen.append(execution.proposal.id)

    async with FaultyDB(ledger.target, "claim_next", after=1) as faulty:
        await worked(faulty, act)

    assert seen == [number, other]


@pytest.fixture(params=["heartbeat", "is_stop_requested"])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The unit with which an execution is kept; heartbeats come soon, under a lease that does not run out."""
    if request.param == "heartbeat":
        monkeypatch.setattr(claimed_action, "HEARTBEATS_PER_LEASE", 600)
    return str(request.param)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_heartbeats_that_fail_do_not_disturb_an_action(
    db: ActionDB, ledger: Ledger, number: int, kept: str, when: str
) -> None:
    async with FaultyDB(ledger.target, kept, **{when: TIMES}) as faulty:

        async def act(_: Execution) -> dict[str, int]:
            while faulty.failures < TIMES:
                await asyncio.sleep(0.01)
            return {"failures": faulty.failures}

        report = await worked(faulty, act)

    (record,) = await db.get_records_for_proposal(number)
    assert (record.result_data, report.succeeded) == ({"failures": TIMES}, 1)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_failure_before_anything_is_claimed_costs_nothing(db: ActionDB, ledger: Ledger, when: str) -> None:
    made, diary = await stored(db), Diary()

    async with FaultyDB(ledger.target, "list_", **{when: TIMES}) as faulty:
        await worked(faulty, diary)

    assert (faulty.failures, diary.ids) == (TIMES, [made.id])


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_recovery_that_fails_is_tried_again(db: ActionDB, ledger: Ledger, number: int, when: str) -> None:
    await db.claim(number, worker="gone", lease_seconds=0.01)

    faulty = FaultyDB(ledger.target, "recover", **{when: TIMES})
    async with faulty, at_work(Worker(faulty, registry_of(Diary()), poll_interval=0.02, lease_seconds=0.1)):
        await db.wait_for(number, poll_interval=0.02)
        while faulty.failures < TIMES:
            await asyncio.sleep(0.01)

    (record,) = await db.get_records_for_proposal(number)
    assert record.outcome is ActionOutcome.UNKNOWN


async def test_a_worker_that_is_to_end_does_not_wait_for_a_database_that_is_away(
    db: ActionDB, ledger: Ledger, number: int
) -> None:
    faulty = FaultyDB(ledger.target, "claim_next", before=1_000_000)

    async with faulty, at_work(Worker(faulty, registry_of(Diary()), poll_interval=0.02)) as running:
        while not faulty.failures:
            await asyncio.sleep(0.01)

    assert running.done()
    assert (await found(db, number)).status is ActionStatus.VALIDATED


async def test_what_cannot_be_recorded_before_the_worker_ends_is_left_to_its_lease(
    db: ActionDB, ledger: Ledger, number: int
) -> None:
    diary, faulty = Diary(), FaultyDB(ledger.target, "finish", before=1_000_000)

    worker = Worker(faulty, registry_of(diary), poll_interval=0.02, shutdown_timeout=0.05)
    async with faulty, at_work(worker) as running:
        while not faulty.failures:
            await asyncio.sleep(0.01)

    assert (diary.ids, running.result().aborted) == ([number], [1])
    assert (await found(db, number)).status is ActionStatus.EXECUTING
