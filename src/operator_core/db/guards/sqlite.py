"""The guards of SQLite: triggers; the single writer takes the place of the lock."""

from collections.abc import Iterator

from operator_core.actions.types import EventKind
from operator_core.db.guards import rules
from operator_core.db.guards.rules import (
    CHANGE_REFUSED,
    COUNTER,
    EXECUTING,
    FINAL,
    LATCH_UNREADABLE,
    MESSAGES,
    RECORD_DISAGREES,
    SCOPE_REFUSED,
    START_BARRED,
    STEP_REFUSED,
    STOPPED,
    Latch,
)

# A renamed table takes its name in the triggers along: what every process looks for is gone, so nothing may start.
LATCH_READABLE = (
    "EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'kill_switch') AND " + rules.LATCH_READABLE
)


def _refuse(code: str, condition: str) -> str:
    return f"SELECT RAISE(ABORT, '{code}: {MESSAGES[code]}') WHERE {condition}"


def _trigger(name: str, event: str, *statements: str) -> tuple[str, str]:
    name = f"operator_core_{name}"
    body = "".join(f"  {statement};\n" for statement in statements)
    return name, f"CREATE TRIGGER {name} {event}\nBEGIN\n{body}END"


def _changed(columns: tuple[str, ...]) -> str:
    return " OR ".join(f"NEW.{column} IS NOT OLD.{column}" for column in columns)


def _unreadable(columns: tuple[str, ...]) -> str:
    """Is true of a time that is not written `YYYY-MM-DD HH:MM:SS.ffffff`, or is none: nobody could read the row."""
    seconds = "strftime('%Y-%m-%d %H:%M:%S', substr({0}, 1, 19)) IS NOT substr({0}, 1, 19)"
    fraction = "substr({0}, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]'"
    years = f"{{0}} NOT BETWEEN '{rules.FIRST_TIME}' AND '{rules.LAST_TIME}'"
    wrong = f"({{0}} IS NOT NULL AND ({seconds} OR {fraction} OR {years}))"
    return " OR ".join(wrong.format(f'NEW."{column}"' if column == "before" else f"NEW.{column}") for column in columns)


def _no_object(value: str) -> str:
    """Is true of a text that is no JSON object: nobody could read the row."""
    return f"CASE WHEN json_valid({value}) THEN json_type({value}) <> 'object' ELSE 1 END"


def _json(columns: tuple[str, ...], row: str) -> str:
    """Return the arguments of an object of columns, with booleans and JSON as PostgreSQL writes them."""
    forms = {
        "parameters": "json({})",
        "result_data": "json({})",
        "success": "json(CASE {} WHEN 1 THEN 'true' WHEN 0 THEN 'false' END)",
    }
    return ", ".join(f"'{name}', " + forms.get(name, "{}").format(f"{row}.{name}") for name in columns)


