"""The import of the predecessor's database into a ledger: one pass over every row, then one transaction."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from operator_core.actions.approvals import ApprovalPolicy
from operator_core.actions.errors import ActionError, ConnectionLostError, RetryTransactionError
from operator_core.actions.lifecycle import PENDING, ActionOutcome
from operator_core.db import ActionDB
from operator_core.db.guards.codes import MESSAGES, STEP_REFUSED, STOPPED
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.stores.transitions import deferring_diagnosis
from operator_core.legacy import store
from operator_core.legacy.conversion import BY, Conversion, convert
from operator_core.legacy.errors import ImportRefusedError
from operator_core.legacy.rejects import RejectsFile
from operator_core.legacy.report import ImportNote, ImportReport
from operator_core.legacy.source import LegacyDatabase
from operator_core.legacy.store import ImportedAction
from operator_core.legacy.timestamps import zone_of

Progress = Callable[[int, int], Any]
"""A callback that receives how many proposals are done, and how many there are, in each of two passes."""

_NAMED = 20  # rows in the way that an error names
_BATCH_CHARACTERS = 4 * 1024 * 1024  # of JSON that are held in memory at once, about


async def import_legacy(  # noqa: PLR0913 - from where, into what, and how
    old: Path,
    target: Path | str | URL | AsyncEngine | None = None,
    *,
    timezone: str,
    rejects: Path | None = None,
    dry_run: bool = False,
    on_note: Callable[[ImportNote], Any] | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Import a database of the predecessor, completely or not at all; identical rows in the ledger are left alone.

    Args:
        old: The SQLite file of the predecessor; it is only read.
        target: The ledger, as in `ActionDB`; it must exist, at the revision of this version.
        timezone: The IANA name of the zone of the local times.
        rejects: A new file for the rejected rows; `<old>.rejects.jsonl` by default.
        dry_run: Only convert: write neither rows nor a file.
        on_note: Called with each note about a row.
        progress: Called after each batch; if it raises, nothing is imported.

    Raises:
        LegacyFileError: The old file is not one of the predecessor, or cannot be read.
        ImportRefusedError: A stop is engaged, ids are taken, or the rejected rows cannot be written.
        DatabaseError: The ledger cannot be used.
    """
    zone = zone_of(timezone)
    path = rejects or old.with_name(f"{old.name}.rejects.jsonl")
    async with _Ledger(target, migrate="check") as ledger:
        await ledger.require_no_stop()
        with LegacyDatabase(old) as source, RejectsFile(path) as rejected:
            inspection = _Inspection(source, zone, on_note, progress)
            await inspection.run(None if dry_run else rejected)
            rejects_file = rejected.publish()
            transfer = _Transfer(source, zone, progress and _in_loop(progress), write=not dry_run)
            try:
                counts = await ledger.transfer(transfer)
            except ConnectionLostError:
                raise  # it may have been committed all the same
            except BaseException:
                if not transfer.committed:
                    rejected.delete()
                raise
    return ImportReport(
        proposals=counts.proposals,
        records=counts.records,
        already=counts.already,
        pending=counts.pending,
        unknown=counts.unknown,
        rejected=inspection.rejected,
        rejects_file=None if rejects_file is None else str(rejects_file),
        ignored=source.ignored,
        dry_run=dry_run,
    )


def _in_loop(progress: Progress) -> Progress:
    """Return a callback for the unit of work, which may run in SQLite's thread, that calls `progress` in the loop."""
    loop = asyncio.get_running_loop()

    async def call(done: int, total: int) -> None:
        progress(done, total)

    def report(done: int, total: int) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run_coroutine_threadsafe(call(done, total), loop).result()
        else:
            progress(done, total)

    return report


def _conversions(source: LegacyDatabase, zone: ZoneInfo) -> Iterator[tuple[int, Conversion]]:
    """Yield every conversion, and the number of proposals so far."""
    done = 0
    for group in source.groups():
        done += len(group.proposals)
        yield done, convert(group, zone, source.duplicate_ids)


@dataclass
class _Inspection:
    """The pass over every row before the ledger is touched, which rejects the invalid ones."""

    source: LegacyDatabase
    zone: ZoneInfo
    on_note: Callable[[ImportNote], Any] | None
    progress: Progress | None
    rejected: int = 0

    async def run(self, rejects: RejectsFile | None) -> None:
        for number, (done, conversion) in enumerate(_conversions(self.source, self.zone), 1):
            self.rejected += len(conversion.rejected)
            if rejects is not None:
                for row, note in conversion.rejected:
                    rejects.add(row, note)
            if self.on_note is not None:
                for note in (*(note for _, note in conversion.rejected), *conversion.notes):
                    self.on_note(note)
            if number % store.ROWS == 0:
                if self.progress is not None:
                    self.progress(done, self.source.total)
                await asyncio.sleep(0)  # a cancellation is delivered here


