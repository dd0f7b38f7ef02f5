"""The guards of SQLite: triggers; the single writer takes the place of the lock."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from types import MappingProxyType

import sqlalchemy as sa

from operator_core.actions.types import EventKind
from operator_core.db.guards import conditions
from operator_core.db.guards.codes import (
    CHANGE_REFUSED,
    CHECK_BROKEN,
    EVENT_MISSING,
    EXPIRED,
    LATCH_UNREADABLE,
    MESSAGES,
    NOT_RETRYABLE,
    RECORD_DISAGREES,
    SCOPE_REFUSED,
    STEP_REFUSED,
    STOPPED,
    UNREADABLE,
)
from operator_core.db.guards.conditions import COUNTER, EXECUTING, FINAL, START_BARRED, KillSwitchConditions
from operator_core.db.guards.sqlite_readable import (
    breaks_check,
    is_ticket,
    name_is_blank,
    takes_id_ahead,
    unreadable,
)
from operator_core.db.schema import kill_switch, notes, proposals, prunes, records

# A renamed table changes its name in the triggers too: every process misses the old name, so nothing may start.
LATCH_READABLE = (
    "EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'kill_switch') AND "
    + conditions.LATCH_READABLE
)

_NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'"


def _refuse(code: str, condition: str) -> str:
    return f"SELECT RAISE(ABORT, '{code}: {MESSAGES[code]}') WHERE {condition}"


def _trigger(name: str, event: str, *statements: str) -> tuple[str, str]:
    name = f"operator_core_{name}"
    body = "".join(f"  {statement};\n" for statement in statements)
    return name, f"CREATE TRIGGER {name} {event}\nBEGIN\n{body}END"


def _changed(columns: tuple[str, ...]) -> str:
    return " OR ".join(f"NEW.{column} IS NOT OLD.{column}" for column in columns)


def _refuse_unreadable(table: sa.Table, names: Iterable[str], *, changed: bool = False) -> Iterator[str]:
    """Refuse what could not be read back; each condition may rely on those before it."""
    for condition in unreadable(table, names, changed=changed):
        yield _refuse(UNREADABLE, condition)


def _refuse_row(table: sa.Table) -> Iterator[str]:
    """Refuse a new row that could not be read back, breaks a CHECK, or takes an id ahead of the counter."""
    if "id" in table.columns:
        yield _refuse(CHANGE_REFUSED, takes_id_ahead(table.name))
    yield from _refuse_unreadable(table, [column.name for column in table.columns if column.name != "id"])
    yield from _refuse_broken_check(table)


def _refuse_broken_check(table: sa.Table) -> Iterator[str]:
    """Refuse what a CHECK would, because a client may have told SQLite to ignore CHECKs."""
    if broken := breaks_check(table):
        yield _refuse(CHECK_BROKEN, broken)


def _expect_event(condition: str, when: str = "1") -> str:
    """Refuse a step whose event is missing, because a client's trigger may silently swallow an insert."""
    return _refuse(EVENT_MISSING, f"({when}) AND NOT EXISTS (SELECT 1 FROM {condition})")


def _json(columns: tuple[str, ...], row: str) -> str:
    """Return the arguments of an object of columns, with booleans and JSON in PostgreSQL's form.

    What an older guard let in must not keep a row from being closed, so a value that JSON cannot hold is stored in
    hexadecimal digits.
    """
    document = "CASE WHEN json_valid({0}) THEN json({0}) ELSE hex({0}) END"
    forms = {
        "parameters": document,
        "result_data": f"CASE WHEN {{0}} IS NOT NULL THEN {document} END",
        "success": "json(CASE {0} WHEN 1 THEN 'true' WHEN 0 THEN 'false' END)",
    }
    plain = "iif(typeof({0}) = 'blob', hex({0}), {0})"
    return ", ".join(f"'{name}', " + forms.get(name, plain).format(f"{row}.{name}") for name in columns)


