"""A queue for the ends of executions: those that come while others are being recorded share the next statement."""

import asyncio
from collections.abc import Sequence

from operator_core.actions.errors import ActionError, UnreadableRowError
from operator_core.actions.types import StoredRecord
from operator_core.db.stores import endings
from operator_core.db.stores.ending_batches import Ending, by_target, finish_alike
from operator_core.db.transactions.owned import TransactionRunner
from operator_core.db.transactions.shield import Limit, outlast

MAX_ENDS = 32
"""How many ends one statement records at most: a result may have a megabyte."""

Finished = StoredRecord | UnreadableRowError


class EndingQueue:
    """The ends that wait to be recorded, and the one task that records them.

    Each end has a transaction of its own or shares one, and is acknowledged after the commit. What is refused together
    with others is tried again alone, so that every caller learns the reason of its own refusal.

    Args:
        transactions: What runs the units.
    """

    def __init__(self, transactions: TransactionRunner) -> None:
        self._transactions = transactions
        self._waiting: list[tuple[Ending, asyncio.Future[Finished]]] = []
        self._recording: asyncio.Task[None] | None = None

    async def finish(self, ending: Ending) -> Finished:
        """Record an end; a cancelled caller waits until it is recorded, as for any other call."""
        recorded: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()
        self._waiting.append((ending, recorded))
        if self._recording is None:
            # It begins in the next turn of the loop, so that what ends in this one is recorded together.
            self._recording = asyncio.create_task(self._record_all(), name="ends of executions")
        try:
            return await asyncio.shield(recorded)
        except asyncio.CancelledError:
            await outlast(recorded, Limit(self._transactions.settle_timeout))
            raise

    async def drain(self) -> None:
        """Wait until what is in the queue is recorded, on a server no longer than a cancelled call may take."""
        if self._recording is not None:
            await asyncio.wait({self._recording}, timeout=self._transactions.settle_timeout)

    async def _record_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_ENDS], self._waiting[MAX_ENDS:]
                try:
                    await self._record(batch)
                except Exception as error:  # noqa: BLE001 - it is the callers'
                    for _, recorded in batch:
                        if not recorded.done():
                            recorded.set_exception(error)
                finally:
                    for _, recorded in batch:  # of a loop that is being closed
                        recorded.cancel()
        finally:
            self._recording = None

    async def _record(self, batch: Sequence[tuple[Ending, asyncio.Future[Finished]]]) -> None:
        finished: dict[int, StoredRecord] = {}
        for alike in by_target([ending for ending, _ in batch]).values():
            if len(alike) > 1:
                finished |= await self._record_together(alike)
        alone: list[tuple[Ending, asyncio.Future[Finished]]] = []
        for ending, recorded in batch:
            record = finished.pop(ending.record_id, None)
            if record is None:
                alone.append((ending, recorded))
            elif not recorded.done():
                recorded.set_result(record)
        await asyncio.gather(*(self._record_alone(ending, recorded) for ending, recorded in alone))

    async def _record_together(self, alike: Sequence[Ending]) -> dict[int, StoredRecord]:
        try:
            return await self._transactions.run(finish_alike, alike)
        except ActionError:
            return {}

    async def _record_alone(self, ending: Ending, recorded: asyncio.Future[Finished]) -> None:
        try:
            record = await self._transactions.run(endings.finish, *ending)
        except Exception as error:  # noqa: BLE001 - it is the caller's
            if not recorded.done():
                recorded.set_exception(error)
        else:
            if not recorded.done():
                recorded.set_result(record)
