"""Executions: a step of the proposal and of its record together, in one statement where the engine can."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa

from operator_core.actions.errors import ActionError, IsolationLevelError, RecordNotFoundError, RetryTransactionError
from operator_core.actions.lifecycle import ActionOutcome, ActionStatus
from operator_core.actions.types import ActionProposal, ActionRecord
from operator_core.db import records
from operator_core.db.engine import writes_in_one_statement
from operator_core.db.guards.rules import ISOLATION_REFUSED, LATCH_UNREADABLE, Latch
from operator_core.db.mapping import to_proposal, to_record
from operator_core.db.schema import proposals
from operator_core.db.schema import records as table
from operator_core.db.transitions import explain_step, explained, latch_unreadable, step, to
from operator_core.db.types import later, now

_OF_ONE = proposals.c.id == sa.bindparam("proposal_id", type_=sa.BigInteger())
_IS_VALIDATED = sa.text("action_proposals.status = 'validated'")  # in the text: the partial index serves it
_HELD = ("worker", "lease_seconds", "claim_key")
_WIDTH = len(proposals.columns)


@dataclass(frozen=True)
class Lease:
    """For how many seconds a claim holds without a heartbeat, for whom; `key` is what it can be repeated under."""

    worker: str
    seconds: float
    key: str | None


Claim = tuple[ActionProposal, ActionRecord]


# -- open --------------------------------------------------------------------------------------------------------------


def _new_record(source: sa.FromClause) -> sa.Insert:
    worker = sa.bindparam("worker", type_=sa.Text())
    seconds: sa.BindParameter[float | None] = sa.bindparam("lease_seconds", type_=sa.Float())
    values: dict[str, sa.ColumnElement[Any]] = {
        "proposal_id": source.c.id,
        "started_at": source.c.executing_at,
        "worker": worker,
        "lease_seconds": seconds,
        "last_seen_at": sa.case((worker.is_not(None), now())),
        "lease_expires_at": later(seconds),
        "claim_key": sa.bindparam("claim_key", type_=sa.Text()),
    }
    return sa.insert(table).from_select(list(values), sa.select(*values.values()).select_from(source))


_STARTED = sa.select(proposals.c.id, proposals.c.executing_at).where(_OF_ONE).subquery("started")
_NEW_RECORD = _new_record(_STARTED).returning(*table.columns)


def _opening(picked: sa.ColumnElement[bool]) -> tuple[sa.Executable, sa.Executable]:
    """Return the start of what `picked` selects, without and with the record that it opens."""
    start = to(ActionStatus.EXECUTING).where(picked).returning(*proposals.columns)
    started = start.cte("started")
    opened = _new_record(started).returning(*table.columns).cte("opened")
    both = sa.select(*started.columns, *opened.columns).select_from(started.join(opened, sa.true()))
    return start, both


_OPENING_ONE = _opening(_OF_ONE)


@cache
def _opening_next(filters: frozenset[str]) -> tuple[sa.Executable, sa.Executable]:
    """Return the start of the oldest that may start: what is stopped, stale or expired is not in the way."""
    waiting = proposals.alias("waiting")
    barred = sa.text(f"NOT EXISTS (SELECT 1 FROM kill_switch AS k WHERE {Latch('waiting').bars})")
    oldest = (
        sa.select(waiting.c.id)
        .where(
            sa.text("waiting.status = 'validated'"),
            sa.or_(waiting.c.valid_until.is_(None), waiting.c.valid_until > now()),
            barred,
            *(_filter(waiting, name) for name in sorted(filters)),
        )
        .order_by(waiting.c.id)
        .limit(sa.literal_column("1"))
        .with_for_update(skip_locked=True)
    )
    return _opening(proposals.c.id == oldest.scalar_subquery())


def _filter(waiting: sa.FromClause, name: str) -> sa.ColumnElement[bool]:
    column = waiting.c[name]
    if name == "ticket_id":
        return column == sa.bindparam(f"of_{name}")
    return column.in_(sa.bindparam(f"of_{name}", expanding=True))


def _to_claim(row: sa.Row[Any]) -> Claim:
    return to_proposal(row[:_WIDTH]), to_record(row[_WIDTH:])


def _open(
    connection: sa.Connection, statements: tuple[sa.Executable, sa.Executable], values: Mapping[str, Any]
) -> Claim | None:
    start, both = statements
    if writes_in_one_statement(connection):
        row = connection.execute(both, values).one_or_none()
        return None if row is None else _to_claim(row)
    row = connection.execute(start, values).one_or_none()
    if row is None:
        return None
    proposal = to_proposal(row)
    given = {"proposal_id": proposal.id, **{name: values[name] for name in _HELD}}
    return proposal, to_record(connection.execute(_NEW_RECORD, given).one())


def _values(by: str, lease: Lease | None) -> dict[str, Any]:
    held = (None, None, None) if lease is None else (lease.worker, lease.seconds, lease.key)
    return {"step_by": by, "step_reason": None, **dict(zip(_HELD, held, strict=True))}


def _open_one(connection: sa.Connection, proposal_id: int, by: str, lease: Lease | None) -> Claim:
    values = {"proposal_id": proposal_id, **_values(by, lease)}
    with explained(lambda after, code: explain_step(after, proposal_id, ActionStatus.EXECUTING, code)):
        found = _open(connection, _OPENING_ONE, values)
    if found is None:
        raise explain_step(connection, proposal_id, ActionStatus.EXECUTING)
    return found


def start(connection: sa.Connection, proposal_id: int, by: str) -> ActionRecord:
    """Take a validated proposal to `executing` and open its record, without a lease."""
    return _open_one(connection, proposal_id, by, None)[1]


def claim(connection: sa.Connection, proposal_id: int, lease: Lease) -> Claim:
    """Do the same under a lease."""
    return _open_one(connection, proposal_id, lease.worker, lease)


def claim_next(connection: sa.Connection, filters: Mapping[str, Sequence[str] | int], lease: Lease) -> Claim | None:
    """Take the oldest validated proposal that matches and may start; None where there is none."""
    with explained(_explain_next):
        given = {f"of_{name}": value for name, value in filters.items()}
        return _open(connection, _opening_next(frozenset(filters)), {**_values(lease.worker, lease), **given})


def _explain_next(connection: sa.Connection, code: str) -> ActionError:
    if code == ISOLATION_REFUSED:
        return IsolationLevelError(proposal_id=None)
    if code == LATCH_UNREADABLE:
        return latch_unreadable(connection)
    # A stop, or the time, has come since the statement began; or the key is taken: look again.
    return RetryTransactionError(code=code)


_CLAIMED = (
    sa.select(*proposals.columns, *table.columns)
    .join_from(proposals, table)
    .where(
        sa.text("action_records.outcome IS NULL"),
        table.c.claim_key == sa.bindparam("claim_key"),
        table.c.worker == sa.bindparam("worker"),
    )
)


def claimed(connection: sa.Connection, lease: Lease) -> Claim | None:
    """Return what was claimed under the key of a lease and still runs: the answer of that claim was lost."""
    row = connection.execute(_CLAIMED, {"claim_key": lease.key, "worker": lease.worker}).one_or_none()
    return None if row is None else _to_claim(row)


# -- finish ------------------------------------------------------------------------------------------------------------


def _finishing(target: ActionStatus) -> sa.Executable:
    closed = records.CLOSE.cte("closed")
    moved = (
        to(target).where(proposals.c.id == sa.select(closed.c.proposal_id).scalar_subquery()).returning(proposals.c.id)
    ).cte("moved")
    return sa.select(*closed.columns).select_from(closed.join(moved, sa.true()))


_FINISHING = {status: _finishing(status) for status in (records.state_after(outcome) for outcome in ActionOutcome)}


def finish(
    connection: sa.Connection,
    record_id: int,
    outcome: ActionOutcome,
    error_message: str | None,
    result_data: dict[str, Any] | None,
    by: str,
) -> ActionRecord:
    """Close the record and take its proposal to the state that the outcome means."""
    ending = (outcome, error_message, result_data)
    target = records.state_after(outcome)
    if not writes_in_one_statement(connection):
        record = records.close(connection, record_id, *ending)
        step(connection, record.proposal_id, target, by, error_message)
        return record
    values = {**records.closing(record_id, *ending), "step_by": by, "step_reason": error_message}
    with explained(lambda after, _: records.explain_close(after, record_id, outcome)):
        row = connection.execute(_FINISHING[target], values).one_or_none()
    if row is None:
        raise records.explain_close(connection, record_id, outcome)
    return to_record(row)


_ENDING = (
    sa.select(proposals.c.status_by, proposals.c.status, *table.columns)
    .join_from(table, proposals)
    .where(table.c.id == sa.bindparam("record_id", type_=sa.BigInteger()))
)


def ended_by(connection: sa.Connection, record_id: int, worker: str) -> tuple[str, ActionRecord]:
    """Return who has ended an execution, and its record; the worker takes the step where only the record is closed.

    Raises:
        RecordNotFoundError: There is no such record.
    """
    row = connection.execute(_ENDING, {"record_id": record_id}).one_or_none()
    if row is None:
        raise RecordNotFoundError(record_id=record_id)
    record = to_record(row[2:])
    if record.outcome is None or row.status is not ActionStatus.EXECUTING:
        return row.status_by, record
    step(connection, record.proposal_id, records.state_after(record.outcome), worker, record.error_message)
    return worker, record
