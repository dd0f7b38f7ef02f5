"""The store of the kill switch: plain functions over a connection, each in the caller's transaction."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import sqlalchemy as sa

from operator_core.actions.errors import StopNotEngagedError
from operator_core.actions.kill_switch import Scope, Stop
from operator_core.actions.lifecycle import PENDING, ActionStatus
from operator_core.db.functions import now
from operator_core.db.guards.conditions import NEXT_GENERATION
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.schema import kill_switch, proposals, status_in
from operator_core.db.stores import reading
from operator_core.db.stores.proposals import cancel_expired
from operator_core.db.stores.reading import number, text, time
from operator_core.db.stores.transitions import transition_to

SWEEP_ROWS = 10_000

_ENGAGED: dict[str, sa.ColumnElement[Any]] = {
    "generation": sa.literal_column(NEXT_GENERATION),  # PostgreSQL's guard counts again, behind a lock
    "engaged_at": now(),
    "engaged_by": sa.bindparam("stop_by"),
    "reason": sa.bindparam("stop_reason"),
}
_ENGAGE_AGAIN = (
    sa.update(kill_switch)
    .where(kill_switch.c.scope == sa.bindparam("stop_scope"))
    .values(**_ENGAGED, released_at=None, released_by=None, release_reason=None)
    .returning(*kill_switch.columns)
)
_ENGAGE_FIRST = (
    sa.insert(kill_switch).values(**_ENGAGED, scope=sa.bindparam("stop_scope")).returning(*kill_switch.columns)
)


def to_stop(row: Mapping[str, Any] | sa.RowMapping) -> Stop:
    """Return the stop of a row of all columns of `kill_switch`, with placeholders for unreadable values."""
    return Stop(
        generation=number(row["generation"]),
        scope=Scope.read(text(row["scope"])),
        engaged_at=time(row["engaged_at"]),
        by=text(row["engaged_by"]),
        reason=text(row["reason"]),
        released_at=time(row["released_at"]),
        released_by=text(row["released_by"]),
        release_reason=text(row["release_reason"]),
    )


def publish(connection: sa.Connection, scope: Scope, by: str, reason: str) -> Stop:
    """Engage the latch of a scope under the next generation; at the commit, new starts are refused."""
    values = {"stop_scope": str(scope), "stop_by": by, "stop_reason": reason}
    row = connection.execute(_ENGAGE_AGAIN, values).mappings().one_or_none()
    return to_stop(row or connection.execute(_ENGAGE_FIRST, values).mappings().one())


_ENGAGE_FUNCTION = sa.func.operator_core_engage(
    *(sa.bindparam(name, type_=sa.Text()) for name in ("stop_scope", "stop_by", "stop_reason"))
).table_valued(*(sa.column(column.name, column.type) for column in kill_switch.columns))
_ENGAGE_AS_OPERATOR = sa.select(*_ENGAGE_FUNCTION.columns)


def publish_as_operator(connection: sa.Connection, scope: Scope, by: str, reason: str) -> Stop:
    """Engage it through PostgreSQL's function for a role that may not write to the latch."""
    values = {"stop_scope": str(scope), "stop_by": by, "stop_reason": reason}
    return to_stop(connection.execute(_ENGAGE_AS_OPERATOR, values).mappings().one())


_RELEASE = (
    sa.update(kill_switch)
    .where(
        kill_switch.c.generation == sa.bindparam("stop_generation"),
        kill_switch.c.engaged_at.is_not(None),
        kill_switch.c.released_at.is_(None),
    )
    .values(released_at=now(), released_by=sa.bindparam("stop_by"), release_reason=sa.bindparam("stop_reason"))
    .returning(kill_switch.c.generation)
)
_RELEASED = sa.select(*kill_switch.columns).where(kill_switch.c.generation == sa.bindparam("stop_generation"))
_LATCH = sa.select(*kill_switch.columns).where(kill_switch.c.generation > 0).order_by(kill_switch.c.generation)


def list_stops(connection: sa.Connection) -> list[Stop]:
    """Return the last stop of every scope, oldest first, including released ones."""
    return [to_stop(row) for row in reading.lossy(connection, _LATCH, {}, kill_switch.c.generation)]


