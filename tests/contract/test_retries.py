"""How an action is tried again on each engine: a new proposal that names a finished one, and who decided on it."""

from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from operator_core.actions import ActionStatus, NotRetryableError
from operator_core.actions.lifecycle import TERMINAL
from operator_core.actions.types import cause_of
from tests.support.claims import unknown
from tests.support.factories import proposal, stored
from tests.support.history import check_history
from tests.support.ledger import Ledger

UNFINISHED = [status for status in ActionStatus if status not in TERMINAL]
finished = pytest.mark.parametrize("status", TERMINAL)
unfinished = pytest.mark.parametrize("status", UNFINISHED)


@pytest.fixture(autouse=True)
def _history(ledger: Ledger) -> Iterator[None]:
    yield
    assert check_history(ledger) == []


def retry(number, **given):
    return proposal(**{"retry_of": number, "proposed_by": "ann", **given})


@finished
async def test_what_is_finished_is_tried_again(db, status):
    first = await stored(db, status)

    again = await db.create_proposal(retry(first.id))

    assert (again.retry_of, again.status) == (first.id, ActionStatus.PROPOSED)
    assert again == await db.get_proposal(again.id)


@unfinished
async def test_what_is_not_finished_is_not_tried_again(db, status):
    first = await stored(db, status)

    with pytest.raises(NotRetryableError, match="only what is finished is tried again") as caught:
        await db.create_proposal(retry(first.id))

    assert (caught.value.retry_of, caught.value.current) == (first.id, status)
    assert await db.list_proposals() == [first]


@pytest.mark.parametrize("number", [4711, 0, -1])
async def test_what_was_never_there_is_not_tried_again(db, number):
    with pytest.raises(NotRetryableError, match=f"there is no proposal {number} to retry") as caught:
        await db.create_proposal(retry(number))

    assert (caught.value.retry_of, caught.value.current) == (number, None)
    assert await db.list_proposals() == []


def test_a_retry_without_who_decided_on_it_is_refused():
    with pytest.raises(ValidationError, match="a retry says who decided on it") as caught:
        proposal(retry_of=1)

    assert cause_of(caught.value).path == "proposed_by"


async def test_what_nobody_knows_is_tried_again_without_a_finding(db):
    record = await unknown(db)

    again = await db.create_proposal(retry(record.proposal_id))

    assert again.retry_of == record.proposal_id


async def test_one_proposal_may_be_tried_again_several_times(db):
    first = await stored(db, ActionStatus.FAILED)

    made = [await db.create_proposal(retry(first.id)) for _ in range(2)]

    assert [one.retry_of for one in made] == [first.id] * 2


async def test_many_are_tried_again_at_once(db):
    given = [(await stored(db, status)).id for status in TERMINAL]

    made = await db.create_proposals([*(retry(number) for number in given), proposal()])

    assert [one.retry_of for one in made] == [*given, None]


@unfinished
async def test_one_that_cannot_be_tried_again_keeps_many_from_being_stored(db, status):
    good, bad = await stored(db, ActionStatus.FAILED), await stored(db, status)

    with pytest.raises(NotRetryableError) as caught:
        await db.create_proposals([proposal(), retry(good.id), retry(bad.id)])

    assert (caught.value.retry_of, caught.value.current) == (bad.id, status)
    assert await db.list_proposals() == [bad, good]


async def test_a_retry_is_told_by_the_first_event(db):
    first = await stored(db, ActionStatus.FAILED)
    again = await db.create_proposal(retry(first.id))

    (event,) = await db.get_events(again.id)

    assert (event.by, event.data["retry_of"]) == ("ann", first.id)


async def test_a_retry_under_a_key_is_repeated(db):
    first = await stored(db, ActionStatus.FAILED)
    again = await db.create_proposal(retry(first.id), idempotency_key="k")

    repeated = await db.create_proposal(retry(first.id), idempotency_key="k")

    assert (repeated.id, repeated.repeated) == (again.id, True)
