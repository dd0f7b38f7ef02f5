"""Contained exits: `sys.exit` in a task of an action ends that task, not the worker's event loop."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from operator_core.actions import ActionError

within_action: ContextVar[bool] = ContextVar("operator_core_within_action", default=False)
"""Whether an action's code is running; each task has its own copy, and passes it on to the tasks that it creates."""


@dataclass(eq=False)
class TaskExitedError(ActionError):
    """A task of an action raised SystemExit or KeyboardInterrupt, which is its `__cause__`.

    asyncio would let those two end the whole event loop, even if the action catches them.
    """

    exit: str

    def __str__(self) -> str:
        return f"a task of the action ended with {self.exit}"


class _ContainedTask(Coroutine[Any, Any, Any]):
    """A coroutine whose exits become errors."""

    def __init__(self, inner: Coroutine[Any, Any, Any]) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)  # its name and frame, for listings of tasks

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
    """A task factory that creates tasks as before, but contains those of actions."""

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
    """Contain the tasks that actions create inside the block, on the running loop."""
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
