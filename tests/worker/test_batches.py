"""A worker that does much at once: how few statements it needs, counted, and what a fault in a batch costs."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy.engine.default import DefaultDialect

from operator_core.actions import ActionStatus
from operator_core.db import ActionDB, Execution
from tests.support.factories import proposal
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.workbench import Diary, FaultyDB, found, ready, worked

JOBS, HANDS = 1_000, 32
MOST = {"sqlite": 3.5, "postgresql": 0.5}
"""Statements a job: SQLite has no round trips, so there one statement for each row of a batch is as good."""


@pytest.fixture(autouse=True)
def _history(ledger: Ledger) -> Iterator[None]:
    yield
    assert check_history(ledger) == []


@contextmanager
def counting_statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Count what is sent to the database inside the block, by its first word."""
    sent: Counter[str] = Counter()
    execute, without = DefaultDialect.do_execute, DefaultDialect.do_execute_no_params

    def counted(self: Any, cursor: Any, statement: str, *rest: Any) -> None:
        sent[statement.split(maxsplit=1)[0]] += 1
        execute(self, cursor, statement, *rest)

    def counted_without(self: Any, cursor: Any, statement: str, *rest: Any) -> None:
        sent[statement.split(maxsplit=1)[0]] += 1
        without(self, cursor, statement, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(DefaultDialect, "do_execute", counted)
        patch.setattr(DefaultDialect, "do_execute_no_params", counted_without)
        yield sent


async def test_a_job_costs_a_fraction_of_a_statement(
    db: ActionDB, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    await db.create_proposals([proposal() for _ in range(JOBS)])
    diary = Diary()

    with counting_statements(monkeypatch) as sent:
        report = await worked(db, diary, concurrency=HANDS)

    assert (report.validated, report.succeeded, len(set(diary.ids))) == (JOBS, JOBS, JOBS)
    engine = "sqlite" if ledger.is_sqlite else "postgresql"
    assert sent.total() / JOBS <= MOST[engine], sent


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("unit", ["claim_many", "finish"])
async def test_a_fault_in_a_batch_loses_nothing_and_does_nothing_twice(
    db: ActionDB, ledger: Ledger, unit: str, when: str
) -> None:
    made = await ready(db, 12)
    diary = Diary()

    async with FaultyDB(ledger.target, unit, **{when: 3}) as faulty:
        report = await worked(faulty, diary, concurrency=4)

    assert faulty.failures == 3
    assert (sorted(diary.ids), report.succeeded, report.lost) == (made, 12, [])


async def test_a_proposal_that_does_not_fit_does_not_hold_up_the_others(db: ActionDB) -> None:
    bad = (await db.create_proposal(proposal(parameters={"store": "no number"}))).id
    good = [one.id for one in await db.create_proposals([proposal() for _ in range(5)])]
    diary = Diary()

    report = await worked(db, diary, concurrency=4)

    assert (sorted(diary.ids), report.rejected) == (good, 1)
    assert (await found(db, bad)).status is ActionStatus.CANCELLED


async def test_one_that_cannot_be_approved_is_left_and_the_others_run(
    db: ActionDB, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [one.id for one in await db.create_proposals([proposal() for _ in range(4)])]
    await db.engage_kill_switch(by="ann", reason="smoke", scope="ticket_id=7")
    made += [(await db.create_proposal(proposal(ticket_id=7))).id]
    diary = Diary()

    await worked(db, diary, concurrency=4)

    assert sorted(diary.ids) == made[:4]
    assert (await found(db, made[4])).status is ActionStatus.CANCELLED


async def test_while_all_hands_are_busy_what_does_not_fit_is_refused_all_the_same(db: ActionDB) -> None:
    """Otherwise people would be asked about it for as long as there is work."""
    bad: list[int] = []
    seen: list[bool] = []

    async def act(_: Execution) -> None:
        if not bad:
            bad.append((await db.create_proposal(proposal(parameters={"store": "no number"}))).id)
        await asyncio.sleep(0.02)
        seen.append((await found(db, bad[0])).status is ActionStatus.CANCELLED)

    await ready(db, 20)
    await worked(db, act, concurrency=2, poll_interval=0.05)

    assert any(seen)
