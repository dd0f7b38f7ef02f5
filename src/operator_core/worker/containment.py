"""Exits within an action: `sys.exit` in a task that an action made ends that task, not the event loop of the worker."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from operator_core.actions import ActionError

within_action: ContextVar[bool] = ContextVar("operator_core_within_action", default=False)
"""Whether the code that runs is an action's; each task has a copy of its own, and hands it on to those it makes."""


@dataclass(eq=False)
class TaskExitedError(ActionError):
    """A task that an action made raised SystemExit or KeyboardInterrupt, which is its `__cause__`.

    asyncio would let those two end the whole event loop, also where the action catches them.
    """

    exit: str

    def __str__(self) -> str:
        return f"a task of the action ended with {self.exit}"


class _ContainedTask(Coroutine[Any, Any, Any]):
    """A coroutine whose exits are errors."""

    def __init__(self, inner: Coroutine[Any, Any, Any]) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)  # its name and frame, for whoever lists the tasks

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()

    def send(self, value: Any) -> Any:
        return self._step(self._inner.send, value)

    def throw(self, *error: Any) -> Any:
        return self._step(self._inner.throw, *error)

    def close(self) -> None:
        self._inner.close()

    @staticmethod
    def _step(step: Callable[..., Any], *args: Any) -> Any:
        try:
            return step(*args)
        except (SystemExit, KeyboardInterrupt) as error:
            raise TaskExitedError(exit=f"{type(error).__name__}: {error}") from error


class _TaskFactory:
    """Makes the tasks of a loop as before, but contains those of actions."""

    def __init__(self, before: Callable[..., Any] | None) -> None:
        self.before, self.users = before, 0

    def __call__(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        if within_action.get() and isinstance(coro, Coroutine):
            coro = _ContainedTask(coro)  # pyright: ignore[reportUnknownArgumentType]
        if self.before is not None:
            return self.before(loop, coro, **options)
        return asyncio.Task(coro, loop=loop, **options)


@contextmanager
def contained_exits() -> Generator[None]:
    """Contain the tasks that actions make within the block, on the loop that runs."""
    loop: Any = asyncio.get_running_loop()
    factory = loop.get_task_factory()
    if not isinstance(factory, _TaskFactory):
        factory = _TaskFactory(factory)
        loop.set_task_factory(factory)
    factory.users += 1
    try:
        yield
    finally:
        factory.users -= 1
        if not factory.users and loop.get_task_factory() is factory:
            loop.set_task_factory(factory.before)
