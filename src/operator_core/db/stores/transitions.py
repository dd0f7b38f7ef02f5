"""The one guarded UPDATE by which a proposal changes its state, and the diagnosis of a refusal.

Write first, diagnose after: the UPDATE names the states that it may leave, so that of many callers one wins and the
others learn the reason.
"""

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from operator_core.actions.errors import (
    ActionError,
    ConstraintError,
    GuardMissingError,
    IsolationLevelError,
    KillSwitchEngagedError,
    ProposalExpiredError,
    ProposalNotFoundError,
    RetryTransactionError,
    TransitionNotAllowedError,
    UnreadableRowError,
)
from operator_core.actions.errors.actions import outcome_text
from operator_core.actions.kill_switch import EVERYTHING
from operator_core.actions.lifecycle import INITIAL, ActionStatus, source_states
from operator_core.actions.types import StoredProposal
from operator_core.db.engine.urls import display_url
from operator_core.db.errors import GuardRefusal, error_code, guard_code
from operator_core.db.functions import among, now
from operator_core.db.guards.codes import (
    EXPIRED,
    ISOLATION_REFUSED,
    LATCH_UNREADABLE,
    MESSAGES,
    NOT_APPROVED,
    RECORD_DISAGREES,
    STOPPED,
    UNREADABLE,
)
from operator_core.db.guards.conditions import STATUS_COLUMNS, KillSwitchConditions
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.schema import kill_switch, proposals, records
from operator_core.db.stores import reading
from operator_core.db.stores.approval_status import diagnose_missing_approval
from operator_core.db.stores.mapping import to_proposal

_UNIQUE_VIOLATION = "23505"


@contextmanager
def deferring_diagnosis(explain: Callable[[sa.Connection, str], ActionError]) -> Generator[None]:
    """Translate the refusal of a guard, or of the uniqueness of a record, into `GuardRefusal`."""
    try:
        yield
    except DBAPIError as error:
        code = guard_code(error) or (error_code(error) if error_code(error) == _UNIQUE_VIOLATION else None)
        if code is None:
            raise
        raise GuardRefusal(lambda connection: explain(connection, code)) from error


def refusing_together() -> AbstractContextManager[None]:
    """Translate the refusal of one row into that of the whole statement, which only single calls explain."""
    return deferring_diagnosis(lambda _, code: _refused_together(code))


def refused_together(code: str) -> GuardRefusal:
    """Return the refusal of a statement for many rows, after which the caller tries each alone."""
    return GuardRefusal(lambda _: _refused_together(code))


def _refused_together(code: str) -> ConstraintError:
    return ConstraintError(code=code, detail="one of several was refused")


def diagnose_unexplained(code: str) -> ActionError:
    """Return the error that the code alone explains; what no guard has refused was a race, to be tried again."""
    detail = MESSAGES.get(code)
    return RetryTransactionError(code=code) if detail is None else ConstraintError(code=code, detail=detail)


def transition_to(target: ActionStatus) -> sa.Update:
    """Return the step to a state, for rows that the caller selects; `step_by` and `step_reason` are bound."""
    return sa.update(proposals).where(sa.text(transition_from(target))).values(step_values(target, now()))


def transition_from(target: ActionStatus) -> str:
    """Return the condition that a proposal is in a state from which a step leads to another."""
    # In the text: a list of parameters would be expanded again for every call.
    return "({})".format(" OR ".join(f"action_proposals.status = '{source}'" for source in source_states(target)))


_STEP_BY, _STEP_REASON = (sa.bindparam(name, type_=sa.Text()) for name in ("step_by", "step_reason"))


def step_values(
    target: ActionStatus,
    at: sa.ColumnElement[datetime],
    by: sa.ColumnElement[Any] = _STEP_BY,
    reason: sa.ColumnElement[Any] = _STEP_REASON,
) -> dict[str, sa.ColumnElement[Any]]:
    """Return the values that a step to a state sets; by default `step_by` and `step_reason` are bound."""
    return {
        "status": sa.literal_column(f"'{target}'", proposals.c.status.type),
        "status_at": at,
        "status_by": by,
        "status_reason": reason,
        f"{target}_at": at,
    }


