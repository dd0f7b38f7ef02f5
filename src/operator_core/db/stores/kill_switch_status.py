"""The status of the kill switch: what is engaged, what runs, and how it responded to the stops; read only."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from operator_core.actions.errors import RecordNotFoundError
from operator_core.actions.kill_switch import (
    Answer,
    KillSwitchEvent,
    KillSwitchStatus,
    RunningAction,
    Scope,
    Stop,
    StopRequest,
    StopResponse,
)
from operator_core.actions.lifecycle import ActionOutcome
from operator_core.db.functions import now
from operator_core.db.guards.conditions import COUNTER, KillSwitchConditions
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.schema import events, kill_switch_events, proposals, records
from operator_core.db.stores import reading
from operator_core.db.stores.kill_switch import list_stops, scope_condition, stop_params, to_stop, unswept
from operator_core.db.stores.proposals import expired
from operator_core.db.stores.reading import UNREADABLE_TIME, number, text, time
from operator_core.db.stores.transitions import LATCH_ROW, stop_of_proposal
from operator_core.db.types import UtcDateTime

_LAST_STOPS = 10


@cache
def _executing(field: str | None) -> sa.Select[Any]:
    return (
        sa.select(
            *(proposals.c[name] for name in ("id", "action_name", "status_by", "status_at")),
            *(records.c.id.label("record_id"), records.c.lease_expires_at, records.c.last_seen_at),
            sa.type_coerce(now(), UtcDateTime()).label("at"),
        )
        .select_from(proposals.outerjoin(records))
        .where(sa.text("action_proposals.status = 'executing'"), *scope_condition(field))
        .order_by(proposals.c.id)
    )


def still_executing(connection: sa.Connection, scope: Scope) -> tuple[RunningAction, ...]:
    """Return the actions of a scope that run now."""
    values = {} if scope.field is None else {"scope_value": scope.value}
    return tuple(
        RunningAction(
            proposal_id=row["id"],
            record_id=number(row["record_id"]),
            action_name=text(row["action_name"]),
            worker=text(row["status_by"]),
            since=time(row["status_at"], row["at"]),
            lease_expires_at=time(row["lease_expires_at"]),
            last_seen_at=time(row["last_seen_at"]),
        )
        for row in reading.lossy(connection, _executing(scope.field), values, proposals.c.id)
    )


_STARTED_BY = (
    sa.select(events.c.by)
    .where(events.c.proposal_id == proposals.c.id, sa.text("action_events.to_status = 'executing'"))
    .scalar_subquery()
)


@cache
def _ran_during_stop(field: str | None) -> sa.Select[Any]:
    """Return the query for what ran during a stop: still open, or closed while it was engaged."""
    return (
        sa.select(
            proposals.c.id,
            records.c.id.label("record_id"),
            # The event, or the name in it, may have been pruned.
            sa.func.coalesce(_STARTED_BY, records.c.worker, proposals.c.status_by).label("worker"),
            *(records.c[name] for name in ("outcome", "completed_at")),
        )
        .select_from(proposals.outerjoin(records))
        .where(
            proposals.c.generation < sa.bindparam("stop_generation"),
            sa.or_(
                sa.text("action_proposals.status = 'executing'"),
                records.c.stop_generation >= sa.bindparam("stop_generation"),
            ),
            *scope_condition(field),
        )
        .order_by(proposals.c.id)
    )


def answers(connection: sa.Connection, stop: Stop, at: datetime) -> list[StopResponse]:
    """Return how the actions that ran during a stop responded to it; `at` is the database's time."""
    if isinstance(stop.scope, str):  # no running action can have such a value
        return []
    met = reading.lossy(connection, _ran_during_stop(stop.scope.field), stop_params(stop, stop.scope), proposals.c.id)
    return [_answer(stop, row, at) for row in met]


def _answer(stop: Stop, row: Mapping[str, Any], at: datetime) -> StopResponse:
    answer = Answer.FINISHED_ANYWAY
    if row["outcome"] in (None, ActionOutcome.UNKNOWN):  # it runs, or its worker was lost without an answer
        answer = Answer.SILENT
    elif row["outcome"] is ActionOutcome.STOPPED:
        answer = Answer.STOPPED
    answered = time(row["completed_at"], at)
    since = at if stop.engaged_at == UNREADABLE_TIME else stop.engaged_at
    return StopResponse(
        generation=stop.generation,
        proposal_id=row["id"],
        record_id=row["record_id"],
        worker=text(row["worker"]),
        answer=answer,
        at=answered,
        seconds=max(0.0, ((answered or at) - since).total_seconds()),
    )


_REQUESTING_STOP = stop_of_proposal(KillSwitchConditions("p").requests_stop)
_REQUESTED = ("id", "proposal_id", "outcome", "cancel_requested_at", "cancel_requested_by", "cancel_reason")
_RECORD = sa.select(*(records.c[name] for name in _REQUESTED)).where(records.c.id == sa.bindparam("record_id"))


