"""The execution of one action, and the recording of its end."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from operator_core.actions import ActionOutcome, LeaseLostError, StopRequestedError, StoredRecord, UnreadableRowError
from operator_core.actions.failures import is_only
from operator_core.actions.results import to_result
from operator_core.db import Execution
from operator_core.db.transactions.shield import SETTLE_TIMEOUT_SECONDS, Limit, in_time
from operator_core.logs import get_logger
from operator_core.worker.containment import within_action
from operator_core.worker.registry import ActionRegistry
from operator_core.worker.report import WorkerReport
from operator_core.worker.retry import UNAVAILABLE, RetryWhileUnavailable

log = get_logger("operator_core.worker")


class ActionExecutor:
    """An executor of claimed actions, each in its own task, which counts their outcomes.

    Args:
        registry: The actions that can run.
        report: The report that counts the outcomes.
        persistently: The retry while the database is away; it knows the worker, and whether the worker is stopping.

    Attributes:
        recording: The tasks whose action has ended, but whose end is not recorded yet.
    """

    def __init__(self, registry: ActionRegistry, report: WorkerReport, persistently: RetryWhileUnavailable) -> None:
        self._registry, self._report, self._persistently = registry, report, persistently
        self.recording: set[asyncio.Task[Any] | None] = set()

    async def __call__(self, execution: Execution) -> None:
        """Run one action and record how it ended, however long the database is away."""
        try:
            await self._persistently(execution.ensure_lease, give_up=False)
            self._log(logging.INFO, execution, "runs")
            async with execution:
                raised = await self._act(execution)
        except LeaseLostError as error:
            self._report.lost.append(execution.record.id)
            self._log(logging.ERROR, execution, f"was lost: {error}", error)
        except UnreadableRowError as error:  # its end is recorded
            self._report.aborted.append(execution.record.id)
            self._log(logging.ERROR, execution, f"has ended: {error}")
        except UNAVAILABLE as error:  # the shutdown timeout is over, and the database is away: the lease expires
            self._report.aborted.append(execution.record.id)
            self._log(logging.ERROR, execution, f"could not be recorded: {error}")
        except asyncio.CancelledError as cancelled:
            self._count(execution, cancelled)  # the shutdown timeout is over; what could be recorded is recorded
        else:
            self._count(execution, raised)

    async def _act(self, execution: Execution) -> BaseException | None:
        """Run the action and record how it ended; return any exception that it raised, which ends nothing else."""
        task = asyncio.current_task()
        within_action.set(True)
        try:
            result = await self._registry[execution.proposal.action_name].run(execution)
        except BaseException as error:
            if isinstance(error, GeneratorExit) and not _runs_in(task):
                raise  # it was not raised: the coroutine is being discarded, and may not await any more
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                if execution.lease_lost is None:
                    stopping = self._persistently.stopping.is_set()
                    why = "its worker had to end" if stopping else "its task was cancelled"
                    await self._record(partial(_break_off, execution, f"broken off: {why}"))
                raise
            if execution.lease_lost is not None:
                raise execution.lease_lost from error
            await self._record(partial(_end_with, execution, error))
            return error
        if not execution.ended:  # by the action itself
            await self._complete(execution, result)
        return None

    async def _complete(self, execution: Execution, result: object) -> None:
        """Record success, whatever the action returned."""
        data, changes = to_result(result)
        if changes is not None:
            self._log(logging.WARNING, execution, f"returned what cannot be stored as it is: {changes}")
        await self._record(lambda: execution.complete(data))

    async def _record(self, end: Callable[[], Awaitable[StoredRecord]]) -> None:
        """Record a decided end, however long the database is away; try once more when the shutdown timeout is over."""
        task = asyncio.current_task()
        self.recording.add(task)
        try:
            await self._persistently(end, give_up=False)
        except asyncio.CancelledError:
            with suppress(TimeoutError):
                await in_time(end(), Limit(SETTLE_TIMEOUT_SECONDS))
            raise
        finally:
            self.recording.discard(task)

    def _count(self, execution: Execution, error: BaseException | None) -> None:
        record = execution.record
        match record.outcome:
            case ActionOutcome.SUCCEEDED:
                self._report.succeeded += 1
            case ActionOutcome.FAILED:
                self._report.failed += 1
            case ActionOutcome.STOPPED:
                self._report.stopped += 1
            case _:
                self._report.aborted.append(record.id)
        level = logging.INFO if record.success and error is None else logging.WARNING
        if record.outcome is ActionOutcome.STOPPED:
            error = None  # it was asked to leave
        text = f"{record.outcome or 'unrecorded'}: {record.error_message or 'no error'}"
        self._log(level, execution, text, error)

    def _log(self, level: int, execution: Execution, text: str, error: BaseException | None = None) -> None:
        proposal = execution.proposal
        extra = {
            "worker": self._persistently.worker,
            "proposal_id": proposal.id,
            "record_id": execution.record.id,
            "action_name": proposal.action_name,
        }
        log.log(level, "proposal %s (%s) %s", proposal.id, proposal.action_name, text, extra=extra, exc_info=error)


def _runs_in(task: asyncio.Task[Any] | None) -> bool:
    try:
        return asyncio.current_task() is task
    except RuntimeError:  # no loop runs any more
        return False


async def _end_with(execution: Execution, error: BaseException) -> StoredRecord:
    if execution.ended:
        return execution.record
    if execution.has_pending_outcome:  # by the action itself, which then could not reach the database
        return await execution.flush_outcome()
    if is_only(error, StopRequestedError) and execution.stop_requested is not None:
        return await execution.acknowledge_stop()
    return await execution.fail(error)


async def _break_off(execution: Execution, why: str) -> StoredRecord:
    if execution.ended:
        return execution.record
    if execution.has_pending_outcome:
        return await execution.flush_outcome()
    if execution.stop_requested is not None:
        return await execution.acknowledge_stop()
    return await execution.abandon(why)
