"""A registry knows what a worker can do, and refuses at once what could not be done later."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from operator_core.actions import ActionStatus, ActionType, InvalidArgumentError, ValueNotStorableError
from operator_core.db import ActionDB, Execution
from operator_core.worker import (
    ActionRegistry,
    AlreadyRegisteredError,
    HandlerNotAllowedError,
    NotRegisteredError,
    ParametersNotValidError,
    Worker,
)
from tests.support.factories import stored
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

    with pytest.raises(AlreadyRegisteredError, match="the action 'drain_store' is registered already") as caught:
        registry.add("drain_store", drain)
    assert isinstance(caught.value, ValueError)


def test_a_name_that_no_proposal_can_have_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="name is empty"):
        ActionRegistry().add(" ", drain)


def plain(parameters: Drain, execution: Execution) -> None: ...


async def alone(parameters: Drain) -> None: ...


async def crowded(parameters: Drain, execution: Execution, more: int) -> None: ...


async def bare(parameters, execution: Execution) -> None: ...


async def loose(parameters: dict[str, Any], execution: Execution) -> None: ...


async def swapped(execution: Execution, parameters: Drain) -> None: ...


async def keyword_only(parameters: Drain, *, execution: Execution) -> None: ...


async def starred(parameters: Drain, *execution: Execution) -> None: ...


async def double_starred(parameters: Drain, **execution: Execution) -> None: ...


async def generator(parameters: Drain, execution: Execution) -> AsyncIterator[int]:
    yield 1


async def hidden(parameters: "NoSuchModel", execution: Execution) -> None: ...  # noqa: F821 - that is the point


class Callable:
    async def __call__(self, parameters: Drain, execution: Execution) -> None: ...

    async def method(self, parameters: Drain, execution: Execution) -> None: ...

    @staticmethod
    async def static(parameters: Drain, execution: Execution) -> None: ...


REFUSED: dict[str, tuple[Any, str]] = {
    "a function": (plain, "is no `async def` function, but 'plain', which is not `async`"),
    "one argument": (alone, "the handler of 'drain' takes 1 arguments; two: parameters, execution"),
    "three arguments": (crowded, "the handler of 'drain' takes 3 arguments; two: parameters, execution"),
    "no annotation": (bare, "annotate the first argument of the handler of 'drain' with a Pydantic model"),
    "a dict": (loose, "annotate the first argument of the handler of 'drain' with a Pydantic model"),
    "swapped": (swapped, "annotate the first argument of the handler of 'drain' with a Pydantic model"),
    "keyword only": (keyword_only, "takes execution: .*Execution; two arguments by position"),
    "starred": (starred, "two arguments by position"),
    "double starred": (double_starred, "two arguments by position"),
    "a generator": (generator, "is no `async def` function, but an async generator, which yields"),
    "a model that cannot be found": (hidden, "cannot be read .*NoSuchModel.*: pass the model"),
    "a class": (Callable, "but the class '.*Callable'"),
    "an object": (Callable(), "but a Callable .if it can be called, pass its bound method."),
    "a method of no object": (Callable.method, "takes 3 arguments"),
    "a static method": (vars(Callable)["static"], "but a static or class method that is not bound yet"),
    "part of a function": (partial(plain), "is no `async def` function, but a partial"),
    "a part that takes one": (partial(drain, Drain()), "takes 1 arguments"),
    "nothing": (None, "but a NoneType"),
    "a text": ("drain", "but a str"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_handler_that_could_not_be_called_is_refused(name: str) -> None:
    handler, message = REFUSED[name]

    with pytest.raises(HandlerNotAllowedError, match=message):
        ActionRegistry().add("drain", handler)
    with pytest.raises(TypeError, match=message):
        ActionRegistry().action("drain")(handler)


@pytest.mark.parametrize(
    "handler", [drain, Callable().method, Callable.static, partial(drain), Callable().__call__], ids=range(5)
)
def test_a_handler_that_can_be_called_is_taken(handler: Any) -> None:
    registry = ActionRegistry()

    registry.add("drain", handler)

    assert registry["drain"].model is Drain


@pytest.mark.parametrize("used", [drain, plain, Callable, Callable()], ids=["async", "sync", "class", "object"])
def test_a_decorator_without_a_name_is_refused_at_once(used: Any) -> None:
    with pytest.raises(HandlerNotAllowedError, match=r"the name is missing: write @registry\.action"):
        ActionRegistry().action(used)


def test_a_decorator_that_is_called_without_a_name_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="name"):
        ActionRegistry().action()  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["", " ", 7, None, b"drain", "a\0b", "x" * 256])
def test_a_name_that_no_proposal_can_have_is_refused_before_anything_is_decorated(name: Any) -> None:
    with pytest.raises((InvalidArgumentError, ValueNotStorableError), match=r"^name "):
        ActionRegistry().action(name)


class Other(BaseModel):
    pass


class More(Drain):
    pass


@pytest.mark.parametrize("model", [dict, Drain(), "Drain", 7], ids=["class", "instance", "text", "number"])
def test_a_model_that_is_none_is_refused(model: Any) -> None:
    with pytest.raises(HandlerNotAllowedError, match="a Pydantic model is wanted"):
        ActionRegistry().add("drain", bare, model)


def test_a_model_that_the_handler_does_not_expect_is_refused() -> None:
    with pytest.raises(HandlerNotAllowedError, match="expects a Drain, and the model given is Other"):
        ActionRegistry().add("drain", drain, Other)


def test_a_model_that_is_more_than_the_handler_expects_is_taken() -> None:
    registry = ActionRegistry()

    registry.add("drain", drain, More)

    assert registry["drain"].model is More


def test_a_worker_needs_a_registry(db: ActionDB) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^registry is a dict"):
        Worker(db, {"drain": drain})  # type: ignore[arg-type]


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


# -- options -----------------------------------------------------------------------------------------------------------


def test_an_action_asks_a_person_and_may_destroy_unless_it_says_otherwise() -> None:
    registry = ActionRegistry()
    registry.add("drain", drain)

    action = registry["drain"]

    assert (action.auto_approve, action.read_only, action.destructive, action.idempotent) == (False, False, True, False)


OPTIONS = {"auto_approve": True, "read_only": True, "destructive": False, "idempotent": True, "description": "Drain."}


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_is_kept_by_both_ways_to_register(option: str) -> None:
    registry = ActionRegistry()

    registry.add("added", drain, **{option: OPTIONS[option]})  # type: ignore[arg-type]
    registry.action("decorated", **{option: OPTIONS[option]})(drain)  # type: ignore[arg-type]

    assert [getattr(registry[name], option) for name in registry.names] == [OPTIONS[option]] * 2


def test_an_option_that_is_none_is_refused() -> None:
    with pytest.raises(TypeError, match="auto_aprove"):
        ActionRegistry().add("drain", drain, auto_aprove=True)  # type: ignore[call-arg]


def test_the_description_is_the_docstring() -> None:
    registry = ActionRegistry()

    @registry.action("drain")
    async def documented(_: Drain, execution: Execution) -> None:
        """Move everything off a store.

        It takes an hour.
        """

    assert registry["drain"].description == "Move everything off a store.\n\nIt takes an hour."


def test_a_description_that_is_given_wins_over_the_docstring() -> None:
    registry = ActionRegistry()

    @registry.action("drain", description="")
    async def documented(_: Drain, execution: Execution) -> None:
        """Is not for an agent to read."""

    assert registry["drain"].description == ""


# -- check -------------------------------------------------------------------------------------------------------------


def test_a_check_returns_the_instance_of_the_model() -> None:
    assert registry_of(Diary()).check("drain_store", {"store": 7}) == Drain(store=7)


def test_a_check_of_what_does_not_fit_names_the_action_and_every_field() -> None:
    with pytest.raises(ParametersNotValidError) as caught:
        registry_of(Diary()).check("drain_store", {"store": "hot", "force": "maybe"})

    error = caught.value
    assert (error.action_name, isinstance(error, ValueError), error.http_status) == ("drain_store", True, 422)
    assert str(error).startswith("the parameters of drain_store do not fit: store: ")
    assert "; force: " in error.problems


def test_a_check_of_an_unknown_name_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(NotRegisteredError, match="no action 'page' is registered; there are: drain_store"):
        registry_of(Diary()).check("page", {})


def test_a_model_that_breaks_is_a_problem_of_the_parameters() -> None:
    class Careless(Drain):
        def model_post_init(self, _: Any) -> None:
            raise SystemExit(3)

    registry = ActionRegistry()
    registry.add("drain", bare, Careless)

    with pytest.raises(ParametersNotValidError, match="the model broke with SystemExit: 3"):
        registry.check("drain", {})


# -- propose -----------------------------------------------------------------------------------------------------------


class Timed(BaseModel):
    on: date
    limit: timedelta = timedelta(minutes=5)


def registry_with_times() -> ActionRegistry:
    registry = ActionRegistry()

    @registry.action("drain_store")
    async def handler(_: Timed, execution: Execution) -> None: ...

    return registry


async def test_what_is_proposed_is_the_json_form_of_the_model(db: ActionDB) -> None:
    made = await registry_with_times().propose(
        db, "drain_store", Timed(on=date(2026, 1, 31)), reason="hot", proposed_by="agent-7"
    )

    assert made.parameters == {"on": "2026-01-31", "limit": "PT5M"}
    assert (made.status, made.reason, made.proposed_by) == (ActionStatus.PROPOSED, "hot", "agent-7")
    assert made == await db.get_proposal(made.id)


async def test_every_other_field_of_a_proposal_may_be_given(db: ActionDB) -> None:
    first = await stored(db, ActionStatus.CANCELLED)
    more: dict[str, Any] = {
        "ticket_id": 7,
        "action_type": ActionType.TOOL,
        "valid_until": datetime(2099, 1, 2, tzinfo=UTC),
        "retry_of": first.id,
        "idempotency_key": "alert-731",
        "on_behalf_of": "carl",
    }

    made = await registry_of(Diary()).propose(db, "drain_store", Drain(), reason="hot", proposed_by="agent-7", **more)

    assert {name: getattr(made, name) for name in more} == more


async def test_the_same_key_returns_the_first_proposal(db: ActionDB) -> None:
    registry = registry_of(Diary())

    made = [
        await registry.propose(db, "drain_store", Drain(), reason="hot", proposed_by="a", idempotency_key="k")
        for _ in range(2)
    ]

    assert (made[0].id, made[1].repeated) == (made[1].id, True)


async def test_it_is_proposed_in_the_transaction_of_the_caller(db: ActionDB) -> None:
    with pytest.raises(ConnectionAbortedError):
        async with db.transaction() as tx:
            await registry_of(Diary()).propose(tx, "drain_store", Drain(), reason="hot", proposed_by="a")
            raise ConnectionAbortedError

    assert await db.list_proposals() == []


class Heat(BaseModel):
    degrees: float


class Made(BaseModel):
    by: Any


class Named(BaseModel):
    store: str


REFUSED_PROPOSALS: dict[str, tuple[str, Any, dict[str, Any], type[Exception], str]] = {
    "name": ("page", Drain(), {}, NotRegisteredError, "no action 'page' is registered"),
    "another model": ("drain_store", Named(store="hot"), {}, ParametersNotValidError, "store: "),
    "misfit": ("drain_store", Drain.model_construct(store="hot"), {}, ParametersNotValidError, "store: "),
    "value": ("heat_store", Heat(degrees=float("nan")), {}, ValueNotStorableError, "degrees"),
    "no JSON": ("made_store", Made(by=object()), {}, ValueNotStorableError, "^model has no JSON form: .*object"),
    "on behalf of": ("drain_store", Drain(), {"on_behalf_of": "a\0b"}, ValueNotStorableError, "on_behalf_of"),
    "proposer": ("drain_store", Drain(), {"proposed_by": ""}, InvalidArgumentError, "proposed_by"),
    "no model": ("drain_store", {"store": 4}, {}, InvalidArgumentError, "^model is a dict; give an instance of Drain"),
}


@pytest.mark.parametrize("case", REFUSED_PROPOSALS)
async def test_what_cannot_be_proposed_is_refused_before_anything_is_stored(db: ActionDB, case: str) -> None:
    name, model, more, error, message = REFUSED_PROPOSALS[case]
    registry = registry_of(Diary())

    @registry.action("heat_store")
    async def heat(_: Heat, execution: Execution) -> None: ...

    @registry.action("made_store")
    async def make(_: Made, execution: Execution) -> None: ...

    with pytest.raises(error, match=message):
        await registry.propose(db, name, model, **{"reason": "hot", "proposed_by": "agent-7", **more})

    assert await db.list_proposals() == []


# -- approve, with the registry ----------------------------------------------------------------------------------------


async def test_an_approval_with_the_registry_refuses_what_does_not_fit(db: ActionDB) -> None:
    misfit = await stored(db, parameters={"store": "hot"})

    with pytest.raises(ParametersNotValidError, match="store: "):
        await db.approve(misfit.id, by="ann", registry=registry_of(Diary()))

    status = await db.approval_status(misfit.id)
    assert (status.status, status.decisions) == (ActionStatus.PROPOSED, ())


async def test_an_approval_with_the_registry_refuses_an_action_that_it_does_not_have(db: ActionDB) -> None:
    made = await stored(db, action_name="page")

    with pytest.raises(NotRegisteredError, match="'page'"):
        await db.approve(made.id, by="ann", registry=registry_of(Diary()))

    assert (await db.approval_status(made.id)).decisions == ()


async def test_an_approval_with_the_registry_is_one_where_it_fits(db: ActionDB) -> None:
    made = await stored(db)

    approval = await db.approve(made.id, by="ann", registry=registry_of(Diary()))

    assert (await db.approval_status(made.id)).decisions == (approval,)
