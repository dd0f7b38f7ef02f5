"""Lists every contradiction between proposals, records, events, notes and the latch of a ledger, by plain SQL alone."""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import sqlalchemy as sa
from psycopg.rows import tuple_row

from operator_core.actions.kill_switch import EVERYTHING
from operator_core.actions.lifecycle import INITIAL, OUTCOMES, STEP_PAIRS, TRANSITIONS, ActionStatus
from operator_core.actions.types import EventKind
from operator_core.db import install_guards
from operator_core.db.engine.urls import resolve_url
from operator_core.db.guards.conditions import OUTCOME_COLUMNS, SNAPSHOT_COLUMNS
from operator_core.db.migrations.blocking import run_blocking
from operator_core.db.schema import SCOPE_FIELDS
from tests.support.ledger import Ledger

Row = dict[str, Any]
TABLES = (
    "action_proposals",
    "action_records",
    "action_events",
    "action_notes",
    "action_prunes",
    "kill_switch",
    "kill_switch_events",
    "action_approvals",
    "approval_policies",
    "approval_policy_events",
)
_ORDER = {"kill_switch": "generation", "approval_policies": "version"}
PUBLISHING = timedelta(minutes=1)
"""How long a stop may wait at its barrier for starts that had passed the guard on PostgreSQL: no row says it."""


@dataclass(frozen=True)
class Snapshot:
    """All rows of a ledger at one moment, oldest first."""

    is_sqlite: bool
    proposals: dict[int, Row]
    records: list[Row]
    events: list[Row]
    notes: list[Row]
    prunes: list[Row]
    latch: list[Row]
    stops: list[Row]
    approvals: list[Row]
    policies: list[Row]
    policy_events: list[Row]
    confirmed: Mapping[int, datetime] = field(default_factory=dict)


def check_history(ledger: Ledger, confirmed: Mapping[int, datetime] | None = None) -> list[str]:
    """Return every contradiction in a ledger, one text for each; nothing when all agree.

    Args:
        ledger: May be in use meanwhile: it is read in one snapshot.
        confirmed: When each stop was confirmed, by generation and the clock of the database. On PostgreSQL a stop that
            is not named counts from a minute after it was published.
    """
    found = snapshot(ledger, confirmed)
    events, records = _grouped(found.events), _grouped(found.records)
    problems = list(_strangers(found))
    for number, row in found.proposals.items():
        told = _of_proposal(found, row, events[number], records[number])
        problems += (f"proposal {number}: {text}" for text in told)
    problems += _notes(found)
    problems += _latch(found)
    problems += _approvals(found)
    problems += _policies(found)
    return problems


def _grouped(rows: list[Row]) -> dict[int, list[Row]]:
    groups: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["proposal_id"]].append(row)
    return groups


def snapshot(ledger: Ledger, confirmed: Mapping[int, datetime] | None = None) -> Snapshot:
    """Read all tables in one transaction."""
    tables = _read(ledger)
    return Snapshot(
        ledger.is_sqlite,
        {row["id"]: row for row in tables["action_proposals"]},
        *(tables[name] for name in TABLES[1:]),
        confirmed=confirmed or {},
    )


def _read(ledger: Ledger) -> dict[str, list[Row]]:
    with closing(ledger.connect()) as connection:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("BEGIN")
            cursor: Any = connection.cursor()
        else:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor = connection.cursor(row_factory=tuple_row)
        tables: dict[str, list[Row]] = {}
        for table in TABLES:
            cursor.execute(f"SELECT * FROM {table} ORDER BY {_ORDER.get(table, 'id')}")
            names = [column[0] for column in cursor.description]
            tables[table] = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        connection.execute("COMMIT")
    return tables


# -- rows and events ---------------------------------------------------------------------------------------------------


def _strangers(found: Snapshot) -> Iterator[str]:
    """Yield what belongs to no proposal; a pruned one leaves its events."""
    known = found.proposals
    for event in found.events:
        if event["proposal_id"] not in known and not found.prunes:
            yield f"event {event['id']}: there is no proposal {event['proposal_id']}, and nothing was ever pruned"
    for record in found.records:
        if record["proposal_id"] not in known:
            yield f"record {record['id']}: there is no proposal {record['proposal_id']}"