_BY_ID = proposals.c.id == sa.bindparam("proposal_id", type_=sa.BigInteger())
_TRANSITIONS = {
    status: transition_to(status).where(_BY_ID).returning(*proposals.columns)
    for status in ActionStatus
    if source_states(status)
}


@unit(TransactionMode.WRITE)
def transition(
    connection: sa.Connection, proposal_id: int, wanted: ActionStatus, by: str, reason: str | None
) -> StoredProposal | UnreadableRowError:
    """Take one step; of concurrent callers exactly one succeeds.

    Raises:
        GuardRefusal, ProposalNotFoundError, TransitionNotAllowedError: The step was not taken.
    """
    statement = _TRANSITIONS.get(wanted)
    if statement is None:
        raise diagnose_transition(connection, proposal_id, wanted)
    values = {"proposal_id": proposal_id, "step_by": by, "step_reason": reason}
    with deferring_diagnosis(lambda later, code: diagnose_transition(later, proposal_id, wanted, code)):
        taken = reading.written(connection, statement, values, (proposals, proposal_id), to_proposal)
    if taken is None:
        raise diagnose_transition(connection, proposal_id, wanted)
    return taken


_VALIDATE_ALL = transition_to(ActionStatus.VALIDATED).where(among(proposals.c.id, "ids")).returning(proposals.c.id)


@unit(TransactionMode.TRANSACTION)
def validate_together(connection: sa.Connection, proposal_ids: Sequence[int], by: str, reason: str | None) -> None:
    """Validate proposals, all or none of them, in one statement.

    Raises:
        GuardRefusal: One of them was refused; `validate_each` says which one, and why.
    """
    values = {"ids": json.dumps([*proposal_ids]), "step_by": by, "step_reason": reason}
    with refusing_together():
        validated = connection.scalars(_VALIDATE_ALL, values).all()
    if len(validated) < len(proposal_ids):
        raise refused_together("00000")


@unit(TransactionMode.TRANSACTION)
def validate_each(connection: sa.Connection, proposal_ids: Sequence[int], by: str, reason: str | None) -> None:
    """Validate proposals, one after the other.

    Raises:
        GuardRefusal, ProposalNotFoundError, TransitionNotAllowedError: One of them was refused; no step was taken.
    """
    for proposal_id in proposal_ids:
        transition(connection, proposal_id, ActionStatus.VALIDATED, by, reason)


_STATUS = sa.select(*(proposals.c[name] for name in ("id", *STATUS_COLUMNS, "valid_until"))).where(_BY_ID)
_OUTCOME = sa.select(records.c.outcome).where(records.c.proposal_id == sa.bindparam("proposal_id"))


def diagnose_transition(
    connection: sa.Connection, proposal_id: int, wanted: ActionStatus, code: str | None = None
) -> ActionError:
    """Return the error that explains why a step was not taken; `code` is the guard's, if a guard refused it."""
    if code == UNREADABLE:
        return unreadable(connection, proposal_id)
    found = reading.one(connection, _STATUS, {"proposal_id": proposal_id}, proposals.c.id, _plain)
    if found is None:
        return ProposalNotFoundError(proposal_id=proposal_id)
    if found.status is ActionStatus.CANCELLED and wanted is ActionStatus.EXECUTING:
        stop = diagnose_stop(connection, proposal_id, found.status)
        taken = (found.status_by, found.status_reason)
        if isinstance(stop, KillSwitchEngagedError) and (stop.by, stop.reason) == taken:
            return stop
    if code == STOPPED:
        return diagnose_stop(connection, proposal_id, found.status)
    refusals: dict[str | None, Callable[[], ActionError]] = {
        EXPIRED: lambda: ProposalExpiredError(
            id=proposal_id, current=found.status, target=wanted, valid_until=found.valid_until
        ),
        ISOLATION_REFUSED: lambda: IsolationLevelError(proposal_id=proposal_id),
        LATCH_UNREADABLE: lambda: latch_unreadable(connection),
        NOT_APPROVED: lambda: diagnose_missing_approval(connection, proposal_id, found.status, wanted),
    }
    if code in refusals:
        return refusals[code]()
    return _diagnose_illegal_step(connection, found, wanted, code)


