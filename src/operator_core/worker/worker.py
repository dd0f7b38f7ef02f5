"""`Worker`: validates what is proposed, claims it, and has it done, as long as it is not stopped."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar
from uuid import uuid4

from operator_core.actions import (
    ActionRecord,
    ActionStatus,
    TransitionNotAllowedError,
    UnreadableRowError,
    ValueNotStorableError,
)
from operator_core.actions.values import check_integer, check_name, check_seconds
from operator_core.db import ActionDB, Execution
from operator_core.logs import get_logger
from operator_core.worker.doing import Doing
from operator_core.worker.persistence import Persistence
from operator_core.worker.registry import ActionRegistry
from operator_core.worker.report import WorkerReport

T = TypeVar("T")
log = get_logger("operator_core.worker")

_BATCH = 20  # proposals that are validated in one transaction
_RECOVERIES_PER_LEASE = 2
_LOOK_SECONDS = 0.1  # between two looks whether all has come to its end
_PATIENCE = 30.0  # seconds, for a database that is slow to take what was decided


class Worker:
    """Does the actions of a registry, as they are proposed and validated in a ledger.

    It is deliberately small: oldest first, no queues, priorities or schedules. Many workers may share a ledger, in one
    process or on many machines. None of them ever does an action twice: what cannot be claimed, or recorded, because
    the database is away, waits; what was broken off is left for a person to settle.

    Args:
        db: An open ledger.
        registry: What it can do; all other proposals are left alone.
        concurrency: How many actions at the same time.
        name: Unique among all workers; by default made of host, process and a random part.
        lease: Seconds for which an action counts as running without a heartbeat.
        poll: Seconds between two looks when there is nothing to do.
        grace: Seconds that running actions have to finish after `stop`.
        validate: Whether what is proposed is validated against the model, and then runs: leave it out where a person,
            or another program, approves.
    """

    def __init__(
        self,
        db: ActionDB,
        registry: ActionRegistry,
        *,
        concurrency: int = 1,
        name: str | None = None,
        lease: float = 60.0,
        poll: float = 1.0,
        grace: float = 30.0,
        validate: bool = True,
    ) -> None:
        if check_integer(concurrency, "concurrency") < 1:
            raise ValueNotStorableError(path="concurrency", why=f"is {concurrency}; 1 or more")
        if check_seconds(lease, "lease") <= 0:
            raise ValueNotStorableError(path="lease", why="is 0; give the seconds that it holds without a heartbeat")
        if not registry.names:
            raise ValueNotStorableError(path="registry", why="is empty: register an action first")
        self.name = check_name(name or f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}", "name")
        self.report = WorkerReport()
        self._db, self._registry, self._concurrency, self._validate = db, registry, concurrency, validate
        self._lease, self._poll = float(lease), check_seconds(poll, "poll")
        self._grace = check_seconds(grace, "grace")
        self._stopping = asyncio.Event()
        self._persistently = Persistence(self.name, self._stopping)
        self._do = Doing(registry, self.report, self._persistently, self.name)
        self._running: dict[asyncio.Task[None], int] = {}
        self._error: BaseException | None = None
        self._hurried = False

    def stop(self) -> None:
        """Claim nothing more; `run` returns when what runs has finished, or the grace is over."""
        self._stopping.set()

    async def run(self) -> WorkerReport:
        """Work until `stop` is called, or the task is cancelled; return what was done.

        What still runs when the grace is over is broken off: its outcome is unknown, and a person settles it.
        """
        log.info("worker %s works on %s", self.name, self._db, extra={"worker": self.name})
        try:
            async with self._db.hints() as hint, self._upkeep() as recovering:
                while not self._stopping.is_set():
                    if recovering.done():
                        recovering.result()  # it ends with an error only, which is not to be hidden
                    if not await self._work():
                        await self._pause(hint)
        finally:
            await self._finish_whatever_comes()
        return self._reported()

    async def run_until_idle(self) -> WorkerReport:
        """Work until nothing is left that this worker can do, and return what was done."""
        try:
            while await self._work() or self._running:
                if self._running:
                    await asyncio.wait(set(self._running), return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            await self._finish_whatever_comes()
            raise
        return self._reported()

    def _reported(self) -> WorkerReport:
        if self._error is not None:
            raise self._error
        return self.report

    @asynccontextmanager
    async def handling_signals(self) -> AsyncGenerator[None]:
        """Have SIGTERM and SIGINT stop this worker within the block."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    # -- the loop ------------------------------------------------------------------------------------------------------

    async def _work(self) -> bool:
        """Validate and claim what there is, up to the concurrency; return whether there was anything."""
        done = self._validate and await self._persistently(self._validate_some)
        while len(self._running) < self._concurrency and not self._stopping.is_set():
            execution = await self._claim()
            if execution is None:
                break
            task = asyncio.create_task(self._do(execution), name=f"record {execution.record.id}")
            self._running[task] = execution.record.id or 0
            task.add_done_callback(self._has_ended)
            done = True
        return bool(done)

    def _has_ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        if not task.cancelled() and task.exception() is not None:
            self._error = self._error or task.exception()  # what no worker can mend: `run` raises it
            self.stop()

    async def _pause(self, hint: Callable[[float], Awaitable[None]]) -> None:
        """Wait for something to do: a free hand, a hint, the time to look again, or the end."""
        waiting = [asyncio.ensure_future(self._stopping.wait()), *self._running]
        if len(self._running) < self._concurrency:
            waiting.append(asyncio.ensure_future(hint(self._poll)))
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for future in waiting:
                if future not in self._running:
                    future.cancel()

    async def _claim(self) -> Execution | None:
        """Claim under a key of its own: where the answer is lost, the same claim is asked for again."""
        key = uuid4().hex

        async def claim() -> Execution | None:
            return await self._db.claim_next(
                worker=self.name, lease=self._lease, action_names=self._registry.names, idempotency_key=key
            )

        return await self._persistently(claim)

    # -- validate ------------------------------------------------------------------------------------------------------

    async def _validate_some(self) -> bool:
        if not await self._db.list_proposals(ActionStatus.PROPOSED, limit=1):
            return False
        told: list[tuple[int, str, str | None]] = []
        async with self._db.transaction() as tx:
            proposals = await tx.take_proposed(self._registry.names, limit=_BATCH)
            for proposal in proposals:
                problems = self._registry[proposal.action_name].problems(proposal.parameters)
                status = ActionStatus.VALIDATED if problems is None else ActionStatus.CANCELLED
                reason = None if problems is None else f"the parameters do not fit: {problems}"
                with suppress(
                    TransitionNotAllowedError, UnreadableRowError
                ):  # somebody else was first; no guard lets it
                    await tx.update_proposal_status(proposal.id or 0, status, by=self.name, reason=reason)
                    told.append((proposal.id or 0, proposal.action_name, reason))
        for one in told:
            self._tell_validated(*one)
        return bool(proposals)

    def _tell_validated(self, proposal_id: int, action_name: str, reason: str | None) -> None:
        extra = {"worker": self.name, "proposal_id": proposal_id, "action_name": action_name}
        if reason is None:
            self.report.validated += 1
            log.info("proposal %s (%s) is validated", proposal_id, action_name, extra=extra)
        else:
            self.report.refused += 1
            log.warning("proposal %s (%s) is refused: %s", proposal_id, action_name, reason, extra=extra)

    # -- upkeep and end ------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _upkeep(self) -> AsyncGenerator[asyncio.Task[None]]:
        """Recover within the block, again and again, what other workers have lost."""
        recovering = asyncio.create_task(self._recover_again_and_again())
        try:
            yield recovering
        finally:
            recovering.cancel()
            with suppress(asyncio.CancelledError):
                await recovering

    async def _recover_again_and_again(self) -> None:
        while True:
            for record in await self._persistently(self._recover) or ():
                self.report.recovered += 1
                extra = {"worker": self.name, "proposal_id": record.proposal_id, "record_id": record.id}
                log.error("worker %s was lost with record %s", record.worker, record.id, extra=extra)
            await asyncio.sleep(self._lease / _RECOVERIES_PER_LEASE)

    async def _recover(self) -> list[ActionRecord]:
        # After a pause of this process its own heartbeats come first.
        return await self._db.recover_lost(grace=self._lease / 3)

    async def _finish_whatever_comes(self) -> None:
        """Finish, also when cancelled meanwhile, which only ends the grace."""
        finishing = asyncio.ensure_future(self._finish())
        cancelled = False
        while not finishing.done():
            try:
                await asyncio.wait({finishing})
            except asyncio.CancelledError:
                self._hurried = cancelled = True
        finishing.result()
        if cancelled:
            raise asyncio.CancelledError

    async def _finish(self) -> None:
        """Let what runs come to its end within the grace, then break it off, and report."""
        self._stopping.set()
        deadline = time.monotonic() + self._grace
        while self._running and not self._hurried and time.monotonic() < deadline:
            await asyncio.wait(set(self._running), timeout=_LOOK_SECONDS)
        for task in set(self._running):
            task.cancel()
        deadline = time.monotonic() + _PATIENCE
        while self._running and (self._do.recording or time.monotonic() < deadline - _PATIENCE + 1):
            await asyncio.wait(set(self._running), timeout=_LOOK_SECONDS)
            if time.monotonic() >= deadline:
                break
        if self._running:
            self.report.still_running += self._running.values()
            log.error("these records run on: %s", self.report.still_running, extra={"worker": self.name})
        log.info("worker %s has ended: %s", self.name, self.report, extra={"worker": self.name})