def _proposals() -> Iterator[tuple[str, str]]:
    stop = f"EXISTS (SELECT 1 FROM kill_switch AS k WHERE {Latch().engaged})"
    yield _trigger(
        "proposals_insert",
        "BEFORE INSERT ON action_proposals",
        # REPLACE fires no delete trigger: it must be met before it removes the row.
        _refuse(
            CHANGE_REFUSED,
            "EXISTS (SELECT 1 FROM action_proposals AS o "
            "WHERE o.id = NEW.id OR o.idempotency_key = NEW.idempotency_key)",
        ),
        _refuse(LATCH_UNREADABLE, f"NOT ({LATCH_READABLE})"),
        _refuse(STEP_REFUSED, "NEW.status NOT IN ('proposed', 'cancelled')"),
        _refuse(CHANGE_REFUSED, f"{rules.BORN_LATER} OR {_no_object('NEW.parameters')}"),
        _refuse(rules.NOT_RETRYABLE, rules.RETRY_REFUSED),
        _refuse(CHANGE_REFUSED, _unreadable(rules.PROPOSAL_TIMES)),
        _refuse(STOPPED, f"NEW.generation IS NOT {COUNTER}"),
        _refuse(STOPPED, f"(NEW.status = 'cancelled') IS NOT ({stop})"),
    )
    late = " OR ".join(f"(NEW.{s}_at IS NOT OLD.{s}_at AND NEW.status <> '{s}')" for s in rules.TIMED)
    yield _trigger(
        "proposals_update",
        "BEFORE UPDATE ON action_proposals",
        _refuse(CHANGE_REFUSED, _changed(rules.PROPOSED_COLUMNS)),
        _refuse(STEP_REFUSED, f"NOT ({rules.IS_LEGAL_STEP})"),
        _refuse(CHANGE_REFUSED, late),
        _refuse(CHANGE_REFUSED, _unreadable(("status_at",))),
        _refuse(
            rules.EXPIRED,
            f"NEW.status = '{EXECUTING}' AND NEW.valid_until <= strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'",
        ),
        _refuse(LATCH_UNREADABLE, f"NEW.status = '{EXECUTING}' AND NOT ({LATCH_READABLE})"),
        _refuse(STOPPED, f"NEW.status = '{EXECUTING}' AND {START_BARRED}"),
        _refuse(RECORD_DISAGREES, f"OLD.status = '{EXECUTING}' AND NOT {rules.RECORD_AGREES}"),
    )
    yield _trigger(
        "proposals_delete",
        "BEFORE DELETE ON action_proposals",
        _refuse(
            CHANGE_REFUSED,
            f"OLD.status NOT IN ({FINAL}) OR {rules.HAS_RECORD} "
            'OR NOT EXISTS (SELECT 1 FROM action_prunes AS p WHERE p."before" > OLD.status_at)',
        ),
    )


def _events() -> Iterator[tuple[str, str]]:
    columns = '(proposal_id, from_status, to_status, at, "by", reason, generation, data)'
    proposed = f"json_object({_json(rules.SNAPSHOT_COLUMNS, 'NEW')})"
    outcome = (
        f"CASE WHEN OLD.status = '{EXECUTING}' THEN (SELECT json_object('record_id', r.id, "
        f"{_json(rules.OUTCOME_COLUMNS, 'r')}) "
        "FROM action_records AS r WHERE r.proposal_id = NEW.id) END"
    )
    yield _trigger(
        "proposals_inserted",
        "AFTER INSERT ON action_proposals",
        f"INSERT INTO action_events {columns} VALUES (NEW.id, NULL, 'proposed', NEW.status_at, NEW.proposed_by, "
        f"NEW.reason, NEW.generation, {proposed})",
        f"INSERT INTO action_events {columns} SELECT NEW.id, 'proposed', NEW.status, NEW.status_at, NEW.status_by, "
        "NEW.status_reason, NEW.generation, NULL WHERE NEW.status <> 'proposed'",
    )
    yield _trigger(
        "proposals_updated",
        "AFTER UPDATE ON action_proposals",
        _refuse(CHANGE_REFUSED, rules.CHAIN_BROKEN),
        f"INSERT INTO action_events {columns} VALUES (NEW.id, OLD.status, NEW.status, NEW.status_at, NEW.status_by, "
        f"NEW.status_reason, {COUNTER}, {outcome})",
    )
    # SQLite cannot tell a trigger's insert from a client's: an event must say what its proposal says, and be the first.
    yield _trigger(
        "events_insert",
        "BEFORE INSERT ON action_events",
        _refuse(
            CHANGE_REFUSED,
            "EXISTS (SELECT 1 FROM action_events AS e WHERE e.id = NEW.id "
            "OR (e.proposal_id = NEW.proposal_id AND e.to_status = NEW.to_status))",
        ),
        _refuse(CHANGE_REFUSED, f"NOT {rules.IS_NEXT_EVENT}"),
    )


