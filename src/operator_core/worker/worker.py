"""`Worker`: validates and claims proposals, and runs their actions, until it is stopped."""

import asyncio
import math
import os
import socket
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, nullcontext, suppress
from itertools import count
from typing import Any
from uuid import uuid4

from operator_core.actions import (
    InvalidArgumentError,
    StoredRecord,
)
from operator_core.actions.validation import check_exact_name, check_integer, check_seconds
from operator_core.db import ActionDB, Execution
from operator_core.db.engine.notifier import Hint
from operator_core.logs import get_logger
from operator_core.worker.checker import ProposalChecker
from operator_core.worker.containment import contained_exits
from operator_core.worker.executor import ActionExecutor
from operator_core.worker.registry import ActionRegistry
from operator_core.worker.report import WorkerReport
from operator_core.worker.retry import RetryWhileUnavailable
from operator_core.worker.signals import hearing_signals

log = get_logger("operator_core.worker")

_RECOVERIES_PER_LEASE = 2
_CHECK_SECONDS = 1.0  # between two checks of what is proposed while all hands are busy
_LOOK_SECONDS = 0.1  # between two checks whether all work has ended
_CANCEL_TIMEOUT_SECONDS = 1.0  # seconds that a handler has to end once it is cancelled
_FLUSH_TIMEOUT_SECONDS = 30.0  # seconds, for a database that is slow to record an outcome


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Worker:
    """A worker that checks what is proposed to the actions of a registry, and runs what is approved.

    Nothing runs that nobody approved: a person does, or the registry says that an action needs none (`auto_approve`).
    A policy in the ledger overrides the registry, whether it is stricter or more lenient.

    It is deliberately small: oldest first, no queues, priorities or schedules. Many workers may share a ledger, in one
    process or on many machines, and no action ever runs twice. If the database is away, claims and outcomes wait;
    interrupted actions are left for a person to resolve.

    Args:
        db: An open ledger.
        registry: The actions that it runs; all other proposals are left alone.
        concurrency: How many actions run at the same time.
        name: A name that is unique among all workers; by default made of host, process and a random part.
        lease_seconds: Seconds for which an action counts as running without a heartbeat.
        poll_interval: Seconds between two polls when there is nothing to do; by default five where notifications end
            the wait, and one where there are none.
        shutdown_timeout: Seconds that running actions have to finish after `stop`.
        validate: Whether it checks what is proposed: it cancels what does not fit the model, and approves what is
            registered with `auto_approve=True`. Pass False if another program does both.
    """

    def __init__(
        self,
        db: ActionDB,
        registry: ActionRegistry,
        *,
        concurrency: int = 1,
        name: str | None = None,
        lease_seconds: float = 60.0,
        poll_interval: float | None = None,
        shutdown_timeout: float = 30.0,
        validate: bool = True,
    ) -> None:
        if check_integer(concurrency, "concurrency") < 1:
            raise InvalidArgumentError(path="concurrency", reason=f"is {concurrency}; 1 or more")
        if check_seconds(lease_seconds, "lease_seconds") <= 0:
            raise InvalidArgumentError(path="lease_seconds", reason="is 0; give the seconds between heartbeats")
        if not isinstance(registry, ActionRegistry):  # pyright: ignore[reportUnnecessaryIsInstance] - a caller may be untyped
            raise InvalidArgumentError(
                path="registry", reason=f"is a {type(registry).__name__}; give an ActionRegistry"
            )
        if not registry.names:
            raise InvalidArgumentError(path="registry", reason="is empty: register an action first")
        self.name = check_exact_name(name or f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}", "name")
        self.report = WorkerReport()
        self._db, self._registry, self._concurrency = db, registry, concurrency
        self._checker = ProposalChecker(db, registry, self.report, self.name) if validate else None
        self._lease = float(lease_seconds)
        self._poll_interval = None if poll_interval is None else check_seconds(poll_interval, "poll_interval")
        self._shutdown_timeout = check_seconds(shutdown_timeout, "shutdown_timeout")
        self._stopping = asyncio.Event()
        self._persistently = RetryWhileUnavailable(self.name, self._stopping)
        self._do = ActionExecutor(registry, self.report, self._persistently)
        self._running: dict[asyncio.Task[None], int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._error: BaseException | None = None
        self._signalled = self._hurried = False
        self._checked_at = -math.inf
        self._turn = asyncio.Lock()  # of the loop and of the recovery, which then share a connection

    def stop(self) -> None:
        """Claim nothing more; `run` returns once the running actions have finished, or `shutdown_timeout` is over.

        It may be called from another thread, and from a signal handler.
        """
        loop = self._loop
        if loop is None or loop is _running_loop():
            self._stopping.set()
        if loop is not None:
            with suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(self._stopping.set)

    async def run(self, *, handle_signals: bool = True) -> WorkerReport:
        """Work until `stop` is called, a signal arrives, or the task is cancelled; return what was done.

        Actions that still run after `shutdown_timeout` are aborted: their outcome is unknown, and a person resolves it.
        A second signal, or a second cancellation, aborts at once.

        Args:
            handle_signals: Whether SIGTERM and SIGINT stop this worker, as in `handling_signals`. Pass False in a host
                that has its own handlers and calls `stop`.
        """
        self._announce()
        return await self._run(self._serve(), handle_signals=handle_signals)

    def _announce(self) -> None:
        own = [action.name for action in self._registry if action.auto_approve] if self._checker else []
        log.info(
            "worker %s works on %s. It approves by itself: %s. A person approves: %s",
            self.name,
            self._db,
            ", ".join(sorted(own)) or "nothing",
            ", ".join(name for name in self._registry.names if name not in own) or "nothing",
            extra={"worker": self.name},
        )

    async def run_until_idle(self, *, handle_signals: bool = True) -> WorkerReport:
        """Work until nothing is left that this worker can run, or until it is stopped; return what was done.

        Signals and cancellations work as in `run`.
        """
        return await self._run(self._serve_until_idle(), handle_signals=handle_signals)

    @asynccontextmanager
    async def handling_signals(self) -> AsyncGenerator[None]:
        """Let SIGTERM and SIGINT stop this worker inside the block; a second one aborts the running actions.

        `run` does this by itself. Use this in a host that begins before `run` or ends after it. It works in the main
        thread, and does nothing in another.
        """
        with hearing_signals(self, self._on_signal):
            yield

    def _on_signal(self) -> None:
        if self._signalled:
            log.warning("worker %s breaks off what runs: a second signal", self.name, extra={"worker": self.name})
            self._hurried = True
        self._signalled = True
        self.stop()

    async def _run(self, work: Coroutine[Any, Any, None], *, handle_signals: bool) -> WorkerReport:
        self._loop = asyncio.get_running_loop()
        hearing = self.handling_signals() if handle_signals else nullcontext()
        async with hearing:
            with contained_exits():
                working = asyncio.create_task(work, name=f"worker {self.name}")
                cancelled = await self._outlive_cancellation(working)
        error = working.exception() if working.done() and not working.cancelled() else None
        if cancelled:
            raise asyncio.CancelledError
        if error is not None or self._error is not None:
            raise error or self._error  # type: ignore[misc]
        return self.report

    async def _outlive_cancellation(self, working: asyncio.Task[None]) -> bool:
        """Wait for the end of the loop and of all actions; return whether the caller was cancelled meanwhile."""
        ending = asyncio.create_task(self._end(working))
        cancelled = False
        while not ending.done():
            try:
                await asyncio.wait({ending})
            except asyncio.CancelledError:
                self._hurried, cancelled = self._hurried or cancelled, True
                self._stopping.set()
                working.cancel()
        ending.result()
        return cancelled

    # -- the loop ------------------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        async with self._db.notifications() as hint, self._upkeep() as recovering:
            while not self._stopping.is_set():
                if recovering.done():
                    recovering.result()  # it ends only with an error, which must not be hidden
                async with self._turn:
                    busy = await self._work()
                if not busy:
                    await self._pause(hint)

    async def _serve_until_idle(self) -> None:
        while not self._stopping.is_set():
            if await self._work():
                continue
            if not self._running:
                return
            await asyncio.wait(set(self._running), return_when=asyncio.FIRST_COMPLETED)

    async def _work(self) -> bool:
        """Check what was proposed, and claim what may run, up to the concurrency; return whether there was any."""
        done = False
        while not self._stopping.is_set():
            nothing_left = False
            if free := self._concurrency - len(self._running):
                claimed = await self._claim(free)
                for execution in claimed:
                    task = asyncio.create_task(self._do(execution), name=f"record {execution.record.id}")
                    self._running[task] = execution.record.id
                    task.add_done_callback(self._has_ended)
                done = done or bool(claimed)
                nothing_left = len(claimed) < free
            if (nothing_left or self._must_check) and await self._check():
                done = True
            elif nothing_left or len(self._running) == self._concurrency:  # else a hand has become free meanwhile
                break
        return done

    def _has_ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        if not task.cancelled() and task.exception() is not None:
            self._error = self._error or task.exception()  # an error that no worker can repair: `run` raises it
            self.stop()

    async def _pause(self, hint: Hint) -> None:
        """Wait for something to do: a free slot, a notification, the next poll, or the end."""
        waiting = [asyncio.ensure_future(self._stopping.wait()), *self._running]
        if len(self._running) < self._concurrency:
            waiting.append(asyncio.ensure_future(hint(self._poll_interval)))
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for future in waiting:
                if future not in self._running:
                    future.cancel()

    @property
    def _must_check(self) -> bool:
        """Whether to look at what is proposed although all hands are busy: what does not fit must not wait for long."""
        interval = _CHECK_SECONDS if self._poll_interval is None else self._poll_interval
        return time.monotonic() - self._checked_at >= interval

    async def _check(self) -> bool:
        """Check some of what is proposed; return whether there was any."""
        if self._checker is None or self._stopping.is_set():
            return False
        self._checked_at = time.monotonic()
        return bool(await self._persistently(self._checker.check_some))

    async def _claim(self, free: int) -> list[Execution]:
        """Claim under a key of its own, so that a claim whose answer was lost can be repeated."""
        key, attempts = uuid4().hex, count(1)

        async def claim() -> list[Execution]:
            return await self._db.claim_many(
                free,
                worker=self.name,
                lease_seconds=self._lease,
                action_names=self._registry.names,
                idempotency_key=key,
                first_attempt=next(attempts) == 1,
            )

        return await self._persistently(claim) or []

    # -- recovery and end ----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _upkeep(self) -> AsyncGenerator[asyncio.Task[None]]:
        """Recover the expired leases of other workers periodically, inside the block."""
        recovering = asyncio.create_task(self._recovery_loop())
        try:
            yield recovering
        finally:
            recovering.cancel()
            with suppress(asyncio.CancelledError):
                await recovering

    async def _recovery_loop(self) -> None:
        while True:
            async with self._turn:
                lost = await self._persistently(self._recover) or []
            for record in lost:
                self.report.recovered += 1
                extra = {"worker": self.name, "proposal_id": record.proposal_id, "record_id": record.id}
                log.error("worker %s was lost with record %s", record.worker, record.id, extra=extra)
            await asyncio.sleep(self._lease / _RECOVERIES_PER_LEASE)

    async def _recover(self) -> list[StoredRecord]:
        # After a pause of this process its own heartbeats come first.
        return await self._db.recover_expired_leases(grace_period=self._lease / 3)

    async def _end(self, working: asyncio.Task[None]) -> None:
        """Wait for the end of the loop, then let running actions finish within `shutdown_timeout`, or abort them."""
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if working.done() and not self._running and not self._stopping.is_set() and working.exception() is None:
            return  # it is idle
        self._stopping.set()
        extra = {"worker": self.name}
        deadline = time.monotonic() + self._shutdown_timeout
        while self._left(working) and not self._hurried and time.monotonic() < deadline:
            await asyncio.wait(self._left(working), timeout=_LOOK_SECONDS)
        for task in self._left(working):
            task.cancel()
        await self._settle(working)
        if not working.done():
            log.error("worker %s leaves a call behind: the database does not answer", self.name, extra=extra)
        if self._running:
            self.report.still_running += self._running.values()
            log.error("these records run on: %s", self.report.still_running, extra=extra)
        log.info("worker %s has ended: %s", self.name, self.report, extra=extra)

    def _left(self, working: asyncio.Task[None]) -> set[asyncio.Task[None]]:
        return {*self._running} if working.done() else {working, *self._running}

    async def _settle(self, working: asyncio.Task[None]) -> None:
        """Give cancelled handlers a moment, and outcomes that are being recorded the time that the database needs."""
        began = time.monotonic()
        while left := self._left(working):
            recording = bool(self._do.recording) or not working.done()
            if time.monotonic() - began >= (_FLUSH_TIMEOUT_SECONDS if recording else _CANCEL_TIMEOUT_SECONDS):
                break
            await asyncio.wait(left, timeout=_LOOK_SECONDS)