def _of_proposal(found: Snapshot, row: Row, events: list[Row], records: list[Row]) -> Iterator[str]:
    if not events:
        yield "has no event"
        return
    yield from _chain(events)
    yield from _last_step(row, events)
    yield from _first_event(row, events[0])
    yield from _records(events, records)
    yield from _starts(found, row, events)


def _chain(events: list[Row]) -> Iterator[str]:
    """Follow the events by their ids: clocks may stand still, or go back for a step that had to wait."""
    standing: str | None = None
    for event in events:
        before, after = event["from_status"], event["to_status"]
        if before != standing:
            yield f"event {event['id']} leaves {before}, but it was {standing}: a gap, or events out of order"
        if before is None and after != INITIAL:
            yield f"event {event['id']} begins with {after}"
        if before is not None and (before, after) not in STEP_PAIRS:
            yield f"event {event['id']} is no legal step: {before} -> {after}"
        standing = after
    for status in TRANSITIONS:
        times = sum(event["to_status"] == status for event in events)
        if times > 1:
            yield f"became {status} {times} times"


def _last_step(row: Row, events: list[Row]) -> Iterator[str]:
    last = events[-1]
    by = row["proposed_by"] if last["from_status"] is None else row["status_by"]
    reason = row["reason"] if last["from_status"] is None else row["status_reason"]
    standing = (row["status"], row["status_at"], by, reason)
    if standing != (last["to_status"], last["at"], last["by"], last["reason"]):
        yield f"its row says {standing}, its last event {last}"
    times = {event["to_status"]: event["at"] for event in events}
    for status in ActionStatus:
        if status is not INITIAL and row[f"{status}_at"] != times.get(status):
            yield f"{status}_at is {row[f'{status}_at']}, its event says {times.get(status)}"


def _first_event(row: Row, first: Row) -> Iterator[str]:
    kept, said = _as_json(row, SNAPSHOT_COLUMNS), _parsed(first["data"])
    if kept != said:
        yield f"its row says {kept}, its first event {said}"
    if first["generation"] != row["generation"]:
        yield f"its row has generation {row['generation']}, its first event {first['generation']}"


def _records(events: list[Row], records: list[Row]) -> Iterator[str]:
    started = any(event["to_status"] == ActionStatus.EXECUTING for event in events)
    if len(records) > 1:
        yield f"has {len(records)} records"
    if records and not started:
        yield f"has record {records[0]['id']}, but never started"
    closing_event = next((event for event in events if event["from_status"] == ActionStatus.EXECUTING), None)
    if closing_event is None:
        return
    record = records[0] if records else None
    if record is None or record["outcome"] not in OUTCOMES[ActionStatus(closing_event["to_status"])]:
        yield f"left executing for {closing_event['to_status']}, but its record is {record}"
        return
    kept, said = {"record_id": record["id"], **_as_json(record, OUTCOME_COLUMNS)}, _parsed(closing_event["data"])
    if kept != said:
        yield f"its record says {kept}, its closing event {said}"


def _parsed(value: object) -> object:
    return json.loads(value) if isinstance(value, str) else value


def _as_json(row: Row, columns: tuple[str, ...]) -> Row:
    """Return columns as the guards of both engines write them into the data of an event."""
    return {name: _as_json_value(name, row[name]) for name in columns}


def _as_json_value(name: str, value: object) -> object:
    match value:
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        case int() if name == "success":
            return bool(value)
        case str() if name in ("parameters", "result_data"):
            return json.loads(value)
        case _:
            return value


# -- notes -------------------------------------------------------------------------------------------------------------


def _notes(found: Snapshot) -> Iterator[str]:
    """Yield what was said about an execution and contradicts it, and what its record holds and nobody was told."""
    records = {record["id"]: record for record in found.records}
    passed = {(event["proposal_id"], event["to_status"]) for event in found.events}
    for note in found.notes:
        name, record = f"note {note['id']} ({note['kind']})", records.get(note["record_id"])
        if record is None or note["proposal_id"] not in found.proposals:
            if not found.prunes:
                yield f"{name}: its proposal or its record is not there, and nothing was ever pruned"
            continue
        if record["proposal_id"] != note["proposal_id"]:
            yield f"{name}: record {record['id']} is of proposal {record['proposal_id']}, not of {note['proposal_id']}"
        if (note["proposal_id"], note["status"]) not in passed:
            yield f"{name}: proposal {note['proposal_id']} was never {note['status']}"
        yield from _note(name, note, record)
    told = [(note["record_id"], note["kind"]) for note in found.notes]
    for record, (kind, column) in product(found.records, _NOTED.items()):
        times = told.count((record["id"], kind))
        if times != (record[column] is not None):
            yield f"record {record['id']}: {column} is {record[column]}, and {times} notes say {kind}"


