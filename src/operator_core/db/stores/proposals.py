"""The store of proposals: plain functions over a connection, each in the caller's transaction."""

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import sqlalchemy as sa

from operator_core.actions.errors import (
    ActionError,
    ConstraintError,
    IdempotencyKeyError,
    NotRetryableError,
    RetryTransactionError,
)
from operator_core.actions.lifecycle import PENDING, TERMINAL, ActionStatus
from operator_core.actions.types import ActionProposal, StoredProposal
from operator_core.db.functions import among, json_item, json_rows, not_among, now
from operator_core.db.guards.codes import LATCH_UNREADABLE, MESSAGES, NOT_RETRYABLE, UNREADABLE
from operator_core.db.guards.conditions import COUNTER, KillSwitchConditions
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.schema import CAN_EXPIRE, kill_switch, proposals, status_in
from operator_core.db.stores import reading
from operator_core.db.stores.mapping import PROPOSER_COLUMNS, as_json_array, new_proposal, to_proposal
from operator_core.db.stores.transitions import deferring_diagnosis, latch_unreadable, transition_to
from operator_core.db.types import comparable

_BULK_ROWS = 2_000  # of one statement; all rows of a call are in one transaction


def _insert(source: sa.Subquery, *order: sa.ColumnElement[Any]) -> sa.Executable:
    """Return the INSERT that chooses the status by the latch: a proposal made under a stop is stored as cancelled.

    PostgreSQL's guard chooses again, from a newer snapshot; SQLite's can only check.
    """
    stop = kill_switch.alias("stop")
    stopped_by = sa.text(
        f"stop.generation = (SELECT max(k.generation) FROM kill_switch AS k WHERE {KillSwitchConditions('n').engaged})"
    )
    chosen: dict[str, sa.ColumnElement[Any]] = {
        **{name: source.c[name] for name in PROPOSER_COLUMNS},
        "generation": sa.literal_column(COUNTER),
        "status": sa.literal_column("CASE WHEN stop.scope IS NULL THEN 'proposed' ELSE 'cancelled' END"),
        "status_at": now(),
        "status_by": sa.func.coalesce(stop.c.engaged_by, source.c.proposed_by),
        "status_reason": stop.c.reason,
        "cancelled_at": sa.case((stop.c.scope.is_not(None), now())),
    }
    rows = sa.select(*chosen.values()).select_from(source.outerjoin(stop, stopped_by)).order_by(*order)
    return sa.insert(proposals).from_select(list(chosen), rows, include_defaults=False).returning(*proposals.columns)


_values = sa.select(*(sa.bindparam(name, type_=proposals.c[name].type).label(name) for name in PROPOSER_COLUMNS))
_INSERT_ONE = _insert(_values.subquery("n"))

_rows = json_rows(sa.bindparam("rows", type_=sa.Text())).table_valued("value", "position", name="j")
_INSERT_MANY = _insert(
    sa.select(
        *(
            json_item(_rows.c.value, index, proposals.c[name].type).label(name)
            for index, name in enumerate(PROPOSER_COLUMNS)
        ),
        _rows.c.position,
    ).subquery("n"),
    sa.literal_column("n.position"),
)


_RETRIED = sa.select(proposals.c.id, proposals.c.status).where(
    proposals.c.id.in_(sa.bindparam("retried", expanding=True))
)


def _deferring_diagnosis(values: Sequence[Mapping[str, Any]]) -> AbstractContextManager[None]:
    return deferring_diagnosis(lambda later, code: _diagnose_insert(later, code, values))


def _diagnose_insert(connection: sa.Connection, code: str, values: Sequence[Mapping[str, Any]]) -> ActionError:
    if code == NOT_RETRYABLE:
        wanted = [row["retry_of"] for row in values if row["retry_of"] is not None]
        found = {row.id: row.status for row in connection.execute(_RETRIED, {"retried": wanted})}
        wrong = next((number for number in wanted if found.get(number) not in TERMINAL), wanted[0])
        return NotRetryableError(retry_of=wrong, current=found.get(wrong))
    if code == LATCH_UNREADABLE:
        return latch_unreadable(connection)
    if code == UNREADABLE:
        return ConstraintError(code=code, detail=MESSAGES[code])
    # The latch changed between the choice and the guard, or a concurrent call takes the idempotency key.
    return RetryTransactionError(code=code)


@unit(TransactionMode.WRITE)
def insert(connection: sa.Connection, proposal: ActionProposal) -> StoredProposal:
    """Store one proposal."""
    values = new_proposal(proposal)
    with _deferring_diagnosis([values]):
        return to_proposal(connection.execute(_INSERT_ONE, values).one())


