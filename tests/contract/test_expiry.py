"""What is valid only until a moment, on each engine: it does not start later, and is cancelled by whoever comes by."""

from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta, timezone

import pytest
from pydantic import ValidationError

from operator_core.actions import ActionStatus, ProposalExpiredError
from operator_core.actions.lifecycle import PENDING
from operator_core.actions.types import utc_now
from operator_core.db import ActionDB
from tests.support.factories import proposal, stored
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.stop_steps import stop

PAST = utc_now() - timedelta(hours=1)
FUTURE = utc_now() + timedelta(days=1)
FINISHED = [status for status in ActionStatus if status not in PENDING]


async def _release(db: ActionDB) -> None:
    receipt = await stop(db, scope="ticket_id=4711")
    await db.release_kill_switch(by="bob", reason="all clear", generation=receipt.generation)


SWEEPS: dict[str, Callable[[ActionDB], Awaitable[object]]] = {
    "idle claim": lambda db: db.claim_next(worker="w1", action_names=["nothing"]),
    "recovery": lambda db: db.recover_expired_leases(),
    "status": lambda db: db.kill_switch_status(),
    "release": _release,
}


@pytest.fixture(autouse=True)
def _history(ledger: Ledger) -> Iterator[None]:
    yield
    assert check_history(ledger) == []


async def test_until_when_it_is_valid_comes_back_in_utc(db):
    made = await db.create_proposal(proposal(valid_until=FUTURE.astimezone(timezone(timedelta(hours=5, minutes=30)))))

    assert (made.valid_until, made.valid_until.utcoffset()) == (FUTURE, timedelta(0))
    assert made == await db.get_proposal(made.id)


async def test_until_when_many_are_valid_comes_back_too(db):
    made = await db.create_proposals([proposal(valid_until=FUTURE), proposal()])

    assert [one.valid_until for one in made] == [FUTURE, None]


async def test_until_when_it_is_valid_is_told_in_utc_by_the_first_event(db):
    made = await db.create_proposal(proposal(valid_until=FUTURE))

    (event,) = await db.get_events(made.id)

    assert event.data["valid_until"] == FUTURE.strftime("%Y-%m-%d %H:%M:%S.%f")


async def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValidationError):
        proposal(valid_until=FUTURE.replace(tzinfo=None))


async def test_what_is_still_valid_starts(db):
    made = await stored(db, ActionStatus.VALIDATED, valid_until=FUTURE)

    record = await db.start_execution(made.id)

    assert record.outcome is None


@pytest.mark.parametrize("call", ["start_execution", "update_proposal_status"])
async def test_what_has_expired_does_not_start(db, call):
    made = await stored(db, ActionStatus.VALIDATED, valid_until=PAST)
    given = [ActionStatus.EXECUTING] if call == "update_proposal_status" else []

    with pytest.raises(ProposalExpiredError, match="it was valid until") as caught:
        await getattr(db, call)(made.id, *given)

    assert (caught.value.id, caught.value.current, caught.value.valid_until) == (made.id, made.status, PAST)
    assert await db.get_proposal(made.id) == made


async def test_what_has_expired_may_still_be_validated(db):
    made = await stored(db, valid_until=PAST)

    moved = await db.update_proposal_status(made.id, ActionStatus.VALIDATED)

    assert moved.status is ActionStatus.VALIDATED


@pytest.mark.parametrize("status", PENDING)
@pytest.mark.parametrize("sweep", SWEEPS)
async def test_what_has_expired_is_cancelled_by_whoever_comes_by(db, sweep, status):
    made = await stored(db, status, valid_until=PAST)

    await SWEEPS[sweep](db)

    found = await db.get_proposal(made.id)
    assert (found.status, found.status_reason) == (ActionStatus.CANCELLED, "expired before it was started")


@pytest.mark.parametrize("status", PENDING)
@pytest.mark.parametrize("sweep", SWEEPS)
async def test_what_has_not_expired_is_left_alone(db, sweep, status):
    made = [await stored(db, status, **valid) for valid in ({}, {"valid_until": FUTURE})]

    await SWEEPS[sweep](db)

    assert [await db.get_proposal(one.id) for one in made] == made


async def test_an_expired_proposal_is_cancelled_once(db):
    made = await stored(db, valid_until=PAST)
    await db.recover_expired_leases()
    before = await db.get_proposal(made.id)

    await db.recover_expired_leases()

    assert await db.get_proposal(made.id) == before


async def test_what_has_expired_is_shown_as_swept_in_the_status(db):
    await stored(db, valid_until=PAST)

    status = await db.kill_switch_status()

    assert status.not_yet_cancelled == ()
