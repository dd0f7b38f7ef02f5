"""The actions that a worker can run: the name of each, the model of its parameters, and its coroutine function."""

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel, ValidationError

from operator_core.actions import ActionError
from operator_core.actions.failures import error_text
from operator_core.actions.validation import check_name, dump_json, sanitise_text
from operator_core.db import Execution
from operator_core.logs import get_logger

M = TypeVar("M", bound=BaseModel)
R = TypeVar("R")
Handler = Callable[[M, Execution], Awaitable[object]]
"""A function that runs one action: it takes the validated parameters and the execution, and returns the result."""

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
class HandlerNotAllowedError(ActionError, TypeError):
    """The object to register cannot be called as the handler of an action; `problem` says what to do."""

    problem: str

    def __str__(self) -> str:
        return self.problem


@dataclass(frozen=True)
class RegisteredAction:
    """One action that a worker can run."""

    name: str
    model: type[BaseModel]
    handler: Handler[Any]

    def problems(self, parameters: Mapping[str, Any]) -> str | None:
        """Return the problems of the parameters, for every field; None if they fit the model."""
        try:
            self._parsed(parameters)
        except BaseException as error:  # noqa: BLE001 - a validator that breaks or exits must not end the worker
            return sanitise_text(self._told(error), longest=_LONGEST)
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


class ActionRegistry:
    """The actions of a process by their names.

    ::

        registry = ActionRegistry()


        class Drain(BaseModel):
            store: int


        @registry.action("drain_store")
        async def drain(parameters: Drain, execution: Execution) -> dict[str, Any]:
            ...
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

    def action(
        self, name: str, model: type[BaseModel] | None = None
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
                problem=f'the name is missing: write @registry.action("...") above {_of(name)}'
            )
        check_name(name, "name")

        def register(handler: Callable[[M, Execution], Awaitable[R]]) -> Callable[[M, Execution], Awaitable[R]]:
            self.add(name, handler, model)
            return handler

        return register

    def add(self, name: str, handler: Handler[Any], model: type[BaseModel] | None = None) -> None:
        """Register `handler`, like the decorator `action`, with the same errors."""
        if check_name(name, "name") in self._actions:
            raise AlreadyRegisteredError(action_name=name)
        wanted = f"the handler of {name!r}"
        if not inspect.iscoroutinefunction(handler):
            raise HandlerNotAllowedError(problem=f"{wanted} is no `async def` function, but {_kind(handler)}")
        arguments = list(inspect.signature(handler).parameters.values())
        if len(arguments) != _ARGUMENTS:
            problem = f"{wanted} takes {len(arguments)} arguments; two: parameters, execution"
            raise HandlerNotAllowedError(problem=problem)
        for argument in arguments:
            if argument.kind not in _POSITIONAL:
                problem = f"{wanted} takes {argument}; two arguments by position: parameters, execution"
                raise HandlerNotAllowedError(problem=problem)
        self._actions[name] = RegisteredAction(name, _model(wanted, handler, arguments[0].name, model), handler)


_ARGUMENTS = 2
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _of(handler: object) -> str:
    return repr(getattr(handler, "__qualname__", handler))


def _kind(handler: object) -> str:
    if inspect.isasyncgenfunction(handler):
        return "an async generator, which yields"
    if isinstance(handler, staticmethod | classmethod):
        return "a static or class method that is not bound yet (register what it wraps)"
    if isinstance(handler, type):
        return f"the class {_of(handler)}"
    if inspect.isroutine(handler):
        return f"{_of(handler)}, which is not `async`"
    return f"a {type(handler).__name__} (if it can be called, pass its bound method)"


def _model(wanted: str, handler: Handler[Any], argument: str, model: object) -> type[BaseModel]:
    annotation = _annotation(wanted, handler, argument, required=model is None)
    found = annotation if model is None else model
    if not (isinstance(found, type) and issubclass(found, BaseModel)):
        if model is not None:
            raise HandlerNotAllowedError(problem=f"the model for {wanted} is {model!r}; a Pydantic model is wanted")
        raise HandlerNotAllowedError(problem=f"annotate the first argument of {wanted} with a Pydantic model")
    if isinstance(annotation, type) and not issubclass(found, annotation):
        problem = f"{wanted} expects a {annotation.__name__}, and the model given is {found.__name__}: leave it out"
        raise HandlerNotAllowedError(problem=problem)
    return found


def _annotation(wanted: str, handler: Handler[Any], argument: str, *, required: bool) -> object:
    function: Any = handler
    while isinstance(function, partial):
        function = function.func
    try:
        return get_type_hints(function).get(argument)
    except Exception as error:
        if not required:
            return None
        raise HandlerNotAllowedError(
            problem=f"the annotations of {wanted} cannot be read ({type(error).__name__}: {error}): pass the model"
        ) from error
