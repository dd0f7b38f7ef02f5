"""One look at all proposals that somebody waits for, however many wait."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from operator_core.actions.lifecycle import ActionStatus
from operator_core.db.engine.notifier import Hint


@dataclass(eq=False)
class _Waiter:
    proposal_id: int
    known: ActionStatus
    interval: float
    changed: asyncio.Future[None]


class StatusWatch:
    """The task that looks for all who wait, as long as somebody does.

    Args:
        look: Returns the states of the proposals with the given ids; what is missing is not there.
        notifications: Yields the function that waits for the next look.
    """

    def __init__(
        self,
        look: Callable[[Sequence[int]], Awaitable[Mapping[int, str]]],
        notifications: Callable[[], AbstractAsyncContextManager[Hint]],
    ) -> None:
        self._look, self._notifications = look, notifications
        self._waiters: set[_Waiter] = set()
        self._looking: asyncio.Task[None] | None = None
        self._came = asyncio.Event()

    async def changed(self, proposal_id: int, known: ActionStatus, interval: float) -> None:
        """Wait until a proposal is not in the known state any more; `interval` bounds the seconds between two looks.

        Raises:
            ActionError: The database cannot be read, as for any call.
        """
        waiter = _Waiter(proposal_id, known, interval, asyncio.get_running_loop().create_future())
        if interval < min((other.interval for other in self._waiters), default=0.0):
            self._came.set()
        self._waiters.add(waiter)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_again_and_again(), name="waiting for proposals")
        try:
            await waiter.changed
        finally:
            self._waiters.discard(waiter)
            if not self._waiters:
                await self._stop()

    async def _stop(self) -> None:
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.wait({looking})

    async def _pause(self, hint: Hint) -> None:
        """Wait until the most impatient waiter wants a look, also if it comes only now."""
        self._came.clear()
        waits = [
            asyncio.ensure_future(hint(min((waiter.interval for waiter in self._waiters), default=0.0))),
            asyncio.ensure_future(self._came.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if waits[0].done():
            waits[0].result()  # raises what the ledger raises once it is closed

    async def _look_again_and_again(self) -> None:
        try:
            async with self._notifications() as hint:
                while True:
                    await self._pause(hint)
                    asked = [*self._waiters]  # more may come while it looks
                    found = await self._look([*{waiter.proposal_id for waiter in asked}])
                    for waiter in asked:
                        if found.get(waiter.proposal_id) != waiter.known and not waiter.changed.done():
                            waiter.changed.set_result(None)
        except Exception as error:  # noqa: BLE001 - it is the waiters'
            self._looking = None
            for waiter in self._waiters:
                if not waiter.changed.done():
                    waiter.changed.set_exception(error)
