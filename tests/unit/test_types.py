"""The DTOs: frozen, detached, strict about what a ledger could not keep, and validated again where they are stored."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from operator_core.actions import (
    ActionEvent,
    ActionOutcome,
    ActionProposal,
    ActionRecord,
    ActionStatus,
    ActionType,
    StoredRecord,
    ValueNotStorableError,
)
from operator_core.actions.types import TRUSTED_CONTEXT, cause_of, revalidated_fields
from tests.support.factories import proposal

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
PROPOSAL = proposal(ticket_id=0, parameters={"z": [1, 1.0, True, None, -0.0, 1e16], "a": {}}, proposed_at=AT)
RECORD = ActionRecord(proposal_id=7, started_at=AT, result_data={"b": 1, "a": [2**70]})
EVENT = ActionEvent(
    id=1,
    proposal_id=7,
    from_status=None,
    to_status="proposed",
    at=AT,
    by="ann",
    reason=None,
    generation=0,
    data={"a": 1},
)
DTOS = [PROPOSAL, RECORD, EVENT]
every_dto = pytest.mark.parametrize("dto", DTOS, ids=lambda dto: type(dto).__name__)


@every_dto
def test_a_dto_is_frozen(dto: BaseModel) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        dto.id = 8


@every_dto
def test_a_dto_takes_no_field_that_it_does_not_know(dto: BaseModel) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        type(dto).model_validate({**dict(dto), "priority": 1})


@every_dto
def test_a_dto_goes_to_json_and_back(dto: BaseModel) -> None:
    back = type(dto).model_validate_json(dto.model_dump_json())

    assert repr(back) == repr(dto)


@every_dto
def test_every_field_of_a_dto_can_be_left_as_it_is_read(dto: BaseModel) -> None:
    assert type(dto).model_validate(dict(dto)) == dto


def test_a_new_proposal_needs_no_more_than_a_name_and_a_reason() -> None:
    made = ActionProposal(action_name="drain_store", reason="store 4 is hot")

    assert (made.id, made.ticket_id, made.parameters) == (None, None, {})
    assert (made.action_type, made.status, made.proposed_by) == (ActionType.SUBJECT, ActionStatus.PROPOSED, "agent")


@pytest.mark.parametrize("name", ["action_name", "reason"])
def test_a_proposal_without_a_name_or_a_reason_is_refused(name: str) -> None:
    given = {"action_name": "drain_store", "reason": "store 4 is hot"}
    del given[name]

    with pytest.raises(ValidationError, match="Field required"):
        ActionProposal(**given)


def test_a_new_record_is_open() -> None:
    made = ActionRecord(proposal_id=7)

    assert (made.completed_at, made.success, made.error_message, made.result_data) == (None, None, None, None)


@pytest.mark.parametrize(("dto", "name"), [(proposal(), "proposed_at"), (ActionRecord(proposal_id=7), "started_at")])
def test_a_time_that_is_not_given_is_now_in_utc(dto: BaseModel, name: str) -> None:
    at = getattr(dto, name)

    assert at.tzinfo is UTC
    assert datetime.now(UTC) - timedelta(hours=1) < at <= datetime.now(UTC)


@pytest.mark.parametrize("zone", [timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=8))])
def test_a_time_is_turned_into_utc(zone: timezone) -> None:
    made = proposal(proposed_at=AT.astimezone(zone))

    assert (made.proposed_at, made.proposed_at.tzinfo) == (AT, UTC)


@pytest.mark.parametrize("at", [datetime(2026, 1, 2), "2026-01-02 03:04:05", date(2026, 1, 2)])  # noqa: DTZ001
@pytest.mark.parametrize(
    "make", [lambda at: proposal(proposed_at=at), lambda at: ActionRecord(proposal_id=7, started_at=at)]
)
def test_a_naive_time_is_refused(make, at: object) -> None:
    with pytest.raises(ValidationError, match="_at\n"):
        make(at)


@pytest.mark.parametrize(
    "at",
    [
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))),
    ],
)
def test_a_time_beyond_the_calendar_is_refused_by_its_path(at: datetime) -> None:
    with pytest.raises(ValidationError) as caught:
        proposal(proposed_at=at)

    assert cause_of(caught.value).path == "proposed_at"


@pytest.mark.parametrize(
    ("name", "text", "member"),
    [
        ("action_type", "tool", ActionType.TOOL),
        ("status", "executing", ActionStatus.EXECUTING),
    ],
)
def test_a_member_may_be_given_as_its_text(name: str, text: str, member: object) -> None:
    assert getattr(proposal(**{name: text}), name) is member


def test_an_outcome_may_be_given_as_its_text() -> None:
    assert StoredRecord(id=1, proposal_id=7, outcome="unknown").outcome is ActionOutcome.UNKNOWN


@pytest.mark.parametrize(
    "given",
    [
        {"action_type": "weapon"},
        {"status": "done"},
        {"action_name": 7},
        {"action_name": b"drain"},
        {"action_name": None},
        {"reason": None},
        {"ticket_id": "7"},
        {"ticket_id": 7.0},
        {"ticket_id": True},
        {"proposed_at": "soon"},
        {"proposed_by": None},
    ],
    ids=str,
)
def test_a_value_of_another_type_is_refused_and_not_guessed(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(given))):
        proposal(**given)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"action_name": ""}, "action_name"),
        ({"action_name": " \n"}, "action_name"),
        ({"action_name": "x" * 256}, "action_name"),
        ({"proposed_by": "x" * 256}, "proposed_by"),
        ({"reason": "x" * (256 * 1024 + 1)}, "reason"),
        ({"reason": "a\0b"}, "reason"),
        ({"ticket_id": 2**63}, "ticket_id"),
        ({"ticket_id": -(2**63) - 1}, "ticket_id"),
        ({"id": 2**63}, "id"),
        ({"parameters": None}, "parameters"),
        ({"parameters": []}, "parameters"),
        ({"parameters": "{}"}, "parameters"),
        ({"parameters": [("a", 1)]}, "parameters"),
        ({"parameters": {"a": [{"b": (1,)}]}}, "parameters.a[0].b"),
        ({"parameters": {"a b": {"\0": 1}}}, r"parameters['a b']['\x00']"),
        ({"parameters": {"a": {7: 1}}}, "parameters.a"),
    ],
)
def test_a_value_that_no_ledger_could_keep_is_refused_by_its_path(given: dict[str, Any], path: str) -> None:
    with pytest.raises(ValidationError) as caught:
        proposal(**given)

    assert cause_of(caught.value).path == path


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"proposal_id": 2**63}, "proposal_id"),
        ({"error_message": "\ud800"}, "error_message"),
        ({"result_data": [1]}, "result_data"),
        ({"result_data": {"a": float("inf")}}, "result_data.a"),
    ],
)
def test_a_record_refuses_it_by_its_path_too(given: dict[str, Any], path: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ActionRecord(**{"proposal_id": 7, **given})

    assert cause_of(caught.value).path == path


def test_parameters_are_detached_from_what_was_given() -> None:
    given = {"stores": [4], "how": {"fast": True}}
    made = proposal(parameters=given)

    given["stores"].append(5)
    given["how"]["fast"] = False

    assert made.parameters == {"stores": [4], "how": {"fast": True}}


def test_two_proposals_do_not_share_their_default_parameters() -> None:
    assert proposal().parameters is not proposal().parameters


@pytest.mark.parametrize(
    ("update", "error"),
    [
        ({"parameters": {"a": float("nan")}}, ValueNotStorableError),
        ({"reason": "a\0b"}, ValueNotStorableError),
        ({"proposed_at": datetime(2026, 1, 2)}, ValueNotStorableError),  # noqa: DTZ001
        ({"action_name": None}, ValueNotStorableError),
        ({"priority": 1}, ValueNotStorableError),
    ],
)
def test_what_model_copy_lets_in_is_found_when_it_is_checked(update: dict[str, Any], error: type[Exception]) -> None:
    smuggled = proposal().model_copy(update=update)

    with pytest.raises(error):
        revalidated_fields(smuggled)


def test_what_was_changed_inside_frozen_parameters_is_found_when_it_is_checked() -> None:
    made = proposal(parameters={"stores": [4]})
    made.parameters["stores"].append(float("nan"))

    with pytest.raises(ValueNotStorableError, match=r"parameters\.stores\[1\] is nan"):
        revalidated_fields(made)


@pytest.mark.parametrize("context", [None, {}, dict(TRUSTED_CONTEXT)])
def test_only_the_ledger_itself_is_trusted(context: dict[str, bool] | None) -> None:
    with pytest.raises(ValidationError):
        ActionProposal.model_validate({**dict(proposal()), "reason": "a\0b"}, context=context)