@unit(TransactionMode.SNAPSHOT)
def request(connection: sa.Connection, record_id: int) -> StopRequest | None:
    """Return what is asked of a running action, by the last stop that covers it, else by a person, or None.

    Raises:
        RecordNotFoundError: There is no such record.
    """
    found = reading.lossy(connection, _RECORD, {"record_id": record_id}, records.c.id)
    if not found:
        raise RecordNotFoundError(record_id=record_id)
    record = found[0]
    if record["outcome"] is not None:
        return None
    asking = reading.lossy(
        connection, _REQUESTING_STOP, {"proposal_id": number(record["proposal_id"])}, LATCH_ROW.c.generation
    )
    if asking:
        stop = to_stop(asking[0])
        return StopRequest(
            generation=stop.generation, scope=stop.scope, at=stop.engaged_at, by=stop.by, reason=stop.reason
        )
    if record["cancel_requested_at"] is None:
        return None
    return StopRequest(
        at=time(record["cancel_requested_at"]),
        by=text(record["cancel_requested_by"]),
        reason=text(record["cancel_reason"]),
    )


# -- status ------------------------------------------------------------------------------------------------------------

_released = kill_switch_events.alias("released")
_engaged = kill_switch_events.alias("engaged")
_STOPS = (
    sa.select(
        *(_engaged.c[name] for name in ("id", "generation", "scope", "reason")),
        *(_engaged.c.at.label("engaged_at"), _engaged.c.by.label("engaged_by")),
        *(_released.c.at.label("released_at"), _released.c.by.label("released_by")),
        _released.c.reason.label("release_reason"),
    )
    .select_from(
        _engaged.outerjoin(
            _released, sa.and_(_released.c.generation == _engaged.c.generation, _released.c.change == "released")
        )
    )
    .where(_engaged.c.change == "engaged")
    .order_by(_engaged.c.generation.desc())
    .limit(sa.bindparam("stops"))
)
_NOW = sa.select(sa.type_coerce(now(), UtcDateTime()))
_COUNTER: sa.Select[Any] = sa.select(
    sa.func.coalesce(sa.literal_column(COUNTER, sa.BigInteger()), 0)
)  # the latch may have been emptied


@unit(TransactionMode.SNAPSHOT)
def status(connection: sa.Connection) -> KillSwitchStatus:
    """Return the status of the kill switch; it takes several statements, so it needs one snapshot."""
    at: datetime = connection.scalars(_NOW).one()
    latch = list_stops(connection)
    engaged = [stop for stop in latch if stop.released_at is None]
    stops = reading.lossy(connection, _STOPS, {"stops": _LAST_STOPS}, _engaged.c.id)
    last = [to_stop(row) for row in stops]
    shown = {stop.generation: stop for stop in [*engaged, *last]}
    return KillSwitchStatus(
        generation=_counter(connection, latch),
        at=at,
        engaged=tuple(engaged),
        still_executing=still_executing(connection, Scope()),
        answers=tuple(answer for _, stop in sorted(shown.items()) for answer in answers(connection, stop, at)),
        last_stops=tuple(last),
        not_yet_cancelled=tuple(
            sorted({*expired(connection), *(i for stop in latch for i in unswept(connection, stop))})
        ),
    )


def _counter(connection: sa.Connection, latch: list[Stop]) -> int:
    highest = max((stop.generation for stop in latch), default=0)
    counter: int = number(reading.scalar(connection, _COUNTER, {}), highest)
    return counter


_CHANGES = (
    sa.select(*kill_switch_events.columns)
    .where(kill_switch_events.c.id > sa.bindparam("after_id"))
    .order_by(kill_switch_events.c.id)
)


_LAST_CHANGE = sa.select(sa.func.coalesce(sa.func.max(kill_switch_events.c.id), 0))


@unit(TransactionMode.SNAPSHOT)
def changes_so_far(connection: sa.Connection) -> tuple[list[KillSwitchEvent], int]:
    """Return the engage of every engaged stop, and the id of the last change; needs one snapshot."""
    engaged = {stop.generation for stop in list_stops(connection) if stop.released_at is None}
    found = [c for c in changes(connection, 0) if c.generation in engaged] if engaged else []
    return found, connection.scalars(_LAST_CHANGE).one()


@unit(TransactionMode.READ)
def changes(connection: sa.Connection, after_id: int) -> list[KillSwitchEvent]:
    """Return every engage and release after the one with this id, oldest first."""
    return [
        KillSwitchEvent(
            id=row["id"],
            generation=number(row["generation"]),
            scope=Scope.read(text(row["scope"])),
            change=text(row["change"]),
            at=time(row["at"]),
            by=text(row["by"]),
            reason=text(row["reason"]),
        )
        for row in reading.lossy(connection, _CHANGES, {"after_id": after_id}, kill_switch_events.c.id)
    ]
