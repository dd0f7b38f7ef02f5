"""Whatever Python can put into a value is refused by its path, or comes back exactly, on both engines alike."""

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from operator_core.actions import ActionStatus, ValueNotStorableError
from operator_core.actions.types import cause_of
from operator_core.actions.validation import INT64, MAX_DEPTH, MAX_INTEGER_BITS, MAX_PARAMETERS_BYTES, MAX_RESULT_BYTES
from operator_core.db import ActionDB
from tests.support.factories import proposal, running, stored
from tests.support.values import (
    ANY_TEXT,
    ANYTHING,
    NAMES,
    STORABLE,
    TEXT,
    ZONES,
    exact,
    examples,
    nested,
    plainly,
    sized,
)

Both = dict[str, ActionDB]


@pytest.fixture
async def both(sqlite_path: Path, postgres_url: str) -> AsyncIterator[Both]:
    """Two open ledgers, one on each engine: a value must meet the same fate in both."""
    async with AsyncExitStack() as stack:
        targets = {"sqlite": sqlite_path, "postgresql": postgres_url}
        yield {name: await stack.enter_async_context(ActionDB(target)) for name, target in targets.items()}


@examples
@given(parameters=ANYTHING)
@example(parameters={"a": [True, 1, 1.0, 0.0, -0.0, 1e16, 10**16]})
@example(parameters=OrderedDict(z=1, a=2))
@example(parameters={"a": {(1, 2): 1}})
async def test_any_parameters_are_refused_by_path_or_come_back_exactly(both: Both, parameters: Any) -> None:
    try:
        new = proposal(parameters=parameters)
    except ValidationError as error:
        assert cause_of(error).path.startswith("parameters")  # noqa: PT017 - either answer will do
        return

    for engine, db in both.items():
        made = await db.create_proposal(new)
        assert exact(made.parameters) == exact(plainly(parameters)), engine
        assert await db.get_proposal(made.id) == made


@examples
@given(parameters=STORABLE)
@example(parameters={"id": INT64, "max": 2**MAX_INTEGER_BITS - 1, "min": -(2**MAX_INTEGER_BITS) + 1})
@example(parameters={"": "", "'": '"', "\\": "\\u0000", "\u2028": "🔥", "\x1f": "\x7f", "$ref": "%s :name ?"})
async def test_storable_parameters_are_let_in_and_come_back_exactly_by_every_way(both: Both, parameters: Any) -> None:
    new = proposal(parameters=parameters)

    for engine, db in both.items():
        made = [await db.create_proposal(new), *await db.create_proposals([new, new])]
        read = [await db.get_proposal(one.id) for one in made]
        first = [(await db.get_events(one.id))[0].data for one in made]
        answers = [one.parameters for one in [*made, *read]] + [data["parameters"] for data in first]
        assert [exact(answer) for answer in answers] == [exact(parameters)] * 9, engine


@examples
@given(result=STORABLE)
async def test_storable_results_come_back_exactly_also_in_the_closing_event(both: Both, result: Any) -> None:
    for engine, db in both.items():
        record = await running(db)
        closed = await db.finish_execution(record.id, success=True, result_data=result)
        read = await db.get_record(record.id)
        last = (await db.get_events(record.proposal_id))[-1].data
        answers = [closed.result_data, read.result_data, last["result_data"]]
        assert [exact(answer) for answer in answers] == [exact(result)] * 3, engine


@examples
@given(result=ANYTHING, message=ANY_TEXT)
async def test_any_result_of_a_failure_is_recorded(both: Both, result: Any, message: str) -> None:
    kept = []
    for db in both.values():
        record = await running(db)
        closed = await db.finish_execution(record.id, success=False, error_message=message, result_data=result)
        assert closed == await db.get_record(record.id)
        kept.append((closed.error_message, exact(closed.result_data)))

    assert kept[0] == kept[1]


@pytest.mark.parametrize("levels", [1, 2, MAX_DEPTH - 1, MAX_DEPTH])
async def test_values_as_deep_as_is_allowed_come_back(both: Both, levels: int) -> None:
    new = proposal(parameters=nested(levels))

    for db in both.values():
        for made in [await db.create_proposal(new), *await db.create_proposals([new])]:
            assert (await db.get_proposal(made.id)).parameters == nested(levels)
            assert (await db.get_events(made.id))[0].data["parameters"] == nested(levels)