_OF_KEY = sa.select(*proposals.columns).where(proposals.c.idempotency_key == sa.bindparam("idempotency_key"))
_MAY_DIFFER = ("proposed_at",)  # a repeated call makes the proposal anew


@unit(TransactionMode.TRANSACTION)
def insert_idempotent(connection: sa.Connection, proposal: ActionProposal) -> StoredProposal:
    """Store a proposal, or return the first one of its idempotency key, marked as repeated.

    Raises:
        IdempotencyKeyError: The first one has other content.
        UnreadableRowError: The first one cannot be read.
    """
    values = new_proposal(proposal)
    of_key = {"idempotency_key": proposal.idempotency_key}
    first = reading.one(connection, _OF_KEY, of_key, proposals.c.id, to_proposal)
    if first is None:
        return insert(connection, proposal)
    proposed, stored = (
        {name: comparable(of[name], ignore_key_order=True) for name in PROPOSER_COLUMNS if name not in _MAY_DIFFER}
        for of in (values, dict(first))
    )
    differs = [name for name in proposed if proposed[name] != stored[name]]
    if differs:
        key = str(first.idempotency_key)
        raise IdempotencyKeyError(key=key, proposal_id=first.id, differs=tuple(differs))
    return first.model_copy(update={"repeated": True})


@unit(TransactionMode.TRANSACTION)
def insert_many(connection: sa.Connection, given: Sequence[ActionProposal]) -> list[StoredProposal]:
    """Store many proposals, in their order."""
    values = [new_proposal(proposal) for proposal in given]
    stored: list[StoredProposal] = []
    for start in range(0, len(values), _BULK_ROWS):
        document = as_json_array(values[start : start + _BULK_ROWS])
        with _deferring_diagnosis(values):
            rows = connection.execute(_INSERT_MANY, {"rows": document}).all()
        stored += sorted(map(to_proposal, rows), key=_id)
    return stored


def _id(proposal: StoredProposal) -> int:
    return proposal.id


_SELECT_ONE = sa.select(*proposals.columns).where(proposals.c.id == sa.bindparam("proposal_id"))


@unit(TransactionMode.READ)
def get(connection: sa.Connection, proposal_id: int) -> StoredProposal | None:
    """Return one proposal, or None.

    Raises:
        UnreadableRowError: It cannot be read.
    """
    return reading.one(connection, _SELECT_ONE, {"proposal_id": proposal_id}, proposals.c.id, to_proposal)


_STATUSES = sa.select(proposals.c.id, sa.cast(proposals.c.status, sa.Text())).where(among(proposals.c.id, "ids"))


@unit(TransactionMode.READ)
def statuses(connection: sa.Connection, proposal_ids: Sequence[int]) -> dict[int, str]:
    """Return the states of some proposals by their ids; what is not there is missing."""
    rows = connection.execute(_STATUSES, {"ids": json.dumps([*proposal_ids])})
    return {number: status for number, status in rows}  # noqa: C416 - a Row is no pair to `dict`


Filters = Mapping[str, Any]
"""The column values that a proposal must have (`status`, `ticket_id`, ...); None means any value."""


@cache
def _where(names: frozenset[str], status: ActionStatus | None) -> list[sa.ColumnElement[bool]]:
    # The status is in the text: a parameter would hide the usable partial index from the planner.
    conditions = [proposals.c[name] == sa.bindparam(name) for name in sorted(names)]
    return conditions if status is None else [sa.literal_column(f"action_proposals.status = '{status}'"), *conditions]


def _split(filters: Filters) -> tuple[frozenset[str], ActionStatus | None, dict[str, Any]]:
    given = {name: value for name, value in filters.items() if value is not None}
    status = given.pop("status", None)
    return frozenset(given), None if status is None else ActionStatus(status), given


@cache
def _selection(names: frozenset[str], status: ActionStatus | None, paged: frozenset[str]) -> sa.Select[Any]:
    statement = sa.select(*proposals.columns).where(*_where(names, status)).order_by(proposals.c.id.desc())
    if "before_id" in paged:
        statement = statement.where(proposals.c.id < sa.bindparam("before_id"))
    if "limit" in paged:
        statement = statement.limit(sa.bindparam("limit"))
    return statement


_FURTHER = 100  # rows that are read at a time to replace the unreadable ones of a page


