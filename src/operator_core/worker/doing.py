"""How one action is done, and how its end comes to be recorded."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from operator_core.actions import ActionOutcome, ActionRecord, LeaseLostError, StopRequestedError, UnreadableRowError
from operator_core.actions.values import sanitise_object
from operator_core.db import Execution
from operator_core.db.actions.settled import settled
from operator_core.logs import get_logger
from operator_core.worker.persistence import UNAVAILABLE, Persistence
from operator_core.worker.registry import ActionRegistry
from operator_core.worker.report import WorkerReport

log = get_logger("operator_core.worker")


class Doing:
    """Does claimed actions, each in a task of its own, and reports how they ended.

    Args:
        registry: What can be done.
        report: Where the ends are counted.
        persistently: Tries again while the database is away.
        worker: The name under which it is logged.

    Attributes:
        recording: The tasks whose action has ended, and whose end is not recorded yet.
    """

    def __init__(self, registry: ActionRegistry, report: WorkerReport, persistently: Persistence, worker: str) -> None:
        self._registry, self._report, self._persistently, self._worker = registry, report, persistently, worker
        self.recording: set[asyncio.Task[Any] | None] = set()

    async def __call__(self, execution: Execution) -> None:
        """Do one action and record how it ended, however long the database is away."""
        try:
            await self._persistently(execution.hold, give_up=False)
            self._log(logging.INFO, execution, "runs")
            async with execution:
                await self._act(execution)
        except LeaseLostError as error:
            self._report.lost.append(execution.record.id or 0)
            self._log(logging.ERROR, execution, f"was lost: {error}")
        except UnreadableRowError as error:  # its end is recorded
            self._report.broken_off.append(execution.record.id or 0)
            self._log(logging.ERROR, execution, f"has ended: {error}")
        except UNAVAILABLE as error:  # the grace is over, and the database is away: the lease runs out
            self._report.broken_off.append(execution.record.id or 0)
            self._log(logging.ERROR, execution, f"could not be recorded: {error}")
        except asyncio.CancelledError:
            self._count(execution)  # the grace is over; what is to be said is recorded
        else:
            self._count(execution)

    async def _act(self, execution: Execution) -> None:
        try:
            result = await self._registry[execution.proposal.action_name].run(execution)
            if execution.ended:  # by the action itself
                return
        except Exception as error:
            if execution.lease_lost is not None:
                raise execution.lease_lost from error
            await self._record(partial(_end_with, execution, error))
        except asyncio.CancelledError:
            if execution.lease_lost is None:
                await self._record(partial(_break_off, execution))
            raise
        else:
            # It has succeeded, whatever it returned.
            await self._record(lambda: execution.complete(sanitise_object(result)))

    async def _record(self, end: Callable[[], Awaitable[ActionRecord]]) -> None:
        """Record a decided end, however long the database is away; once more at the end of the grace."""
        task = asyncio.current_task()
        self.recording.add(task)
        try:
            await self._persistently(end, give_up=False)
        except asyncio.CancelledError:
            await settled(end())
            raise
        finally:
            self.recording.discard(task)

    def _count(self, execution: Execution) -> None:
        record = execution.record
        match record.outcome:
            case ActionOutcome.SUCCEEDED:
                self._report.succeeded += 1
            case ActionOutcome.FAILED:
                self._report.failed += 1
            case ActionOutcome.STOPPED:
                self._report.stopped += 1
            case _:
                self._report.broken_off.append(record.id or 0)
        level = logging.INFO if record.success else logging.WARNING
        self._log(level, execution, f"{record.outcome or 'unrecorded'}: {record.error_message or 'no error'}")

    def _log(self, level: int, execution: Execution, text: str) -> None:
        proposal = execution.proposal
        extra = {
            "worker": self._worker,
            "proposal_id": proposal.id,
            "record_id": execution.record.id,
            "action_name": proposal.action_name,
        }
        log.log(level, "proposal %s (%s) %s", proposal.id, proposal.action_name, text, extra=extra)


async def _end_with(execution: Execution, error: Exception) -> ActionRecord:
    if execution.ended:
        return execution.record
    if execution.is_decided:  # by the action itself, which then met no database
        return await execution.record_decided()
    if isinstance(error, StopRequestedError) and execution.stop_requested is not None:
        return await execution.acknowledge_stop()
    return await execution.fail(error)


async def _break_off(execution: Execution) -> ActionRecord:
    if execution.ended:
        return execution.record
    if execution.is_decided:
        return await execution.record_decided()
    if execution.stop_requested is not None:
        return await execution.acknowledge_stop()
    return await execution.abandon("broken off: its worker had to end")
