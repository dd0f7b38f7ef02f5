"""Several people stop and release at once, or a stop is cut off in the middle: each stop keeps its own number."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest

from operator_core.actions import (
    ActionStatus,
    KillSwitchEngagedError,
    Scope,
    StopNotEngagedError,
    TransitionNotAllowedError,
)
from operator_core.db import ActionDB
from tests.support import latch
from tests.support.factories import stored
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.stop_steps import engaged, started, status_of, stop

SCOPES = [Scope(), Scope(action_name="drain_store"), Scope(ticket_id=7), Scope(proposed_by="agent")]


@pytest.fixture(autouse=True)
def _history(ledger: Ledger) -> Iterator[None]:
    yield
    assert check_history(ledger) == []


async def at_once(ledger: Ledger, scopes: list[Scope]) -> list[int]:
    """Engage each scope at the same moment, by a handle of its own, and return the generations."""

    async def one(db: ActionDB, scope: Scope) -> int:
        return (await stop(db, scope=scope)).generation

    handles = [await ActionDB(ledger.target).open() for _ in scopes]
    try:
        return await asyncio.gather(*map(one, handles, scopes))
    finally:
        for db in handles:
            await db.close()


async def test_stops_of_different_scopes_at_once_are_all_engaged_under_numbers_of_their_own(ledger, plain):
    generations = await at_once(ledger, SCOPES)

    assert sorted(generations) == [1, 2, 3, 4]
    assert dict(engaged(plain)) == dict(zip(map(str, SCOPES), generations, strict=True))


@pytest.mark.parametrize("scope", SCOPES[:2], ids=str)
async def test_stops_of_one_scope_at_once_are_numbered_apart_and_the_last_one_stands(ledger, plain, scope):
    generations = await at_once(ledger, [scope] * 4)

    assert sorted(generations) == [1, 2, 3, 4]
    assert engaged(plain) == [(str(scope), 4)]


async def test_stops_and_releases_at_once_never_release_a_stop_that_was_not_named(ledger, db, plain):
    receipts = [await stop(db) for _ in range(3)]

    async def release(generation: int) -> bool:
        try:
            await db.release_kill_switch(by="bob", reason="go on", generation=generation)
        except StopNotEngagedError:
            return False
        return True

    named = [receipt.generation for receipt in receipts] * 3
    done = Counter(n for n, is_done in zip(named, await asyncio.gather(*map(release, named)), strict=True) if is_done)

    assert done == {receipts[-1].generation: 1}
    assert engaged(plain) == []


async def test_a_second_persons_stop_makes_the_number_of_the_first_stale(db, plain):
    first = await stop(db, by="ann")
    second = await stop(db, by="bob")

    with pytest.raises(StopNotEngagedError) as caught:
        await db.release_kill_switch(by="ann", reason="my own is over", generation=first.generation)

    assert caught.value.engaged == ((second.generation, "everything"),)
    assert engaged(plain) == [("everything", second.generation)]


@pytest.mark.parametrize("status", [ActionStatus.PROPOSED, ActionStatus.VALIDATED])
async def test_a_release_after_a_crash_between_publish_and_sweep_cancels_what_was_left_and_revives_nothing(
    db, plain, status
):
    made = await stored(db, status)
    generation = latch.engage(plain)

    await db.release_kill_switch(by="bob", reason="go on", generation=generation)

    assert status_of(plain, made.id) == "cancelled"
    with pytest.raises(TransitionNotAllowedError):
        await db.start_execution(made.id)
    assert started(plain) == []


async def test_status_sweeps_what_a_crash_between_publish_and_sweep_has_left(db, plain):
    made = await stored(db, ActionStatus.VALIDATED)
    latch.engage(plain)

    status = await db.kill_switch_status()

    assert (status.not_yet_cancelled, status_of(plain, made.id)) == ((), "cancelled")


async def test_what_a_plain_release_left_pending_cannot_start_and_is_swept_later(db, plain):
    made = await stored(db, ActionStatus.VALIDATED)
    latch.engage(plain)
    latch.release(plain)

    with pytest.raises(KillSwitchEngagedError, match="revives nothing"):
        await db.start_execution(made.id)
    await db.kill_switch_status()

    assert status_of(plain, made.id) == "cancelled"


async def test_a_sweep_of_many_more_than_one_batch_cancels_every_one(db, plain, monkeypatch):
    monkeypatch.setattr("operator_core.db.stores.kill_switch.SWEEP_ROWS", 10)
    monkeypatch.setattr("operator_core.db.stores.kill_switch.sweep.__defaults__", (10,))
    made = [await stored(db) for _ in range(35)]

    receipt = await stop(db)

    assert receipt.cancelled == tuple(one.id for one in made)
    assert plain.execute("SELECT count(*) FROM action_proposals WHERE status <> 'cancelled'").fetchone()[0] == 0
