"""Starts: a step of the proposal and its record together, in one statement if the engine can."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import sqlalchemy as sa

from operator_core.actions.errors import UnreadableRowError
from operator_core.actions.lifecycle import ActionOutcome, ActionStatus
from operator_core.actions.types import StoredProposal, StoredRecord
from operator_core.db.engine.capabilities import supports_writable_cte
from operator_core.db.errors import cannot_decode
from operator_core.db.functions import now, now_plus
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.schema import proposals
from operator_core.db.schema import records as table
from operator_core.db.stores import endings
from operator_core.db.stores.approved_digest import approved_digest
from operator_core.db.stores.mapping import to_proposal, to_record
from operator_core.db.stores.transitions import (
    deferring_diagnosis,
    diagnose_transition,
    transition_to,
    unreadable,
)

_OF_ONE = proposals.c.id == sa.bindparam("proposal_id", type_=sa.BigInteger())
_HELD = ("worker", "lease_seconds", "claim_key")
_WIDTH = len(proposals.columns)


@dataclass(frozen=True)
class Lease:
    """The lease of a claim: its worker, its seconds without a heartbeat, and the key for repeating the claim."""

    worker: str
    seconds: float
    key: str | None

    def of_place(self, place: int) -> "Lease":
        """Return the lease of one claim of several, with a key of its own: the first has the place 1."""
        return self if self.key is None else replace(self, key=f"{self.key}/{place}")


class Claim(NamedTuple):
    """A proposal that was started, and its record.

    Attributes:
        approved: The digest that its approvals name; None if they name none.
        in_front: How many validated proposals have a lower id, counted up to a few more than a claim remembers.
    """

    proposal: StoredProposal
    record: StoredRecord
    approved: str | None = None
    in_front: int = 0


_KEY = sa.bindparam("claim_key", type_=sa.Text())


def _new_record(source: sa.FromClause, key: sa.ColumnElement[Any] = _KEY) -> sa.Insert:
    worker = sa.bindparam("worker", type_=sa.Text())
    seconds: sa.BindParameter[float | None] = sa.bindparam("lease_seconds", type_=sa.Float())
    values: dict[str, sa.ColumnElement[Any]] = {
        "proposal_id": source.c.id,
        "started_at": source.c.executing_at,
        "worker": worker,
        "lease_seconds": seconds,
        "last_seen_at": sa.case((worker.is_not(None), now())),
        "lease_expires_at": now_plus(seconds),
        "claim_key": key,
    }
    return sa.insert(table).from_select(list(values), sa.select(*values.values()).select_from(source))


_STARTED = sa.select(proposals.c.id, proposals.c.executing_at).where(_OF_ONE).subquery("started")
_NEW_RECORD = _new_record(_STARTED).returning(*table.columns)


def _in_front(proposal_id: str) -> sa.ColumnElement[int]:
    """Return how many validated proposals a claim has passed over, or that others hold; the index alone answers it."""
    return sa.literal_column(
        "(SELECT count(*) FROM (SELECT 1 FROM action_proposals AS f WHERE f.status = 'validated' "
        f"AND f.id < {proposal_id} LIMIT 40) AS fronts)",
        sa.BigInteger(),
    ).label("in_front")


class Opening(NamedTuple):
    """A statement that starts proposals, and for engines that can, one that opens their records too."""

    start: sa.Executable
    both: sa.Executable


def opening_one(picked: sa.ColumnElement[bool]) -> Opening:
    """Return the start of the one proposal that `picked` selects."""
    return _opening(picked, _KEY, "started.id")


def opening_some(picked: sa.ColumnElement[bool]) -> Opening:
    """Return the start of all proposals that `picked` selects, each under a key of its own."""
    place = sa.func.row_number().over(order_by=sa.literal_column("started.id"))
    return _opening(picked, _KEY + "/" + sa.cast(place, sa.Text()), "(SELECT min(first.id) FROM started AS first)")


def _opening(picked: sa.ColumnElement[bool], key: sa.ColumnElement[Any], first: str) -> Opening:
    start = transition_to(ActionStatus.EXECUTING).where(picked).returning(*proposals.columns)
    started = start.cte("started")
    opened = _new_record(started, key).returning(*table.columns).cte("opened")
    columns = (*started.columns, *opened.columns, approved_digest("started.id"), _in_front(first))
    both = sa.select(*columns).select_from(started.join(opened, opened.c.proposal_id == started.c.id))
    start = start.returning(approved_digest("action_proposals.id"), _in_front("action_proposals.id"))
    return Opening(start, both)


_OPENING_ONE = opening_one(_OF_ONE)


def to_claim(row: sa.Row[Any]) -> Claim:
    """Return the claim of a row: a proposal, its record, the approved digest, and what was in front.

    Raises:
        UnreadableRowError: A column holds an invalid value.
    """
    return Claim(to_proposal(row[:_WIDTH]), to_record(row[_WIDTH:-2]), *row[-2:])


def open_all(
    connection: sa.Connection, opening: Opening, values: Mapping[str, Any], keys: Sequence[str | None]
) -> list[Claim]:
    """Start what an opening selects, and return the claims, oldest first; `keys` are theirs, in this order."""
    if supports_writable_cte(connection):
        rows = connection.execute(opening.both, values)
        return sorted(map(to_claim, rows), key=lambda claim: claim.proposal.id)
    started = [(to_proposal(row[:_WIDTH]), *row[_WIDTH:]) for row in connection.execute(opening.start, values)]
    started.sort(key=lambda found: found[0].id)
    claims: list[Claim] = []
    for (proposal, approved, in_front), key in zip(started, keys, strict=False):
        given = {"worker": values["worker"], "lease_seconds": values["lease_seconds"], "claim_key": key}
        record = to_record(connection.execute(_NEW_RECORD, {"proposal_id": proposal.id, **given}).one())
        claims.append(Claim(proposal, record, approved, in_front))
    return claims


def start_values(by: str, lease: Lease | None) -> dict[str, Any]:
    """Return the bound values of a start."""
    held = (None, None, None) if lease is None else (lease.worker, lease.seconds, lease.key)
    return {"step_by": by, "step_reason": None, **dict(zip(_HELD, held, strict=True))}


def _open_one(connection: sa.Connection, proposal_id: int, by: str, lease: Lease | None) -> Claim:
    values: dict[str, Any] = {"proposal_id": proposal_id, **start_values(by, lease)}
    try:
        with deferring_diagnosis(
            lambda after, code: diagnose_transition(after, proposal_id, ActionStatus.EXECUTING, code)
        ):
            found = open_all(connection, _OPENING_ONE, values, (values["claim_key"],))
    except Exception as error:
        if not cannot_decode(error):
            raise
        raise unreadable(connection, proposal_id) from error
    if not found:
        raise diagnose_transition(connection, proposal_id, ActionStatus.EXECUTING)
    return found[0]


@unit(TransactionMode.MULTI_WRITE)
def start(connection: sa.Connection, proposal_id: int, by: str) -> Claim:
    """Take a validated proposal to `executing` and open its record, without a lease."""
    return _open_one(connection, proposal_id, by, None)


@unit(TransactionMode.MULTI_WRITE)
def claim(connection: sa.Connection, proposal_id: int, lease: Lease) -> Claim:
    """Take a validated proposal to `executing` and open its record, under a lease."""
    return _open_one(connection, proposal_id, lease.worker, lease)


@unit(TransactionMode.MULTI_WRITE)
def fail_unreadable_claim(connection: sa.Connection, error: UnreadableRowError, worker: str) -> None:
    """Record a worker's unreadable claim as failed, if it was claimed at all: the action never started."""
    of = _OPEN_RECORD[error.table == table.name]
    record_id = connection.scalars(of, {"row_id": error.id, "worker": worker}).one_or_none()
    if record_id is not None:
        endings.finish(connection, record_id, ActionOutcome.FAILED, "it never began: it cannot be read", None, worker)


_OPEN_RECORD = {
    by_record: sa.select(table.c.id).where(
        column == sa.bindparam("row_id", type_=sa.BigInteger()),
        table.c.worker == sa.bindparam("worker"),
        sa.text("action_records.outcome IS NULL"),
    )
    for by_record, column in ((True, table.c.id), (False, table.c.proposal_id))
}
