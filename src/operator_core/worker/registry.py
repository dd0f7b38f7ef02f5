"""The actions that a worker can run: the name of each, the model of its parameters, and its coroutine function."""

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict, TypeVar, Unpack

from pydantic import BaseModel, ValidationError

from operator_core.actions import (
    ActionError,
    ActionProposal,
    ActionType,
    InvalidArgumentError,
    StoredProposal,
    ValueNotStorableError,
)
from operator_core.actions.failures import error_text
from operator_core.actions.types import cause_of
from operator_core.actions.validation import check_name, dump_json, sanitise_text
from operator_core.db import ActionLedger, Execution
from operator_core.logs import get_logger
from operator_core.worker.handlers import Handler, HandlerNotAllowedError, describe, model_of

M = TypeVar("M", bound=BaseModel)
R = TypeVar("R")

log = get_logger("operator_core.worker")
_LONGEST = 8_000  # characters of a refusal: a proposer could cause any number of problems


@dataclass(eq=False)
class NotRegisteredError(ActionError):
    """The registry has no action of this name."""

    action_name: str
    known: tuple[str, ...]

    def __str__(self) -> str:
        return f"no action {self.action_name!r} is registered; there are: {', '.join(self.known) or 'none'}"


@dataclass(eq=False)
class AlreadyRegisteredError(ActionError, ValueError):
    """The registry already has an action of this name; each name has one handler."""

    action_name: str

    def __str__(self) -> str:
        return f"the action {self.action_name!r} is registered already: take another name, or another registry"


@dataclass(eq=False)
class ParametersNotValidError(ActionError, ValueError):
    """The parameters of an action do not fit its model; `problems` names every field."""

    http_status = 422
    advice = "correct the fields that the message names"

    action_name: str
    problems: str

    def __str__(self) -> str:
        return f"the parameters of {self.action_name} do not fit: {self.problems}"


@dataclass(frozen=True)
class RegisteredAction:
    """One action that a worker can run.

    Attributes:
        name: The `action_name` of its proposals.
        model: The model of its parameters.
        handler: The function that runs it.
        auto_approve: Whether a worker may let it run without asking a person; a policy in the ledger overrides it.
        description: What it does, for people and for models.
        read_only: Whether it changes nothing.
        destructive: Whether what it changes can be lost; of no meaning where `read_only`.
        idempotent: Whether repeating it changes nothing more.
    """

    name: str
    model: type[BaseModel]
    handler: Handler[Any]
    auto_approve: bool = False
    description: str = ""
    read_only: bool = False
    destructive: bool = True
    idempotent: bool = False

    def check(self, parameters: Mapping[str, Any]) -> BaseModel:
        """Return the parameters as an instance of the model.

        Raises:
            ParametersNotValidError: They do not fit it.
        """
        try:
            return self._parsed(parameters)
        except BaseException as error:  # a validator that breaks or exits must not end the worker
            problems = sanitise_text(self._told(error), longest=_LONGEST)
            raise ParametersNotValidError(action_name=self.name, problems=problems) from error

    def problems(self, parameters: Mapping[str, Any]) -> str | None:
        """Return the problems of the parameters, for every field; None if they fit the model."""
        try:
            self.check(parameters)
        except ParametersNotValidError as error:
            return error.problems
        return None

    def _told(self, error: BaseException) -> str:
        if isinstance(error, ValidationError):
            with suppress(Exception):  # then the model broke while describing its problems
                return "; ".join(
                    f"{'.'.join(map(str, problem['loc'])) or 'parameters'}: {problem['msg']}"
                    for problem in error.errors(include_url=False, include_input=False)
                )
        log.warning("the model of %s broke", self.name, exc_info=error)
        return f"the model broke with {error_text(error)}"

    async def run(self, execution: Execution) -> object:
        """Validate the parameters again and run the action."""
        return await self.handler(self._parsed(execution.proposal.parameters), execution)

    def _parsed(self, parameters: Mapping[str, Any]) -> BaseModel:
        # As JSON, which they are: a strict model accepts a date as text only there.
        return self.model.model_validate_json(dump_json(parameters))


class ActionOptions(TypedDict, total=False):
    """The options of an action, all optional: see the attributes of `RegisteredAction`."""

    auto_approve: bool
    description: str
    read_only: bool
    destructive: bool
    idempotent: bool


class ProposalExtras(TypedDict, total=False):
    """The optional fields of a proposal: see the attributes of `ActionProposal`."""

    ticket_id: int | None
    action_type: ActionType
    valid_until: datetime | None
    retry_of: int | None
    idempotency_key: str | None
    on_behalf_of: str | None


