"""The code of the revision before speaks to this schema in its own recorded words, and obeys the stops of this code."""

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from operator_core.actions import ActionStatus, ApprovalRule
from operator_core.db import ActionDB, migrations
from operator_core.db.engine.urls import resolve_url
from operator_core.db.errors import guard_code
from operator_core.db.guards.codes import NOT_APPROVED, STOPPED
from operator_core.db.guards.conditions import stop_statement
from tests.support.history import check_history
from tests.support.ledger import Ledger

PREVIOUS = migrations.REVISIONS[-2]
FROZEN = Path(__file__).with_name("frozen")
Line = dict[str, Any]


def words(ledger: Ledger, *calls: str, kind: str = "") -> list[Line]:
    """Return what the previous code says to this engine in these calls, or in all."""
    dialect = "sqlite" if ledger.is_sqlite else "postgresql"
    lines = (FROZEN / f"{PREVIOUS}_{dialect}{kind}.jsonl").read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if not calls or line["call"] in calls]


async def speak(ledger: Ledger, said: Iterable[Line]) -> None:
    """Say it once more, statement by statement."""
    engine = create_async_engine(resolve_url(ledger.target), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_speak_on, said)
    finally:
        await engine.dispose()


def _speak_on(connection: sa.Connection, said: Iterable[Line]) -> None:
    for line in said:
        if line["statement"].startswith("BEGIN"):
            continue  # each statement is whole by itself
        connection.exec_driver_sql(line["statement"], tuple(map(_value, line["parameters"])) or None)


def _value(kept: Any) -> Any:
    return datetime.fromisoformat(kept["at"]) if isinstance(kept, dict) else kept


async def test_the_previous_code_works_on_this_schema(ledger):
    await speak(ledger, words(ledger))

    async with ActionDB(ledger.target) as db:
        counts = await db.count_proposals()
        assert await db.verify() == []
    assert {status: number for status, number in counts.items() if number} == {
        ActionStatus.COMPLETED: 2,
        ActionStatus.FAILED: 1,
        ActionStatus.CANCELLED: 4,
    }
    assert check_history(ledger) == []


@pytest.mark.parametrize("call", ["start", "one by one"])
async def test_the_previous_code_starts_nothing_under_a_stop_of_this_schema(ledger, call):
    await speak(ledger, words(ledger, "create", "validate"))
    dialect = "sqlite" if ledger.is_sqlite else "postgresql"
    await speak(ledger, [{"statement": stop_statement(dialect, "ann", "fire").rstrip(";"), "parameters": []}])

    with pytest.raises(sa.exc.DBAPIError) as refused:
        await speak(ledger, words(ledger, call))

    assert guard_code(refused.value) == STOPPED


async def test_the_previous_code_leaves_a_lease_of_this_code_alone(ledger):
    await speak(ledger, words(ledger, "create", "validate"))
    async with ActionDB(ledger.target) as db:
        execution = await db.claim(1, worker="new")

        with suppress(sa.exc.DBAPIError):  # refused, or one statement that finds nothing to start
            await speak(ledger, words(ledger, "start"))

        assert len(await db.get_records_for_proposal(1)) == 1
        assert (await execution.complete()).success
    assert check_history(ledger) == []


async def test_the_previous_code_obeys_a_policy_and_raises_errors_that_it_knows(ledger):
    await speak(ledger, words(ledger, "create", "validate"))
    async with ActionDB(ledger.target) as db:
        await db.set_approval_policy("everything", [ApprovalRule()], by="ann", reason="a person looks")
        before = await db.list_proposals()

        refused, raised = [], {}
        for line in words(ledger, kind="_refused"):
            if "raised" in line:
                raised[line["call"]] = line["raised"]
            elif "refused" in line:
                with pytest.raises(sa.exc.DBAPIError) as caught:
                    await speak(ledger, [line])
                refused.append((line["call"], line["refused"], guard_code(caught.value)))
            else:
                await speak(ledger, [line])

        assert await db.list_proposals() == before
    assert {call for call, *_ in refused} == set(raised) == {"validate", "step", "start", "claim", "claim next"}
    assert {code for _, *codes in refused for code in codes} == {NOT_APPROVED}
    assert set(raised.values()) == {"TransitionNotAllowedError", "RetryTransactionError"}


async def test_the_previous_code_starts_what_has_its_approvals(ledger):
    await speak(ledger, words(ledger, "create", "validate"))
    async with ActionDB(ledger.target) as db:
        await db.set_approval_policy("everything", [ApprovalRule()], by="ann", reason="a person looks")
        approvals = [await db.approve(number, by="ann") for number in (1, 2)]

        await speak(ledger, words(ledger, "start", "finish"))

        starts = [event for number in (1, 2) for event in await db.get_events(number) if event.to_status == "executing"]
        assert [event.data["approvals"] for event in starts] == [[approval.id] for approval in approvals]
        assert await db.verify() == []
    assert check_history(ledger) == []


async def test_the_previous_code_finds_every_guard_that_it_looks_for(ledger):
    dialect = "sqlite" if ledger.is_sqlite else "postgresql"
    guards = migrations.scripts() / "guards"

    before, after = (
        set(re.findall(r"^CREATE TRIGGER (\w+)", (guards / f"{number}_{dialect}.sql").read_text(), re.MULTILINE))
        for number in (PREVIOUS, migrations.HEAD)
    )

    assert before - after == set()
    assert before