def _records() -> Iterator[tuple[str, str]]:
    settles = f"{rules.RECORD_MISSED} AND NEW.finding IS NOT NULL AND NOT ({_changed(rules.CLOSED_COLUMNS)})"
    columns = '(proposal_id, record_id, kind, status, at, "by", reason, generation, data)'
    status = "(SELECT p.status FROM action_proposals AS p WHERE p.id = NEW.proposal_id)"
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
        _refuse(CHANGE_REFUSED, _unreadable(rules.RECORD_TIMES)),
    )
    yield _trigger(
        "records_update",
        "BEFORE UPDATE ON action_records",
        _refuse(CHANGE_REFUSED, f"OLD.completed_at IS NOT NULL AND NOT ({settles}) OR {_changed(rules.RECORD_KEYS)}"),
        _refuse(CHANGE_REFUSED, "OLD.completed_at IS NULL AND NEW.finding IS NOT NULL"),
        _refuse(CHANGE_REFUSED, f"OLD.cancel_requested_at IS NOT NULL AND ({_changed(rules.REQUEST_COLUMNS)})"),
        _refuse(
            RECORD_DISAGREES,
            "OLD.completed_at IS NULL AND NEW.completed_at IS NOT NULL "
            f"AND NEW.stop_generation IS NOT {rules.stop_asking('NEW.proposal_id')}",
        ),
        _refuse(RECORD_DISAGREES, rules.UNASKED),
        _refuse(CHANGE_REFUSED, _unreadable(rules.RECORD_TIMES)),
    )
    yield _trigger(
        "records_updated",
        "AFTER UPDATE ON action_records",
        # Its proposal has moved on since this update began, in a trigger of a client.
        _refuse(
            CHANGE_REFUSED,
            "OLD.completed_at IS NULL AND NOT EXISTS (SELECT 1 FROM action_proposals AS p "
            f"WHERE p.id = NEW.proposal_id AND p.status = '{EXECUTING}')",
        ),
        f"INSERT INTO action_notes {columns} SELECT NEW.proposal_id, NEW.id, '{EventKind.CANCEL_REQUESTED}', {status}, "
        f"NEW.cancel_requested_at, NEW.cancel_requested_by, NEW.cancel_reason, {COUNTER}, NULL "
        "WHERE OLD.cancel_requested_at IS NULL AND NEW.cancel_requested_at IS NOT NULL",
        f"INSERT INTO action_notes {columns} SELECT NEW.proposal_id, NEW.id, '{EventKind.RESOLVED}', {status}, "
        f"NEW.finding_at, NEW.finding_by, NEW.finding_reason, {COUNTER}, json_object('finding', NEW.finding) "
        "WHERE OLD.finding IS NULL AND NEW.finding IS NOT NULL",
    )
    yield _trigger(
        "records_delete",
        "BEFORE DELETE ON action_records",
        _refuse(
            CHANGE_REFUSED,
            "NOT EXISTS (SELECT 1 FROM action_proposals AS p JOIN action_prunes AS q "
            f'ON q."before" > p.status_at WHERE p.id = OLD.proposal_id AND p.status IN ({FINAL})) '
            f"OR {rules.RECORD_MISSED}",
        ),
    )