def _proposals() -> Iterator[tuple[str, str]]:
    stop = f"EXISTS (SELECT 1 FROM kill_switch AS k WHERE {KillSwitchConditions().engaged})"
    yield _trigger(
        "proposals_insert",
        "BEFORE INSERT ON action_proposals",
        # REPLACE fires no delete trigger: it must be refused before it removes the row.
        _refuse(
            CHANGE_REFUSED,
            "EXISTS (SELECT 1 FROM action_proposals AS o "
            "WHERE o.id = NEW.id OR o.idempotency_key = NEW.idempotency_key)",
        ),
        _refuse(LATCH_UNREADABLE, f"NOT ({LATCH_READABLE})"),
        _refuse(STEP_REFUSED, "NEW.status NOT IN ('proposed', 'cancelled')"),
        _refuse(CHANGE_REFUSED, f"{conditions.HAS_LATER_TIMESTAMP} OR ({conditions.HAS_OTHER_PROPOSER})"),
        _refuse(NOT_RETRYABLE, conditions.RETRY_REFUSED),
        *_refuse_row(proposals),
        _refuse(STOPPED, f"NEW.generation IS NOT {COUNTER}"),
        _refuse(STOPPED, f"(NEW.status = 'cancelled') IS NOT ({stop})"),
    )
    late = " OR ".join(
        f"(NEW.{s}_at IS NOT OLD.{s}_at AND NEW.status <> '{s}')" for s in conditions.TIMESTAMPED_STATUSES
    )
    yield _trigger(
        "proposals_update",
        "BEFORE UPDATE ON action_proposals",
        _refuse(CHANGE_REFUSED, _changed(conditions.PROPOSED_COLUMNS)),
        _refuse(STEP_REFUSED, f"NOT ({conditions.IS_LEGAL_STEP})"),
        _refuse(CHANGE_REFUSED, late),
        *_refuse_unreadable(
            proposals, (*conditions.STATUS_COLUMNS, *(f"{status}_at" for status in conditions.TIMESTAMPED_STATUSES))
        ),
        *_refuse_broken_check(proposals),
        *(
            _refuse(UNREADABLE, f"NEW.status = '{EXECUTING}' AND ({condition})")
            for condition in unreadable(proposals, conditions.PROPOSED_COLUMNS)
        ),
        _refuse(
            EXPIRED,
            f"NEW.status = '{EXECUTING}' AND NEW.valid_until <= {_NOW}",
        ),
        _refuse(LATCH_UNREADABLE, f"NEW.status = '{EXECUTING}' AND NOT ({LATCH_READABLE})"),
        _refuse(STOPPED, f"NEW.status = '{EXECUTING}' AND {START_BARRED}"),
        _refuse(RECORD_DISAGREES, f"OLD.status = '{EXECUTING}' AND NOT {conditions.RECORD_AGREES}"),
    )
    yield _trigger(
        "proposals_delete",
        "BEFORE DELETE ON action_proposals",
        _refuse(
            CHANGE_REFUSED,
            f"OLD.status NOT IN ({FINAL}) OR {conditions.HAS_RECORD} OR {conditions.PROPOSAL_NOT_PRUNABLE}",
        ),
    )


def _events() -> Iterator[tuple[str, str]]:
    columns = '(proposal_id, from_status, to_status, at, "by", reason, generation, data, recorded_at)'
    reached = "action_events AS e WHERE e.proposal_id = NEW.id AND e.to_status = {}"
    proposed = f"json_object({_json(conditions.SNAPSHOT_COLUMNS, 'NEW')})"
    outcome = (
        f"CASE WHEN OLD.status = '{EXECUTING}' THEN (SELECT json_object('record_id', r.id, "
        f"{_json(conditions.OUTCOME_COLUMNS, 'r')}) "
        "FROM action_records AS r WHERE r.proposal_id = NEW.id) END"
    )
    yield _trigger(
        "proposals_inserted",
        "AFTER INSERT ON action_proposals",
        f"INSERT INTO action_events {columns} VALUES (NEW.id, NULL, 'proposed', NEW.status_at, NEW.proposed_by, "
        f"NEW.reason, NEW.generation, {proposed}, {_NOW})",
        f"INSERT INTO action_events {columns} SELECT NEW.id, 'proposed', NEW.status, NEW.status_at, NEW.status_by, "
        f"NEW.status_reason, NEW.generation, NULL, {_NOW} WHERE NEW.status <> 'proposed'",
        _expect_event(reached.format("'proposed'")),
        _expect_event(reached.format("NEW.status"), "NEW.status <> 'proposed'"),
    )
    yield _trigger(
        "proposals_updated",
        "AFTER UPDATE ON action_proposals",
        _refuse(CHANGE_REFUSED, conditions.STATUS_CHANGED_MEANWHILE),
        f"INSERT INTO action_events {columns} VALUES (NEW.id, OLD.status, NEW.status, NEW.status_at, NEW.status_by, "
        f"NEW.status_reason, {COUNTER}, {outcome}, {_NOW})",
        _expect_event(reached.format("NEW.status")),
    )
    # SQLite cannot tell a trigger's insert from a client's: an event must agree with its proposal, and be the first.
    yield _trigger(
        "events_insert",
        "BEFORE INSERT ON action_events",
        _refuse(
            CHANGE_REFUSED,
            "EXISTS (SELECT 1 FROM action_events AS e WHERE e.id = NEW.id "
            "OR (e.proposal_id = NEW.proposal_id AND e.to_status = NEW.to_status))",
        ),
        _refuse(CHANGE_REFUSED, f"NOT {conditions.IS_NEXT_EVENT} OR NEW.recorded_at IS NOT {_NOW}"),
    )


