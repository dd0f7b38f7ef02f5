"""Claims of what comes next: the search for the oldest proposals that may start, and for claims made before."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from operator_core.actions.errors import (
    ActionError,
    IsolationLevelError,
    RetryTransactionError,
    UnreadableRowError,
)
from operator_core.db.errors import cannot_decode
from operator_core.db.functions import not_among, now
from operator_core.db.guards.approval_conditions import must_be_passed_over
from operator_core.db.guards.codes import ISOLATION_REFUSED, LATCH_UNREADABLE, MESSAGES, UNREADABLE
from operator_core.db.guards.conditions import KillSwitchConditions
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.schema import proposals
from operator_core.db.schema import records as table
from operator_core.db.stores import reading
from operator_core.db.stores.approved_digest import approved_digest
from operator_core.db.stores.executions import (
    Claim,
    Lease,
    Opening,
    open_all,
    opening_one,
    opening_some,
    start_values,
    to_claim,
)
from operator_core.db.stores.transitions import deferring_diagnosis, latch_unreadable

MAX_CLAIMS = 1000
"""How many proposals one call claims at most."""

_EXACT_CLAIMS, _STEP = 32, 32
"""Up to how many claims there is a statement for each number, and how far apart the numbers are from there on."""

_STATEMENTS = 256

Filters = Mapping[str, Sequence[str] | int]
"""The filters of a claim: names, types and a ticket."""


@dataclass(frozen=True)
class Search:
    """What a claim looks for among those that match its filters, and what it leaves out.

    Attributes:
        passed_over: The ids of the unreadable proposals.
        after_id: Only what has a higher id; None for all.
        approved: Whether it passes over what is short of approvals; if not, the guard may refuse the oldest.
        limit: How many it claims at most.
    """

    passed_over: Collection[int] = ()
    after_id: int | None = None
    approved: bool = True
    limit: int = 1


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


def _filter(waiting: sa.FromClause, name: str) -> sa.ColumnElement[bool]:
    column = waiting.c[name]
    if name == "ticket_id":
        return column == sa.bindparam(f"of_{name}")
    return column.in_(sa.bindparam(f"of_{name}", expanding=True))


@lru_cache(_STATEMENTS)
def _opening_next(filters: frozenset[str], *, passing_over: bool, behind: bool, limit: int) -> Opening:
    # The number stands in the text: for a parameter, PostgreSQL plans to find a tenth of all, and sorts them.
    found = _candidates(filters, passing_over=passing_over, behind=behind).limit(sa.literal_column(str(limit)))
    oldest = found.with_for_update(skip_locked=True)
    if limit == 1:
        return opening_one(proposals.c.id == oldest.scalar_subquery())
    # Materialised, it is run once, and locks no more than it returns.
    return opening_some(proposals.c.id.in_(oldest.cte("oldest").select()))


def _as_planned(limit: int) -> int:
    """Return the largest number up to `limit` that there is a statement for."""
    limit = min(limit, MAX_CLAIMS)
    return limit if limit <= _EXACT_CLAIMS else limit // _STEP * _STEP


@unit(TransactionMode.MULTI_WRITE)
def claim_next(connection: sa.Connection, filters: Filters, lease: Lease, search: Search = Search()) -> list[Claim]:
    """Claim and return the oldest validated proposals that match and may start, oldest first: as many as it looks for.

    Of several claims, each has a key of its own.

    Raises:
        GuardRefusal: One of them was refused, so that nothing is claimed.
        UnreadableRowError: One of them cannot be read; claiming each by its id finds out which one it is.
    """
    given: dict[str, Any] = {f"of_{name}": value for name, value in filters.items()}
    given["approved"] = search.approved
    if search.passed_over:
        given["passed_over"] = json.dumps([*search.passed_over])
    if search.after_id is not None:
        given["after_id"] = search.after_id
    opening = _opening_next(
        frozenset(filters),
        passing_over=bool(search.passed_over),
        behind=search.after_id is not None,
        limit=_as_planned(search.limit),
    )
    try:
        with deferring_diagnosis(_explain_next):
            values = {**start_values(lease.worker, lease), **given}
            return open_all(connection, opening, values, _keys(lease, search.limit))
    except Exception as error:
        if not cannot_decode(error):
            raise
        raise _one_of_those_waiting() from error


@unit(TransactionMode.TRANSACTION)
def claim_many(connection: sa.Connection, filters: Filters, lease: Lease, search: Search) -> list[Claim]:
    """Claim several as `claim_next` does, committed once all of them can be read."""
    return claim_next(connection, filters, lease, search)


def _keys(lease: Lease, limit: int) -> list[str | None]:
    return [lease.key] if limit == 1 else [lease.of_place(place).key for place in range(1, limit + 1)]


def _one_of_those_waiting() -> UnreadableRowError:
    return UnreadableRowError(table=proposals.name, id=None, column=None, detail=MESSAGES[UNREADABLE])


def _explain_next(connection: sa.Connection, code: str) -> ActionError:
    if code == UNREADABLE:
        return _one_of_those_waiting()
    if code == ISOLATION_REFUSED:
        return IsolationLevelError(proposal_id=None)
    if code == LATCH_UNREADABLE:
        return latch_unreadable(connection)
    # A stop or the expiry has come since the statement began, or the key is taken: try again.
    return RetryTransactionError(code=code)


_AT_ONCE = 50  # that are claimed one by one to find the unreadable ones


@lru_cache(_STATEMENTS)
def _waiting_now(filters: frozenset[str]) -> sa.Select[Any]:
    return _candidates(filters, passing_over=True).limit(_AT_ONCE)


@unit(TransactionMode.READ)
def waiting(connection: sa.Connection, filters: Filters, passed_over: Collection[int]) -> Sequence[int]:
    """Return the first ids of what `claim_next` chooses from, oldest first, including locked ones."""
    given = {f"of_{name}": value for name, value in filters.items()}
    given |= {"approved": True, "passed_over": json.dumps([*passed_over])}
    return connection.scalars(_waiting_now(frozenset(filters)), given).all()


# -- claims made before ------------------------------------------------------------------------------------------------

_CLAIMED = (
    sa.select(*proposals.columns, *table.columns, approved_digest("action_proposals.id"), sa.literal_column("0"))
    .join_from(proposals, table)
    .where(
        sa.text("action_records.outcome IS NULL"),
        table.c.worker == sa.bindparam("worker"),
        table.c.claim_key.in_(sa.bindparam("claim_keys", expanding=True)),
    )
    .order_by(table.c.id)
)


@unit(TransactionMode.READ)
def claimed(connection: sa.Connection, lease: Lease, limit: int) -> reading.Found[Claim]:
    """Return the claims under a lease's key that still run, oldest first: their answer was lost."""
    values = {"worker": lease.worker, "claim_keys": _keys(lease, limit)}
    return reading.many(connection, _CLAIMED, values, table.c.id, to_claim)