class ActionRegistry:
    """The actions of a process by their names.

    ::

        registry = ActionRegistry()


        class Drain(BaseModel):
            store: int


        @registry.action("drain_store")
        async def drain(parameters: Drain, execution: Execution) -> dict[str, Any]:
            ...

    An action runs only once a person has approved it, unless it is registered with `auto_approve=True`.
    """

    def __init__(self) -> None:
        self._actions: dict[str, RegisteredAction] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all actions, in alphabetical order."""
        return tuple(sorted(self._actions))

    def __iter__(self) -> Iterator[RegisteredAction]:
        return iter(self._actions.values())

    def __getitem__(self, name: str) -> RegisteredAction:
        """Return the action of this name.

        Raises:
            NotRegisteredError: There is no such action.
        """
        try:
            return self._actions[name]
        except KeyError:
            raise NotRegisteredError(action_name=name, known=self.names) from None

    def check(self, name: str, parameters: Mapping[str, Any]) -> BaseModel:
        """Return the parameters of an action as an instance of its model.

        Raises:
            NotRegisteredError: There is no such action.
            ParametersNotValidError: They do not fit its model.
        """
        return self[name].check(parameters)

    async def propose(
        self,
        db: ActionLedger,
        name: str,
        model: BaseModel,
        *,
        reason: str,
        proposed_by: str,
        **more: Unpack[ProposalExtras],
    ) -> StoredProposal:
        """Propose a registered action with an instance of its model, whose JSON form is stored.

        Args:
            db: An open ledger, or a repository in a host's transaction.
            name: The name of the action.
            model: Its parameters.
            reason: The reason, for the person that decides.
            proposed_by: The name of the proposer.
            more: The optional fields of an `ActionProposal`: `on_behalf_of`, `ticket_id`, `action_type`, `valid_until`,
                `retry_of` and `idempotency_key`.

        Raises:
            NotRegisteredError: There is no such action.
            ParametersNotValidError: They do not fit its model.
            ValueNotStorableError: They have no JSON form that both engines store.
            InvalidArgumentError: The model is not an instance of a Pydantic model, or another field is not valid.
        """
        action = self[name]
        if not isinstance(model, BaseModel):  # pyright: ignore[reportUnnecessaryIsInstance] - a caller may be untyped
            kind = type(model).__name__
            raise InvalidArgumentError(path="model", reason=f"is a {kind}; give an instance of {action.model.__name__}")
        try:
            proposal = ActionProposal(
                action_name=name, parameters=_json_of(model), reason=reason, proposed_by=proposed_by, **more
            )
        except ValidationError as error:
            raise cause_of(error) from error
        action.check(proposal.parameters)
        return await db.create_proposal(proposal)

    def action(
        self, name: str, model: type[BaseModel] | None = None, **options: Unpack[ActionOptions]
    ) -> Callable[[Callable[[M, Execution], Awaitable[R]]], Callable[[M, Execution], Awaitable[R]]]:
        """Register the decorated coroutine function under `name`.

        Args:
            name: The `action_name` of proposals.
            model: The Pydantic model of the parameters; by default the annotation of the first argument.

        Raises:
            AlreadyRegisteredError: The name is taken.
            HandlerNotAllowedError: It is not a coroutine function of two arguments, or its model is unknown.
            InvalidArgumentError: No proposal can have this name.
        """
        if callable(name):
            raise HandlerNotAllowedError(
                problem=f'the name is missing: write @registry.action("...") above {describe(name)}'
            )
        check_name(name, "name")

        def register(handler: Callable[[M, Execution], Awaitable[R]]) -> Callable[[M, Execution], Awaitable[R]]:
            self.add(name, handler, model, **options)
            return handler

        return register

    def add(
        self,
        name: str,
        handler: Handler[Any],
        model: type[BaseModel] | None = None,
        **options: Unpack[ActionOptions],
    ) -> None:
        """Register `handler`, like the decorator `action`, with the same errors."""
        if check_name(name, "name") in self._actions:
            raise AlreadyRegisteredError(action_name=name)
        options.setdefault("description", inspect.getdoc(handler) or "")
        self._actions[name] = RegisteredAction(name, model_of(name, handler, model), handler, **options)


def _json_of(model: BaseModel) -> dict[str, Any]:
    """Return the JSON form of a model; an instance that was never validated has one, too, and is checked later."""
    try:
        return model.model_dump(mode="json", warnings="none")
    except Exception as error:
        raise ValueNotStorableError(path="model", reason=f"has no JSON form: {error_text(error)}") from error