async def test_parameters_as_large_as_is_allowed_come_back(both: Both) -> None:
    new = proposal(parameters=sized(MAX_PARAMETERS_BYTES))

    for db in both.values():
        for made in [await db.create_proposal(new), *await db.create_proposals([new])]:
            assert (await db.get_proposal(made.id)).parameters == new.parameters


async def test_a_result_as_large_as_is_allowed_comes_back(both: Both) -> None:
    for db in both.values():
        record = await running(db)
        closed = await db.finish_execution(record.id, success=True, result_data=sized(MAX_RESULT_BYTES))
        assert closed.result_data == sized(MAX_RESULT_BYTES)


async def test_a_result_one_byte_larger_than_is_allowed_is_refused(both: Both) -> None:
    for db in both.values():
        record = await running(db)
        with pytest.raises(ValueNotStorableError, match=r"result_data takes 1,048,577 bytes"):
            await db.finish_execution(record.id, success=True, result_data=sized(MAX_RESULT_BYTES + 1))


@examples
@given(at=st.datetimes(timezones=ZONES))
@example(at=datetime.min.replace(tzinfo=UTC))
@example(at=datetime.max.replace(tzinfo=UTC))
@example(at=datetime(999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC))
@example(at=datetime(1970, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30, seconds=7, microseconds=11))))
async def test_any_aware_time_is_refused_by_path_or_comes_back_equal_in_utc(both: Both, at: datetime) -> None:
    try:
        new = proposal(proposed_at=at)
    except ValidationError as error:
        assert cause_of(error).path == "proposed_at"  # noqa: PT017 - either answer will do
        return

    for engine, db in both.items():
        made = [await db.create_proposal(new), *await db.create_proposals([new])]
        read = [(await db.get_proposal(one.id)).proposed_at for one in made]
        said = [(await db.get_events(one.id))[0].data["proposed_at"] for one in made]
        assert read == [at, at], engine
        assert {moment.tzinfo for moment in read} == {UTC}
        assert said == [at.astimezone(UTC).isoformat(" ", "microseconds").removesuffix("+00:00")] * 2, engine


@examples
@given(ticket_id=st.integers(-INT64, INT64 - 1))
@example(ticket_id=-INT64)
@example(ticket_id=INT64 - 1)
@example(ticket_id=0)
async def test_any_64_bit_ticket_comes_back_and_is_found(both: Both, ticket_id: int) -> None:
    new = proposal(ticket_id=ticket_id)

    for db in both.values():
        made = [await db.create_proposal(new), *await db.create_proposals([new])]
        found = await db.list_proposals(ticket_id=ticket_id, limit=2)
        assert [one.ticket_id for one in made] == [ticket_id] * 2
        assert found == made[::-1]


@examples
@given(name=NAMES, reason=TEXT, who=NAMES)
@example(name="'; DROP TABLE action_proposals; --", reason='"', who="\\")
@example(name="🔥" * 255, reason="", who="%s :name ? $1")
@example(name=" a ", reason="\r\n\t\x1f\x7f\ufeff\uffff", who="\U0010ffff")
async def test_any_text_comes_back_and_is_found(both: Both, name: str, reason: str, who: str) -> None:
    new = proposal(action_name=name, reason=reason, proposed_by=who)

    for engine, db in both.items():
        made = [await db.create_proposal(new), *await db.create_proposals([new])]
        found = await db.list_proposals(action_name=name, proposed_by=who, limit=2)
        said = [(await db.get_events(one.id))[0].data for one in made]
        assert {(one.action_name, one.reason, one.proposed_by) for one in found} == {(name, reason, who)}, engine
        assert found == made[::-1]
        assert {(data["action_name"], data["reason"], data["proposed_by"]) for data in said} == {(name, reason, who)}


@examples
@given(by=NAMES, reason=TEXT)
async def test_any_who_and_why_of_a_step_comes_back(both: Both, by: str, reason: str) -> None:
    for db in both.values():
        made = await stored(db)
        moved = await db.update_proposal_status(made.id, ActionStatus.VALIDATED, by=by, reason=reason)
        last = (await db.get_events(made.id))[-1]
        assert (moved.status_by, moved.status_reason, last.by, last.reason) == (by, reason, by, reason)