def _kill_switch() -> Iterator[tuple[str, str]]:
    is_ticket = "NEW.scope = 'ticket_id=' || CAST(CAST(substr(NEW.scope, 11) AS INTEGER) AS TEXT)"
    miswritten = rules.SCOPE_MISWRITTEN.format(is_ticket=is_ticket)
    times = _unreadable(rules.LATCH_TIMES)
    engaged = f"NEW.released_at IS NULL AND NEW.engaged_at IS NOT NULL AND NEW.generation = {COUNTER} + 1"
    released = (
        "OLD.engaged_at IS NOT NULL AND OLD.released_at IS NULL AND NEW.released_at IS NOT NULL "
        f"AND NOT ({_changed(('generation', 'engaged_at', 'engaged_by', 'reason'))})"
    )
    columns = '(generation, scope, change, at, "by", reason)'
    stop = "NEW.generation, NEW.scope, 'engaged', NEW.engaged_at, NEW.engaged_by, NEW.reason"
    release = "NEW.generation, NEW.scope, 'released', NEW.released_at, NEW.released_by, NEW.release_reason"
    yield _trigger(
        "kill_switch_insert",
        "BEFORE INSERT ON kill_switch",
        _refuse(CHANGE_REFUSED, "EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope = NEW.scope)"),
        _refuse(SCOPE_REFUSED, miswritten),
        _refuse(CHANGE_REFUSED, f"(NOT ({engaged})) OR {times}"),
    )
    yield _trigger(
        "kill_switch_update",
        "BEFORE UPDATE ON kill_switch",
        _refuse(CHANGE_REFUSED, f"NEW.scope IS NOT OLD.scope OR NOT (({engaged}) OR ({released})) OR {times}"),
    )
    yield _trigger(
        "kill_switch_inserted",
        "AFTER INSERT ON kill_switch",
        f"INSERT INTO kill_switch_events {columns} VALUES ({stop})",
    )
    yield _trigger(
        "kill_switch_updated",
        "AFTER UPDATE ON kill_switch",
        f"INSERT INTO kill_switch_events {columns} SELECT {stop} WHERE NEW.released_at IS NULL",
        f"INSERT INTO kill_switch_events {columns} SELECT {release} WHERE NEW.released_at IS NOT NULL",
    )
    yield _trigger(
        "kill_switch_events_insert",
        "BEFORE INSERT ON kill_switch_events",
        _refuse(
            CHANGE_REFUSED,
            "EXISTS (SELECT 1 FROM kill_switch_events AS e WHERE e.id = NEW.id "
            "OR (e.generation = NEW.generation AND e.change = NEW.change)) "
            f"OR NOT {rules.IS_NEXT_STOP_EVENT}",
        ),
    )


def _append_only() -> Iterator[tuple[str, str]]:
    yield _trigger(
        "prunes_insert",
        "BEFORE INSERT ON action_prunes",
        _refuse(CHANGE_REFUSED, "EXISTS (SELECT 1 FROM action_prunes AS p WHERE p.id = NEW.id)"),
        _refuse(  # clocks differ, and zones even more
            CHANGE_REFUSED,
            f"{_unreadable(('before', 'at'))} "
            "OR NEW.\"before\" > strftime('%Y-%m-%d %H:%M:%f', 'now', '+1 day') || '000'",
        ),
    )
    yield _trigger(
        "notes_insert",
        "BEFORE INSERT ON action_notes",
        _refuse(
            CHANGE_REFUSED,
            "EXISTS (SELECT 1 FROM action_notes AS o WHERE o.id = NEW.id "
            f"OR (o.record_id = NEW.record_id AND o.kind = NEW.kind AND o.kind <> '{EventKind.REPORTED_LATE}'))",
        ),
        _refuse(CHANGE_REFUSED, rules.NOTE_UNFOUNDED),
        _refuse(CHANGE_REFUSED, f"{_unreadable(('at',))} OR (NEW.data IS NOT NULL AND {_no_object('NEW.data')})"),
    )
    for table in ("action_events", "action_notes", "action_prunes", "kill_switch_events"):
        short = table.removeprefix("action_")
        kept = rules.EVENT_KEPT if short in ("events", "notes") else "1"
        yield _trigger(f"{short}_update", f"BEFORE UPDATE ON {table}", _refuse(CHANGE_REFUSED, "1"))
        yield _trigger(f"{short}_delete", f"BEFORE DELETE ON {table}", _refuse(CHANGE_REFUSED, kept))
    yield _trigger("kill_switch_delete", "BEFORE DELETE ON kill_switch", _refuse(CHANGE_REFUSED, "1"))


def triggers() -> dict[str, str]:
    """Return the name and the text of every trigger."""
    return dict([*_proposals(), *_events(), *_records(), *_kill_switch(), *_append_only()])