def _records() -> Iterator[tuple[str, str]]:
    settles = (
        f"{conditions.RECORD_UNRESOLVED} AND NEW.finding IS NOT NULL AND NOT ({_changed(conditions.CLOSED_COLUMNS)})"
    )
    columns = '(proposal_id, record_id, kind, status, at, "by", reason, generation, data)'
    status = "(SELECT p.status FROM action_proposals AS p WHERE p.id = NEW.proposal_id)"
    requested = "OLD.cancel_requested_at IS NULL AND NEW.cancel_requested_at IS NOT NULL"
    found = "OLD.finding IS NULL AND NEW.finding IS NOT NULL"
    said = "action_notes AS n WHERE n.record_id = NEW.id AND n.kind = '{}'"
    yield _trigger(
        "records_insert",
        "BEFORE INSERT ON action_records",
        _refuse(
            CHANGE_REFUSED,
            "EXISTS (SELECT 1 FROM action_records AS r WHERE r.id = NEW.id OR r.proposal_id = NEW.proposal_id "
            "OR (r.worker = NEW.worker AND r.claim_key = NEW.claim_key AND r.outcome IS NULL))",
        ),
        _refuse(
            RECORD_DISAGREES,
            "NEW.completed_at IS NOT NULL OR NOT EXISTS (SELECT 1 FROM action_proposals AS p "
            f"WHERE p.id = NEW.proposal_id AND p.status = '{EXECUTING}')",
        ),
        *_refuse_row(records),
    )
    yield _trigger(
        "records_update",
        "BEFORE UPDATE ON action_records",
        _refuse(
            CHANGE_REFUSED, f"OLD.completed_at IS NOT NULL AND NOT ({settles}) OR {_changed(conditions.RECORD_KEYS)}"
        ),
        _refuse(CHANGE_REFUSED, "OLD.completed_at IS NULL AND NEW.finding IS NOT NULL"),
        _refuse(CHANGE_REFUSED, f"OLD.cancel_requested_at IS NOT NULL AND ({_changed(conditions.REQUEST_COLUMNS)})"),
        _refuse(
            RECORD_DISAGREES,
            "OLD.completed_at IS NULL AND NEW.completed_at IS NOT NULL "
            f"AND NEW.stop_generation IS NOT {conditions.requested_stop('NEW.proposal_id')}",
        ),
        _refuse(RECORD_DISAGREES, conditions.STOP_NOT_REQUESTED),
        *_refuse_unreadable(records, records.columns.keys(), changed=True),
        *_refuse_broken_check(records),
    )
    yield _trigger(
        "records_updated",
        "AFTER UPDATE ON action_records",
        # Its proposal has moved on since this update began, in a client's trigger.
        _refuse(
            CHANGE_REFUSED,
            "OLD.completed_at IS NULL AND NOT EXISTS (SELECT 1 FROM action_proposals AS p "
            f"WHERE p.id = NEW.proposal_id AND p.status = '{EXECUTING}')",
        ),
        f"INSERT INTO action_notes {columns} SELECT NEW.proposal_id, NEW.id, '{EventKind.CANCEL_REQUESTED}', {status}, "
        f"NEW.cancel_requested_at, NEW.cancel_requested_by, NEW.cancel_reason, {COUNTER}, NULL "
        f"WHERE {requested}",
        _expect_event(said.format(EventKind.CANCEL_REQUESTED), requested),
        f"INSERT INTO action_notes {columns} SELECT NEW.proposal_id, NEW.id, '{EventKind.RESOLVED}', {status}, "
        f"NEW.finding_at, NEW.finding_by, NEW.finding_reason, {COUNTER}, json_object('finding', NEW.finding) "
        f"WHERE {found}",
        _expect_event(said.format(EventKind.RESOLVED), found),
    )
    yield _trigger(
        "records_delete",
        "BEFORE DELETE ON action_records",
        _refuse(CHANGE_REFUSED, f"{conditions.RECORD_NOT_PRUNABLE} OR {conditions.RECORD_UNRESOLVED}"),
    )


