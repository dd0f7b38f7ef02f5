"""The store of imported history: proposals and records with their own ids and times, taken through each step.

The guards stay on: every row begins as proposed and takes the legal steps, so that the database itself writes the
history. What ran in the past has no approvals: policies are out of force within the transaction of the import, for no
other client, and in force again at its end.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from operator_core.actions.approvals import ApprovalPolicy
from operator_core.actions.kill_switch import Stop
from operator_core.actions.lifecycle import INITIAL, TRANSITIONS, ActionStatus
from operator_core.actions.types import StoredProposal, StoredRecord
from operator_core.db.engine.capabilities import is_sqlite
from operator_core.db.guards.conditions import COUNTER, FINDING_COLUMNS
from operator_core.db.schema import events, proposals, records
from operator_core.db.stores import approval_status, policies
from operator_core.db.stores.kill_switch import list_stops
from operator_core.db.stores.mapping import PROPOSER_COLUMNS, RECORD_FIELDS, to_proposal, to_record
from operator_core.db.stores.transitions import step_values
from operator_core.db.types import comparable
from operator_core.legacy.rows import ImportedProposal, ImportedRecord

ImportedAction = tuple[ImportedProposal, ImportedRecord | None]
"""A proposal as it should be in the ledger, with its record; a record without an id gets one."""

ROWS = 500  # of one statement

_STEPS = tuple(status for status in TRANSITIONS if status is not INITIAL)
_GIVEN_BY_LEDGER = ("generation", "stop_generation", *(RECORD_FIELDS[name] for name in FINDING_COLUMNS))


def stop_state(connection: sa.Connection) -> tuple[int, list[Stop]]:
    """Return the number of the last stop, and the stops that are engaged."""
    stops = list_stops(connection)
    return max((stop.generation for stop in stops), default=0), [stop for stop in stops if stop.released_at is None]


_SET_ASIDE = "the import of what ran in the past; within its transaction only"
_RESTORED = "as before the import"


def set_policies_aside(connection: sa.Connection, by: str) -> list[ApprovalPolicy]:
    """Remove the policies that ask for approvals, within this transaction, and return them."""
    asking = [p for p in approval_status.policies(connection) if any(rule.approvals for rule in p.rules)]
    for policy in asking:
        policies.set_policy(connection, policy.scope, (), by, _SET_ASIDE)
    return asking


def restore_policies(connection: sa.Connection, aside: Iterable[ApprovalPolicy], by: str) -> None:
    """Put back the policies that were set aside."""
    for policy in aside:
        policies.set_policy(connection, policy.scope, policy.rules, by, _RESTORED)


_RESERVE_ON_SQLITE = (
    sa.text(
        "INSERT INTO sqlite_sequence (name, seq) "
        "SELECT :table, 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = :table)"
    ),
    sa.text("UPDATE sqlite_sequence SET seq = :highest WHERE name = :table AND seq < :highest"),
)
_RESERVE_ON_POSTGRESQL = sa.text(
    "SELECT setval(s.name, CAST(:highest AS bigint)) FROM (SELECT pg_get_serial_sequence(:table, 'id') AS name) AS s "
    "WHERE coalesce(pg_sequence_last_value(CAST(s.name AS regclass)), 0) < CAST(:highest AS bigint)"
)


def reserve(connection: sa.Connection, table: str, highest: int) -> None:
    """Reserve the ids up to `highest`, so that the ledger assigns only higher ones.

    Call this before the rows are stored: concurrent proposals, and records made here, must not take their ids.
    """
    statements = _RESERVE_ON_SQLITE if is_sqlite(connection) else (_RESERVE_ON_POSTGRESQL,)
    for statement in statements if highest else ():
        connection.execute(statement, {"table": table, "highest": highest})


# -- existing rows -----------------------------------------------------------------------------------------------------

_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True, type_=sa.BigInteger())
_RECORD_IDS: sa.BindParameter[Any] = sa.bindparam("record_ids", expanding=True, type_=sa.BigInteger())
_PROPOSALS = sa.select(*proposals.columns).where(proposals.c.id.in_(_IDS))
_RECORDS = sa.select(*records.columns).where(sa.or_(records.c.proposal_id.in_(_IDS), records.c.id.in_(_RECORD_IDS)))
_HISTORY = sa.select(events.c.proposal_id).where(events.c.proposal_id.in_(_IDS)).distinct()


def compare(connection: sa.Connection, batch: Sequence[ImportedAction]) -> tuple[list[ImportedAction], list[str]]:
    """Return the new rows of a batch, and a text for each row whose id is taken by other content."""
    ids = [proposal.id for proposal, _ in batch]
    record_ids = [record.id for _, record in batch if record is not None and record.id is not None]
    there = {row.id: to_proposal(row) for row in connection.execute(_PROPOSALS, {"ids": ids})}
    found = connection.execute(_RECORDS, {"ids": ids, "record_ids": record_ids}).all()
    opened = [to_record(row) for row in found]
    pruned = set(connection.scalars(_HISTORY, {"ids": ids}))
    by_id, by_proposal = {one.id: one for one in opened}, {one.proposal_id: one for one in opened}
    new: list[ImportedAction] = []
    conflicts: list[str] = []
    for proposal, record in batch:
        kept = there.get(proposal.id)
        if kept is None:
            if proposal.id in pruned:
                conflicts.append(f"proposal {proposal.id} was there, and was pruned")
            elif record is not None and record.id in by_id:
                conflicts.append(f"record {record.id} is there, of proposal {by_id[record.id].proposal_id}")
            else:
                new.append((proposal, record))
            continue
        differs = [*_differing(proposal, kept, "")]
        if record is not None:
            differs += _differing(record, by_proposal.get(proposal.id), "record.")
        if differs:
            conflicts.append(f"proposal {proposal.id} is there with another {', '.join(differs)}")
    return new, conflicts


def _differing(
    wanted: StoredProposal | StoredRecord, kept: StoredProposal | StoredRecord | None, of: str
) -> Iterator[str]:
    if kept is None:
        yield of.removesuffix(".")
        return
    for name, value in wanted:
        if name in _GIVEN_BY_LEDGER or (name == "id" and value is None):
            continue
        if comparable(value) != comparable(getattr(kept, name)):
            yield f"{of}{name}"


# -- rows and steps ----------------------------------------------------------------------------------------------------


def _insert(table: sa.Table, names: Sequence[str], more: Mapping[str, str]) -> dict[bool, sa.TextClause]:
    """Return the INSERT of rows with their own ids, for PostgreSQL (False) and for SQLite (True)."""
    columns = ", ".join([*names, *more])
    values = ", ".join([*(f":{name}" for name in names), *more.values()])
    binds = [sa.bindparam(name, type_=table.c[name].type) for name in names]
    # PostgreSQL assigns ids itself, unless the statement overrides it.
    return {
        sqlite: sa.text(f"INSERT INTO {table.name} ({columns}) {overriding}VALUES ({values})").bindparams(*binds)
        for sqlite, overriding in ((False, "OVERRIDING SYSTEM VALUE "), (True, ""))
    }


_INSERT_PROPOSALS = _insert(
    proposals, ("id", *PROPOSER_COLUMNS, "status_at", "status_by"), {"status": f"'{INITIAL}'", "generation": COUNTER}
)
_OPENED = ("proposal_id", "started_at")
_INSERT_RECORDS = _insert(records, ("id", *_OPENED), {})
_INSERT_RECORDS_WITHOUT_ID = sa.insert(records).values({name: sa.bindparam(name) for name in _OPENED})
_CLOSED = ("completed_at", "success", "outcome", "error_message", "result_data")
_CLOSE = (
    sa.update(records)
    .where(records.c.proposal_id == sa.bindparam("of_proposal"))
    .values({name: sa.bindparam(f"new_{name}", type_=records.c[name].type) for name in _CLOSED})
)


def _step(status: ActionStatus) -> sa.Update:
    at = sa.bindparam("step_at", type_=proposals.c.status_at.type)
    return sa.update(proposals).where(proposals.c.id == sa.bindparam("of_id")).values(step_values(status, at))


_STEP_STATEMENTS = {status: _step(status) for status in _STEPS}


def store(connection: sa.Connection, batch: Sequence[ImportedAction], by: str) -> None:
    """Insert new rows as proposed, and take them through their steps, each step for all rows at once."""
    sqlite = is_sqlite(connection)
    _many(connection, _INSERT_PROPOSALS[sqlite], (_proposed(proposal) for proposal, _ in batch))
    opened = [record for _, record in batch if record is not None]
    for status in _STEPS:
        _many(connection, _STEP_STATEMENTS[status], _steps(batch, status, by))
        if status is ActionStatus.EXECUTING:
            _many(connection, _INSERT_RECORDS[sqlite], ({"id": one.id, **_opening(one)} for one in opened if one.id))
            _many(connection, _INSERT_RECORDS_WITHOUT_ID, (_opening(one) for one in opened if one.id is None))
            _many(connection, _CLOSE, map(_closing, opened))


def _many(connection: sa.Connection, statement: sa.Executable, values: Iterable[dict[str, Any]]) -> None:
    given = list(values)
    if given:
        connection.execute(statement, given)


def _proposed(proposal: ImportedProposal) -> dict[str, Any]:
    return {**dict(proposal), "status_at": proposal.proposed_at, "status_by": proposal.proposed_by}


def _steps(batch: Sequence[ImportedAction], status: ActionStatus, by: str) -> Iterator[dict[str, Any]]:
    for proposal, _ in batch:
        at: datetime | None = getattr(proposal, f"{status}_at")
        if at is not None:
            reason = proposal.status_reason if proposal.status is status else None
            yield {"of_id": proposal.id, "step_at": at, "step_by": by, "step_reason": reason}


def _opening(record: ImportedRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in _OPENED}


def _closing(record: ImportedRecord) -> dict[str, Any]:
    return {"of_proposal": record.proposal_id, **{f"new_{name}": getattr(record, name) for name in _CLOSED}}