@dataclass
class _Counts:
    proposals: int = 0
    records: int = 0
    already: int = 0
    pending: int = 0
    unknown: int = 0

    def add(self, batch: list[ImportedAction], new: list[ImportedAction]) -> None:
        self.proposals += len(new)
        self.records += sum(record is not None for _, record in new)
        self.already += len(batch) - len(new)
        self.pending += sum(proposal.status in PENDING for proposal, _ in batch)
        self.unknown += sum(record is not None and record.outcome is ActionOutcome.UNKNOWN for _, record in batch)


@dataclass
class _Transfer:
    """The unit of work that compares every row with the ledger, and stores the new ones, in one transaction."""

    source: LegacyDatabase
    zone: ZoneInfo
    progress: Progress | None
    write: bool
    cancelled: bool = False
    committed: bool = False
    conflicts: list[str] = field(default_factory=list[str])
    policies: list[ApprovalPolicy] | None = None

    @property
    def mode(self) -> TransactionMode:
        """The mode of the unit, which only reads in a dry run."""
        return TransactionMode.TRANSACTION if self.write else TransactionMode.SNAPSHOT

    def __call__(self, connection: sa.Connection, /) -> _Counts:
        self.conflicts, self.policies = [], None  # a transaction that conflicts with another is run again
        counts = _Counts()
        began = _require_no_stop(connection)
        if self.write:
            for table, highest in self.source.highest.items():
                store.reserve(connection, table, highest)
        for done, batch in self._batches():
            self._import_batch(connection, batch, counts)
            if store.stop_state(connection)[0] != began:
                raise _stopped(connection)
            if self.cancelled:
                raise ImportRefusedError(problem="the import was interrupted")
            if self.progress is not None:
                self.progress(done, self.source.total)
        if self.conflicts:
            more = len(self.conflicts) - _NAMED
            named = (*self.conflicts[:_NAMED], *([f"and {more} more"] if more > 0 else []))
            raise ImportRefusedError(problem="ids are taken in the ledger by other content", conflicts=named)
        with deferring_diagnosis(_refused):
            store.restore_policies(connection, self.policies or (), BY)
        self.source.require_unchanged()
        return counts

    def _import_batch(self, connection: sa.Connection, batch: list[ImportedAction], counts: _Counts) -> None:
        new, conflicts = store.compare(connection, batch)
        self.conflicts += conflicts
        counts.add(batch, new)
        if self.write and new and not self.conflicts:
            with deferring_diagnosis(_refused):
                if self.policies is None:
                    self.policies = store.set_policies_aside(connection, BY)
                store.store(connection, new, BY)

    def _batches(self) -> Iterator[tuple[int, list[ImportedAction]]]:
        batch: list[ImportedAction] = []
        done = size = 0
        for done, conversion in _conversions(self.source, self.zone):
            if conversion.proposal is None:
                continue
            batch.append((conversion.proposal, conversion.record))
            size += conversion.size
            if len(batch) == store.ROWS or size > _BATCH_CHARACTERS:
                yield done, batch
                batch, size = [], 0
        yield done, batch


@unit(TransactionMode.READ)
def _require_no_stop(connection: sa.Connection) -> int:
    """Return the number of the last stop, which must be released."""
    last, engaged = store.stop_state(connection)
    if engaged:
        raise _stopped(connection)
    return last


def _stopped(connection: sa.Connection) -> ActionError:
    last, engaged = store.stop_state(connection)
    if not engaged:
        return ImportRefusedError(problem=f"stop {last} was engaged while the import ran; run it again")
    named = ", ".join(f"{stop.generation} ({stop.scope}) by {stop.by}: {stop.reason}" for stop in engaged)
    return ImportRefusedError(problem=f"a stop is engaged; release it first, then run the import again: stop {named}")


def _refused(connection: sa.Connection, code: str) -> ActionError:
    """Explain why the ledger refused a row: a new stop, or an id that was taken meanwhile."""
    _, engaged = store.stop_state(connection)
    if engaged:
        return _stopped(connection)
    if code in (STOPPED, STEP_REFUSED) or code not in MESSAGES:
        return RetryTransactionError(code=code)  # the stop is over, and the next comparison finds a taken id
    return ImportRefusedError(problem=f"a guard of the ledger refused a row ({code}): {MESSAGES[code]}")


class _Ledger(ActionDB):
    """An `ActionDB` that runs the units of this layer."""

    async def require_no_stop(self) -> None:
        """Check that no stop is engaged."""
        await self._run(_require_no_stop)

    async def transfer(self, transfer: _Transfer) -> _Counts:
        """Run the unit; if it is cancelled, it ends within a batch."""
        running = asyncio.ensure_future(self._run(transfer))
        try:
            counts = await asyncio.shield(running)
        except asyncio.CancelledError:
            transfer.cancelled = True
            await asyncio.wait({running})
            # Its error is retrieved: the caller gets the cancellation instead.
            transfer.committed = not running.cancelled() and running.exception() is None
            raise
        self._notify()
        return counts
