"""Helpers for tests of the worker: a registry of one action, a worker at work, and a database that fails on cue."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from pydantic import BaseModel

from operator_core.actions import (
    ActionStatus,
    ConnectionLostError,
    DatabaseUnavailableError,
    StoredProposal,
)
from operator_core.db import ActionDB, Execution
from operator_core.worker import ActionRegistry, Worker, WorkerReport
from tests.support.factories import proposal
from tests.support.patience import PATIENCE

Act = Callable[[Execution], Awaitable[Any]]


class Drain(BaseModel):
    """The parameters of the action of these tests."""

    store: int = 4
    force: bool = False


class Diary:
    """What an action has been called for, in order, and what it is to return."""

    def __init__(self, result: Any = None) -> None:
        self.ids: list[int | None] = []
        self._result = result

    async def __call__(self, execution: Execution) -> Any:
        self.ids.append(execution.proposal.id)
        return self._result


def registry_of(act: Act, name: str = "drain_store", *, auto_approve: bool = True) -> ActionRegistry:
    """Return a registry of one action, which is the action of the factories; by default no person is asked about it."""
    registry = ActionRegistry()

    @registry.action(name, auto_approve=auto_approve)
    async def handler(_: Drain, execution: Execution) -> Any:
        return await act(execution)

    return registry


async def ready(db: ActionDB, count: int = 1, **given: Any) -> list[int]:
    """Store so many validated proposals, and return their ids."""
    made = await db.create_proposals([proposal(**given) for _ in range(count)])
    for one in made:
        await db.update_proposal_status(one.id, ActionStatus.VALIDATED)
    return [one.id for one in made]


async def found(db: ActionDB, number: int) -> StoredProposal:
    """Return a proposal that is there."""
    stored = await db.get_proposal(number)
    assert stored is not None
    return stored


async def worked(db: ActionDB, act: Act, **settings: Any) -> WorkerReport:
    """Let a worker do all there is to do."""
    async with asyncio.timeout(PATIENCE):
        return await Worker(db, registry_of(act), name="w", **settings).run_until_idle()


@asynccontextmanager
async def at_work(worker: Worker) -> AsyncIterator["asyncio.Task[WorkerReport]"]:
    """Have a worker run within the block, and end after it."""
    running = asyncio.create_task(worker.run())
    try:
        async with asyncio.timeout(PATIENCE):
            yield running
    finally:
        worker.stop()
        await asyncio.wait({running}, timeout=PATIENCE)
    assert running.done()


class FaultyDB(ActionDB):
    """Fails a number of times when a unit of this name is to run: before it has begun, or after its commit."""

    def __init__(self, target: Any, unit: str, *, before: int = 0, after: int = 0) -> None:
        super().__init__(target)
        self._unit, self._before, self._after = unit, before, after
        self.failures = 0

    async def _run(self, unit: Any, *args: Any, **kwargs: Any) -> Any:
        return await self._faulty(unit.__name__, super()._run(unit, *args, **kwargs))

    async def _run_claim(self, unit: Any, *args: Any, **kwargs: Any) -> Any:
        return await self._faulty(unit.__name__, super()._run_claim(unit, *args, **kwargs))

    async def _finish(self, ending: Any) -> Any:
        return await self._faulty("finish", super()._finish(ending))

    async def _faulty(self, unit: str, call: Coroutine[Any, Any, Any]) -> Any:
        if unit != self._unit:
            return await call
        if self._before > 0:
            self._before -= 1
            self.failures += 1
            call.close()
            raise DatabaseUnavailableError(url="the test", detail="it is away")
        result = await call
        if self._after > 0:
            self._after -= 1
            self.failures += 1
            raise ConnectionLostError(url="the test", detail="the answer is lost")
        return result
