"""Which old rows can be true, and what they become: without a ledger."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from operator_core.actions import TRANSITIONS, ActionOutcome, ActionStatus
from operator_core.legacy.conversion import BY, UNKNOWN, Conversion, convert
from operator_core.legacy.source import HIGHEST_ID, LegacyDatabase
from tests.legacy.predecessor import ENDED, STEPS, UNTYPED, UTC_AT, VALIDATED, ZONE, Predecessor

OPEN: dict[str, Any] = {"completed_at": None, "success": None, "result_data": None}


def at(minute: int, second: int = 0) -> datetime:
    """Return a time on the morning of 1 May 2024, two hours behind Berlin."""
    return datetime(2024, 5, 1, 8, minute, second, tzinfo=UTC)


def converted(old: Predecessor) -> list[Conversion]:
    with LegacyDatabase(old.path) as file:
        return [convert(group, ZoneInfo(ZONE), file.duplicate_ids) for group in file.groups()]


def reasons(old: Predecessor) -> list[str]:
    """Return what is said of rows that are rejected, after seeing that nothing else was made of them."""
    conversions = converted(old)
    assert [conversion.proposal for conversion in conversions] == [None] * len(conversions)
    return [str(note) for conversion in conversions for _, note in conversion.rejected]


@pytest.fixture
def untyped(tmp_path: Path) -> Predecessor:
    """A database in which every value stays what it is."""
    return Predecessor(tmp_path / "untyped.db", UNTYPED)


# -- what can be true --------------------------------------------------------------------------------------------------


def test_every_state_has_a_row_that_can_be_true(old: Predecessor) -> None:
    old.one_of_each()

    states = {conversion.proposal.status for conversion in converted(old) if conversion.proposal}

    assert states == set(TRANSITIONS) - {ActionStatus.EXECUTING}


def test_a_row_that_is_whole_needs_no_remark(old: Predecessor) -> None:
    old.run("completed")

    (conversion,) = converted(old)

    assert (conversion.rejected, conversion.notes) == ((), ())


def test_local_times_become_aware(old: Predecessor) -> None:
    old.run("completed", record={"started_at": "2024-05-01 10:02:00.123456"})

    (conversion,) = converted(old)

    assert conversion.proposal is not None
    assert conversion.record is not None
    found = conversion.proposal
    assert (found.proposed_at, found.validated_at, found.completed_at) == (at(0), at(1), at(3))
    assert found.executing_at == conversion.record.started_at == at(2).replace(microsecond=123456)


def test_winter_is_an_hour_behind_summer(old: Predecessor) -> None:
    old.proposal(proposed_at="2024-01-01T10:00:00")

    (conversion,) = converted(old)

    assert conversion.proposal is not None
    assert conversion.proposal.proposed_at == datetime(2024, 1, 1, 9, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2024-05-01T10:00:00+02:00", "2024-05-01T08:00:00Z"])
def test_a_time_that_names_its_offset_is_taken_at_its_word(old: Predecessor, text: str) -> None:
    old.proposal(proposed_at=text)

    (conversion,) = converted(old)

    assert conversion.proposal is not None
    assert conversion.proposal.proposed_at == at(0)


def test_an_hour_that_came_twice_is_the_first_and_is_remarked(old: Predecessor) -> None:
    old.proposal(proposed_at="2024-10-27T02:30:00")

    (conversion,) = converted(old)

    assert conversion.proposal is not None
    assert conversion.proposal.proposed_at == datetime(2024, 10, 27, 0, 30, tzinfo=UTC)
    assert ["that came twice in Europe/Berlin: the first is taken" in one.text for one in conversion.notes] == [True]


def test_what_was_executing_is_failed_with_an_unknown_outcome(old: Predecessor) -> None:
    old.run("executing", record=OPEN)

    (conversion,) = converted(old)

    assert conversion.proposal is not None
    assert conversion.record is not None
    assert (conversion.proposal.status, conversion.record.outcome) == (ActionStatus.FAILED, ActionOutcome.UNKNOWN)
    assert (conversion.proposal.status_by, conversion.proposal.status_reason) == (BY, UNKNOWN)
    assert (conversion.record.started_at, conversion.record.completed_at) == (at(2), at(5))
    assert [str(one) for one in conversion.notes] == ["proposal 1 was executing: it is failed, outcome unknown"]


def test_what_was_executing_has_not_ended_before_it_was_started(old: Predecessor) -> None:
    old.run("executing", record=OPEN, updated_at="2024-05-01 08:00:00")

    (conversion,) = converted(old)

    assert conversion.record is not None
    assert conversion.record.completed_at == conversion.record.started_at == at(2)


def test_what_was_executing_without_a_record_is_given_one(old: Predecessor) -> None:
    old.proposal("executing", **STEPS)

    (conversion,) = converted(old)

    assert conversion.record is not None
    assert (conversion.record.id, conversion.record.outcome) == (None, ActionOutcome.UNKNOWN)
    assert conversion.record.started_at == at(5)
    assert "has no record: one is made" in conversion.notes[0].text


def test_a_failure_that_does_not_say_so_is_unknown(old: Predecessor) -> None:
    old.run("failed", record={"success": None})

    (conversion,) = converted(old)

    assert conversion.record is not None
    assert (conversion.record.outcome, conversion.record.completed_at) == (ActionOutcome.UNKNOWN, at(3))


STANDS_FOR = [
    ("proposed", {"proposed_at": None}, "proposed_at", at(5)),
    ("validated", {"validated_at": None}, "validated_at", at(5)),
    ("cancelled", {"cancelled_at": None}, "cancelled_at", at(5)),
    ("completed", {"validated_at": None}, "validated_at", at(2)),
    ("completed", {"record": {"started_at": None}}, "executing_at", at(5)),
    ("completed", {"record": {"completed_at": None}}, "completed_at", at(5)),
    ("failed", {"record": {"completed_at": None}}, "failed_at", at(5)),
]


@pytest.mark.parametrize(("status", "given", "column", "at"), STANDS_FOR)
def test_a_time_that_is_missing_is_taken_from_another_column_and_remarked(
    old: Predecessor, status: str, given: dict, column: str, at: datetime
) -> None:
    if status in ("completed", "failed"):
        old.run(status, **given)
    else:
        old.proposal(status, **given)

    (conversion,) = converted(old)

    assert getattr(conversion.proposal, column) == at
    assert ["stands for it" in note.text for note in conversion.notes[:1]] == [True]


@pytest.mark.parametrize(("column", "found"), [("reason", ""), ("proposed_by", "unknown"), ("parameters", {})], ids=str)
def test_a_value_that_is_missing_is_replaced_and_remarked(old: Predecessor, column: str, found: object) -> None:
    old.proposal(**{column: None})

    (conversion,) = converted(old)

    assert getattr(conversion.proposal, column) == found
    assert [f"has no {column}" in note.text for note in conversion.notes] == [True]


def test_times_that_run_backwards_are_kept_and_remarked(old: Predecessor) -> None:
    old.run("completed", record={"completed_at": VALIDATED})

    (conversion,) = converted(old)

    assert conversion.proposal is not None
    assert conversion.proposal.completed_at == at(1)
    assert ["run backwards" in note.text for note in conversion.notes] == [True]


@pytest.mark.parametrize("number", ["1e16", "-0.0", "9007199254740993", "1.0", "123456789012345678901234567890"])
def test_numbers_keep_their_kind_and_their_digits(old: Predecessor, number: str) -> None:
    old.proposal(parameters=f'{{"store":{number}}}')

    (conversion,) = converted(old)

    assert conversion.proposal is not None
    kept = conversion.proposal.parameters["store"]
    assert repr(kept) == repr(float(number) if "." in number or "e" in number else int(number))


# -- what cannot -------------------------------------------------------------------------------------------------------

REJECTED_PROPOSALS = [
    ({"status": "lost"}, "has the status 'lost', which is none of proposed,"),
    ({"status": "Proposed"}, "has the status 'Proposed', which"),
    ({"status": None}, "has the status None, which"),
    ({"parameters": "{broken"}, "has broken JSON in parameters"),
    ({"parameters": ""}, "has broken JSON in parameters"),
    ({"parameters": '{"a":NaN}'}, "NaN is no number in JSON"),
    ({"parameters": '{"a":1,"a":2}'}, "a key is there twice"),
    ({"parameters": "[" * 100_000}, "has broken JSON in parameters"),
    ({"parameters": "[1]"}, "parameters is a list"),
    ({"parameters": "null"}, "parameters is a NoneType"),
    ({"parameters": '{"a":1e999}'}, "parameters.a is inf"),
    ({"parameters": '{"a":"\\u0000"}'}, "holds a NUL character"),
    ({"parameters": '{"a":"\\ud800"}'}, "holds a lone surrogate"),
    ({"parameters": f'{{"a":"{"x" * 300_000}"}}'}, "takes more than the 262,144 bytes"),
    ({"parameters": b"{}"}, "has a parameters that is no text but a bytes"),
    ({"reason": "a\x00b"}, "reason holds a NUL character"),
    ({"action_name": None}, "action_name does not fit: Input should be a valid string"),
    ({"action_name": " "}, "action_name is empty"),
    ({"action_name": "x" * 256}, "action_name has 256 characters"),
    ({"action_type": "robot"}, "action_type does not fit: Input should be 'subject', 'tool' or 'workflow'"),
    ({"ticket_id": "seven"}, "ticket_id does not fit: Input should be a valid integer"),
    ({"proposed_at": "yesterday"}, "has a proposed_at that is 'yesterday', which is no time"),
    ({"proposed_at": "2024-05-01"}, "which is no time such as"),
    ({"proposed_at": "2024-02-30T10:00:00"}, "which is no time: day is out of range"),
    ({"proposed_at": "2024-05-01T10:00:00.1234567"}, "which is no time such as"),
    ({"proposed_at": 1714550400}, "has a proposed_at that is"),
    ({"proposed_at": "2024-03-31T02:30:00"}, "which did not exist in Europe/Berlin: the clocks went forward"),
    ({"proposed_at": "0001-01-01T00:30:00"}, "outside the years 1 to 9999"),
    ({"proposed_at": "9999-12-31T23:30:00"}, "outside the years 1 to 9999"),
    ({"proposed_at": None, "created_at": None}, "has no proposed_at and no created_at"),
    ({"validated_at": VALIDATED}, "is proposed, but has a validated_at"),
    ({"cancelled_at": VALIDATED}, "is proposed, but has a cancelled_at"),
    ({"status": "validated", "validated_at": None, "updated_at": None}, "has no validated_at and no updated_at"),
    ({"status": "validated", "validated_at": VALIDATED, "cancelled_at": ENDED}, "is validated, but has a cancelled_at"),
    ({"status": "completed", **STEPS}, "is completed, but has no record"),
    ({"status": "failed", **STEPS}, "is failed, but has no record"),
    ({"status": "executing", "updated_at": None}, "has no updated_at"),
    ({"id": 0}, "has the id 0"),
    ({"id": -1}, "has the id -1"),
    ({"id": HIGHEST_ID + 1}, "has the id"),
]


@pytest.mark.parametrize(("given", "why"), REJECTED_PROPOSALS, ids=[why for _, why in REJECTED_PROPOSALS])
def test_a_proposal_that_cannot_be_true_is_rejected(old: Predecessor, given: dict, why: str) -> None:
    old.proposal(**{"status": "proposed", **given} if "status" not in given else given)

    (reason,) = reasons(old)

    assert why in reason


REJECTED_RUNS = [
    ("proposed", {"validated_at": None}, {}, "is proposed, but has record 1"),
    ("validated", {}, {}, "is validated, but has record 1"),
    ("cancelled", {"cancelled_at": ENDED}, {}, "is cancelled, but has record 1"),
    ("completed", {}, {"success": 0}, "is completed, but record 1 says failed"),
    ("completed", {}, {"success": None}, "is completed, but record 1 says unknown"),
    ("failed", {}, {"success": 1}, "is failed, but record 1 says succeeded"),
    ("executing", {}, {"success": 1}, "is executing, but record 1 says succeeded"),
    ("completed", {"cancelled_at": ENDED}, {}, "is completed, but has a cancelled_at"),
    ("completed", {"updated_at": None}, {"completed_at": None}, "has no completed_at and no updated_at"),
    ("completed", {}, {"success": 2}, "has the success 2"),
    ("completed", {}, {"success": "yes"}, "has the success 'yes'"),
    ("completed", {}, {"result_data": "{"}, "has broken JSON in result_data"),
    ("completed", {}, {"result_data": '"moved"'}, "result_data is a str"),
    ("completed", {}, {"started_at": None, "created_at": None}, "has no started_at and no created_at"),
    ("completed", {}, {"error_message": "a\x00b"}, "error_message holds a NUL character"),
    ("completed", {}, {"id": -5}, "has the id -5"),
]


@pytest.mark.parametrize(("status", "given", "record", "why"), REJECTED_RUNS, ids=[row[3] for row in REJECTED_RUNS])
def test_a_proposal_and_its_record_are_rejected_together(
    old: Predecessor, status: str, given: dict, record: dict, why: str
) -> None:
    old.run(status, **given, record=record)

    found = reasons(old)

    assert len(found) == 2
    assert [why in reason for reason in found].count(True) == 1
    assert ["which is rejected" in reason for reason in found].count(True) == 1


def test_a_record_without_a_proposal_is_rejected(old: Predecessor) -> None:
    old.record(99)
    old.record(99)
    old.record(None)

    found = reasons(old)

    assert found == [
        "rejected: record 1 belongs to proposal 99, which is not there",
        "rejected: record 2 belongs to proposal 99, which is not there",
        "rejected: record 3 belongs to proposal None, which is not there",
    ]


def test_a_proposal_with_two_records_is_rejected_with_both(old: Predecessor) -> None:
    old.record(old.run("completed"))

    found = reasons(old)

    assert "has more than one record (1, 2), and so more than one outcome" in found[0]
    assert len(found) == 3


def test_what_is_there_twice_is_rejected_both_times(untyped: Predecessor) -> None:
    untyped.proposal(id=1)
    untyped.proposal(id=1)

    assert reasons(untyped) == [
        "rejected: proposal 1 is there 2 times",
        "rejected: proposal 1 goes with proposal 1, which is rejected",
    ]


def test_records_of_one_id_are_rejected_with_their_proposals(untyped: Predecessor) -> None:
    for number in (1, 2):
        untyped.proposal("completed", id=number, **STEPS)
        untyped.record(number, id=5)

    assert ["has an id that another record has too" in reason for reason in reasons(untyped)].count(True) == 2


@pytest.mark.parametrize("number", [None, "one", 1.5, b"\x01"])
def test_a_row_without_a_number_is_rejected(untyped: Predecessor, number: object) -> None:
    untyped.proposal(id=number)
    untyped.record(number, id=1)

    found = reasons(untyped)

    assert "has the id" in found[0]
    assert "which is not there" in found[1]


def test_bytes_that_are_no_text_are_rejected(old: Predecessor) -> None:
    old.proposal()
    old.execute("UPDATE action_proposals SET reason = CAST(X'61FF62' AS TEXT)")

    (reason,) = reasons(old)

    assert "reason holds a lone surrogate" in reason


def test_a_created_at_that_is_not_needed_may_be_broken(old: Predecessor) -> None:
    old.run("completed", created_at="never", updated_at=None, record={"created_at": "never"})

    (conversion,) = converted(old)

    assert conversion.proposal is not None
    assert conversion.notes == ()


def test_the_times_of_sqlite_are_in_utc(old: Predecessor) -> None:
    old.proposal(proposed_at=None, created_at=UTC_AT)

    (conversion,) = converted(old)

    assert conversion.proposal is not None
    assert conversion.proposal.proposed_at == at(5)
