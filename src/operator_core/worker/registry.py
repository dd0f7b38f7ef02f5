"""What a worker can do: the name of each action, the model of its parameters, and the coroutine that does it."""

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel, ValidationError

from operator_core.actions import ActionError
from operator_core.actions.values import check_name, dump_json, sanitise_text
from operator_core.db import Execution

M = TypeVar("M", bound=BaseModel)
Result = Mapping[str, Any] | None
Handler = Callable[[M, Execution], Awaitable[Result]]
"""Does one action: takes the validated parameters and its execution, and returns what is recorded as the result."""

_ARGUMENTS = 2
_LONGEST = 8_000  # characters of a refusal: whoever proposes decides how much is wrong


@dataclass(eq=False)
class NotRegisteredError(ActionError):
    """The registry has no action of this name."""

    action_name: str
    known: tuple[str, ...]

    def __str__(self) -> str:
        return f"no action {self.action_name!r} is registered; there are: {', '.join(self.known) or 'none'}"


@dataclass(frozen=True)
class RegisteredAction:
    """One action that a worker can do."""

    name: str
    model: type[BaseModel]
    handler: Handler[Any]

    def problems(self, parameters: Mapping[str, Any]) -> str | None:
        """Return what is wrong with the parameters, every field of it; None when they fit the model."""
        try:
            self._parsed(parameters)
        except ValidationError as error:
            told = "; ".join(
                f"{'.'.join(map(str, problem['loc'])) or 'parameters'}: {problem['msg']}" for problem in error.errors()
            )
            return sanitise_text(told, longest=_LONGEST)
        except Exception as error:  # noqa: BLE001 - a validator that breaks must not stop the worker for good
            return f"the model broke with {type(error).__name__}: {sanitise_text(error, longest=_LONGEST)}"
        return None

    async def run(self, execution: Execution) -> Result:
        """Validate the parameters once more and do the action."""
        return await self.handler(self._parsed(execution.proposal.parameters), execution)

    def _parsed(self, parameters: Mapping[str, Any]) -> BaseModel:
        # As JSON, which they are: a strict model takes a date as a text there, and nowhere else.
        return self.model.model_validate_json(dump_json(parameters))


class ActionRegistry:
    """Holds actions by their name.

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
            NotRegisteredError: There is none.
        """
        try:
            return self._actions[name]
        except KeyError:
            raise NotRegisteredError(action_name=name, known=self.names) from None

    def action(self, name: str, model: type[BaseModel] | None = None) -> Callable[[Handler[M]], Handler[M]]:
        """Register the decorated coroutine function under `name`.

        Args:
            name: The `action_name` of proposals.
            model: The Pydantic model of the parameters; by default the annotation of the first argument.

        Raises:
            ValueError: The name is taken.
            TypeError: It is no coroutine function of two arguments, or no model is known.
        """

        def register(handler: Handler[M]) -> Handler[M]:
            self.add(name, handler, model)
            return handler

        return register

    def add(self, name: str, handler: Handler[Any], model: type[BaseModel] | None = None) -> None:
        """Register `handler`, as the decorator `action` does; raises the same."""
        if check_name(name, "name") in self._actions:
            raise ValueError(f"the action {name!r} is registered already")
        if not inspect.iscoroutinefunction(handler):
            raise TypeError(f"the handler of {name!r} is no `async def` function")
        arguments = list(inspect.signature(handler).parameters.values())
        if len(arguments) != _ARGUMENTS:
            raise TypeError(f"the handler of {name!r} takes {len(arguments)} arguments; two: parameters, execution")
        found: Any = model or _annotation(handler, arguments[0].name)
        if not (isinstance(found, type) and issubclass(found, BaseModel)):
            raise TypeError(f"annotate the first argument of the handler of {name!r} with a Pydantic model")
        self._actions[name] = RegisteredAction(name, found, handler)


def _annotation(handler: Handler[Any], name: str) -> object:
    try:
        return get_type_hints(handler).get(name)
    except NameError as error:
        raise TypeError(f"the annotation of {name!r} cannot be read ({error}): pass the model") from error