@unit(TransactionMode.TRANSACTION)
def release(connection: sa.Connection, by: str, reason: str, generation: int) -> Stop:
    """Release the one stop that `generation` names, after sweeping its proposals; cancelled ones stay cancelled.

    Raises:
        StopNotEngagedError: That stop is not engaged (any more), or its scope has been engaged again.
    """
    sweep_all(connection)
    values = {"stop_generation": generation, "stop_by": by, "stop_reason": reason}
    if connection.execute(_RELEASE, values).one_or_none() is None:
        engaged = [stop for stop in list_stops(connection) if stop.released_at is None]
        raise StopNotEngagedError(
            generation=generation, engaged=tuple((stop.generation, str(stop.scope)) for stop in engaged)
        )
    return to_stop(reading.lossy(connection, _RELEASED, {"stop_generation": generation}, kill_switch.c.generation)[0])


# -- sweep -------------------------------------------------------------------------------------------------------------


def scope_condition(field: str | None) -> list[sa.ColumnElement[bool]]:
    """Return the condition that a scope covers a proposal; the value of its field is bound as `scope_value`."""
    return [] if field is None else [proposals.c[field] == sa.bindparam("scope_value", type_=proposals.c[field].type)]


@cache
def _leftover(field: str | None) -> sa.Select[Any]:
    return sa.select(proposals.c.id).where(
        sa.text(f"({status_in(PENDING)})"),
        proposals.c.generation < sa.bindparam("stop_generation"),
        *scope_condition(field),
    )


@cache
def _sweep(field: str | None) -> sa.Executable:
    # Rows that another client holds locked are skipped: they cannot start, and waiting would hold up the stop.
    leftover = _leftover(field).limit(sa.bindparam("sweep_rows")).with_for_update(skip_locked=True).cte("leftover")
    return (
        transition_to(ActionStatus.CANCELLED)
        .where(proposals.c.id.in_(sa.select(leftover.c.id)))
        .returning(proposals.c.id)
    )


def stop_params(stop: Stop, scope: Scope) -> dict[str, Any]:
    """Return the bound values of a statement about a stop and its scope."""
    return {"stop_generation": stop.generation, **({} if scope.field is None else {"scope_value": scope.value})}


def sweep(connection: sa.Connection, stop: Stop, rows: int = SWEEP_ROWS) -> list[int]:
    """Cancel at most `rows` pending proposals that a stop covers and that predate it; return their ids."""
    if isinstance(stop.scope, str):  # no proposal can have such a value
        return []
    values = {**stop_params(stop, stop.scope), "sweep_rows": rows, "step_by": stop.by, "step_reason": stop.reason}
    return sorted(connection.scalars(_sweep(stop.scope.field), values))


_SWEEP_AS_OPERATOR: sa.Executable = sa.select(
    sa.func.operator_core_sweep(
        sa.bindparam("stop_generation", type_=sa.BigInteger()), sa.bindparam("sweep_rows", type_=sa.Integer())
    )
)


def sweep_as_operator(connection: sa.Connection, stop: Stop, rows: int = SWEEP_ROWS) -> list[int]:
    """Sweep through PostgreSQL's function for a role that may not write to the proposals."""
    values = {"stop_generation": stop.generation, "sweep_rows": rows}
    return sorted(connection.scalars(_SWEEP_AS_OPERATOR, values))


def unswept(connection: sa.Connection, stop: Stop) -> list[int]:
    """Return the ids of pending proposals that a stop covers and that predate it: they can never start."""
    if isinstance(stop.scope, str):
        return []
    return sorted(connection.scalars(_leftover(stop.scope.field), stop_params(stop, stop.scope)))


@unit(TransactionMode.TRANSACTION)
def sweep_all(connection: sa.Connection) -> list[int]:
    """Cancel expired proposals, those in flight across a stop, and those that an interrupted stop left."""
    swept = cancel_expired(connection)
    for stop in reversed(list_stops(connection)):
        while ids := sweep(connection, stop):
            swept += ids
    return swept


def engage_without_sweep(connection: sa.Connection, scope: Scope, by: str, reason: str) -> tuple[Stop, list[int]]:
    """Publish alone, if there is no room to record what a sweep would cancel: none of it can start."""
    return publish(connection, scope, by, reason), []


def engage_and_sweep(connection: sa.Connection, scope: Scope, by: str, reason: str) -> tuple[Stop, list[int]]:
    """Publish and sweep in one transaction, if the engine has a single writer; return the cancelled ids too."""
    stop = publish(connection, scope, by, reason)
    swept: list[int] = []
    while ids := sweep(connection, stop):
        swept += ids
    return stop, swept
