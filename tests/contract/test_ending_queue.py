"""Ends that come together are recorded together, and each caller learns how its own went."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from operator_core.actions import ActionOutcome, ConnectionLostError, DatabaseUnavailableError, LeaseLostError
from operator_core.db import ActionDB, Execution
from operator_core.db.repository import ending_queue
from operator_core.db.stores.announcement import announce
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.workbench import ready


@pytest.fixture(autouse=True)
def _history(ledger: Ledger) -> Iterator[None]:
    yield
    assert check_history(ledger) == []


class Units:
    """The units that a ledger runs, by name; of one name, the first calls may fail after their commit."""

    def __init__(self, db: ActionDB, monkeypatch: pytest.MonkeyPatch) -> None:
        assert db._transactions is not None
        self.names: list[str] = []
        self.lose: dict[str, type[Exception]] = {}
        self._run = db._transactions.run
        monkeypatch.setattr(db._transactions, "run", self._noting)

    async def _noting(self, unit: Any, *args: Any, **kwargs: Any) -> Any:
        if unit is not announce:  # it comes by itself, once in a while
            self.names.append(unit.__name__)
        result = await self._run(unit, *args, **kwargs)
        if error := self.lose.pop(unit.__name__, None):
            raise error(url="the test", detail="the answer is lost")
        return result


@pytest.fixture
def units(db: ActionDB, monkeypatch: pytest.MonkeyPatch) -> Units:
    return Units(db, monkeypatch)


async def claimed(db: ActionDB, count: int) -> list[Execution]:
    """Claim so many."""
    await ready(db, count)
    return await db.claim_many(count, worker="w1")


async def outcomes(db: ActionDB, executions: list[Execution]) -> list[ActionOutcome | None]:
    """Return the recorded outcomes."""
    records = [await db.get_record(execution.record.id) for execution in executions]
    return [record and record.outcome for record in records]


async def test_ends_that_come_together_share_a_statement(db: ActionDB, units: Units) -> None:
    executions = await claimed(db, 5)
    units.names.clear()

    await asyncio.gather(*(execution.complete({"n": n}) for n, execution in enumerate(executions)))

    assert units.names == ["finish_alike"]
    assert [execution.record.result_data for execution in executions] == [{"n": n} for n in range(5)]
    assert await outcomes(db, executions) == [ActionOutcome.SUCCEEDED] * 5


async def test_an_end_that_comes_alone_is_recorded_alone(db: ActionDB, units: Units) -> None:
    (execution,) = await claimed(db, 1)
    units.names.clear()

    await execution.complete()

    assert units.names == ["finish"]


async def test_different_outcomes_are_recorded_each_in_its_kind(db: ActionDB, units: Units) -> None:
    executions = await claimed(db, 5)
    units.names.clear()

    await asyncio.gather(
        *(execution.fail("too hot") for execution in executions[:2]),
        *(execution.complete() for execution in executions[2:4]),
        executions[4].abandon("cut off"),
    )

    assert units.names == ["finish_alike"] * 2  # what has failed and what is unknown end in the same state
    assert await outcomes(db, executions) == [
        *[ActionOutcome.FAILED] * 2,
        *[ActionOutcome.SUCCEEDED] * 2,
        ActionOutcome.UNKNOWN,
    ]


async def test_what_another_has_ended_is_said_to_its_own_caller_alone(db: ActionDB) -> None:
    executions = await claimed(db, 4)
    await db.finish_execution(executions[1].record.id, success=False, by="ward")

    ended = await asyncio.gather(*(execution.complete() for execution in executions), return_exceptions=True)

    assert [type(end) is LeaseLostError for end in ended] == [False, True, False, False]
    assert (await outcomes(db, executions))[1:3] == [ActionOutcome.FAILED, ActionOutcome.SUCCEEDED]


async def test_a_lost_answer_is_found_again_by_each(db: ActionDB, units: Units) -> None:
    executions = await claimed(db, 3)
    units.lose = {"finish_alike": ConnectionLostError}

    records = await asyncio.gather(*(execution.complete() for execution in executions))

    assert [record.outcome for record in records] == [ActionOutcome.SUCCEEDED] * 3
    assert await db.verify() == []


async def test_while_the_database_is_away_each_caller_is_told(db: ActionDB, monkeypatch: pytest.MonkeyPatch) -> None:
    executions = await claimed(db, 3)
    assert db._transactions is not None

    async def away(*_: Any) -> None:
        raise DatabaseUnavailableError(url="the test", detail="it is away")

    with monkeypatch.context() as patch:
        patch.setattr(db._transactions, "run", away)
        ended = await asyncio.gather(*(execution.complete() for execution in executions), return_exceptions=True)
    assert {type(end) for end in ended} == {DatabaseUnavailableError}

    await asyncio.gather(*(execution.flush_outcome() for execution in executions))
    assert await outcomes(db, executions) == [ActionOutcome.SUCCEEDED] * 3


async def test_an_error_that_nobody_has_foreseen_reaches_every_caller(
    db: ActionDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    executions = await claimed(db, 3)
    assert db._transactions is not None

    async def broken(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(db._transactions, "run", broken)
        ended = await asyncio.gather(*(execution.complete() for execution in executions), return_exceptions=True)

    assert {type(end) for end in ended} == {ZeroDivisionError}
    await asyncio.gather(*(execution.flush_outcome() for execution in executions))


async def test_what_comes_meanwhile_is_recorded_next(
    db: ActionDB, units: Units, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending_queue, "MAX_ENDS", 2)
    executions = await claimed(db, 5)
    units.names.clear()

    await asyncio.gather(*(execution.complete() for execution in executions))

    assert units.names == ["finish_alike", "finish_alike", "finish"]


async def test_a_cancelled_caller_leaves_once_its_end_is_recorded(db: ActionDB) -> None:
    executions = await claimed(db, 3)
    ends = [asyncio.create_task(execution.complete()) for execution in executions]
    await asyncio.sleep(0)  # they are in the queue

    ends[1].cancel()
    await asyncio.wait(ends)

    assert [end.cancelled() for end in ends] == [False, True, False]
    assert await outcomes(db, executions) == [ActionOutcome.SUCCEEDED] * 3


async def test_closing_records_what_is_in_the_queue(ledger: Ledger, db: ActionDB) -> None:
    async with ActionDB(ledger.target) as own:
        executions = await claimed(own, 3)
        ends = [asyncio.create_task(execution.complete()) for execution in executions]
        await asyncio.sleep(0)

    await asyncio.wait(ends)
    assert [end.exception() for end in ends] == [None, None, None]
    assert await outcomes(db, executions) == [ActionOutcome.SUCCEEDED] * 3
