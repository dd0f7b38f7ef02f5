"""The calls that wait until something has happened in the ledger."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Literal

from operator_core.actions.approvals import Approval
from operator_core.actions.errors import DatabaseUnavailableError, NotOpenError, ProposalNotFoundError, WaitTimeoutError
from operator_core.actions.kill_switch import KillSwitchEvent
from operator_core.actions.lifecycle import TERMINAL, ActionStatus, states_possibly_visited
from operator_core.actions.types import StoredProposal
from operator_core.actions.validation import check_integer, check_member, check_seconds
from operator_core.db.engine.notifier import Hint, Notifier
from operator_core.db.repository.action_ledger import ActionLedger
from operator_core.db.repository.status_watch import StatusWatch
from operator_core.db.stores import approval_status, kill_switch_status, proposals

LOOK_TIMEOUT_SECONDS = 1.0
"""How long the last read of `wait_for` may take beyond its timeout, in case a server does not answer."""


class _Gap:
    """The ids that are missing among those that a watcher reads: rolled back, or not committed yet."""

    def __init__(self) -> None:
        self._writers: frozenset[str] | None = None
        self._highest = 0

    @staticmethod
    def hides_some(last: int, found: Sequence[Approval]) -> bool:
        """Return whether ids are missing below the highest one."""
        return bool(found) and found[-1].id - last > len(found)

    def see(self, writers: frozenset[str], found: Sequence[Approval]) -> None:
        """Remember the writers that were open when the gap was first seen, and forget those that have ended."""
        if self._writers is None:
            self._highest = found[-1].id
        self._writers = writers if self._writers is None else self._writers & writers

    def settled(self, last: int, found: Sequence[Approval]) -> list[Approval]:
        """Return the decisions below which nothing can appear any more."""
        if not self._writers:
            self._writers = None
            return [decision for decision in found if decision.id <= self._highest]
        return [decision for place, decision in enumerate(found, last + 1) if decision.id == place]


class WaitMixin(ActionLedger):
    """The calls that only `ActionDB` has: inside a host's transaction a call cannot wait."""

    _notifier: Notifier | None = None
    _status_watch: StatusWatch | None = None

    def _notify(self) -> None:
        if self._notifier is not None:
            self._notifier.notify()

    async def watch_kill_switch(self, *, poll_interval: float = 0.25) -> AsyncGenerator[KillSwitchEvent]:
        """Iterate over every engage and release from now on, beginning with what is engaged already.

        The database is polled every `poll_interval` seconds; on PostgreSQL with asyncpg, a notification ends the wait
        early.
        """
        pause = check_seconds(poll_interval, "poll_interval")
        engaged, seen = await self._run(kill_switch_status.changes_so_far)
        for change in engaged:
            yield change
        async with self.notifications() as hint:
            while True:
                for change in await self._run(kill_switch_status.changes, seen):
                    seen = change.id
                    yield change
                await hint(pause)

    async def watch_approvals(
        self, after_id: int | None = None, *, poll_interval: float = 0.25
    ) -> AsyncGenerator[Approval]:
        """Iterate over every decision with an id above `after_id`, in the order of the ids; without it, from now on.

        Keep the id of the last one that you have handled, and pass it after a restart: then each decision comes at
        least once. A decision waits for those with a lower id whose transactions are still open. The database is polled
        every `poll_interval` seconds; on PostgreSQL with asyncpg, a notification ends the wait early.

        Unreadable decisions are skipped and reported: see `on_unreadable`.
        """
        pause = check_seconds(poll_interval, "poll_interval")
        last = await self._run(approval_status.last_decision)
        last = last if after_id is None else check_integer(after_id, "after_id")
        async with self.notifications() as hint:
            gap = _Gap()
            while True:
                found = await self._run_many(approval_status.decisions_after, last)
                if gap.hides_some(last, found):
                    gap.see(await self._run(approval_status.open_writers), found)
                    # Once more: of those that had no writer any more, all that was committed is seen now.
                    found = gap.settled(last, await self._run_many(approval_status.decisions_after, last))
                else:
                    gap = _Gap()
                for decision in found:
                    last = decision.id
                    yield decision
                if not found:
                    await hint(pause)

    async def wait_for(
        self,
        proposal_id: int,
        until: ActionStatus | Literal["finished"] = "finished",
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the error that it raises has a message of its own
        poll_interval: float = 0.25,
    ) -> StoredProposal:
        """Wait until a proposal is finished, or reaches a state or can no longer reach it; return the proposal.

        Args:
            proposal_id: The id of the proposal.
            until: `finished`, or the state to wait for.
            timeout: Seconds, plus at most one for the last read; None waits without a limit.
            poll_interval: Seconds between two reads, which are shared by all tasks that wait; a notification ends the
                wait early.

        Raises:
            ProposalNotFoundError: There is no such proposal.
            WaitTimeoutError: It has not reached the state in time.
            DatabaseUnavailableError: The database did not answer in time.
        """
        number = check_integer(proposal_id, "proposal_id")
        wanted = None if until == "finished" else check_member(until, "until", ActionStatus)
        pause = check_seconds(poll_interval, "poll_interval")
        deadline = None if timeout is None else time.monotonic() + check_seconds(timeout, "timeout")
        proposal: StoredProposal | None = None
        while True:
            try:
                proposal = await self._get_before(number, deadline)
            except TimeoutError as error:
                if proposal is None:
                    raise DatabaseUnavailableError(url=repr(self), detail="no answer in time") from error
                raise WaitTimeoutError(proposal_id=number, current=proposal.status, seconds=timeout or 0.0) from error
            if proposal is None:
                raise ProposalNotFoundError(proposal_id=number)
            if proposal.status in TERMINAL or (wanted and wanted in states_possibly_visited(proposal.status)):
                return proposal
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise WaitTimeoutError(proposal_id=number, current=proposal.status, seconds=timeout or 0.0)
            with suppress(TimeoutError):  # and look once more
                async with asyncio.timeout(left):
                    await self._watch().changed(number, proposal.status, pause)

    def _watch(self) -> StatusWatch:
        if self._status_watch is None:
            self._status_watch = StatusWatch(lambda ids: self._run(proposals.statuses, ids), self.notifications)
        return self._status_watch

    async def _get_before(self, proposal_id: int, deadline: float | None) -> StoredProposal | None:
        seconds = None if deadline is None else max(deadline - time.monotonic(), LOOK_TIMEOUT_SECONDS)
        async with asyncio.timeout(seconds):
            return await self.get_proposal(proposal_id)

    @asynccontextmanager
    async def notifications(self) -> AsyncGenerator[Hint]:
        """Yield a function that waits some seconds, or less if something happens in the ledger.

        With None it waits five seconds where a notification ends the wait, and one where none can come. A notification
        is only a hint: with psycopg, behind PgBouncer, or while the listening connection is down, the function simply
        waits.
        """
        if self._notifier is None or self._home is None:
            raise NotOpenError(target=repr(self))
        self._home.require()
        async with self._notifier.subscribe() as hint:
            yield hint
