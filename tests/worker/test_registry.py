"""A registry knows what a worker can do, and refuses at once what could not be done later."""

from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from operator_core.actions import ValueNotStorableError
from operator_core.db import Execution
from operator_core.worker import ActionRegistry, NotRegisteredError
from tests.support.workbench import Diary, Drain, registry_of


async def drain(parameters: Drain, execution: Execution) -> None: ...


def test_names_are_in_alphabetical_order() -> None:
    registry = ActionRegistry()

    for name in ("page", "drain", "reboot"):
        registry.add(name, drain)

    assert registry.names == ("drain", "page", "reboot")


def test_the_decorator_gives_the_function_back() -> None:
    assert ActionRegistry().action("drain")(drain) is drain


def test_the_model_is_the_annotation_of_the_first_argument() -> None:
    assert registry_of(Diary())["drain_store"].model is Drain


def test_a_model_that_is_given_needs_no_annotation() -> None:
    registry = ActionRegistry()

    async def bare(parameters, execution): ...

    registry.add("drain", bare, Drain)

    assert registry["drain"].model is Drain


def test_a_registry_is_iterated_over_by_its_actions() -> None:
    assert [action.name for action in registry_of(Diary())] == ["drain_store"]


def test_an_unknown_name_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(NotRegisteredError, match="no action 'page' is registered; there are: drain_store"):
        registry_of(Diary())["page"]


def test_an_unknown_name_in_an_empty_registry_is_refused_too() -> None:
    with pytest.raises(NotRegisteredError, match="there are: none"):
        ActionRegistry()["page"]


def test_a_name_that_is_taken_is_refused() -> None:
    registry = registry_of(Diary())

    with pytest.raises(ValueError, match="the action 'drain_store' is registered already"):
        registry.add("drain_store", drain)


def test_a_name_that_no_proposal_can_have_is_refused() -> None:
    with pytest.raises(ValueNotStorableError, match="name is empty"):
        ActionRegistry().add(" ", drain)


def plain(parameters: Drain, execution: Execution) -> None: ...


async def alone(parameters: Drain) -> None: ...


async def crowded(parameters: Drain, execution: Execution, more: int) -> None: ...


async def bare(parameters, execution: Execution) -> None: ...


async def loose(parameters: dict[str, Any], execution: Execution) -> None: ...


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (plain, "the handler of 'drain' is no `async def` function"),
        (alone, "the handler of 'drain' takes 1 arguments; two: parameters, execution"),
        (crowded, "the handler of 'drain' takes 3 arguments; two: parameters, execution"),
        (bare, "annotate the first argument of the handler of 'drain' with a Pydantic model"),
        (loose, "annotate the first argument of the handler of 'drain' with a Pydantic model"),
    ],
)
def test_a_handler_that_could_not_be_called_is_refused(handler: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        ActionRegistry().add("drain", handler)


def test_a_refused_handler_is_not_registered() -> None:
    registry = ActionRegistry()

    with pytest.raises(TypeError):
        registry.add("drain", plain)

    assert registry.names == ()


def test_parameters_that_fit_have_no_problems() -> None:
    assert registry_of(Diary())["drain_store"].problems({"store": 4}) is None


def test_parameters_that_do_not_fit_are_told_field_by_field() -> None:
    problems = registry_of(Diary())["drain_store"].problems({"store": "hot", "force": "maybe"})

    assert problems is not None
    assert [part.partition(":")[0] for part in problems.split("; ")] == ["store", "force"]


def test_a_field_within_a_field_is_told_by_its_path() -> None:
    class Nested(BaseModel):
        drain: Drain

    registry = ActionRegistry()
    registry.add("drain", bare, Nested)

    problems = registry["drain"].problems({"drain": {"store": "hot"}})

    assert problems is not None
    assert problems.startswith("drain.store: ")


def test_a_strict_model_takes_what_json_writes_as_text() -> None:
    class Dated(BaseModel):
        model_config = ConfigDict(strict=True)
        on: date

    registry = ActionRegistry()
    registry.add("drain", bare, Dated)

    assert registry["drain"].problems({"on": "2026-01-31"}) is None
