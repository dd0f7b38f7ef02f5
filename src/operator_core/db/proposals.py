"""The store of proposals: plain functions over a connection, each in the transaction of its caller."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa

from operator_core.actions.errors import ActionError, RetryTransactionError
from operator_core.actions.lifecycle import PENDING, ActionStatus
from operator_core.actions.types import ActionProposal
from operator_core.db.guards.rules import COUNTER, STOPPED, Latch
from operator_core.db.mapping import PROPOSED, as_json_array, new_proposal, to_proposal
from operator_core.db.schema import any_of, kill_switch, proposals
from operator_core.db.transitions import explained, latch_unreadable
from operator_core.db.types import json_item, json_rows, now

_BULK_ROWS = 2_000  # of one statement; all of a call are in one transaction


def _insert(source: sa.Subquery, *order: sa.ColumnElement[Any]) -> sa.Executable:
    """Return the INSERT that chooses the status from the latch: what is made under a stop is born cancelled.

    PostgreSQL's guard chooses again, from a younger snapshot; SQLite's can only check.
    """
    stop = kill_switch.alias("stop")
    stopped_by = sa.text(
        f"stop.generation = (SELECT max(k.generation) FROM kill_switch AS k WHERE {Latch('n').engaged})"
    )
    chosen: dict[str, sa.ColumnElement[Any]] = {
        **{name: source.c[name] for name in PROPOSED},
        "generation": sa.literal_column(COUNTER),
        "status": sa.literal_column("CASE WHEN stop.scope IS NULL THEN 'proposed' ELSE 'cancelled' END"),
        "status_at": now(),
        "status_by": sa.func.coalesce(stop.c.engaged_by, source.c.proposed_by),
        "status_reason": stop.c.reason,
        "cancelled_at": sa.case((stop.c.scope.is_not(None), now())),
    }
    rows = sa.select(*chosen.values()).select_from(source.outerjoin(stop, stopped_by)).order_by(*order)
    return sa.insert(proposals).from_select(list(chosen), rows, include_defaults=False).returning(*proposals.columns)


_values = sa.select(*(sa.bindparam(name, type_=proposals.c[name].type).label(name) for name in PROPOSED))
_INSERT_ONE = _insert(_values.subquery("n"))

_rows = json_rows(sa.bindparam("rows", type_=sa.Text())).table_valued("value", "position", name="j")
_INSERT_MANY = _insert(
    sa.select(
        *(json_item(_rows.c.value, index, proposals.c[name].type).label(name) for index, name in enumerate(PROPOSED)),
        _rows.c.position,
    ).subquery("n"),
    sa.literal_column("n.position"),
)


def _explain_insert(connection: sa.Connection, code: str) -> ActionError:
    # The latch changed between the choice and the guard, or cannot be read.
    return RetryTransactionError(code=code) if code == STOPPED else latch_unreadable(connection)


def insert(connection: sa.Connection, proposal: ActionProposal) -> ActionProposal:
    """Store one proposal."""
    with explained(_explain_insert):
        return to_proposal(connection.execute(_INSERT_ONE, new_proposal(proposal)).one())


def insert_many(connection: sa.Connection, given: Sequence[ActionProposal]) -> list[ActionProposal]:
    """Store many proposals, in their order."""
    values = [new_proposal(proposal) for proposal in given]
    stored: list[ActionProposal] = []
    for start in range(0, len(values), _BULK_ROWS):
        document = as_json_array(values[start : start + _BULK_ROWS])
        with explained(_explain_insert):
            rows = connection.execute(_INSERT_MANY, {"rows": document}).all()
        stored += sorted(map(to_proposal, rows), key=_id)
    return stored


def _id(proposal: ActionProposal) -> int:
    return proposal.id or 0


_SELECT_ONE = sa.select(*proposals.columns).where(proposals.c.id == sa.bindparam("proposal_id"))


def get(connection: sa.Connection, proposal_id: int) -> ActionProposal | None:
    """Return one proposal, or None."""
    row = connection.execute(_SELECT_ONE, {"proposal_id": proposal_id}).one_or_none()
    return None if row is None else to_proposal(row)


Filters = Mapping[str, Any]
"""Column values that a proposal must have (`status`, `ticket_id`, ...), those that are not None."""


@cache
def _where(names: frozenset[str], status: ActionStatus | None) -> list[sa.ColumnElement[bool]]:
    # The status stands in the text: a parameter would hide from the planner that the partial index serves.
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


def list_(
    connection: sa.Connection, filters: Filters, before_id: int | None, limit: int | None
) -> list[ActionProposal]:
    """Return the proposals that match, newest first."""
    names, status, values = _split(filters)
    page = {name: value for name, value in {"before_id": before_id, "limit": limit}.items() if value is not None}
    statement = _selection(names, status, frozenset(page))
    return [to_proposal(row) for row in connection.execute(statement, {**values, **page})]


@cache
def _counting(names: frozenset[str], status: ActionStatus | None) -> sa.Executable:
    return (
        sa.select(proposals.c.status, sa.func.count().label("number"))
        .where(*_where(names, status))
        .group_by(proposals.c.status)
    )


def count(connection: sa.Connection, filters: Filters) -> dict[ActionStatus, int]:
    """Return how many proposals match, for each of the six states."""
    names, status, values = _split(filters)
    found = {row.status: row.number for row in connection.execute(_counting(names, status), values)}
    return {state: found.get(state, 0) for state in ActionStatus}


_CANCEL_PENDING = (
    sa.update(proposals)
    .where(sa.text(any_of(PENDING)))
    .values(
        status=ActionStatus.CANCELLED,
        status_at=now(),
        status_by=sa.bindparam("step_by"),
        status_reason=sa.bindparam("step_reason"),
        cancelled_at=now(),
    )
)


def cancel_pending(connection: sa.Connection, by: str, reason: str | None) -> int:
    """Cancel all that is proposed or validated at this moment, and return their exact number."""
    return connection.execute(_CANCEL_PENDING, {"step_by": by, "step_reason": reason}).rowcount
