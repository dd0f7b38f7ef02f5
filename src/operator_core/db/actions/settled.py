"""How a call outlives its cancellation: it is settled first."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def settled(work: Awaitable[T]) -> T:
    """Run `work` in a task of its own and wait until it is settled, also when the caller is cancelled.

    A task that is cancelled inside SQLAlchemy and aiosqlite can leave SQLite's write lock held, so the cancellation is
    delivered afterwards. Cancelled does not mean undone.
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
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                continue  # asked again: it is still not settled
        if not task.cancelled():
            task.exception()  # it is seen: the caller wants to hear of its cancellation
        raise
    return task.result()
