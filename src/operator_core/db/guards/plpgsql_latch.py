"""The bodies of PostgreSQL's trigger functions of the latch."""

from operator_core.db.guards import rules
from operator_core.db.guards.plpgsql import START_LOCK, changed, refuse, unreadable
from operator_core.db.guards.rules import CHANGE_REFUSED, COUNTER, MESSAGES, SCOPE_REFUSED

COUNTER_LOCK = START_LOCK + 1  # held by whoever takes the next generation


def kill_switch_change() -> str:
    """Engage under the next generation, or release what is engaged; nothing else."""
    is_ticket = "substr(NEW.scope, 11) ~ '^(0|-?[1-9][0-9]{{0,18}})$'"
    miswritten = rules.SCOPE_MISWRITTEN.replace("{is_ticket}", is_ticket.replace("{{", "{").replace("}}", "}"))
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
{refuse(SCOPE_REFUSED, miswritten)}\
        NEW.generation := {COUNTER} + 1;
        NEW.engaged_at := coalesce(NEW.engaged_at, clock_timestamp());
        NEW.engaged_by := coalesce(NEW.engaged_by, 'sql:' || session_user::text);
    END IF;
{refuse(CHANGE_REFUSED, unreadable(rules.LATCH_TIMES))}\
    RETURN NEW;
END
"""


def write_kill_switch_event() -> str:
    """Write the history of the latch, and tell who listens."""
    columns = "(generation, scope, change, at, by, reason)"
    return f"""
BEGIN
    IF NEW.released_at IS NULL THEN
        INSERT INTO kill_switch_events {columns}
        VALUES (NEW.generation, NEW.scope, 'engaged', NEW.engaged_at, NEW.engaged_by, NEW.reason);
    ELSE
        INSERT INTO kill_switch_events {columns}
        VALUES (NEW.generation, NEW.scope, 'released', NEW.released_at, NEW.released_by, NEW.release_reason);
    END IF;
    PERFORM pg_notify('operator_core', NEW.generation::text);
    RETURN NULL;
END
"""


def take_counter_lock() -> str:
    """Have those who take a generation queue."""
    return f"""
BEGIN
    -- Before any row is locked, so that two stops at once queue instead of meeting crosswise.
    PERFORM pg_advisory_xact_lock({COUNTER_LOCK});
    RETURN NULL;
END
"""
