"""The retry of a worker while its database is away."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from operator_core.actions import DatabaseUnavailableError, RetryTransactionError
from operator_core.logs import get_logger

T = TypeVar("T")
log = get_logger("operator_core.worker")

UNAVAILABLE = (DatabaseUnavailableError, RetryTransactionError)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0


class RetryWhileUnavailable:
    """A retry with growing pauses while the database is away.

    Args:
        worker: The worker's name, for the log.
        stopping: Set when the worker is to stop.
    """

    def __init__(self, worker: str, stopping: asyncio.Event) -> None:
        self.worker, self.stopping = worker, stopping

    async def __call__(self, act: Callable[[], Awaitable[T]], *, give_up: bool = True) -> T | None:
        """Return the result of `act`; None if the worker is stopping meanwhile, unless `give_up` is False."""
        pause = _FIRST_PAUSE
        while True:
            try:
                return await act()
            except UNAVAILABLE as error:
                if give_up and self.stopping.is_set():
                    return None
                log.warning("the database is away, trying again: %s", error, extra={"worker": self.worker})
            seconds = pause * random.uniform(0.5, 1.0)  # noqa: S311 - workers must not come back in step
            if not give_up:
                await asyncio.sleep(seconds)
            elif await self._stopped_within(seconds):
                return None
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _stopped_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        return self.stopping.is_set()
