"""The calls about the past: read the history, verify it, and prune what is old."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from operator_core.actions.errors import InvalidArgumentError
from operator_core.actions.reports import Discrepancy, PruneReport
from operator_core.actions.types import ActionEvent, utc_now
from operator_core.actions.validation import check_integer, check_text
from operator_core.db.migrations.status import wrong_guards
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.repository.arguments import by_, flag_
from operator_core.db.repository.base import RepositoryBase
from operator_core.db.stores import approval_verification, history, kill_switch_verification, retention, verification


@unit(TransactionMode.SNAPSHOT)
def _of_database(connection: sa.Connection) -> list[Discrepancy]:
    schema = [
        Discrepancy(field="guards and tables", expected="what the migrations make", found=text)
        for text in wrong_guards(connection)
    ]
    return [
        *schema,
        *kill_switch_verification.compare_latch(connection),
        *approval_verification.compare_policies(connection),
        *verification.orphaned_records(connection),
        *verification.unreadable_prunes(connection),
        *kill_switch_verification.lagging_ids(connection),
    ]


Progress = Callable[[int, int], Any]
"""A callback that receives how many are done, and how many there are."""


class HistoryMixin(RepositoryBase):
    """History, verification and retention."""

    async def get_events(self, proposal_id: int) -> list[ActionEvent]:
        """Return the events of a proposal, oldest first; an empty list if there is no such proposal.

        Raises:
            UnreadableRowError: One of its events cannot be read.
        """
        return await self._run(history.of_proposal, check_integer(proposal_id, "proposal_id"))

    async def iter_events(self, *, before: datetime | None = None) -> AsyncIterator[ActionEvent]:
        """Iterate over the whole history, proposal by proposal, including pruned proposals.

        With `before`, only over the histories that began before this moment. A few hundred proposals are read at a
        time. Unreadable events are skipped and reported: see `on_unreadable`.
        """
        moment = None if before is None else _moment(before)
        done = 0
        while (last := await self._run(verification.next_chunk, done)) is not None:
            found = await self._run_many(history.of_proposals, done + 1, last)
            done = last
            for proposal_events in history.by_proposal(found).values():
                if moment is None or proposal_events[0].at < moment:
                    for event in proposal_events:
                        yield event

    async def verify(self, *, progress: Progress | None = None) -> list[Discrepancy]:
        """Return where the database deviates: first its schema, its latch and its id counters, then its rows.

        Proposals and records are rebuilt from the history and compared with the tables. Traffic may go on: each
        comparison is made in one snapshot. Pruned proposals are not reported; unreadable rows are.
        """
        differences = await self._run(_of_database)
        highest = await self._run(verification.highest)
        done = 0
        while (last := await self._run(verification.next_chunk, done)) is not None:
            differences += await self._run(verification.compare, done + 1, last)
            differences += await self._run(approval_verification.compare, done + 1, last)
            done = last
            if progress is not None:
                progress(done, max(done, highest))
        return differences

    async def count_prunable(self, before: datetime, *, keep_events: bool = True) -> PruneReport:
        """Return what `prune` would delete, and change nothing."""
        keep = flag_(keep_events, "keep_events")
        return await self._run(retention.count, _moment(before), keep_events=keep)

    async def prune(
        self,
        before: datetime,
        *,
        keep_events: bool = True,
        by: str = "system",
        reason: str = "retention",
        progress: Progress | None = None,
    ) -> PruneReport:
        """Delete the proposals that were finished before a moment, with their records, in batches.

        Proposals that are pending, executing, or of unknown and unresolved outcome are never touched. The events stay,
        unless `keep_events` is False: then the history of everything deleted that is older than `before` is deleted
        too. Export it first.

        Args:
            before: An aware moment in the past, compared with times by the database's clock.
            keep_events: Whether the history stays.
            by: The actor that prunes; stored permanently, with the reason.
            reason: The reason for the prune.
            progress: Called after each batch with how many proposals are done, and how many there are.

        Raises:
            InvalidArgumentError: `before` is naive, or in the future by this machine's clock.
        """
        planned = await self.count_prunable(before, keep_events=keep_events)
        moment = planned.before
        values = (moment, by_(by), check_text(reason, "reason"))
        await self._run(retention.record_prune, *values, keep_events=keep_events)
        done, last = 0, 0
        while ids := await self._run(retention.prune, moment, last):
            done, last = done + len(ids), ids[-1]
            if progress is not None:
                progress(done, max(done, planned.proposals))
        events = 0 if keep_events else await self._forget(moment)
        return PruneReport(before=moment, proposals=done, events=events, unresolved=planned.unresolved)

    async def _forget(self, moment: datetime) -> int:
        deleted, last = 0, 0
        while True:
            ids, events = await self._run(retention.prune_events, moment, last)
            if not ids:
                return deleted
            deleted, last = deleted + events, ids[-1]


def _moment(before: datetime) -> datetime:
    if not isinstance(before, datetime) or before.tzinfo is None:  # pyright: ignore[reportUnnecessaryIsInstance] - a caller may be untyped
        raise InvalidArgumentError(path="before", reason=f"is {before!r}; an aware datetime is wanted")
    if before > utc_now():
        raise InvalidArgumentError(path="before", reason=f"is {before.isoformat()}, which is in the future")
    return before
