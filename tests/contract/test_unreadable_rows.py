"""A row that cannot be read keeps nothing beside it from being read, claimed, recovered, verified or exported."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from pydantic import BaseModel

from operator_core.actions import ActionOutcome, ActionStatus, UnreadableRowError
from operator_core.db import ActionDB, Execution
from operator_core.worker import ActionRegistry, Worker
from tests.support.factories import proposal, stored
from tests.support.ledger import Ledger
from tests.support.unreadable import PLANTS, Plant, plants


class NoParameters(BaseModel):
    """What the actions of these tests take."""


Made = tuple[int, int]
"""The ids of a row and of its proposal."""


async def lost(db: ActionDB) -> Any:
    """Return an execution whose worker is lost."""
    made = await stored(db, ActionStatus.VALIDATED)
    return await db.claim(made.id, worker="lost", lease_seconds=0.001)


async def _proposal(db: ActionDB) -> Made:
    made = await stored(db)
    return made.id, made.id


async def _record(db: ActionDB) -> Made:
    execution = await lost(db)
    return execution.record.id, execution.proposal.id


async def _step(db: ActionDB) -> Made:
    made = await stored(db)
    return (await db.get_events(made.id))[0].id, made.id


async def _note(db: ActionDB) -> Made:
    execution = await lost(db)
    await db.request_cancel(execution.proposal.id, by="ann", reason="no more")
    return (await db.get_events(execution.proposal.id))[-1].id, execution.proposal.id


async def _decision(db: ActionDB) -> Made:
    made = await stored(db)
    return (await db.approve(made.id, by="ann")).id, made.id


MAKE: dict[str, Callable[[ActionDB], Awaitable[Made]]] = {
    "action_proposals": _proposal,
    "action_records": _record,
    "action_events": _step,
    "action_notes": _note,
    "action_approvals": _decision,
}
READ: dict[str, Callable[[ActionDB, Made], Awaitable[Any]]] = {
    "action_proposals": lambda db, made: db.get_proposal(made[0]),
    "action_records": lambda db, made: db.get_record(made[0]),
    "action_events": lambda db, made: db.get_events(made[1]),
    "action_notes": lambda db, made: db.get_events(made[1]),
    "action_approvals": lambda db, made: db.approval_status(made[1]),
}
every_table = pytest.mark.parametrize("table", MAKE)


async def _planted(db: ActionDB, ledger: Ledger, table: str) -> dict[Plant, Made]:
    """Put one row with each value that cannot be read into a table."""
    made = {what: await MAKE[table](db) for what in PLANTS[ledger.is_sqlite] if what.table == table}
    plants(ledger, {what: row for what, (row, _) in made.items()})
    return made


@every_table
async def test_a_read_of_one_names_table_id_and_column(ledger: Ledger, table: str) -> None:
    async with ActionDB(ledger.target) as db:
        for what, made in (await _planted(db, ledger, table)).items():
            with pytest.raises(UnreadableRowError) as raised:
                await READ[table](db, made)

            found = raised.value
            assert (found.table, found.id, found.column) == (table, made[0], what.column), what
            assert str(found).isprintable()


@every_table
async def test_reads_of_many_go_on_and_report_each_once(ledger: Ledger, table: str) -> None:
    reported: list[UnreadableRowError] = []
    async with ActionDB(ledger.target, on_unreadable=reported.append) as db:
        neighbours = {(await stored(db, status)).id for status in ActionStatus}
        planted = await _planted(db, ledger, table)
        neighbours |= {(await stored(db, status)).id for status in ActionStatus}
        rest = {number for _, number in planted.values()} if table != "action_proposals" else set()

        for _ in range(2):
            listed = [one.id for one in await db.list_proposals()]
            assert listed == sorted(listed, reverse=True)
            assert set(listed) == neighbours | rest
            assert [one.id for one in await db.list_proposals(limit=len(listed))] == listed
            assert [one.id async for one in db.iter_proposals(chunk_size=3)] == listed
            events = [event async for event in db.iter_events()]
            assert neighbours <= {event.proposal_id for event in events}
            json.dumps([event.model_dump(mode="json") for event in events], allow_nan=False)
            assert sum((await db.count_proposals()).values()) == len(neighbours) + len(planted)

        rows = [(error.table, error.id) for error in reported]
        assert len(rows) == len(set(rows))
        assert set(rows) == ({(table, row) for row, _ in planted.values()} if table != "action_records" else set())


@every_table
async def test_verify_lists_it_and_nothing_of_its_neighbours(ledger: Ledger, table: str) -> None:
    async with ActionDB(ledger.target) as db:
        for status in ActionStatus:
            await stored(db, status)
        planted = await _planted(db, ledger, table)
        for status in ActionStatus:
            await stored(db, status)

        found = {(one.proposal_id, one.field.rpartition(".")[2]) for one in await db.verify()}

        assert found == {(number, what.column) for what, (_, number) in planted.items()}


async def test_what_is_lost_beside_it_is_recovered(ledger: Ledger) -> None:
    reported: list[UnreadableRowError] = []
    async with ActionDB(ledger.target, on_unreadable=reported.append) as db:
        before = (await lost(db)).record.id
        planted = await _planted(db, ledger, "action_records")
        after = (await lost(db)).record.id
        await asyncio.sleep(0.01)

        recovered = {record.id for record in await db.recover_expired_leases()}

        assert {before, after} <= recovered
        assert {row for row, _ in planted.values()} <= recovered | {error.id for error in reported}
        assert {before, after} <= {record.id for record in await db.list_unresolved()}
        assert await db.recover_expired_leases() == []
        assert (await db.kill_switch_status()).generation == 0


async def test_a_claim_passes_over_it_and_takes_the_next(ledger: Ledger) -> None:
    reported: list[UnreadableRowError] = []
    async with ActionDB(ledger.target, on_unreadable=reported.append) as db:
        made = {
            what: ((await stored(db, ActionStatus.VALIDATED)).id, 0)
            for what in PLANTS[ledger.is_sqlite]
            if what.table == "action_proposals" and what.column != "status_by"  # which a claim writes anew
        }
        after = [(await stored(db, ActionStatus.VALIDATED)).id for _ in range(2)]
        plants(ledger, {what: row for what, (row, _) in made.items()})

        claimed = [await db.claim_next(worker="w", lease_seconds=60) for _ in range(3)]

        assert [execution and execution.proposal.id for execution in claimed] == [*after, None]
        assert {error.id for error in reported} <= {row for row, _ in made.values()}
        assert (await db.count_proposals())[ActionStatus.EXECUTING] == 2
        for row, _ in made.values():
            with pytest.raises(UnreadableRowError):
                await db.get_proposal(row)


async def test_a_worker_validates_and_does_what_is_beside_it(ledger: Ledger) -> None:
    done: list[int] = []
    registry = ActionRegistry()

    @registry.action("drain_store", auto_approve=True)
    async def drain(_parameters: NoParameters, execution: Execution) -> None:
        done.append(execution.proposal.id)

    async with ActionDB(ledger.target, on_unreadable=lambda _error: None) as db:
        before = (await stored(db)).id
        await _planted(db, ledger, "action_proposals")
        validated = [await stored(db, ActionStatus.VALIDATED) for _ in range(3)]
        plants(ledger, {PLANTS[ledger.is_sqlite][0]: validated[0].id})
        after = (await stored(db)).id
        await _planted(db, ledger, "action_proposals")

        report = await Worker(db, registry).run_until_idle()

        assert sorted(done) == [before, validated[1].id, validated[2].id, after]
        assert (report.succeeded, report.failed, report.validated) == (4, 0, 2)


@every_table
async def test_it_can_be_cancelled_and_settled_all_the_same(ledger: Ledger, table: str) -> None:
    async with ActionDB(ledger.target) as db:
        for what, (_, number) in (await _planted(db, ledger, table)).items():
            if what.column == "lease_seconds":
                continue
            with suppress(UnreadableRowError):
                await db.request_cancel(number, by="ann", reason=f"{what.column} cannot be read")

        assert (await db.count_proposals())[ActionStatus.PROPOSED] == 0


async def test_a_person_reads_of_it_in_the_log_once(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    async with ActionDB(ledger.target) as db:
        made = await stored(db)
        plants(ledger, {PLANTS[ledger.is_sqlite][0]: made.id})

        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                assert await db.list_proposals() == []

    (line,) = [record.getMessage() for record in caplog.records if record.name == "operator_core"]
    assert f"row {made.id} of action_proposals" in line
    assert "parameters" in line


async def test_an_execution_beats_hears_of_a_stop_and_ends_although_its_record_cannot_be_read(ledger: Ledger) -> None:
    broken = next(what for what in PLANTS[ledger.is_sqlite] if what.table == "action_records")
    async with ActionDB(ledger.target) as db:
        execution = await db.claim((await stored(db, ActionStatus.VALIDATED)).id, worker="w", lease_seconds=60)
        plants(ledger, {broken: execution.record.id})

        assert await execution.heartbeat() is None
        await db.engage_kill_switch(by="ann", reason="smoke")
        request = await execution.heartbeat()
        assert request is not None
        assert request.reason == "smoke"
        record = await execution.acknowledge_stop()

        assert record.outcome is ActionOutcome.STOPPED


async def test_a_page_is_full_where_enough_can_be_read(ledger: Ledger) -> None:
    async with ActionDB(ledger.target) as db:
        oldest = [(await stored(db)).id for _ in range(4)]
        await _planted(db, ledger, "action_proposals")
        await _planted(db, ledger, "action_proposals")
        await db.create_proposals([proposal() for _ in range(2)])

        assert [one.id for one in await db.list_proposals(limit=4)][2:] == oldest[:1:-1]
        assert [one.id for one in await db.list_proposals(limit=1, before_id=max(oldest) + 3)] == oldest[-1:]