def _kill_switch() -> Iterator[tuple[str, str]]:
    invalid = "typeof(NEW.scope) <> 'text' OR instr(NEW.scope, char(0)) OR " + conditions.scope_invalid(
        name_is_blank(f"substr(NEW.scope, {conditions.FIRST_NAME_CHARACTER})"),
        is_ticket(f"substr(NEW.scope, {conditions.FIRST_TICKET_CHARACTER})"),
    )
    columns_written = [column.name for column in kill_switch.columns if column.name != "scope"]
    engaged = (
        f"NEW.released_at IS NULL AND NEW.engaged_at IS NOT NULL AND NEW.generation = {conditions.NEXT_GENERATION}"
    )
    released = (
        "OLD.engaged_at IS NOT NULL AND OLD.released_at IS NULL AND NEW.released_at IS NOT NULL "
        f"AND NOT ({_changed(('generation', 'engaged_at', 'engaged_by', 'reason'))})"
    )
    columns = '(generation, scope, change, at, "by", reason)'
    changed = "kill_switch_events AS e WHERE e.generation = NEW.generation AND e.change = {}"
    stop = "NEW.generation, NEW.scope, 'engaged', NEW.engaged_at, NEW.engaged_by, NEW.reason"
    release = "NEW.generation, NEW.scope, 'released', NEW.released_at, NEW.released_by, NEW.release_reason"
    yield _trigger(
        "kill_switch_insert",
        "BEFORE INSERT ON kill_switch",
        _refuse(CHANGE_REFUSED, "EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope = NEW.scope)"),
        _refuse(SCOPE_REFUSED, invalid),
        *_refuse_row(kill_switch),
        _refuse(CHANGE_REFUSED, f"NOT ({engaged})"),
    )
    yield _trigger(
        "kill_switch_update",
        "BEFORE UPDATE ON kill_switch",
        _refuse(CHANGE_REFUSED, f"NEW.scope IS NOT OLD.scope OR NOT (({engaged}) OR ({released}))"),
        *_refuse_unreadable(kill_switch, columns_written, changed=True),
        *_refuse_broken_check(kill_switch),
    )
    yield _trigger(
        "kill_switch_inserted",
        "AFTER INSERT ON kill_switch",
        f"INSERT INTO kill_switch_events {columns} VALUES ({stop})",
        _expect_event(changed.format("'engaged'")),
    )
    yield _trigger(
        "kill_switch_updated",
        "AFTER UPDATE ON kill_switch",
        f"INSERT INTO kill_switch_events {columns} SELECT {stop} WHERE NEW.released_at IS NULL",
        f"INSERT INTO kill_switch_events {columns} SELECT {release} WHERE NEW.released_at IS NOT NULL",
        _expect_event(changed.format("CASE WHEN NEW.released_at IS NULL THEN 'engaged' ELSE 'released' END")),
    )
    yield _trigger(
        "kill_switch_events_insert",
        "BEFORE INSERT ON kill_switch_events",
        _refuse(
            CHANGE_REFUSED,
            "EXISTS (SELECT 1 FROM kill_switch_events AS e WHERE e.id = NEW.id "
            "OR (e.generation = NEW.generation AND e.change = NEW.change)) "
            f"OR NOT {conditions.IS_NEXT_STOP_EVENT}",
        ),
    )


def _append_only() -> Iterator[tuple[str, str]]:
    yield _trigger(
        "prunes_insert",
        "BEFORE INSERT ON action_prunes",
        _refuse(CHANGE_REFUSED, "EXISTS (SELECT 1 FROM action_prunes AS p WHERE p.id = NEW.id)"),
        *_refuse_row(prunes),
        # Clocks differ, and zones even more.
        _refuse(CHANGE_REFUSED, "NEW.\"before\" > strftime('%Y-%m-%d %H:%M:%f', 'now', '+1 day') || '000'"),
    )
    yield _trigger(
        "notes_insert",
        "BEFORE INSERT ON action_notes",
        _refuse(
            CHANGE_REFUSED,
            "EXISTS (SELECT 1 FROM action_notes AS o WHERE o.id = NEW.id "
            f"OR (o.record_id = NEW.record_id AND o.kind = NEW.kind AND o.kind <> '{EventKind.REPORTED_LATE}'))",
        ),
        _refuse(CHANGE_REFUSED, conditions.NOTE_CONTRADICTS_RECORD),
        *_refuse_row(notes),
    )
    for table in ("action_events", "action_notes", "action_prunes", "kill_switch_events"):
        short = table.removeprefix("action_")
        kept = conditions.EVENT_NOT_PRUNABLE if short in ("events", "notes") else "1"
        yield _trigger(f"{short}_update", f"BEFORE UPDATE ON {table}", _refuse(CHANGE_REFUSED, "1"))
        yield _trigger(f"{short}_delete", f"BEFORE DELETE ON {table}", _refuse(CHANGE_REFUSED, kept))
    yield _trigger("kill_switch_delete", "BEFORE DELETE ON kill_switch", _refuse(CHANGE_REFUSED, "1"))


@cache
def triggers() -> Mapping[str, str]:
    """Return the name and the text of every trigger."""
    return MappingProxyType(dict([*_proposals(), *_events(), *_records(), *_kill_switch(), *_append_only()]))
