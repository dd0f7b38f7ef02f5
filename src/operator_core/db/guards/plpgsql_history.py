"""The bodies of the trigger functions of PostgreSQL that write the history and keep it."""

from operator_core.actions.types import EventKind
from operator_core.db.guards import conditions
from operator_core.db.guards.codes import CHANGE_REFUSED, UNREADABLE
from operator_core.db.guards.conditions import COUNTER, EXECUTING
from operator_core.db.guards.plpgsql import json_object, raise_if, unreadable_times, written
from operator_core.db.guards.plpgsql_approvals import require_approval
from operator_core.db.guards.plpgsql_readable import unreadable
from operator_core.db.schema import notes, prunes


def write_event() -> str:
    """Write the history of a proposal."""
    columns = "(proposal_id, from_status, to_status, at, by, reason, generation, data)"
    proposed = json_object(conditions.SNAPSHOT_COLUMNS, "NEW")
    outcome = json_object(conditions.OUTCOME_COLUMNS, "r")
    reached = written("e", proposal_id="NEW.id", to_status="NEW.status")
    return f"""
DECLARE
    kept RECORD;
    rule RECORD;
    rules integer := 0;
    covering text;
    policy_version bigint;
    refused boolean := false;
    used bigint[] := ARRAY[]::bigint[];
    evidence json;
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO action_events AS e {columns}
        VALUES (NEW.id, NULL, 'proposed', NEW.status_at, NEW.proposed_by, NEW.reason, NEW.generation,
            json_build_object({proposed}))
{written("e", proposal_id="NEW.id", to_status="'proposed'")}\
        IF NEW.status <> 'proposed' THEN
            INSERT INTO action_events AS e {columns}
            VALUES (NEW.id, 'proposed', NEW.status, NEW.status_at, NEW.status_by, NEW.status_reason,
                NEW.generation, NULL)
{reached}\
        END IF;
    ELSIF OLD.status = '{EXECUTING}' THEN
        INSERT INTO action_events AS e {columns}
        SELECT NEW.id, OLD.status, NEW.status, NEW.status_at, NEW.status_by, NEW.status_reason, {COUNTER},
            json_build_object('record_id', r.id, {outcome})
        FROM action_records AS r WHERE r.proposal_id = NEW.id
{reached}\
    ELSE
{require_approval()}\
        INSERT INTO action_events AS e {columns}
        VALUES (NEW.id, OLD.status, NEW.status, NEW.status_at, NEW.status_by, NEW.status_reason, {COUNTER}, evidence)
{reached}\
    END IF;
    RETURN NULL;
END
"""


def events_keep() -> str:
    """Allow deleting only the history of proposals that were pruned with their history."""
    return f"""
BEGIN
{raise_if(CHANGE_REFUSED, f"TG_OP <> 'DELETE' OR {conditions.EVENT_NOT_PRUNABLE}")}\
    RETURN OLD;
END
"""


def write_note() -> str:
    """Record a person's request to a running action, or a resolution of a lost one."""
    columns = "(proposal_id, record_id, kind, status, at, by, reason, generation, data)"
    status = "(SELECT p.status FROM action_proposals AS p WHERE p.id = NEW.proposal_id)"
    return f"""
DECLARE
    kept RECORD;
BEGIN
    IF OLD.cancel_requested_at IS NULL AND NEW.cancel_requested_at IS NOT NULL THEN
        INSERT INTO action_notes AS n {columns}
        VALUES (NEW.proposal_id, NEW.id, '{EventKind.CANCEL_REQUESTED}', {status}, NEW.cancel_requested_at,
            NEW.cancel_requested_by, NEW.cancel_reason, {COUNTER}, NULL)
{written("n", record_id="NEW.id", kind=f"'{EventKind.CANCEL_REQUESTED}'")}\
    END IF;
    IF OLD.finding IS NULL AND NEW.finding IS NOT NULL THEN
        INSERT INTO action_notes AS n {columns}
        VALUES (NEW.proposal_id, NEW.id, '{EventKind.RESOLVED}', {status}, NEW.finding_at,
            NEW.finding_by, NEW.finding_reason, {COUNTER}, json_build_object('finding', NEW.finding))
{written("n", record_id="NEW.id", kind=f"'{EventKind.RESOLVED}'")}\
    END IF;
    RETURN NULL;
END
"""


def notes_insert() -> str:
    """Refuse every note that contradicts its record; only late reports may come from outside the ledger."""
    written_by_hand = f"NEW.kind <> '{EventKind.REPORTED_LATE}' AND pg_trigger_depth() < 2"
    return f"""
BEGIN
{raise_if(CHANGE_REFUSED, f"{written_by_hand} OR {conditions.NOTE_CONTRADICTS_RECORD}")}\
{raise_if(UNREADABLE, f"{unreadable_times(('at',))} OR {unreadable(notes, notes.columns.keys())}")}\
    RETURN NEW;
END
"""


def prunes_insert() -> str:
    """Refuse a permission that is unreadable, or that would hold for proposals that are not finished yet."""
    unread = f"{unreadable_times(('before', 'at'))} OR {unreadable(prunes, prunes.columns.keys())}"
    ahead = "NEW.before > clock_timestamp() + interval '1 day'"  # clocks differ, and zones even more
    return f"""
BEGIN
{raise_if(UNREADABLE, unread)}\
{raise_if(CHANGE_REFUSED, ahead)}\
    RETURN NEW;
END
"""
