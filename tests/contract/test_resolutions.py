"""How a person settles, on each engine, an execution whose outcome nobody knows: once, and nothing that is known."""

import asyncio
from collections.abc import Iterator

import pytest

from operator_core.actions import (
    ActionOutcome,
    AlreadyResolvedError,
    EventKind,
    InvalidArgumentError,
    RecordNotFoundError,
    Resolution,
)
from operator_core.actions.lifecycle import OUTCOMES
from tests.support.claims import claimed, recovered, unknown
from tests.support.factories import running
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.stop_steps import stop
from tests.support.values import REFUSED

KNOWN = [outcome for outcomes in OUTCOMES.values() for outcome in outcomes if outcome is not ActionOutcome.UNKNOWN]


@pytest.fixture(autouse=True)
def _history(ledger: Ledger) -> Iterator[None]:
    yield
    assert check_history(ledger) == []


async def resolve(db, record_id, resolution=Resolution.HAPPENED, **given):
    return await db.resolve_unknown(record_id, **{"resolution": resolution, "by": "ann", "reason": "I looked", **given})


async def test_what_nobody_knows_is_unsettled_oldest_first(db, plain):
    first, second = await unknown(db), await recovered(db, plain, await claimed(db))

    assert await db.list_unresolved() == [first, second]


async def test_what_is_known_or_still_runs_is_not_unsettled(db):
    await running(db)
    await (await claimed(db)).fail("no such store")
    await (await claimed(db)).complete()

    assert await db.list_unresolved() == []


@pytest.mark.parametrize("finding", Resolution)
async def test_a_finding_is_written_into_the_record(db, finding):
    record = await unknown(db)

    settled = await resolve(db, record.id, finding)

    assert (settled.resolution, settled.resolution_by, settled.resolution_reason) == (finding, "ann", "I looked")
    assert settled == await db.get_record(record.id)


async def test_a_finding_changes_nothing_else_of_the_record(db):
    record = await unknown(db)

    settled = await resolve(db, record.id)

    same = dict.fromkeys(("resolution", "resolution_at", "resolution_by", "resolution_reason"))
    assert settled.model_copy(update=same) == record


async def test_a_finding_changes_nothing_of_the_proposal(db):
    record = await unknown(db)
    before = await db.get_proposal(record.proposal_id)

    await resolve(db, record.id)

    assert await db.get_proposal(record.proposal_id) == before


async def test_what_is_settled_is_unsettled_no_more(db):
    record, other = await unknown(db), await unknown(db)

    await resolve(db, record.id)

    assert await db.list_unresolved() == [other]


@pytest.mark.parametrize("finding", Resolution)
async def test_a_finding_is_an_event_with_who_and_why(db, finding):
    record = await unknown(db)
    settled = await resolve(db, record.id, finding)

    last = (await db.get_events(record.proposal_id))[-1]

    assert (last.kind, last.by, last.reason, last.at) == (EventKind.RESOLVED, "ann", "I looked", settled.resolution_at)
    assert (last.record_id, last.data) == (record.id, {"finding": finding})


@pytest.mark.parametrize(
    "text", [text for finding in Resolution for text in (finding.value, finding.replace(" ", "_"))]
)
async def test_a_finding_may_be_given_as_its_text(db, text):
    record = await unknown(db)

    settled = await resolve(db, record.id, text)

    assert settled.resolution == text.replace("_", " ")


@pytest.mark.parametrize("text", ["", "no", "Happened", "did-not-happen", None, 1])
async def test_what_is_no_finding_is_refused(db, text):
    record = await unknown(db)

    with pytest.raises(InvalidArgumentError) as caught:
        await resolve(db, record.id, text)

    assert caught.value.path == "resolution"
    assert await db.get_record(record.id) == record


@pytest.mark.parametrize("given", [{"by": ""}, {"by": "a\0b"}, {"reason": "a\0b"}, {"reason": None}], ids=str)
async def test_who_found_out_and_how_must_be_storable(db, given):
    record = await unknown(db)

    with pytest.raises(REFUSED) as caught:
        await resolve(db, record.id, **given)

    assert caught.value.path in given
    assert await db.get_record(record.id) == record


async def test_a_finding_is_written_once(db):
    record = await unknown(db)
    settled = await resolve(db, record.id, Resolution.PARTLY)

    with pytest.raises(AlreadyResolvedError, match="was resolved by ann: partly") as caught:
        await resolve(db, record.id, Resolution.HAPPENED, by="bob")

    assert (caught.value.resolution, caught.value.by) == (Resolution.PARTLY, "ann")
    assert await db.get_record(record.id) == settled


async def test_of_many_findings_at_once_one_is_written(db):
    record = await unknown(db)

    found = await asyncio.gather(*(resolve(db, record.id) for _ in range(4)), return_exceptions=True)

    assert [type(one) for one in found].count(AlreadyResolvedError) == 3


@pytest.mark.parametrize("outcome", KNOWN)
async def test_a_known_outcome_is_not_settled(db, outcome):
    execution = await claimed(db)
    await stop(db)
    record = await execution.acknowledge_stop(outcome=outcome)

    with pytest.raises(AlreadyResolvedError, match=f"is closed as {outcome}; only an unknown") as caught:
        await resolve(db, record.id)

    assert (caught.value.outcome, caught.value.resolution) == (outcome, None)
    assert await db.get_record(record.id) == record


async def test_what_still_runs_is_not_settled(db):
    record = await running(db)

    with pytest.raises(AlreadyResolvedError, match="is open; only an unknown outcome"):
        await resolve(db, record.id)

    assert await db.get_record(record.id) == record


async def test_a_record_that_is_not_there_is_not_settled(db):
    with pytest.raises(RecordNotFoundError) as caught:
        await resolve(db, 4711)

    assert caught.value.record_id == 4711
