"""Verification: rebuild proposals and records from their history, and list where the tables differ."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any

import sqlalchemy as sa

from operator_core.actions.errors import UnreadableRowError
from operator_core.actions.lifecycle import STEP_PAIRS, TERMINAL, ActionStatus
from operator_core.actions.reports import Discrepancy
from operator_core.actions.types import ActionEvent, EventKind, StoredProposal, StoredRecord
from operator_core.db.guards.conditions import FINDING_COLUMNS, OUTCOME_COLUMNS, SNAPSHOT_COLUMNS
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.schema import approvals, events, notes, proposals, prunes, records
from operator_core.db.stores import history, reading
from operator_core.db.stores.mapping import RECORD_FIELDS, to_proposal, to_record
from operator_core.db.types import Undecodable, UtcDateTime, comparable

CHUNK = 100  # proposals that are compared in one snapshot

_PROPOSALS = sa.select(*proposals.columns).where(reading.in_id_range(proposals.c.id))
_RECORDS = sa.select(*records.columns).where(reading.in_id_range(records.c.proposal_id))
_PRUNED_BEFORE = sa.select(sa.func.max(prunes.c.before, type_=UtcDateTime()))
_PRUNES = sa.select(*prunes.columns).order_by(prunes.c.id)
_HIGHEST: sa.Select[Any] = sa.select(sa.func.coalesce(sa.func.max(proposals.c.id), 0))


@unit(TransactionMode.SNAPSHOT)
def highest(connection: sa.Connection) -> int:
    """Return the highest id that a proposal has, or once had."""
    return max(int(connection.execute(_HIGHEST).scalar_one()), history.last_proposal(connection))


_AFTER: sa.BindParameter[int] = sa.bindparam("after_id", type_=sa.BigInteger())
_NEXT_STORED = sa.select(proposals.c.id).where(proposals.c.id > _AFTER).order_by(proposals.c.id).limit(CHUNK)


@unit(TransactionMode.SNAPSHOT)
def next_chunk(connection: sa.Connection, after_id: int) -> int | None:
    """Return the last id of the next chunk of proposals, including deleted ones; None at the end."""
    stored = connection.scalars(_NEXT_STORED, {"after_id": after_id}).all()
    ids = sorted({*stored, *history.next_proposals(connection, after_id, CHUNK)})[:CHUNK]
    return ids[-1] if ids else None


@unit(TransactionMode.SNAPSHOT)
def compare(connection: sa.Connection, first: int, last: int) -> list[Discrepancy]:
    """Return every difference of the proposals of a range of ids; needs one snapshot.

    An unreadable row is a difference. Only the comparisons that need it are left out.
    """
    values = {"first": first, "last": last}
    recorded = history.of_proposals(connection, first, last)
    stored = reading.many(connection, _PROPOSALS, values, proposals.c.id, to_proposal)
    opened = reading.many(connection, _RECORDS, values, records.c.id, to_record)
    pruned = _pruned_before(connection)
    by_id = {proposal.id: proposal for proposal in stored.items}
    by_proposal = {record.proposal_id: record for record in opened.items}
    by_events = history.by_proposal(recorded.items)
    unreadable = _by_proposal(connection, [*stored.unreadable, *opened.unreadable, *recorded.unreadable])
    return [
        Discrepancy(proposal_id=number, field=field, expected=str(expected), found=str(found))
        for number in sorted({*by_events, *by_id, *unreadable})
        for field, expected, found in _differences(
            by_events.get(number, []), by_id.get(number), by_proposal.get(number), pruned, unreadable.get(number, [])
        )
    ]


_ORPHANS = sa.select(records.c.id).where(~sa.exists().where(proposals.c.id == records.c.proposal_id))


def orphaned_records(connection: sa.Connection) -> list[Discrepancy]:
    """Return every record that belongs to no proposal."""
    return [
        Discrepancy(
            field=f"{records.name} {number}.proposal_id", expected="the id of a proposal", found="another value"
        )
        for number in sorted(connection.scalars(_ORPHANS))
    ]


def unreadable_prunes(connection: sa.Connection) -> list[Discrepancy]:
    """Return every value of a prune that cannot be read."""
    return [
        Discrepancy(field=f"{prunes.name} {row['id']}.{name}", expected=reading.READABLE, found=value.detail)
        for row in reading.lossy(connection, _PRUNES, {}, prunes.c.id)
        for name, value in row.items()
        if isinstance(value, Undecodable)
    ]


def _pruned_before(connection: sa.Connection) -> datetime | None:
    """Return the latest `before` of all readable prunes."""
    latest: datetime | Undecodable | None = reading.scalar(connection, _PRUNED_BEFORE, {})
    if not isinstance(latest, Undecodable):
        return latest
    found = [row["before"] for row in reading.lossy(connection, _PRUNES, {}, prunes.c.id)]
    return max((before for before in found if not isinstance(before, Undecodable)), default=None)


def _by_proposal(
    connection: sa.Connection, errors: Sequence[UnreadableRowError]
) -> dict[int, list[UnreadableRowError]]:
    found: dict[int, list[UnreadableRowError]] = {}
    for error in errors:
        number = error.id
        if error.table != proposals.name:
            of = _OWNERS[error.table]
            number = connection.execute(of, {"row_id": error.id}).scalar_one_or_none()
        found.setdefault(number if isinstance(number, int) else 0, []).append(error)
    return found


_OWNERS = {
    table.name: sa.select(table.c.proposal_id).where(table.c.id == sa.bindparam("row_id", type_=sa.BigInteger()))
    for table in (records, events, notes, approvals)
}
_PREFIXES = {
    proposals.name: "",
    records.name: "record.",
    events.name: "event {}.",
    notes.name: "note {}.",
    approvals.name: "decision {}.",
}


_Difference = tuple[str, object, object]


def _differences(
    recorded: Sequence[ActionEvent],
    proposal: StoredProposal | None,
    record: StoredRecord | None,
    pruned: datetime | None,
    unreadable: Sequence[UnreadableRowError],
) -> Iterator[_Difference]:
    missing = {error.table for error in unreadable}
    for error in unreadable:
        yield f"{_PREFIXES[error.table].format(error.id)}{error.column}", reading.READABLE, error.detail
    if events.name in missing:
        return
    steps = [event for event in recorded if event.kind is EventKind.STEP]
    if not steps:
        yield "row", "nothing: it has no history", f"a proposal that is {proposal.status if proposal else 'missing'}"
        return
    yield from _chain(steps)
    final = steps[-1]
    if proposals.name in missing:
        return
    if proposal is None:
        if final.to_status not in TERMINAL or pruned is None or (final.recorded_at or final.at) >= pruned:
            yield "row", f"a proposal that is {final.to_status}", "nothing, and it was not pruned"
        return
    yield from _compared(_proposal_of(steps), proposal, "")
    if not missing & {records.name, notes.name}:
        yield from _compared_records(recorded, steps, record)


def _chain(steps: Sequence[ActionEvent]) -> Iterator[_Difference]:
    before: ActionStatus | None = None
    for step in steps:
        legal = (step.from_status, step.to_status) in STEP_PAIRS or (
            before is None and step.to_status is ActionStatus.PROPOSED
        )
        if step.from_status is not before or not legal:
            yield "history", f"a legal step from {before}", f"{step.from_status} -> {step.to_status}"
        before = step.to_status


def _proposal_of(steps: Sequence[ActionEvent]) -> dict[str, Any]:
    first, last = steps[0], steps[-1]
    data = first.data or {}
    return {
        **{name: data.get(name) for name in SNAPSHOT_COLUMNS},
        "generation": first.generation,
        "status": last.to_status,
        "status_at": last.at,
        "status_by": last.by,
        "status_reason": last.reason if len(steps) > 1 else None,
        **{f"{step.to_status}_at": step.at for step in steps[1:]},
    }


def _compared(expected: Mapping[str, Any], found: StoredProposal | StoredRecord, prefix: str) -> Iterator[_Difference]:
    for name, value in expected.items():
        kept = getattr(found, RECORD_FIELDS.get(name, name))
        if _normal(name, value) != _normal(name, kept):
            yield f"{prefix}{name}", value, kept


def _normal(name: str, value: Any) -> object:
    """Return a value of a row, or of the JSON in an event, in a form that can be compared."""
    with suppress(ValueError, TypeError):  # a value in another form than the ledger's differs
        if isinstance(value, str) and name.endswith(("_at", "_until")):
            return datetime.strptime(value, "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)
        if name == "lease_seconds" and value is not None:
            return float(value)
    return comparable(value)


def _compared_records(
    recorded: Sequence[ActionEvent], steps: Sequence[ActionEvent], record: StoredRecord | None
) -> Iterator[_Difference]:
    left = next((step for step in steps if step.from_status is ActionStatus.EXECUTING), None)
    if left is None:
        if record is not None and steps[-1].to_status is not ActionStatus.EXECUTING:
            yield "record", "nothing: it was never executing", f"record {record.id}"
        return
    data = left.data or {}
    if record is None:
        yield "record", f"record {data.get('record_id')}", "nothing"
        return
    expected = {"id": data.get("record_id"), **{name: data.get(name) for name in OUTCOME_COLUMNS}}
    yield from _compared({**expected, **_resolution(recorded)}, record, "record.")


def _resolution(recorded: Sequence[ActionEvent]) -> dict[str, Any]:
    event = next((event for event in recorded if event.kind is EventKind.RESOLVED), None)
    found = () if event is None else ((event.data or {}).get("finding"), event.at, event.by, event.reason)
    return dict(zip_longest(FINDING_COLUMNS, found))