_NOTED = {EventKind.CANCEL_REQUESTED: "cancel_requested_at", EventKind.RESOLVED: "finding"}


def _note(name: str, note: Row, record: Row) -> Iterator[str]:
    said = (note["at"], note["by"], note["reason"], _parsed(note["data"]))
    requested = (*(record[column] for column in ("cancel_requested_at", "cancel_requested_by", "cancel_reason")), None)
    finding = (*(record[f"finding_{part}"] for part in ("at", "by", "reason")), {"finding": record["finding"]})
    expected = {EventKind.CANCEL_REQUESTED: requested, EventKind.RESOLVED: finding}.get(note["kind"], said)
    if said != expected:
        yield f"{name}: it says {said}, its record {expected}"
    if note["kind"] == EventKind.REPORTED_LATE and record["completed_at"] is None:
        yield f"{name}: its record is open"


# -- the latch ---------------------------------------------------------------------------------------------------------


def _covers(scope: str, row: Row) -> bool:
    return scope in {EVERYTHING, *(f"{name}={row[name]}" for name in SCOPE_FIELDS)}


def _starts(found: Snapshot, row: Row, events: list[Row]) -> Iterator[str]:
    """Yield the starts that a stop forbade: its generation lies between the proposal's and the start's."""
    for start in (event for event in events if event["to_status"] == ActionStatus.EXECUTING):
        for stop in found.stops:
            passed = row["generation"] < stop["generation"] <= start["generation"]
            if passed and _covers(stop["scope"], row) and stop["change"] == "engaged" and _after(found, start, stop):
                yield f"started at {start['at']} in spite of stop {stop['generation']} ({stop['scope']})"
    for latch in found.latch:
        is_standing = latch["engaged_at"] is not None and latch["released_at"] is None
        was_there = latch["generation"] <= row["generation"] and _covers(latch["scope"], row)
        if is_standing and was_there and row["status"] != ActionStatus.CANCELLED:
            yield f"was made under stop {latch['generation']} ({latch['scope']}), but is {row['status']}"


def _after(found: Snapshot, start: Row, stop: Row) -> bool:
    """Tell whether a start that saw the counter of a stop is later than that stop's confirmation."""
    if found.is_sqlite:
        return True  # one writer: who saw the counter came later
    return bool(start["at"] > found.confirmed.get(stop["generation"], stop["at"] + PUBLISHING))


def _latch(found: Snapshot) -> Iterator[str]:
    if not any(row["scope"] == EVERYTHING for row in found.latch):
        yield f"the latch row '{EVERYTHING}' is missing"
    for row in found.latch:
        changes = [event for event in found.stops if event["scope"] == row["scope"]]
        if not changes and row["generation"] == 0:
            continue
        change, at = ("engaged", "engaged_at") if row["released_at"] is None else ("released", "released_at")
        standing = (row["generation"], change, row[at])
        last = changes[-1] if changes else None
        if last is None or standing != (last["generation"], last["change"], last["at"]):
            yield f"latch {row['scope']}: its row says {standing}, its last event {last}"
    engaged = [event["generation"] for event in found.stops if event["change"] == "engaged"]
    if engaged != sorted(set(engaged)):
        yield f"the stops are numbered {engaged}"


# -- approvals ---------------------------------------------------------------------------------------------------------


