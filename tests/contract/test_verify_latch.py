"""The latch is compared with its events, and each counter of ids with the ids that were given."""

import pytest

from operator_core.actions import ActionStatus, GuardMissingError
from operator_core.db import ActionDB, migrations
from operator_core.db.migrations.repair import repair
from operator_core.db.migrations.status import SchemaState
from tests.support.factories import proposal, stored
from tests.support.history import tamper
from tests.support.ledger import Ledger
from tests.support.stop_steps import stop

HALL = "ticket_id=7"
NEVER = "engaged_at = NULL, engaged_by = NULL, reason = NULL"
UNRELEASED = "released_at = NULL, released_by = NULL, release_reason = NULL"
RELEASED = "released_at = engaged_at, released_by = 'mallory', release_reason = 'quiet'"


async def stops(db: ActionDB) -> None:
    """Leave a stop of everything that was released, and one of a ticket that is engaged."""
    receipt = await stop(db)
    await db.release_kill_switch(by="ann", reason="out", generation=receipt.generation)
    await stop(db, scope=HALL)


# What is done behind the guards; the scope and the fields that `verify` names; whether a repair mends it.
TAMPERED = {
    "a release that nobody made": (
        f"UPDATE kill_switch SET {RELEASED} WHERE scope = '{HALL}'",
        {(HALL, "released_at"), (HALL, "released_by"), (HALL, "release_reason")},
        True,
    ),
    "a stop that is gone": (f"DELETE FROM kill_switch WHERE scope = '{HALL}'", {(HALL, "row")}, True),
    # With the guards comes the row of a new ledger.
    "a latch that is gone": ("DELETE FROM kill_switch", {(HALL, "row"), ("everything", "generation")}, True),
    "the latch of a new ledger": (
        f"UPDATE kill_switch SET generation = 0, {NEVER}, {UNRELEASED} WHERE scope = 'everything'",
        {("everything", "generation")},
        True,
    ),
    "another name": (
        f"UPDATE kill_switch SET engaged_by = 'mallory' WHERE scope = '{HALL}'",
        {(HALL, "engaged_by")},
        True,
    ),
    "a stop without a history": (
        "DELETE FROM kill_switch_events",
        {(HALL, "history"), ("everything", "history")},
        False,
    ),
    "a stop that has lost its end": (
        "DELETE FROM kill_switch_events WHERE change = 'released'",
        {("everything", "released_at"), ("everything", "released_by"), ("everything", "release_reason")},
        True,
    ),
    "a stop that has lost its beginning": (
        "DELETE FROM kill_switch_events WHERE scope = 'everything' AND change = 'engaged'",
        {("everything", "history")},
        False,
    ),
    "a stop that is ahead of its history": (
        f"UPDATE kill_switch SET generation = 9 WHERE scope = '{HALL}'",
        {(HALL, "generation")},
        False,
    ),
    "a release that was undone": (
        f"UPDATE kill_switch SET {UNRELEASED} WHERE scope = 'everything'",
        {("everything", "released_at"), ("everything", "released_by"), ("everything", "release_reason")},
        False,
    ),
}


async def test_a_latch_that_its_events_tell_of_is_no_difference(db: ActionDB) -> None:
    await stops(db)

    assert await db.verify() == []


@pytest.mark.parametrize("tampered", TAMPERED)
async def test_a_latch_that_its_events_do_not_tell_of_is_found(db: ActionDB, ledger: Ledger, tampered: str) -> None:
    statement, named, _ = TAMPERED[tampered]
    await stops(db)

    tamper(ledger, statement)

    found = await db.verify()
    report = migrations.schema_status(ledger.target)
    assert {(one.scope, one.field) for one in found if one.scope} == named
    assert report.state is SchemaState.GUARD_MISSING
    assert all(one.mend for one in found if one.scope)


@pytest.mark.parametrize("tampered", TAMPERED)
async def test_a_repair_or_another_stop_mends_the_latch_as_the_difference_says(
    db: ActionDB, ledger: Ledger, tampered: str
) -> None:
    statement, _, repaired = TAMPERED[tampered]
    await stops(db)
    before = await db.kill_switch_status()
    tamper(ledger, statement)

    left = [one for one in await db.verify() if one.scope]
    report = repair(ledger.target)

    assert all(("db repair" in (one.mend or "")) == repaired for one in left)
    if repaired:
        assert report.state is SchemaState.UP_TO_DATE
        assert (await db.kill_switch_status()).engaged[-1:] == before.engaged
    else:
        for scope in {one.scope for one in left}:
            await stop(db, scope=scope)
    assert await db.verify() == []
    async with ActionDB(ledger.target):
        pass


async def test_a_ledger_that_has_lost_a_stop_is_not_opened(db: ActionDB, ledger: Ledger) -> None:
    await stop(db)
    tamper(ledger, "DELETE FROM kill_switch")  # the row comes back as that of a new ledger, with the guards

    with pytest.raises(GuardMissingError, match="the latch is behind its history"):
        await ActionDB(ledger.target).open()
    repair(ledger.target)

    async with ActionDB(ledger.target) as again:
        made = await again.create_proposal(proposal())
        assert made.status is ActionStatus.CANCELLED


# -- counters of ids ---------------------------------------------------------------------------------------------------

TABLES = ("action_proposals", "action_records", "action_events", "kill_switch_events")


async def set_back(ledger: Ledger) -> None:
    """Set the counters back, as they are after a restore of data alone."""
    if ledger.is_sqlite:
        tamper(ledger, "DELETE FROM sqlite_sequence")
    else:
        tamper(ledger, *(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), 1, false)" for table in TABLES))


async def test_counters_behind_their_tables_are_found_and_repaired(db: ActionDB, ledger: Ledger) -> None:
    await stored(db, ActionStatus.COMPLETED)
    await stops(db)
    await set_back(ledger)

    found = await db.verify()
    report, repaired = migrations.schema_status(ledger.target), repair(ledger.target)

    assert {one.field for one in found} == {f"{table}.id" for table in TABLES}
    assert all(one.mend == "operator-core db repair" for one in found)
    assert (report.state, repaired.state) == (SchemaState.GUARD_MISSING, SchemaState.UP_TO_DATE)
    assert (await stop(db)).generation == 3
    assert await db.verify() == []


async def test_an_id_that_was_pruned_is_not_given_again_after_a_repair(db: ActionDB, ledger: Ledger) -> None:
    made = await stored(db, ActionStatus.CANCELLED)
    tamper(ledger, "DELETE FROM action_proposals")
    await set_back(ledger)

    repair(ledger.target)

    assert (await stored(db)).id == (made.id) + 1
