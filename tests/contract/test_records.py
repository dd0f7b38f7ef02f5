"""What the calls about records and executions do on each engine: open, close once, start and finish."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from operator_core.actions import (
    ActionOutcome,
    ActionRecord,
    ActionStatus,
    AlreadyStoredError,
    ProposalNotFoundError,
    RecordNotAllowedError,
    RecordNotFoundError,
    StoredRecord,
    TransitionNotAllowedError,
    ValueNotStorableError,
)
from operator_core.db import ActionDB
from tests.support.factories import running, stored
from tests.support.values import REFUSED

BEGUN = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
NOT_EXECUTING = [status for status in ActionStatus if status is not ActionStatus.EXECUTING]
NOT_NEW = [
    {"id": 7},
    {"completed_at": BEGUN},
    {"success": True},
    {"success": False},
    {"error_message": "no"},
    {"result_data": {}},
]
endings = pytest.mark.parametrize("success", [True, False])


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


UNSTORABLE: dict[str, Any] = {
    "not a number": {"a": float("nan")},
    "NUL": {"a": "x\0y"},
    "lone surrogate": {"a": "\ud800"},
    "key that is no string": {1: "a"},
    "key that cannot be printed": {10**5_000: "a"},
    "key that is a lone surrogate": {"\udfff": 1},
    "tuple": {"a": (1, 2)},
    "bytes": {"a": b"\xff"},
    "decimal": {"a": Decimal("1.5")},
    "time": {"a": BEGUN},
    "unprintable": {"a": Unprintable()},
    "huge integer": {"a": 10**5_000},
    "too large": {"a": "x" * 1_048_577},
    "too deep": {"a": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["deep"]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]},
    "list": [1, 2],
    "text": "x\0y",
}
MESSAGES: dict[str, Any] = {
    "NUL": "x\0y",
    "lone surrogate": "\ud800",
    "too long": "x" * 300_000,
    "exception": ValueError("no"),
    "unprintable": Unprintable(),
    "huge integer": 10**5_000,
}


async def executing(db: ActionDB) -> int:
    """Return the id of a proposal that is executing and has no record."""
    made = await stored(db, ActionStatus.VALIDATED)
    return (await db.update_proposal_status(made.id, ActionStatus.EXECUTING)).id


async def test_a_record_is_opened_for_a_proposal_that_is_executing(db: ActionDB) -> None:
    proposal_id = await executing(db)

    record = await db.create_record(ActionRecord(proposal_id=proposal_id, started_at=BEGUN))

    assert record == StoredRecord(id=1, proposal_id=proposal_id, started_at=BEGUN)
    assert record == await db.get_record(record.id)


async def test_the_time_of_a_record_is_kept_in_utc(db: ActionDB) -> None:
    there = BEGUN.astimezone(timezone(timedelta(hours=5, minutes=30)))

    record = await db.create_record(ActionRecord(proposal_id=await executing(db), started_at=there))

    assert (record.started_at, record.started_at.tzinfo) == (BEGUN, UTC)


@pytest.mark.parametrize("status", NOT_EXECUTING)
async def test_a_proposal_that_is_not_executing_gets_no_record(db: ActionDB, status: ActionStatus) -> None:
    made = await stored(db, status)
    before = await db.get_records_for_proposal(made.id)

    with pytest.raises(RecordNotAllowedError) as caught:
        await db.create_record(ActionRecord(proposal_id=made.id))

    assert (caught.value.proposal_id, caught.value.current) == (made.id, status)
    assert await db.get_records_for_proposal(made.id) == before


async def test_a_proposal_has_one_record_at_most(db: ActionDB) -> None:
    record = await running(db)

    with pytest.raises(RecordNotAllowedError, match=f"has record {record.id} already; a retry is a new") as caught:
        await db.create_record(ActionRecord(proposal_id=record.proposal_id))

    assert caught.value.record_id == record.id
    assert await db.get_records_for_proposal(record.proposal_id) == [record]


async def test_a_proposal_that_does_not_exist_gets_no_record(db: ActionDB) -> None:
    with pytest.raises(ProposalNotFoundError, match="there is no proposal 4711"):
        await db.create_record(ActionRecord(proposal_id=4711))


@pytest.mark.parametrize("given", NOT_NEW, ids=str)
async def test_a_record_that_says_more_than_its_start_is_not_new(db: ActionDB, given: dict[str, Any]) -> None:
    proposal_id = await executing(db)

    with pytest.raises(AlreadyStoredError) as caught:
        await db.create_record(ActionRecord(proposal_id=proposal_id, **given))

    assert {caught.value.field: caught.value.value} == given
    assert await db.get_records_for_proposal(proposal_id) == []


@pytest.mark.parametrize(
    ("update", "error"),
    [
        ({"proposal_id": 2**63}, ValueNotStorableError),
        ({"proposal_id": None}, ValueNotStorableError),
        ({"started_at": datetime(2026, 1, 2)}, ValueNotStorableError),  # noqa: DTZ001 - naive is what is refused
        ({"success": True}, AlreadyStoredError),
    ],
)
async def test_what_model_copy_lets_in_is_refused_by_the_store(db: ActionDB, update, error) -> None:
    proposal_id = await executing(db)

    with pytest.raises(error):
        await db.create_record(ActionRecord(proposal_id=proposal_id).model_copy(update=update))

    assert await db.get_records_for_proposal(proposal_id) == []


async def test_a_record_that_does_not_exist_is_none(db: ActionDB) -> None:
    assert await db.get_record(4711) is None


async def test_a_proposal_without_a_record_has_no_records(db: ActionDB) -> None:
    made = await stored(db)

    assert await db.get_records_for_proposal(made.id) == []


@endings
async def test_a_record_is_closed_and_its_proposal_goes_on_executing(db: ActionDB, *, success: bool) -> None:
    record = await running(db)

    closed = await db.update_record(record.id, success, "what happened", {"drained": 4})

    assert closed.success is success
    assert (closed.error_message, closed.result_data) == ("what happened", {"drained": 4})
    assert closed.completed_at is not None
    assert closed == await db.get_record(record.id)
    assert (await db.get_proposal(record.proposal_id)).status is ActionStatus.EXECUTING


@endings
async def test_the_outcome_says_what_success_says(db: ActionDB, *, success: bool) -> None:
    record = await running(db)

    closed = await db.update_record(record.id, success)

    assert closed.outcome is (ActionOutcome.SUCCEEDED if success else ActionOutcome.FAILED)
    assert (closed.error_message, closed.result_data) == (None, None)


@endings
@pytest.mark.parametrize("first", [True, False])
async def test_a_record_is_closed_once(db: ActionDB, *, first: bool, success: bool) -> None:
    record = await running(db)
    closed = await db.update_record(record.id, first, "first")

    with pytest.raises(TransitionNotAllowedError, match=f"record {record.id} is closed as {closed.outcome} since"):
        await db.update_record(record.id, success, "second")

    assert await db.get_record(record.id) == closed


async def test_a_record_that_does_not_exist_is_not_closed(db: ActionDB) -> None:
    with pytest.raises(RecordNotFoundError, match="there is no record 4711") as caught:
        await db.update_record(4711, success=True)

    assert caught.value.record_id == 4711


async def test_a_start_takes_the_step_and_opens_the_record(db: ActionDB) -> None:
    made = await stored(db, ActionStatus.VALIDATED)

    record = await db.start_execution(made.id, by="worker-3")

    found = await db.get_proposal(made.id)
    assert (found.status, found.status_by) == (ActionStatus.EXECUTING, "worker-3")
    assert record == StoredRecord(id=record.id, proposal_id=made.id, started_at=found.executing_at)


@pytest.mark.parametrize("status", [status for status in ActionStatus if status is not ActionStatus.VALIDATED])
async def test_only_a_validated_proposal_is_started(db: ActionDB, status: ActionStatus) -> None:
    made = await stored(db, status)
    before = await db.get_records_for_proposal(made.id)

    with pytest.raises(TransitionNotAllowedError) as caught:
        await db.start_execution(made.id)

    assert (caught.value.id, caught.value.current, caught.value.target) == (made.id, status, ActionStatus.EXECUTING)
    assert await db.get_proposal(made.id) == made
    assert await db.get_records_for_proposal(made.id) == before


async def test_the_loser_of_a_start_learns_who_was_first(db: ActionDB) -> None:
    made = await stored(db, ActionStatus.VALIDATED)
    await db.start_execution(made.id, by="worker-1")

    with pytest.raises(TransitionNotAllowedError, match="is executing and cannot become executing"):
        await db.start_execution(made.id, by="worker-2")


async def test_a_proposal_that_does_not_exist_is_not_started(db: ActionDB) -> None:
    with pytest.raises(ProposalNotFoundError):
        await db.start_execution(4711)


@endings
async def test_a_finish_closes_the_record_and_takes_the_step(db: ActionDB, *, success: bool) -> None:
    record = await running(db)

    closed = await db.finish_execution(
        record.id, success=success, error_message="slow", result_data={"n": 1}, by="worker-3"
    )

    found = await db.get_proposal(record.proposal_id)
    assert (closed.success, closed.error_message, closed.result_data) == (success, "slow", {"n": 1})
    assert (found.status, found.status_by, found.status_reason) == (
        ActionStatus.COMPLETED if success else ActionStatus.FAILED,
        "worker-3",
        "slow",
    )


@endings
@pytest.mark.parametrize("first", [True, False])
async def test_an_execution_is_finished_once(db: ActionDB, *, first: bool, success: bool) -> None:
    record = await running(db)
    closed = await db.finish_execution(record.id, success=first)
    before = await db.get_proposal(record.proposal_id)

    with pytest.raises(TransitionNotAllowedError, match="never changes again"):
        await db.finish_execution(record.id, success=success)

    assert await db.get_record(record.id) == closed
    assert await db.get_proposal(record.proposal_id) == before


async def test_a_finish_after_the_record_was_closed_by_hand_is_refused_and_the_step_can_still_be_taken(
    db: ActionDB,
) -> None:
    record = await running(db)
    await db.update_record(record.id, success=True)

    with pytest.raises(TransitionNotAllowedError):
        await db.finish_execution(record.id, success=True)

    moved = await db.update_proposal_status(record.proposal_id, ActionStatus.COMPLETED)
    assert moved.status is ActionStatus.COMPLETED


async def test_an_execution_without_a_record_cannot_be_finished(db: ActionDB) -> None:
    with pytest.raises(RecordNotFoundError):
        await db.finish_execution(4711, success=True)


@pytest.mark.parametrize("call", ["update_record", "finish_execution"])
@pytest.mark.parametrize("name", UNSTORABLE)
async def test_a_success_with_a_result_that_cannot_be_stored_is_refused_and_changes_nothing(
    db: ActionDB, call: str, name: str
) -> None:
    record = await running(db)

    with pytest.raises(REFUSED) as caught:
        await getattr(db, call)(record.id, success=True, result_data=UNSTORABLE[name])

    assert caught.value.path.startswith("result_data")
    assert await db.get_record(record.id) == record
    assert (await db.get_proposal(record.proposal_id)).status is ActionStatus.EXECUTING


@pytest.mark.parametrize("call", ["update_record", "finish_execution"])
@pytest.mark.parametrize("name", UNSTORABLE)
async def test_a_failure_with_a_result_that_cannot_be_stored_is_recorded_and_says_so(
    db: ActionDB, call: str, name: str
) -> None:
    record = await running(db)

    closed = await getattr(db, call)(record.id, success=False, result_data=UNSTORABLE[name])

    assert closed.outcome is ActionOutcome.FAILED
    assert closed.result_data["_sanitised"].startswith("result_data")
    assert closed == await db.get_record(record.id)


@pytest.mark.parametrize("name", MESSAGES)
async def test_a_failure_with_a_message_that_cannot_be_stored_is_recorded(db: ActionDB, name: str) -> None:
    record = await running(db)

    closed = await db.finish_execution(record.id, success=False, error_message=MESSAGES[name])

    found = await db.get_proposal(record.proposal_id)
    assert closed.error_message
    assert (found.status, found.status_reason) == (ActionStatus.FAILED, closed.error_message)


async def test_a_success_with_a_message_that_cannot_be_stored_is_refused(db: ActionDB) -> None:
    record = await running(db)

    with pytest.raises(ValueNotStorableError, match="error_message holds a NUL"):
        await db.finish_execution(record.id, success=True, error_message="x\0y")

    assert await db.get_record(record.id) == record