def _approvals(found: Snapshot) -> Iterator[str]:
    """Yield the decisions that contradict their proposals, and the starts that name others than those that stood."""
    decided = {row["id"]: row for row in found.approvals}
    passed = {(event["proposal_id"], event["to_status"]) for event in found.events}
    for row in found.approvals:
        name, proposal = f"decision {row['id']} ({row['decision']})", found.proposals.get(row["proposal_id"])
        if proposal is None and not found.prunes:
            yield f"{name}: there is no proposal {row['proposal_id']}, and nothing was ever pruned"
        if proposal is not None and (row["proposal_id"], row["status"]) not in passed:
            yield f"{name}: proposal {row['proposal_id']} was never {row['status']}"
        if proposal is not None and row["decision"] == "rejected" and proposal["status"] != ActionStatus.CANCELLED:
            yield f"{name}: proposal {row['proposal_id']} is {proposal['status']}"
        revoked = decided.get(row["revokes"])
        if row["revokes"] is not None and (revoked is None or not _revokes(row, revoked)):
            yield f"{name}: it revokes {revoked}"
    revocations = {row["revokes"] for row in found.approvals}
    for start in (event for event in found.events if event["to_status"] == ActionStatus.EXECUTING):
        data = _parsed(start["data"])
        used = data["approvals"] if isinstance(data, dict) else []
        stood = [number for number in used if number in decided and number not in revocations]
        of = [decided[number] for number in stood]
        if stood != used or any(_says(row) != ("approved", start["proposal_id"]) for row in of):
            yield f"event {start['id']}: it names the approvals {used}, of which stood {stood}: {of}"


def _says(row: Row) -> tuple[str, int]:
    return row["decision"], row["proposal_id"]


def _revokes(row: Row, revoked: Row) -> bool:
    return _says(revoked) == ("approved", row["proposal_id"]) and row["id"] > revoked["id"]


def _policies(found: Snapshot) -> Iterator[str]:
    """Yield the rules that differ from their last change, and the versions that were given twice or went back."""
    last = {(event["scope"], event["role"]): event for event in found.policy_events}
    stored = {(row["scope"], row["role"]): row for row in found.policies}
    for scope, role in {*last, *stored}:
        row, event = stored.get((scope, role)), last.get((scope, role))
        told = None if event is None else {name: value for name, value in event.items() if name != "id"}
        if row != told:
            yield f"policy {scope}, role {role!r}: its row says {row}, its last change {told}"
    versions = [event["version"] for event in found.policy_events]
    if versions != sorted(set(versions)):
        yield f"the versions of the policies are {versions}"


# -- to see that the checker and the races are not blind ---------------------------------------------------------------


def tamper(ledger: Ledger, *statements: str) -> None:
    """Do behind the guards what nobody may, and put them back."""
    if all(statement.startswith("UPDATE ") for statement in statements):
        write_past_guards(ledger, *statements)
        return
    drop_guards(ledger)
    with closing(ledger.connect()) as plain:
        for statement in statements:
            plain.execute(statement)  # type: ignore[arg-type]
    put_guards_back(ledger)


def write_past_guards(ledger: Ledger, *statements: str, checks: bool = True) -> None:
    """Run statements for which no guard fires, and leave the guards as they were: quicker than to install them.

    Args:
        ledger: Where.
        statements: What nobody may; no DELETE, which may have to cascade on PostgreSQL.
        checks: Whether the CHECKs of SQLite hold.
    """
    with closing(ledger.connect()) as connection:
        if not isinstance(connection, sqlite3.Connection):
            for statement in ("SET session_replication_role = replica", *statements):
                connection.execute(statement)  # type: ignore[arg-type]
            return
        connection.execute(f"PRAGMA ignore_check_constraints = {not checks}")
        connection.execute("BEGIN IMMEDIATE")
        triggers = connection.execute("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        triggers = [trigger for trigger in triggers if any(trigger[1] in statement for statement in statements)]
        for name, _, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        for _, _, definition in triggers:
            connection.execute(definition)
        connection.execute("COMMIT")


def put_guards_back(ledger: Ledger) -> None:
    """Install the guards as a host does."""

    def install(connection: sa.Connection) -> None:
        install_guards(connection)
        connection.commit()

    run_blocking(resolve_url(ledger.target), install)


def drop_guards(ledger: Ledger) -> None:
    """Drop every trigger of a ledger, so that a test can do what nobody may."""
    with closing(ledger.connect()) as connection:
        if isinstance(connection, sqlite3.Connection):
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                connection.execute(f"DROP TRIGGER {name}")
            return
        found = connection.execute(
            "SELECT tgname, relname FROM pg_trigger JOIN pg_class AS c ON c.oid = tgrelid WHERE NOT tgisinternal"
        ).fetchall()
        for name, table in found:
            connection.execute(f"DROP TRIGGER {name} ON {table}")  # type: ignore[arg-type]