@unit(TransactionMode.READ)
def list_(
    connection: sa.Connection, filters: Filters, before_id: int | None, limit: int | None
) -> reading.Found[StoredProposal]:
    """Return the proposals that match, newest first; a page is full if there are enough readable ones."""
    names, status, values = _split(filters)
    found, wanted = reading.Found[StoredProposal](), limit
    while True:
        page = {name: value for name, value in {"before_id": before_id, "limit": wanted}.items() if value is not None}
        statement = _selection(names, status, frozenset(page))
        part = reading.many(connection, statement, {**values, **page}, proposals.c.id, to_proposal)
        found.items += part.items
        found.unreadable += part.unreadable
        if limit is None or wanted is None:
            return found
        if len(found.items) >= limit or len(part.items) + len(part.unreadable) < wanted:
            del found.items[limit:]
            return found
        ids = [row.id for row in part.items] + [error.id or 0 for error in part.unreadable]
        before_id = min(ids)
        wanted = _FURTHER


@cache
def _counting(names: frozenset[str], status: ActionStatus | None) -> sa.Executable:
    return (
        sa.select(proposals.c.status, sa.func.count().label("number"))
        .where(*_where(names, status))
        .group_by(proposals.c.status)
    )


@unit(TransactionMode.READ)
def count(connection: sa.Connection, filters: Filters) -> dict[ActionStatus, int]:
    """Return how many proposals match, for each of the six states."""
    names, status, values = _split(filters)
    found = {row.status: row.number for row in connection.execute(_counting(names, status), values)}
    return {state: found.get(state, 0) for state in ActionStatus}


_CANCEL_PENDING = transition_to(ActionStatus.CANCELLED).where(sa.text(f"({status_in(PENDING)})"))


@unit(TransactionMode.WRITE)
def cancel_pending(connection: sa.Connection, by: str, reason: str | None) -> int:
    """Cancel all proposals that are proposed or validated now, and return their number."""
    return connection.execute(_CANCEL_PENDING, {"step_by": by, "step_reason": reason}).rowcount


_EXPIRED = sa.select(proposals.c.id).where(sa.text(CAN_EXPIRE), proposals.c.valid_until <= now())
_CANCEL_EXPIRED = (
    transition_to(ActionStatus.CANCELLED)
    .where(proposals.c.id.in_(_EXPIRED.limit(_BULK_ROWS).with_for_update(skip_locked=True).cte("expired").select()))
    .returning(proposals.c.id)
)


@unit(TransactionMode.READ)
def expired(connection: sa.Connection) -> list[int]:
    """Return the ids of pending proposals whose time to start is over."""
    return sorted(connection.scalars(_EXPIRED))


def cancel_expired(connection: sa.Connection, by: str = "system") -> list[int]:
    """Cancel the pending proposals whose time to start is over; return their ids."""
    cancelled: list[int] = []
    values = {"step_by": by, "step_reason": "expired before it was started"}
    while ids := connection.scalars(_CANCEL_EXPIRED, values).all():
        cancelled += ids
    return sorted(cancelled)


_PROPOSED = (
    sa.select(*proposals.columns)
    .where(
        sa.text("action_proposals.status = 'proposed'"),
        proposals.c.id > sa.bindparam("after_id", type_=sa.BigInteger()),
        proposals.c.action_name.in_(sa.bindparam("of_action_name", expanding=True)),
    )
    .order_by(proposals.c.id)
    .limit(sa.bindparam("rows", type_=sa.BigInteger()))
    .with_for_update(skip_locked=True)
)


_PROPOSED_BUT = _PROPOSED.where(not_among(proposals.c.id, "passed_over"))


@unit(TransactionMode.TRANSACTION)
def lock_proposed(
    connection: sa.Connection,
    action_names: Sequence[str],
    rows: int,
    after_id: int = 0,
    passed_over: Collection[int] = (),
) -> reading.Found[StoredProposal]:
    """Return the oldest unvalidated proposals that no other caller holds, locked until the transaction ends.

    Args:
        connection: The connection whose transaction locks them.
        action_names: Match any of these names.
        rows: The maximum number of rows.
        after_id: Only those with a higher id.
        passed_over: The ids of the unreadable proposals.
    """
    values: dict[str, Any] = {"of_action_name": action_names, "rows": rows, "after_id": after_id}
    if not passed_over:
        return reading.many(connection, _PROPOSED, values, proposals.c.id, to_proposal)
    values["passed_over"] = json.dumps([*passed_over])
    return reading.many(connection, _PROPOSED_BUT, values, proposals.c.id, to_proposal)
