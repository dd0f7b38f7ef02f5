"""Finish a call before delivering its cancellation, and abort it if that takes too long."""

import asyncio
import time
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

SETTLE_TIMEOUT_SECONDS = 15.0
"""How long recording the end of an execution may take once its task is cancelled; then its calls are cancelled too."""


class Limit:
    """A bound on how long a cancelled caller waits for its work, and the action that aborts the work afterwards."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds

    def patience(self) -> float | None:
        """Return for how many seconds the work may still finish by itself; None means without a limit."""
        return self.seconds

    def give_up(self, task: "asyncio.Future[Any]") -> float | None:
        """Abort the work, and return for how many more seconds to wait for it."""
        task.cancel()  # the calls inside finish, each within its own limit
        return self.seconds


async def shielded(work: Coroutine[Any, Any, T], limit: Limit | None = None) -> T:
    """Run `work` in its own task and wait until it has finished, even if the caller is cancelled.

    A task that is cancelled inside SQLAlchemy and aiosqlite can leave SQLite's write lock held, so the cancellation is
    delivered afterwards. Cancelled does not mean undone.

    Args:
        work: The work to run.
        limit: How long a cancelled caller waits; None means until the work is done.
    """
    end = asyncio.get_running_loop().create_future()

    def wake(_task: object) -> None:
        if not end.done():
            end.set_result(None)

    task = asyncio.create_task(work)
    task.add_done_callback(wake)
    try:
        await end
    except asyncio.CancelledError:
        await outlast(task, limit)
        raise
    return task.result()


async def in_time(work: Awaitable[T], limit: Limit) -> T:
    """Run `work` in its own task for as long as a cancelled caller would wait, then abort it.

    Raises:
        TimeoutError: It was aborted.
    """
    task = asyncio.ensure_future(work)
    if await outlast(task, limit):
        raise asyncio.CancelledError
    if not task.done() or task.cancelled():
        raise TimeoutError
    return task.result()


async def outlast(task: "asyncio.Future[Any]", limit: Limit | None) -> bool:
    """Wait for a task, and abort it at its limit; return whether the caller was cancelled meanwhile."""
    cancelled = await _done_within(task, None if limit is None else limit.patience())
    if limit is not None and not task.done():
        cancelled = await _done_within(task, limit.give_up(task)) or cancelled
    task.add_done_callback(_see)
    return cancelled


async def _done_within(task: "asyncio.Future[Any]", seconds: float | None) -> bool:
    cancelled, deadline = False, None if seconds is None else time.monotonic() + seconds
    while not task.done():
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            break
        try:
            await asyncio.wait({task}, timeout=left)
        except asyncio.CancelledError:
            cancelled = True  # cancelled again, and the task has not finished
    return cancelled


def _see(task: "asyncio.Future[Any]") -> None:
    if not task.cancelled():
        task.exception()  # the caller gets its cancellation instead
