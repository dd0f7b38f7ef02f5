"""The bodies of PostgreSQL's trigger functions of the latch."""

from operator_core.actions.kill_switch import EVERYTHING
from operator_core.db.guards import conditions
from operator_core.db.guards.codes import CHANGE_REFUSED, MESSAGES, SCOPE_REFUSED, UNREADABLE
from operator_core.db.guards.conditions import FIRST_NAME_CHARACTER, FIRST_TICKET_CHARACTER, NEXT_GENERATION
from operator_core.db.guards.plpgsql import changed, raise_if, unreadable_times, written
from operator_core.db.guards.plpgsql_readable import is_ticket, name_is_blank, unreadable
from operator_core.db.schema import kill_switch, kill_switch_barrier


def kill_switch_change() -> str:
    """Allow only engaging under the next generation, and releasing what is engaged."""
    invalid = conditions.scope_invalid(
        name_is_blank(f"substr(NEW.scope, {FIRST_NAME_CHARACTER})"),
        is_ticket(f"substr(NEW.scope, {FIRST_TICKET_CHARACTER})"),
    )
    columns = [column.name for column in kill_switch.columns if column.name != "scope"]
    # A release must get through, whatever an older guard let in.
    unread = (
        f"{unreadable_times(conditions.LATCH_TIMES, changed=True)} OR {unreadable(kill_switch, columns, changed=True)}"
    )
    rewritten = changed(("scope", "generation", "engaged_at", "engaged_by", "reason"))
    return f"""
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.released_at IS NOT NULL THEN
        IF OLD.engaged_at IS NULL OR OLD.released_at IS NOT NULL OR {rewritten} THEN
            RAISE EXCEPTION '{CHANGE_REFUSED}: {MESSAGES[CHANGE_REFUSED]}' USING ERRCODE = '{CHANGE_REFUSED}';
        END IF;
    ELSE
        IF NEW.released_at IS NOT NULL OR (TG_OP = 'UPDATE' AND NEW.scope <> OLD.scope) THEN
            RAISE EXCEPTION '{CHANGE_REFUSED}: {MESSAGES[CHANGE_REFUSED]}' USING ERRCODE = '{CHANGE_REFUSED}';
        END IF;
{raise_if(SCOPE_REFUSED, invalid)}\
        NEW.generation := {NEXT_GENERATION};
        NEW.engaged_at := coalesce(NEW.engaged_at, clock_timestamp());
        NEW.engaged_by := coalesce(NEW.engaged_by, 'sql:' || session_user::text);
    END IF;
{raise_if(UNREADABLE, unread)}\
    RETURN NEW;
END
"""


def write_kill_switch_event() -> str:
    """Write the history of the latch, without a NOTIFY: its full queue would keep a stop out."""
    columns = "(generation, scope, change, at, by, reason)"
    return f"""
DECLARE
    kept RECORD;
BEGIN
    IF NEW.released_at IS NULL THEN
        INSERT INTO kill_switch_events AS e {columns}
        VALUES (NEW.generation, NEW.scope, 'engaged', NEW.engaged_at, NEW.engaged_by, NEW.reason)
{written("e", generation="NEW.generation", change="'engaged'")}\
    ELSE
        INSERT INTO kill_switch_events AS e {columns}
        VALUES (NEW.generation, NEW.scope, 'released', NEW.released_at, NEW.released_by, NEW.release_reason)
{written("e", generation="NEW.generation", change="'released'")}\
    END IF;
    RETURN NULL;
END
"""


def take_counter_lock() -> str:
    """Queue the takers of a generation at the first row of the latch, which only they may lock."""
    return f"""
BEGIN
    -- Before any other row is locked, so that two stops at once queue instead of meeting crosswise.
    PERFORM FROM kill_switch AS k WHERE k.scope = '{EVERYTHING}' FOR NO KEY UPDATE;
    RETURN NULL;
END
"""


def pass_barrier() -> str:
    """Wait until every start that has passed the guard has committed or died.

    ROW SHARE, which every start holds until then, is the weakest lock that EXCLUSIVE waits for.
    """
    return f"""
BEGIN
    LOCK TABLE {kill_switch_barrier} IN EXCLUSIVE MODE;
END
"""
