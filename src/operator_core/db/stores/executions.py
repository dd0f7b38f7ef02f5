"""Claims and starts: a step of the proposal and its record together, in one statement if the engine can."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from operator_core.actions.errors import (
    ActionError,
    IsolationLevelError,
    RetryTransactionError,
    UnreadableRowError,
)
from operator_core.actions.lifecycle import ActionOutcome, ActionStatus
from operator_core.actions.types import StoredProposal, StoredRecord
from operator_core.db.engine.capabilities import supports_writable_cte
from operator_core.db.errors import cannot_decode
from operator_core.db.functions import not_among, now, now_plus
from operator_core.db.guards.approval_conditions import must_be_passed_over
from operator_core.db.guards.codes import ISOLATION_REFUSED, LATCH_UNREADABLE, MESSAGES, UNREADABLE
from operator_core.db.guards.conditions import KillSwitchConditions
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.schema import proposals
from operator_core.db.schema import records as table
from operator_core.db.stores import endings, reading
from operator_core.db.stores.approved_digest import approved_digest
from operator_core.db.stores.mapping import to_proposal, to_record
from operator_core.db.stores.transitions import (
    deferring_diagnosis,
    diagnose_transition,
    latch_unreadable,
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


@dataclass(frozen=True)
class Search:
    """What a claim leaves out of those that match its filters.

    Attributes:
        passed_over: The ids of the unreadable proposals.
        after_id: Only what has a higher id; None for all.
        approved: Whether it passes over what is short of approvals; if not, the guard may refuse the oldest.
    """

    passed_over: Collection[int] = ()
    after_id: int | None = None
    approved: bool = True


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


def _new_record(source: sa.FromClause) -> sa.Insert:
    worker = sa.bindparam("worker", type_=sa.Text())
    seconds: sa.BindParameter[float | None] = sa.bindparam("lease_seconds", type_=sa.Float())
    values: dict[str, sa.ColumnElement[Any]] = {
        "proposal_id": source.c.id,
        "started_at": source.c.executing_at,
        "worker": worker,
        "lease_seconds": seconds,
        "last_seen_at": sa.case((worker.is_not(None), now())),
        "lease_expires_at": now_plus(seconds),
        "claim_key": sa.bindparam("claim_key", type_=sa.Text()),
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


def _opening(picked: sa.ColumnElement[bool]) -> tuple[sa.Executable, sa.Executable]:
    """Return the start of what `picked` selects, without and with the record that it opens."""
    start = transition_to(ActionStatus.EXECUTING).where(picked).returning(*proposals.columns)
    started = start.cte("started")
    opened = _new_record(started).returning(*table.columns).cte("opened")
    columns = (*started.columns, *opened.columns, approved_digest("started.id"), _in_front("started.id"))
    both = sa.select(*columns).select_from(started.join(opened, sa.true()))
    return start.returning(approved_digest("action_proposals.id"), _in_front("action_proposals.id")), both


_OPENING_ONE = _opening(_OF_ONE)


def _candidates(filters: frozenset[str], *, passing_over: bool, behind: bool = False) -> sa.Select[Any]:
    """Return the query for what may start, oldest first: not stopped, stale, expired or short of approvals."""
    waiting = proposals.alias("waiting")
    is_unblocked = sa.text(f"NOT {KillSwitchConditions('waiting').start_blocked}")
    found = (
        sa.select(waiting.c.id)
        .where(
            sa.text("waiting.status = 'validated'"),
            sa.or_(waiting.c.valid_until.is_(None), waiting.c.valid_until > now()),
            is_unblocked,
            ~must_be_passed_over("waiting", sa.bindparam("approved", type_=sa.Boolean())),
            *(_filter(waiting, name) for name in sorted(filters)),
        )
        .order_by(waiting.c.id)
    )
    if behind:
        found = found.where(waiting.c.id > sa.bindparam("after_id", type_=sa.BigInteger()))
    return found.where(not_among(waiting.c.id, "passed_over")) if passing_over else found


@cache
def _opening_next(filters: frozenset[str], *, passing_over: bool, behind: bool) -> tuple[sa.Executable, sa.Executable]:
    oldest = _candidates(filters, passing_over=passing_over, behind=behind).limit(sa.literal_column("1"))
    return _opening(proposals.c.id == oldest.with_for_update(skip_locked=True).scalar_subquery())


@cache
def _waiting_now(filters: frozenset[str]) -> sa.Select[Any]:
    return _candidates(filters, passing_over=True).limit(_AT_ONCE)


_AT_ONCE = 50  # that are claimed one by one to find the unreadable ones


def _filter(waiting: sa.FromClause, name: str) -> sa.ColumnElement[bool]:
    column = waiting.c[name]
    if name == "ticket_id":
        return column == sa.bindparam(f"of_{name}")
    return column.in_(sa.bindparam(f"of_{name}", expanding=True))


def _to_claim(row: sa.Row[Any]) -> Claim:
    return Claim(to_proposal(row[:_WIDTH]), to_record(row[_WIDTH:-2]), *row[-2:])


def _open(
    connection: sa.Connection, statements: tuple[sa.Executable, sa.Executable], values: Mapping[str, Any]
) -> Claim | None:
    start, both = statements
    if supports_writable_cte(connection):
        row = connection.execute(both, values).one_or_none()
        return None if row is None else _to_claim(row)
    row = connection.execute(start, values).one_or_none()
    if row is None:
        return None
    proposal = to_proposal(row[:_WIDTH])
    given = {"proposal_id": proposal.id, **{name: values[name] for name in _HELD}}
    return Claim(proposal, to_record(connection.execute(_NEW_RECORD, given).one()), *row[_WIDTH:])


def _values(by: str, lease: Lease | None) -> dict[str, Any]:
    held = (None, None, None) if lease is None else (lease.worker, lease.seconds, lease.key)
    return {"step_by": by, "step_reason": None, **dict(zip(_HELD, held, strict=True))}


def _open_one(connection: sa.Connection, proposal_id: int, by: str, lease: Lease | None) -> Claim:
    values = {"proposal_id": proposal_id, **_values(by, lease)}
    try:
        with deferring_diagnosis(
            lambda after, code: diagnose_transition(after, proposal_id, ActionStatus.EXECUTING, code)
        ):
            found = _open(connection, _OPENING_ONE, values)
    except Exception as error:
        if not cannot_decode(error):
            raise
        raise unreadable(connection, proposal_id) from error
    if found is None:
        raise diagnose_transition(connection, proposal_id, ActionStatus.EXECUTING)
    return found


@unit(TransactionMode.MULTI_WRITE)
def start(connection: sa.Connection, proposal_id: int, by: str) -> Claim:
    """Take a validated proposal to `executing` and open its record, without a lease."""
    return _open_one(connection, proposal_id, by, None)


@unit(TransactionMode.MULTI_WRITE)
def claim(connection: sa.Connection, proposal_id: int, lease: Lease) -> Claim:
    """Take a validated proposal to `executing` and open its record, under a lease."""
    return _open_one(connection, proposal_id, lease.worker, lease)


Filters = Mapping[str, Sequence[str] | int]
"""The filters of a claim: names, types and a ticket."""


@unit(TransactionMode.MULTI_WRITE)
def claim_next(
    connection: sa.Connection,
    filters: Filters,
    lease: Lease,
    search: Search = Search(),
) -> Claim | None:
    """Claim and return the oldest validated proposal that matches and may start, or None.

    Args:
        connection: The connection whose transaction claims it.
        filters: What it must match.
        lease: The worker, and for how long.
        search: What it leaves out.

    Raises:
        GuardRefusal: The oldest is short of approvals.
        UnreadableRowError: The oldest cannot be read; claiming each by its id finds out which one it is.
    """
    given: dict[str, Any] = {f"of_{name}": value for name, value in filters.items()}
    given["approved"] = search.approved
    if search.passed_over:
        given["passed_over"] = json.dumps([*search.passed_over])
    if search.after_id is not None:
        given["after_id"] = search.after_id
    statements = _opening_next(
        frozenset(filters), passing_over=bool(search.passed_over), behind=search.after_id is not None
    )
    try:
        with deferring_diagnosis(_explain_next):
            return _open(connection, statements, {**_values(lease.worker, lease), **given})
    except Exception as error:
        if not cannot_decode(error):
            raise
        raise _one_of_those_waiting() from error


def _one_of_those_waiting() -> UnreadableRowError:
    return UnreadableRowError(table=proposals.name, id=None, column=None, detail=MESSAGES[UNREADABLE])


@unit(TransactionMode.READ)
def waiting(connection: sa.Connection, filters: Filters, passed_over: Collection[int]) -> Sequence[int]:
    """Return the first ids of what `claim_next` chooses from, oldest first, including locked ones."""
    given = {f"of_{name}": value for name, value in filters.items()}
    given |= {"approved": True, "passed_over": json.dumps([*passed_over])}
    return connection.scalars(_waiting_now(frozenset(filters)), given).all()


def _explain_next(connection: sa.Connection, code: str) -> ActionError:
    if code == UNREADABLE:
        return _one_of_those_waiting()
    if code == ISOLATION_REFUSED:
        return IsolationLevelError(proposal_id=None)
    if code == LATCH_UNREADABLE:
        return latch_unreadable(connection)
    # A stop or the expiry has come since the statement began, or the key is taken: try again.
    return RetryTransactionError(code=code)


_CLAIMED = (
    sa.select(*proposals.columns, *table.columns, approved_digest("action_proposals.id"), sa.literal_column("0"))
    .join_from(proposals, table)
    .where(
        sa.text("action_records.outcome IS NULL"),
        table.c.claim_key == sa.bindparam("claim_key"),
        table.c.worker == sa.bindparam("worker"),
    )
)


@unit(TransactionMode.READ)
def claimed(connection: sa.Connection, lease: Lease) -> Claim | None:
    """Return the claim under a lease's key if it still runs: its answer was lost.

    Raises:
        UnreadableRowError: It cannot be read.
    """
    values = {"claim_key": lease.key, "worker": lease.worker}
    return reading.one(connection, _CLAIMED, values, table.c.id, _to_claim)


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
