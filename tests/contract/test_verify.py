"""The tables can be rebuilt from the history: whatever was changed behind the guards is found, and nothing else."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from operator_core.actions import (
    TRANSITIONS,
    ActionStatus,
    Discrepancy,
    EventKind,
    InvalidArgumentError,
    Resolution,
)
from operator_core.db import ActionDB
from operator_core.db.stores import verification
from tests.support.factories import proposal, running, stored
from tests.support.history import tamper
from tests.support.ledger import Ledger

LATER = "2030-01-01 00:00:00.000000"
FORGED = f"""
    INSERT INTO action_events (proposal_id, from_status, to_status, at, "by", generation)
    VALUES ({{}}, {{}}, '{{}}', '{LATER}', 'mallory', 0)
"""


async def settled(db: ActionDB) -> int:
    """Return the id of a proposal whose unknown outcome a person has settled."""
    record = await running(db)
    execution = await db.claim((await stored(db, ActionStatus.VALIDATED)).id, worker="w")
    await execution.abandon("who knows")
    await db.resolve_unknown(execution.record.id, resolution=Resolution.HAPPENED, by="ann", reason="I looked")
    await db.finish_execution(record.id, success=True)
    return execution.proposal.id


def fields(differences: list[Discrepancy]) -> set[tuple[int | None, str]]:
    return {(one.proposal_id, one.field) for one in differences}


async def test_a_ledger_that_nobody_touched_has_no_differences(db: ActionDB) -> None:
    for status in TRANSITIONS:
        await stored(db, status, parameters={"x": 1e16, "y": -0.0, "z": [1, True, None, "ü"]}, ticket_id=0)
    await settled(db)

    assert await db.verify() == []


async def test_an_empty_ledger_has_no_differences(db: ActionDB) -> None:
    assert await db.verify() == []


CHANGES = {
    "parameters": "UPDATE action_proposals SET parameters = '{\"store\":5}'",
    "reason": "UPDATE action_proposals SET reason = 'never mind'",
    "ticket_id": "UPDATE action_proposals SET ticket_id = 7",
    "proposed_by": "UPDATE action_proposals SET proposed_by = 'mallory'",
    "proposed_at": f"UPDATE action_proposals SET proposed_at = '{LATER}'",
    "valid_until": f"UPDATE action_proposals SET valid_until = '{LATER}'",
    "generation": "UPDATE action_proposals SET generation = 7",
    "status_by": "UPDATE action_proposals SET status_by = 'mallory'",
    "status_reason": "UPDATE action_proposals SET status_reason = 'never mind'",
    "executing_at": f"UPDATE action_proposals SET executing_at = '{LATER}'",
    "record": "DELETE FROM action_records",
    "record.result_data": "UPDATE action_records SET result_data = '{\"drained\":5}'",
    "record.error_message": "UPDATE action_records SET error_message = 'never mind'",
    "record.started_at": f"UPDATE action_records SET started_at = '{LATER}'",
    "record.worker": f"UPDATE action_records SET worker = 'm', lease_seconds = 1, last_seen_at = '{LATER}', "
    f"lease_expires_at = '{LATER}'",
}


@pytest.mark.parametrize("field", CHANGES)
async def test_a_value_that_was_changed_is_found(db: ActionDB, ledger: Ledger, field: str) -> None:
    made = await stored(db, ActionStatus.COMPLETED)
    tamper(ledger, CHANGES[field])

    assert (made.id, field) in fields(await db.verify())


async def test_a_difference_says_what_it_should_be_and_what_it_is(db: ActionDB, ledger: Ledger) -> None:
    made = await stored(db, ActionStatus.COMPLETED)
    tamper(ledger, CHANGES["reason"])

    (found,) = await db.verify()

    assert found == Discrepancy(proposal_id=made.id, field="reason", expected="store 4 is hot", found="never mind")


async def test_a_status_that_was_changed_is_found(db: ActionDB, ledger: Ledger) -> None:
    made = await stored(db, ActionStatus.COMPLETED)
    tamper(ledger, "UPDATE action_proposals SET status = 'failed', failed_at = completed_at, completed_at = NULL")

    assert (made.id, "status") in fields(await db.verify())


async def test_an_outcome_that_was_changed_is_found(db: ActionDB, ledger: Ledger) -> None:
    made = await stored(db, ActionStatus.FAILED)
    tamper(ledger, "UPDATE action_records SET outcome = 'succeeded', success = true")

    assert {(made.id, "record.outcome"), (made.id, "record.success")} <= fields(await db.verify())


async def test_a_row_that_is_missing_is_found(db: ActionDB, ledger: Ledger) -> None:
    made = await stored(db, ActionStatus.COMPLETED)
    tamper(ledger, "DELETE FROM action_records", "DELETE FROM action_proposals")

    assert fields(await db.verify()) == {(made.id, "row")}


async def test_the_last_row_that_is_missing_is_found_as_well(db: ActionDB, ledger: Ledger) -> None:
    await stored(db)
    last = await stored(db)
    tamper(ledger, f"DELETE FROM action_proposals WHERE id = {last.id}")

    assert fields(await db.verify()) == {(last.id, "row")}


async def test_a_history_that_is_missing_is_found(db: ActionDB, ledger: Ledger) -> None:
    made = await stored(db)
    tamper(ledger, "DELETE FROM action_events")

    assert fields(await db.verify()) == {(made.id, "row")}


@pytest.mark.parametrize("column", ["finding = 'partly'", "finding_by = 'mallory'", "finding_reason = 'never mind'"])
async def test_a_finding_that_was_changed_is_found(db: ActionDB, ledger: Ledger, column: str) -> None:
    number = await settled(db)
    tamper(ledger, f"UPDATE action_records SET {column} WHERE proposal_id = {number}")

    assert fields(await db.verify()) == {(number, f"record.{column.partition(' ')[0]}")}


async def test_a_finding_that_was_taken_away_is_found(db: ActionDB, ledger: Ledger) -> None:
    number = await settled(db)
    columns = ("finding", "finding_at", "finding_by", "finding_reason")
    tamper(ledger, f"UPDATE action_records SET {', '.join(f'{name} = NULL' for name in columns)}")

    assert fields(await db.verify()) == {(number, f"record.{name}") for name in columns}


async def test_an_event_that_was_forged_is_found(db: ActionDB, ledger: Ledger) -> None:
    made = await stored(db, ActionStatus.COMPLETED)
    tamper(ledger, FORGED.format(made.id, "'completed'", "cancelled"))

    assert (made.id, "history") in fields(await db.verify())


async def test_a_history_that_was_forged_for_nothing_is_found(db: ActionDB, ledger: Ledger) -> None:
    tamper(ledger, FORGED.format(4711, "NULL", "proposed"))

    assert fields(await db.verify()) == {(4711, "row"), (None, "action_proposals.id")}


async def test_a_record_of_what_was_never_started_is_found(db: ActionDB, ledger: Ledger) -> None:
    made = await stored(db)
    tamper(ledger, f"INSERT INTO action_records (proposal_id, started_at) VALUES ({made.id}, '{LATER}')")

    assert fields(await db.verify()) == {(made.id, "record")}


# -- pruned, many, and in use ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep_events", [True, False])
async def test_what_was_pruned_is_no_difference(db: ActionDB, *, keep_events: bool) -> None:
    for status in TRANSITIONS:
        await stored(db, status)
    await asyncio.sleep(0.005)
    await db.prune(datetime.now(UTC), keep_events=keep_events)

    assert await db.verify() == []


async def test_a_row_that_is_missing_is_found_although_others_were_pruned(db: ActionDB, ledger: Ledger) -> None:
    await stored(db, ActionStatus.COMPLETED)
    await asyncio.sleep(0.005)
    await db.prune(datetime.now(UTC))
    await asyncio.sleep(0.005)
    young = await stored(db, ActionStatus.CANCELLED)
    tamper(ledger, "DELETE FROM action_proposals")

    assert fields(await db.verify()) == {(young.id, "row")}


async def test_progress_is_told_chunk_by_chunk(db: ActionDB) -> None:
    many = verification.CHUNK + 20
    await db.create_proposals([proposal() for _ in range(many)])
    told: list[tuple[int, int]] = []

    await db.verify(progress=lambda done, total: told.append((done, total)))

    assert told == [(verification.CHUNK, many), (many, many)]


async def test_a_difference_beyond_the_first_chunk_is_found(db: ActionDB, ledger: Ledger) -> None:
    many = verification.CHUNK + 20
    await db.create_proposals([proposal() for _ in range(many)])
    tamper(ledger, f"UPDATE action_proposals SET reason = 'never mind' WHERE id = {many}")

    assert fields(await db.verify()) == {(many, "reason")}


async def test_a_ledger_in_use_has_no_differences(db: ActionDB, ledger: Ledger) -> None:
    found: list[Discrepancy] = []

    async with ActionDB(ledger.target) as other, asyncio.TaskGroup() as group:
        busy = group.create_task(_live(other))
        while not busy.done():
            found += await db.verify()

    assert found == []


async def _live(db: ActionDB) -> None:
    for _ in range(5):
        for status in TRANSITIONS:
            await stored(db, status)
        await settled(db)


# -- the whole history -------------------------------------------------------------------------------------------------


async def test_the_whole_history_comes_proposal_by_proposal_and_step_by_step(db: ActionDB) -> None:
    made = [await stored(db, status) for status in TRANSITIONS]

    told = [event async for event in db.iter_events()]

    assert told == [event for one in made for event in await db.get_events(one.id)]


async def test_the_history_holds_what_was_said_after_the_step_that_it_is_about(db: ActionDB) -> None:
    number = await settled(db)

    told = [event.kind async for event in db.iter_events() if event.proposal_id == number]

    assert told == [*[EventKind.STEP] * 4, EventKind.RESOLVED]


async def test_the_whole_history_holds_what_was_pruned(db: ActionDB) -> None:
    gone = await stored(db, ActionStatus.COMPLETED)
    await stored(db)
    await asyncio.sleep(0.005)
    await db.prune(datetime.now(UTC))

    told = [event.proposal_id async for event in db.iter_events()]

    assert told == [*[gone.id] * 4, 2]


async def test_the_history_before_a_moment_is_of_those_that_began_before_it(db: ActionDB) -> None:
    old = await stored(db)
    await asyncio.sleep(0.005)
    young = await stored(db)
    (first,) = await db.get_events(young.id)
    await db.update_proposal_status(old.id, ActionStatus.VALIDATED)

    told = [(event.proposal_id, event.to_status) async for event in db.iter_events(before=first.at)]

    assert told == [(old.id, "proposed"), (old.id, "validated")]


@pytest.mark.parametrize(
    "before",
    [datetime(2026, 1, 31), datetime.now(UTC) + timedelta(days=1)],  # noqa: DTZ001 - that is what is refused
    ids=["naive", "future"],
)
async def test_a_moment_that_nobody_can_mean_is_refused(db: ActionDB, before: datetime) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^before is"):
        [event async for event in db.iter_events(before=before)]
