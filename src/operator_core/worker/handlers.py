"""What can be the handler of an action: a coroutine function of two arguments, the first of which has a model."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel

from operator_core.actions import ActionError
from operator_core.db import Execution

M = TypeVar("M", bound=BaseModel)
Handler = Callable[[M, Execution], Awaitable[object]]
"""A function that runs one action: it takes the validated parameters and the execution, and returns the result."""

_ARGUMENTS = 2
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(eq=False)
class HandlerNotAllowedError(ActionError, TypeError):
    """The object to register cannot be called as the handler of an action; `problem` says what to do."""

    problem: str

    def __str__(self) -> str:
        return self.problem


def model_of(name: str, handler: Handler[Any], model: object) -> type[BaseModel]:
    """Return the model of a handler's parameters.

    Raises:
        HandlerNotAllowedError: It cannot be called as a handler, or its model is unknown.
    """
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
    return _model(wanted, handler, arguments[0].name, model)


def describe(handler: object) -> str:
    """Return the name of a handler, for a message."""
    return repr(getattr(handler, "__qualname__", handler))


def _kind(handler: object) -> str:
    if inspect.isasyncgenfunction(handler):
        return "an async generator, which yields"
    if isinstance(handler, staticmethod | classmethod):
        return "a static or class method that is not bound yet (register what it wraps)"
    if isinstance(handler, type):
        return f"the class {describe(handler)}"
    if inspect.isroutine(handler):
        return f"{describe(handler)}, which is not `async`"
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
