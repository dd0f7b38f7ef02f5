"""`ClaimedAction`: an action that its worker holds under a lease, while it runs."""

import asyncio
import time
from datetime import datetime

from operator_core.actions.errors import LeaseLostError, RecordNotFoundError, StopRequestedError, UnreadableRowError
from operator_core.actions.kill_switch import StopRequest
from operator_core.actions.types import StoredRecord
from operator_core.db.repository.base import RepositoryBase
from operator_core.db.stores import endings, kill_switch_status, leases
from operator_core.db.stores.executions import Claim

HEARTBEATS_PER_LEASE = 3


class ClaimedAction:
    """The lease of a running action: its heartbeats, and the stop requests that come with them."""

    def __init__(self, repository: RepositoryBase, claim: Claim, *, started_at: float) -> None:
        self.proposal, self.record = claim.proposal, claim.record
        self.stop_requested: StopRequest | None = None
        self.lease_lost: LeaseLostError | None = None
        # One class in several files: a repository shares its private members with its executions.
        self._run, self._notify = repository._run, repository._notify  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        self._finish = repository._finish  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        self._joined, self._home = repository._joins_transaction, repository._home  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        self._renewed = started_at  # by this machine's monotonic clock, taken before the database renewed the lease
        self._stopped = asyncio.Event()
        self._ended_without_answer = False

    @property
    def worker(self) -> str:
        """The name of the worker that has claimed it."""
        return self.record.worker or self.proposal.status_by or ""

    @property
    def lease_expires_at(self) -> datetime | None:
        """When the lease expires, by the database's clock, as of the last heartbeat."""
        return self.record.lease_expires_at

    @property
    def _heartbeat_interval(self) -> float:
        return (self.record.lease_seconds or 0.0) / HEARTBEATS_PER_LEASE

    @property
    def _id(self) -> int:
        return self.record.id

    def _require_home(self) -> None:
        if self._home is not None:
            self._home.require()

    async def heartbeat(self) -> StopRequest | None:
        """Extend the lease, even an expired one that was not recovered yet; return the stop request, if any.

        Raises:
            LeaseLostError: Another client has ended it: stop at once.
        """
        begun = time.monotonic()
        found = await self._run(leases.heartbeat, self._id)
        if found is None:
            self.lease_lost = await self._lost()
            raise self.lease_lost
        self._renewed = begun
        if isinstance(found, UnreadableRowError):  # the lease is extended, and the stop request can still be read
            await self._poll_stop_request()
        else:
            self.record, asked = found
            await self._set_stop_requested(asked)
        return self.stop_requested

    async def ensure_lease(self) -> None:
        """Check that an older claim still holds, as `async with` does before anything else.

        Raises:
            LeaseLostError: It has been recovered since: the action must not run.
        """
        self._require_home()
        if time.monotonic() - self._renewed >= self._heartbeat_interval:
            await self.heartbeat()

    def raise_if_stopped(self) -> None:
        """Return, or leave the block: for an action that can be interrupted between two of its parts.

        Raises:
            StopRequestedError: It was asked to stop; leaving the block with this error answers the stop.
            LeaseLostError: Another client has ended it.
            OpenedElsewhereError: This process was forked, and is not notified of stops. A thread may call this.
        """
        if self._home is not None:
            self._home.require_process()
        if self.lease_lost is not None:
            raise self.lease_lost
        if self.stop_requested is not None:
            asked = self.stop_requested
            raise StopRequestedError(record_id=self._id, by=asked.by, reason=asked.reason)

    async def wait_for_stop(self) -> StopRequest:
        """Wait until the action is asked to stop, and return the request; works only inside the block."""
        self._require_home()
        await self._stopped.wait()
        assert self.stop_requested is not None  # noqa: S101 - it was set before the event
        return self.stop_requested

    async def _poll_stop_request(self) -> None:
        asked = await self._run(leases.is_stop_requested, self._id)
        if asked is None:
            raise await self._lost()
        await self._set_stop_requested(asked)

    async def _set_stop_requested(self, asked: bool) -> None:  # noqa: FBT001 - it is the answer of the database
        if asked and self.stop_requested is None:
            self.stop_requested = await self._run(kill_switch_status.request, self._id)
            if self.stop_requested is not None:
                self._stopped.set()

    async def _lost(self) -> LeaseLostError:
        try:
            by, record = await self._who_ended()
        except RecordNotFoundError:
            return LeaseLostError(record_id=self._id, worker=self.worker, outcome=None, by="a prune", at=None)
        self._ended_without_answer = self._was_ended_here(by, record)
        return LeaseLostError(
            record_id=self._id, worker=self.worker, outcome=record.outcome, by=by, at=record.completed_at
        )

    async def _who_ended(self) -> tuple[str, StoredRecord]:
        by, record = await self._run(endings.ended_by, self._id, self.worker)
        return by, record

    def _was_ended_here(self, by: str, record: StoredRecord) -> bool:
        return by == self.worker and record.error_message != leases.RECOVERED