def _diagnose_illegal_step(
    connection: sa.Connection, found: sa.Row[Any], wanted: ActionStatus, code: str | None
) -> ActionError:
    detail = None
    if code == RECORD_DISAGREES:
        detail = _disagreement(connection, found.id, wanted)
    elif wanted in source_states(found.status):
        why = f", {found.status_reason}" if found.status_reason else ""
        detail = f"{found.status_by} took the step to {found.status} at {found.status_at.isoformat()}{why}"
    elif (found.status, wanted) == (INITIAL, ActionStatus.EXECUTING):
        unapproved = diagnose_missing_approval(connection, found.id, found.status, wanted)
        if unapproved.missing:
            return unapproved
    return TransitionNotAllowedError(id=found.id, current=found.status, target=wanted, detail=detail)


_plain = reading.plain(proposals)
_PROPOSAL = sa.select(*proposals.columns).where(_BY_ID)


def unreadable(connection: sa.Connection, proposal_id: int) -> UnreadableRowError:
    """Return the error that names what of a proposal cannot be read; the guard may be stricter than the library."""
    try:
        reading.one(connection, _PROPOSAL, {"proposal_id": proposal_id}, proposals.c.id, to_proposal)
    except UnreadableRowError as error:
        return error
    return UnreadableRowError(table=proposals.name, id=proposal_id, column=None, detail=MESSAGES[UNREADABLE])


def _disagreement(connection: sa.Connection, proposal_id: int, wanted: ActionStatus) -> str:
    record = connection.execute(_OUTCOME, {"proposal_id": proposal_id}).one_or_none()
    if record is None:
        return "it has no record yet: create_record, then update_record; or finish_execution does it in one"
    if record.outcome is None and wanted is ActionStatus.CANCELLED:
        return "it is running, and only its worker can end it: a stop that covers it asks it to"
    if record.outcome is None:
        return "its record is open: update_record first; or finish_execution does it in one"
    return f"its record is {outcome_text(record.outcome)}"


LATCH_ROW = kill_switch.alias("k")


def stop_of_proposal(condition: str, *order: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Return the query for a stop of the proposal that is bound as `proposal_id`: of several, the last one.

    Args:
        condition: The condition on `LATCH_ROW`: one of `KillSwitchConditions("p")`.
        *order: What comes before the number of a stop in the order.
    """
    return (
        sa.select(*LATCH_ROW.columns)
        .join_from(LATCH_ROW, proposals.alias("p"), sa.text(condition))
        .where(sa.text("p.id = :proposal_id"))
        .order_by(*order, LATCH_ROW.c.generation.desc())
        .limit(1)
    )


_BLOCKING_STOP = stop_of_proposal(KillSwitchConditions("p").blocks_start, LATCH_ROW.c.released_at.is_not(None))


def diagnose_stop(connection: sa.Connection, proposal_id: int, current: ActionStatus) -> ActionError:
    """Return the error that names the stop which blocks a start: an engaged one before a released one."""
    stops = reading.lossy(connection, _BLOCKING_STOP, {"proposal_id": proposal_id}, LATCH_ROW.c.generation)
    if not stops:
        return RetryTransactionError(code=STOPPED)
    stop = stops[0]
    return KillSwitchEngagedError(
        id=proposal_id,
        current=current,
        target=ActionStatus.EXECUTING,
        generation=reading.number(stop["generation"]),
        scope=reading.text(stop["scope"]),
        by=reading.text(stop["engaged_by"]),
        reason=reading.text(stop["reason"]),
        since=reading.time(stop["engaged_at"]),
        released_at=reading.time(stop["released_at"]),
    )


def latch_unreadable(connection: sa.Connection) -> GuardMissingError:
    """Return the error of a ledger without its latch, where nothing starts."""
    return GuardMissingError(
        url=display_url(connection.engine.url),
        guards=(f"the latch row '{EVERYTHING}' is missing",),
    )
