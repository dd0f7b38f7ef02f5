"""`Execution`: one claimed action in its worker's hands, from the claim to the outcome."""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from operator_core.actions.errors import (
    ActionError,
    LeaseLostError,
    RequiresActionDBError,
    StopRequestedError,
    TransitionNotAllowedError,
)
from operator_core.actions.failures import error_text, is_only
from operator_core.actions.lifecycle import ActionOutcome
from operator_core.actions.types import StoredRecord
from operator_core.db.repository.arguments import ending_
from operator_core.db.repository.base import RepositoryBase
from operator_core.db.repository.claimed_action import ClaimedAction
from operator_core.db.stores import leases
from operator_core.db.stores.ending_batches import Ending
from operator_core.db.stores.executions import Claim
from operator_core.db.stores.reading import require_readable
from operator_core.db.transactions.shield import SETTLE_TIMEOUT_SECONDS, Limit, in_time, shielded
from operator_core.logs import get_logger

log = get_logger("operator_core.execution")
STOP_POLL_INTERVAL_SECONDS = 0.5  # between two polls for a stop request


class Execution(ClaimedAction):
    """One action that its worker has claimed under a lease.

    Use it as an async context manager around the action: it sends heartbeats, notices stops, and leaves no proposal
    executing. Leaving the block completes the action, unless it was ended inside the block; an exception fails it. A
    cancellation of the task answers a requested stop; without one it leaves the outcome unknown, for a person to
    resolve. If the lease is lost, the block is cancelled and raises `LeaseLostError`.

    The open record is the fence: a worker that has lost it cannot end anything, and its late report is kept in the
    history.

    Attributes:
        proposal: The proposal to carry out.
        record: Its open record, as of the last heartbeat.
        stop_requested: What a stop or a person asks of it; None while it may go on.
        lease_lost: The error, once another client has ended the execution.
    """

    def __init__(self, repository: RepositoryBase, claim: Claim, *, started_at: float) -> None:
        super().__init__(repository, claim, started_at=started_at)
        self._ending = False
        self._ended = False
        self._decided: tuple[ActionOutcome, tuple[str | None, dict[str, Any] | None]] | None = None
        self._cancelled = False
        self._owner: asyncio.Task[Any] | None = None
        self._heartbeat_task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"Execution(proposal {self.proposal.id}, record {self._id}, worker {self.worker!r})"

    @property
    def ended(self) -> bool:
        """Whether its outcome is recorded."""
        return self._ended

    # -- its end -------------------------------------------------------------------------------------------------------

    async def complete(self, result_data: dict[str, Any] | None = None) -> StoredRecord:
        """Record success; may be repeated if the answer was lost.

        Raises:
            ValueNotStorableError: `result_data` cannot be stored; nothing was recorded.
            LeaseLostError: Another client has ended it; the report is kept in the history.
        """
        return await self._end(ActionOutcome.SUCCEEDED, None, result_data)

    async def fail(self, error: object, result_data: dict[str, Any] | None = None) -> StoredRecord:
        """Record failure; an error or a result that cannot be stored is sanitised and marked as such.

        Raises:
            LeaseLostError: Another client has ended it; the report is kept in the history.
        """
        return await self._end(ActionOutcome.FAILED, error, result_data)

    async def abandon(self, error: object) -> StoredRecord:
        """Record that it was interrupted with an unknown outcome, for a person to resolve.

        Raises:
            LeaseLostError: Another client has ended it; the report is kept in the history.
        """
        return await self._end(ActionOutcome.UNKNOWN, error, None)

    async def acknowledge_stop(self, *, outcome: ActionOutcome = ActionOutcome.STOPPED) -> StoredRecord:
        """Answer a stop or cancel request: the action has stopped.

        Raises:
            TransitionNotAllowedError: Nothing has asked it to stop.
            LeaseLostError: Another client has ended it; the report is kept in the history.
        """
        return await self._end(outcome, None, None)

    async def _end(self, outcome: ActionOutcome, error: object, result: dict[str, Any] | None) -> StoredRecord:
        self._require_home()
        self._decided = outcome, ending_(outcome, error, result)
        return await self.flush_outcome()

    @property
    def has_pending_outcome(self) -> bool:
        """Whether its end was decided, but is not recorded yet."""
        return self._decided is not None and not self._ended

    async def flush_outcome(self) -> StoredRecord:
        """Record the decided outcome again, in case the call that decided it could not reach the database.

        Raises:
            LeaseLostError: Another client has ended it; the report is kept in the history.
            UnreadableRowError: The outcome is recorded, but something else in the record cannot be read.
        """
        assert self._decided is not None  # noqa: S101 - `has_pending_outcome` says so
        outcome, ending = self._decided
        self._ending = True
        try:
            record = await self._finish(Ending(self._id, outcome, *ending, self.worker))
        except TransitionNotAllowedError as refused:
            record = await self._ended_before(outcome, ending, refused)
        finally:
            self._ending = False
        self._ended = True
        self._notify()
        self.record = require_readable(record)
        return self.record

    async def _ended_before(
        self, outcome: ActionOutcome, ending: tuple[str | None, dict[str, Any] | None], refused: Exception
    ) -> StoredRecord:
        """Return the record if this worker ended it, but missed the answer or was cancelled."""
        by, record = await self._who_ended()
        if record.outcome is None or (self._ended and record.outcome is not outcome):
            self._decided = None
            raise refused
        if self._was_ended_here(by, record):
            return record
        message, result = ending
        data = {"outcome": outcome.value, "error_message": message, "result_data": result}
        # Kept here too: a heartbeat under way would forget it.
        lost = self.lease_lost = LeaseLostError(
            record_id=self._id, worker=self.worker, outcome=record.outcome, by=by, at=record.completed_at
        )
        try:
            await self._run(leases.report_late, self._id, self.worker, data)
        except ActionError as error:
            raise lost from error
        raise lost from refused

    # -- as a context manager ------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Start the heartbeats; if the claim is not fresh, send the first before anything is done.

        Raises:
            LeaseLostError: It has been recovered since: the action must not run.
            RequiresActionDBError: It was claimed in a host's transaction, which has not committed.
        """
        if self._joined:
            raise RequiresActionDBError(call="an execution that is entered")
        if self._ended or self._heartbeat_task is not None:
            raise RuntimeError(f"{self!r} was entered before: what it does is done once")
        try:
            await self.ensure_lease()
        except asyncio.CancelledError:
            with suppress(ActionError, TimeoutError):  # then its lease expires
                await in_time(self.fail("it never began: the claim was cancelled"), Limit(SETTLE_TIMEOUT_SECONDS))
            raise
        self._owner = asyncio.current_task()
        self._heartbeat_task = asyncio.create_task(self._heartbeat_loop(), name=f"heartbeats of record {self._id}")
        return self

    async def _heartbeat_loop(self) -> None:
        """Send heartbeats and poll for stops, through any database failure, until the end or a lost lease."""
        while not self._ended:
            await asyncio.sleep(min(STOP_POLL_INTERVAL_SECONDS, self._heartbeat_interval))
            try:
                if time.monotonic() - self._renewed >= self._heartbeat_interval:
                    await self.heartbeat()
                elif self.stop_requested is None:
                    await self._poll_stop_request()
            except LeaseLostError as lost:
                if self._ending or self._ended or self._ended_without_answer:
                    self.lease_lost = None
                    continue  # it was ended here
                self.lease_lost = lost
                assert self._owner is not None  # noqa: S101 - `__aenter__` has set it
                self._cancelled = self._owner.cancel()
                return
            except Exception:  # whatever is wrong with the database, the next try may work, and the outcome reports it
                log.warning("no heartbeat of record %s", self._id, exc_info=True)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._heartbeat_task is not None  # noqa: S101 - `__aenter__` has set it
        self._require_home()
        if error is not None or self._ended:
            self._heartbeat_task.cancel()  # else the lease is kept until the outcome is recorded
        try:
            await self._record_exit(error)
        finally:
            self._heartbeat_task.cancel()
            await asyncio.wait({self._heartbeat_task})

    async def _record_exit(self, error: BaseException | None) -> None:
        if self._cancelled and self._owner is not None:
            self._owner.uncancel()
        if self.lease_lost is not None and not self._ended:
            if error is not self.lease_lost:
                raise self.lease_lost from error
        elif not self._ended:
            await self._record_end(self._end_of_block(error), error)

    def _end_of_block(self, error: BaseException | None) -> Coroutine[Any, Any, StoredRecord]:
        if self._decided is not None:
            return self.flush_outcome()
        if error is None:
            return self.complete()
        asked = self.stop_requested is not None
        if asked and (isinstance(error, asyncio.CancelledError) or is_only(error, StopRequestedError)):
            return self.acknowledge_stop()
        if isinstance(error, Exception):
            return self.fail(error)
        return self.abandon(f"broken off by {error_text(error)}")

    async def _record_end(self, end: Coroutine[Any, Any, StoredRecord], error: BaseException | None) -> None:
        """Record how it ended; for a cancelled task, only within `SETTLE_TIMEOUT_SECONDS`."""
        if not isinstance(error, asyncio.CancelledError):
            await shielded(end, Limit(SETTLE_TIMEOUT_SECONDS))
            return
        try:
            await in_time(end, Limit(SETTLE_TIMEOUT_SECONDS))
        except TimeoutError:
            log.warning("the end of record %s could not be recorded in time: its lease runs out", self._id)
