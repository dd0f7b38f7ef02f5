"""The guards of SQLite: triggers; the single writer takes the place of the lock."""

from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType

from operator_core.actions.types import EventKind
from operator_core.db.guards import conditions
from operator_core.db.guards.codes import (
    CHANGE_REFUSED,
    EXPIRED,
    LATCH_UNREADABLE,
    NOT_RETRYABLE,
    RECORD_DISAGREES,
    SCOPE_REFUSED,
    STEP_REFUSED,
    STOPPED,
    UNREADABLE,
)
from operator_core.db.guards.conditions import COUNTER, EXECUTING, FINAL, START_BLOCKED, KillSwitchConditions
from operator_core.db.guards.sqlite_approvals import (
    approval_triggers,
    evidence,
    policy_triggers,
    require_approval,
)
from operator_core.db.guards.sqlite_readable import is_ticket, name_is_blank, unreadable
from operator_core.db.guards.sqlite_triggers import (
    NOW,
    changed,
    expect_event,
    refuse,
    refuse_broken_check,
    refuse_row,
    refuse_unreadable,
    trigger,
)
from operator_core.db.schema import kill_switch, notes, proposals, prunes, records
from operator_core.db.types import sqlite_time

# A renamed table changes its name in the triggers too: every process misses the old name, so nothing may start.
LATCH_READABLE = (
    "EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'kill_switch') AND "
    + conditions.LATCH_READABLE
)


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
    yield trigger(
        "proposals_insert",
        "BEFORE INSERT ON action_proposals",
        # REPLACE fires no delete trigger: it must be refused before it removes the row.
        refuse(
            CHANGE_REFUSED,
            "EXISTS (SELECT 1 FROM action_proposals AS o "
            "WHERE o.id = NEW.id OR o.idempotency_key = NEW.idempotency_key)",
        ),
        refuse(LATCH_UNREADABLE, f"NOT ({LATCH_READABLE})"),
        refuse(STEP_REFUSED, "NEW.status NOT IN ('proposed', 'cancelled')"),
        refuse(CHANGE_REFUSED, f"{conditions.HAS_LATER_TIMESTAMP} OR ({conditions.HAS_OTHER_PROPOSER})"),
        refuse(NOT_RETRYABLE, conditions.RETRY_REFUSED),
        *refuse_row(proposals),
        refuse(STOPPED, f"NEW.generation IS NOT {COUNTER}"),
        refuse(STOPPED, f"(NEW.status = 'cancelled') IS NOT ({stop})"),
    )
    late = " OR ".join(
        f"(NEW.{s}_at IS NOT OLD.{s}_at AND NEW.status <> '{s}')" for s in conditions.TIMESTAMPED_STATUSES
    )
    yield trigger(
        "proposals_update",
        "BEFORE UPDATE ON action_proposals",
        refuse(CHANGE_REFUSED, changed(conditions.PROPOSED_COLUMNS)),
        refuse(STEP_REFUSED, f"NOT ({conditions.IS_LEGAL_STEP})"),
        refuse(CHANGE_REFUSED, late),
        *refuse_unreadable(
            proposals, (*conditions.STATUS_COLUMNS, *(f"{status}_at" for status in conditions.TIMESTAMPED_STATUSES))
        ),
        *refuse_broken_check(proposals),
        *(
            refuse(UNREADABLE, f"NEW.status = '{EXECUTING}' AND ({condition})")
            for condition in unreadable(proposals, conditions.PROPOSED_COLUMNS)
        ),
        refuse(
            EXPIRED,
            f"NEW.status = '{EXECUTING}' AND NEW.valid_until <= {NOW}",
        ),
        refuse(LATCH_UNREADABLE, f"NEW.status = '{EXECUTING}' AND NOT ({LATCH_READABLE})"),
        refuse(STOPPED, f"NEW.status = '{EXECUTING}' AND {START_BLOCKED}"),
        refuse(RECORD_DISAGREES, f"OLD.status = '{EXECUTING}' AND NOT {conditions.RECORD_AGREES}"),
    )
    yield trigger(
        "proposals_delete",
        "BEFORE DELETE ON action_proposals",
        refuse(
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
        f"FROM action_records AS r WHERE r.proposal_id = NEW.id) ELSE {evidence()} END"
    )
    yield trigger(
        "proposals_inserted",
        "AFTER INSERT ON action_proposals",
        f"INSERT INTO action_events {columns} VALUES (NEW.id, NULL, 'proposed', NEW.status_at, NEW.proposed_by, "
        f"NEW.reason, NEW.generation, {proposed}, {NOW})",
        f"INSERT INTO action_events {columns} SELECT NEW.id, 'proposed', NEW.status, NEW.status_at, NEW.status_by, "
        f"NEW.status_reason, NEW.generation, NULL, {NOW} WHERE NEW.status <> 'proposed'",
        expect_event(reached.format("'proposed'")),
        expect_event(reached.format("NEW.status"), "NEW.status <> 'proposed'"),
    )
    yield trigger(
        "proposals_updated",
        "AFTER UPDATE ON action_proposals",
        refuse(CHANGE_REFUSED, conditions.STATUS_CHANGED_MEANWHILE),
        require_approval(),
        f"INSERT INTO action_events {columns} VALUES (NEW.id, OLD.status, NEW.status, NEW.status_at, NEW.status_by, "
        f"NEW.status_reason, {COUNTER}, {outcome}, {NOW})",
        expect_event(reached.format("NEW.status")),
    )
    # SQLite cannot tell a trigger's insert from a client's: an event must agree with its proposal, and be the first.
    yield trigger(
        "events_insert",
        "BEFORE INSERT ON action_events",
        refuse(
            CHANGE_REFUSED,
            "EXISTS (SELECT 1 FROM action_events AS e WHERE e.id = NEW.id "
            "OR (e.proposal_id = NEW.proposal_id AND e.to_status = NEW.to_status))",
        ),
        refuse(CHANGE_REFUSED, f"NOT {conditions.IS_NEXT_EVENT} OR NEW.recorded_at IS NOT {NOW}"),
    )


def _records() -> Iterator[tuple[str, str]]:
    resolves = (
        f"{conditions.RECORD_UNRESOLVED} AND NEW.finding IS NOT NULL AND NOT ({changed(conditions.CLOSED_COLUMNS)})"
    )
    columns = '(proposal_id, record_id, kind, status, at, "by", reason, generation, data)'
    status = "(SELECT p.status FROM action_proposals AS p WHERE p.id = NEW.proposal_id)"
    requested = "OLD.cancel_requested_at IS NULL AND NEW.cancel_requested_at IS NOT NULL"
    found = "OLD.finding IS NULL AND NEW.finding IS NOT NULL"
    noted = "action_notes AS n WHERE n.record_id = NEW.id AND n.kind = '{}'"
    yield trigger(
        "records_insert",
        "BEFORE INSERT ON action_records",
        refuse(
            CHANGE_REFUSED,
            "EXISTS (SELECT 1 FROM action_records AS r WHERE r.id = NEW.id OR r.proposal_id = NEW.proposal_id "
            "OR (r.worker = NEW.worker AND r.claim_key = NEW.claim_key AND r.outcome IS NULL))",
        ),
        refuse(
            RECORD_DISAGREES,
            "NEW.completed_at IS NOT NULL OR NOT EXISTS (SELECT 1 FROM action_proposals AS p "
            f"WHERE p.id = NEW.proposal_id AND p.status = '{EXECUTING}')",
        ),
        *refuse_row(records),
    )
    yield trigger(
        "records_update",
        "BEFORE UPDATE ON action_records",
        refuse(
            CHANGE_REFUSED, f"OLD.completed_at IS NOT NULL AND NOT ({resolves}) OR {changed(conditions.RECORD_KEYS)}"
        ),
        refuse(CHANGE_REFUSED, "OLD.completed_at IS NULL AND NEW.finding IS NOT NULL"),
        refuse(CHANGE_REFUSED, f"OLD.cancel_requested_at IS NOT NULL AND ({changed(conditions.REQUEST_COLUMNS)})"),
        refuse(
            RECORD_DISAGREES,
            "OLD.completed_at IS NULL AND NEW.completed_at IS NOT NULL "
            f"AND NEW.stop_generation IS NOT {conditions.requested_stop('NEW.proposal_id')}",
        ),
        refuse(RECORD_DISAGREES, conditions.STOP_NOT_REQUESTED),
        *refuse_unreadable(records, records.columns.keys(), changed=True),
        *refuse_broken_check(records),
    )
    yield trigger(
        "records_updated",
        "AFTER UPDATE ON action_records",
        # Its proposal has moved on since this update began, in a client's trigger.
        refuse(
            CHANGE_REFUSED,
            "OLD.completed_at IS NULL AND NOT EXISTS (SELECT 1 FROM action_proposals AS p "
            f"WHERE p.id = NEW.proposal_id AND p.status = '{EXECUTING}')",
        ),
        f"INSERT INTO action_notes {columns} SELECT NEW.proposal_id, NEW.id, '{EventKind.CANCEL_REQUESTED}', {status}, "
        f"NEW.cancel_requested_at, NEW.cancel_requested_by, NEW.cancel_reason, {COUNTER}, NULL "
        f"WHERE {requested}",
        expect_event(noted.format(EventKind.CANCEL_REQUESTED), requested),
        f"INSERT INTO action_notes {columns} SELECT NEW.proposal_id, NEW.id, '{EventKind.RESOLVED}', {status}, "
        f"NEW.finding_at, NEW.finding_by, NEW.finding_reason, {COUNTER}, json_object('finding', NEW.finding) "
        f"WHERE {found}",
        expect_event(noted.format(EventKind.RESOLVED), found),
    )
    yield trigger(
        "records_delete",
        "BEFORE DELETE ON action_records",
        refuse(CHANGE_REFUSED, f"{conditions.RECORD_NOT_PRUNABLE} OR {conditions.RECORD_UNRESOLVED}"),
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
        f"AND NOT ({changed(('generation', 'engaged_at', 'engaged_by', 'reason'))})"
    )
    columns = '(generation, scope, change, at, "by", reason)'
    written = "kill_switch_events AS e WHERE e.generation = NEW.generation AND e.change = {}"
    stop = "NEW.generation, NEW.scope, 'engaged', NEW.engaged_at, NEW.engaged_by, NEW.reason"
    release = "NEW.generation, NEW.scope, 'released', NEW.released_at, NEW.released_by, NEW.release_reason"
    yield trigger(
        "kill_switch_insert",
        "BEFORE INSERT ON kill_switch",
        refuse(CHANGE_REFUSED, "EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope = NEW.scope)"),
        refuse(SCOPE_REFUSED, invalid),
        *refuse_row(kill_switch),
        refuse(CHANGE_REFUSED, f"NOT ({engaged})"),
    )
    yield trigger(
        "kill_switch_update",
        "BEFORE UPDATE ON kill_switch",
        refuse(CHANGE_REFUSED, f"NEW.scope IS NOT OLD.scope OR NOT (({engaged}) OR ({released}))"),
        *refuse_unreadable(kill_switch, columns_written, changed=True),
        *refuse_broken_check(kill_switch),
    )
    yield trigger(
        "kill_switch_inserted",
        "AFTER INSERT ON kill_switch",
        f"INSERT INTO kill_switch_events {columns} VALUES ({stop})",
        expect_event(written.format("'engaged'")),
    )
    yield trigger(
        "kill_switch_updated",
        "AFTER UPDATE ON kill_switch",
        f"INSERT INTO kill_switch_events {columns} SELECT {stop} WHERE NEW.released_at IS NULL",
        f"INSERT INTO kill_switch_events {columns} SELECT {release} WHERE NEW.released_at IS NOT NULL",
        expect_event(written.format("CASE WHEN NEW.released_at IS NULL THEN 'engaged' ELSE 'released' END")),
    )
    yield trigger(
        "kill_switch_events_insert",
        "BEFORE INSERT ON kill_switch_events",
        refuse(
            CHANGE_REFUSED,
            "EXISTS (SELECT 1 FROM kill_switch_events AS e WHERE e.id = NEW.id "
            "OR (e.generation = NEW.generation AND e.change = NEW.change)) "
            f"OR NOT {conditions.IS_NEXT_STOP_EVENT}",
        ),
    )


def _append_only() -> Iterator[tuple[str, str]]:
    yield trigger(
        "prunes_insert",
        "BEFORE INSERT ON action_prunes",
        refuse(CHANGE_REFUSED, "EXISTS (SELECT 1 FROM action_prunes AS p WHERE p.id = NEW.id)"),
        *refuse_row(prunes),
        # Clocks differ, and zones even more.
        refuse(CHANGE_REFUSED, 'NEW."before" > ' + sqlite_time("'now'", "'+1 day'")),
    )
    yield trigger(
        "notes_insert",
        "BEFORE INSERT ON action_notes",
        refuse(
            CHANGE_REFUSED,
            "EXISTS (SELECT 1 FROM action_notes AS o WHERE o.id = NEW.id "
            f"OR (o.record_id = NEW.record_id AND o.kind = NEW.kind AND o.kind <> '{EventKind.REPORTED_LATE}'))",
        ),
        refuse(CHANGE_REFUSED, conditions.NOTE_CONTRADICTS_RECORD),
        *refuse_row(notes),
    )
    for table in ("action_events", "action_notes", "action_prunes", "kill_switch_events"):
        short = table.removeprefix("action_")
        kept = conditions.EVENT_NOT_PRUNABLE if short in ("events", "notes") else "1"
        yield trigger(f"{short}_update", f"BEFORE UPDATE ON {table}", refuse(CHANGE_REFUSED, "1"))
        yield trigger(f"{short}_delete", f"BEFORE DELETE ON {table}", refuse(CHANGE_REFUSED, kept))
    yield trigger("kill_switch_delete", "BEFORE DELETE ON kill_switch", refuse(CHANGE_REFUSED, "1"))


@cache
def triggers() -> Mapping[str, str]:
    """Return the name and the text of every trigger."""
    return MappingProxyType(
        dict(
            [
                *_proposals(),
                *_events(),
                *_records(),
                *_kill_switch(),
                *_append_only(),
                *approval_triggers(),
                *policy_triggers(),
            ]
        )
    )
