"""Finish a call before delivering its cancellation, and give it up if that takes too long."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

SETTLE_TIMEOUT_SECONDS = 15.0
"""For how long the end of an execution is recorded once its task is cancelled; then its calls are cancelled too."""


class Outcome(Generic[T]):
    """The result of a call, which is there even if the caller was cancelled and will not see it."""

    __slots__ = ("is_set", "value")

    value: T

    def __init__(self) -> None:
        self.is_set = False

    def set(self, value: T) -> None:
        """Set the result, once."""
        self.value, self.is_set = value, True


class Limit:
    """How long a caller that is cancelled waits for what it has begun, and what breaks that off afterwards."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds

    def patience(self) -> float | None:
        """Return for how many seconds the work may still come to its end by itself; None means as long as it takes."""
        return self.seconds

    def give_up(self, task: "asyncio.Future[Any]") -> float | None:
        """Break the work off, and return for how many seconds it is waited for once more."""
        task.cancel()  # the calls within are settled, each within its own limit
        return self.seconds


async def shielded(work: Awaitable[T], limit: Limit | None = None) -> T:
    """Run `work` in a task of its own and wait until it is settled, even if the caller is cancelled.

    A task that is cancelled inside SQLAlchemy and aiosqlite can leave SQLite's write lock held, so the cancellation is
    delivered afterwards. Cancelled does not mean undone.

    Args:
        work: What is done.
        limit: For how long a cancelled caller waits; None means until the work is done.
    """
    end = asyncio.get_running_loop().create_future()

    def wake(_task: object = None) -> None:
        if not end.done():
            end.set_result(None)

    async def run() -> T:
        try:
            return await work
        finally:
            wake()  # `asyncio.shield` would hear of it one turn of the loop later

    task = asyncio.create_task(run())
    task.add_done_callback(wake)  # it is cancelled before it ran
    try:
        await end
    except asyncio.CancelledError:
        await _wind_up(task, limit)
        raise
    return task.result()


async def in_time(work: Awaitable[T], limit: Limit) -> T:
    """Run `work` in a task of its own for as long as a cancelled caller would wait, and give it up then.

    Raises:
        TimeoutError: It was given up.
    """
    task = asyncio.ensure_future(work)
    if await _wind_up(task, limit):
        raise asyncio.CancelledError
    if not task.done() or task.cancelled():
        raise TimeoutError
    return task.result()


async def _wind_up(task: "asyncio.Future[Any]", limit: Limit | None) -> bool:
    """Wait for a task, and give it up when its limit is over; return whether the caller was cancelled meanwhile."""
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
            cancelled = True  # asked again: it is still not settled
    return cancelled


def _see(task: "asyncio.Future[Any]") -> None:
    if not task.cancelled():
        task.exception()  # the caller wants to hear of its cancellation
