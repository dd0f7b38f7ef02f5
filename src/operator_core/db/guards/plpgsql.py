"""The bodies of PostgreSQL's trigger functions, except those of the latch."""

from operator_core.db.guards import conditions
from operator_core.db.guards.codes import (
    CHANGE_REFUSED,
    EVENT_MISSING,
    EXPIRED,
    ISOLATION_REFUSED,
    LATCH_UNREADABLE,
    MESSAGES,
    NOT_RETRYABLE,
    RECORD_DISAGREES,
    STEP_REFUSED,
    STOPPED,
    UNREADABLE,
)
from operator_core.db.guards.conditions import (
    COUNTER,
    EXECUTING,
    FINAL,
    LATCH_READABLE,
    START_BLOCKED,
    KillSwitchConditions,
)
from operator_core.db.guards.plpgsql_readable import unreadable
from operator_core.db.schema import kill_switch_barrier, proposals, records

START_LOCK = 0x6F70_6572_6174_6F72
"""The advisory lock that a stop of code before revision 0003 waits for; no start waits, as any client may hold it."""


def raise_if(code: str, condition: str) -> str:
    """Return the statement that refuses if a condition is true."""
    return (
        f"    IF {condition} THEN\n"
        f"        RAISE EXCEPTION '{code}: {MESSAGES[code]}' USING ERRCODE = '{code}';\n"
        f"    END IF;\n"
    )


def changed(columns: tuple[str, ...]) -> str:
    """Return the condition that an UPDATE changes one of these columns."""
    return " OR ".join(f"NEW.{column} IS DISTINCT FROM OLD.{column}" for column in columns)


def unreadable_times(columns: tuple[str, ...], *, changed: bool = False) -> str:
    """Return the condition that Python cannot hold a time; with `changed`, only times that an UPDATE changes."""
    years = f"NOT BETWEEN '{conditions.FIRST_TIME}+00' AND '{conditions.LAST_TIME}+00'"
    moved = "NEW.{0} IS DISTINCT FROM OLD.{0} AND " if changed else ""
    return " OR ".join(f"{moved.format(column)}NEW.{column} {years}" for column in columns)


def json_object(columns: tuple[str, ...], row: str) -> str:
    """Return the arguments of an object of columns, with times in SQLite's format."""
    utc = "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
    values = (utc.format(f"{row}.{name}") if name.endswith(("_at", "_until")) else f"{row}.{name}" for name in columns)
    return ", ".join(f"'{name}', {value}" for name, value in zip(columns, values, strict=True))


def _changed_proposal() -> str:
    # json has no equality: its text is compared.
    return changed(tuple(c for c in conditions.PROPOSED_COLUMNS if c != "parameters")) + (
        " OR NEW.parameters::text IS DISTINCT FROM OLD.parameters::text"
    )


_PROPOSAL_NOT_DELETABLE = (
    f"OLD.status NOT IN ({FINAL}) OR {conditions.HAS_RECORD} OR {conditions.PROPOSAL_NOT_PRUNABLE}"
)


def proposals_insert() -> str:
    """Choose the state of a new proposal by the latch, and give it the counter."""
    unreadable_proposal = (
        f"{unreadable_times(conditions.PROPOSAL_TIMES)} OR {unreadable(proposals, conditions.PROPOSED_COLUMNS)}"
    )
    return f"""
DECLARE
    stop RECORD;
BEGIN
{raise_if(STEP_REFUSED, "NEW.status NOT IN ('proposed', 'cancelled')")}\
    SELECT {COUNTER} AS counter, {LATCH_READABLE} AS readable, s.* INTO stop
    FROM (SELECT 1) AS always LEFT JOIN (
        SELECT k.engaged_by, k.reason FROM kill_switch AS k WHERE {KillSwitchConditions().engaged}
        ORDER BY k.generation DESC LIMIT 1
    ) AS s ON true;
{raise_if(LATCH_UNREADABLE, "NOT stop.readable")}\
{raise_if(CHANGE_REFUSED, conditions.HAS_LATER_TIMESTAMP)}\
{raise_if(NOT_RETRYABLE, conditions.RETRY_REFUSED)}\
    NEW.generation := stop.counter;
    NEW.proposed_at := coalesce(NEW.proposed_at, clock_timestamp());
    NEW.proposed_by := coalesce(NEW.proposed_by, 'sql:' || session_user::text);
    NEW.status_at := coalesce(NEW.status_at, clock_timestamp());
{raise_if(UNREADABLE, unreadable_proposal)}\
    IF stop.engaged_by IS NULL THEN
        NEW.cancelled_at := NULL;
        NEW.status := 'proposed';
        NEW.status_by := NEW.proposed_by;
        NEW.status_reason := NULL;
    ELSE
        NEW.status := 'cancelled';
        NEW.status_by := stop.engaged_by;
        NEW.status_reason := stop.reason;
        NEW.cancelled_at := NEW.status_at;
    END IF;
    RETURN NEW;
END
"""


def proposals_update() -> str:
    """Allow only legal steps, and a start only while no stop covers it."""
    late = " OR ".join(
        f"(NEW.{s}_at IS DISTINCT FROM OLD.{s}_at AND NEW.status <> '{s}')" for s in conditions.TIMESTAMPED_STATUSES
    )
    unset = " OR ".join(f"(NEW.status = '{s}' AND NEW.{s}_at IS NULL)" for s in conditions.TIMESTAMPED_STATUSES)
    stamp = "".join(
        f"        IF NEW.status = '{s}' THEN NEW.{s}_at := NEW.status_at; END IF;\n"
        for s in conditions.TIMESTAMPED_STATUSES
    )
    return f"""
BEGIN
{raise_if(CHANGE_REFUSED, _changed_proposal())}\
{raise_if(STEP_REFUSED, f"NOT ({conditions.IS_LEGAL_STEP})")}\
{raise_if(CHANGE_REFUSED, late)}\
    -- A client that sets the status alone: say when and who.
    IF {unset} THEN
        NEW.status_at := clock_timestamp();
        NEW.status_by := 'sql:' || session_user::text;
        IF NEW.status_reason IS NOT DISTINCT FROM OLD.status_reason THEN NEW.status_reason := NULL; END IF;
{stamp}\
    END IF;
{raise_if(UNREADABLE, f"{unreadable_times(('status_at',))} OR {unreadable(proposals, conditions.STATUS_COLUMNS)}")}\
    IF NEW.status = '{EXECUTING}' THEN
        IF NEW.valid_until <= clock_timestamp() THEN
            RAISE EXCEPTION '{EXPIRED}: {MESSAGES[EXPIRED]}' USING ERRCODE = '{EXPIRED}';
        END IF;
        IF current_setting('transaction_isolation') <> 'read committed' THEN
            RAISE EXCEPTION '{ISOLATION_REFUSED}: {MESSAGES[ISOLATION_REFUSED]}' USING ERRCODE = '{ISOLATION_REFUSED}';
        END IF;
{raise_if(UNREADABLE, unreadable(proposals, conditions.PROPOSED_COLUMNS))}\
        PERFORM pg_try_advisory_xact_lock_shared({START_LOCK});
        BEGIN
            LOCK TABLE {kill_switch_barrier} IN ROW SHARE MODE NOWAIT;
        EXCEPTION WHEN lock_not_available THEN
            -- A stop waits for its barrier: if it is published it is seen here, without queueing behind it.
            IF {START_BLOCKED} THEN
                RAISE EXCEPTION '{STOPPED}: {MESSAGES[STOPPED]}' USING ERRCODE = '{STOPPED}';
            END IF;
            LOCK TABLE {kill_switch_barrier} IN ROW SHARE MODE;
        END;
        -- In a new statement: only its snapshot is younger than the lock.
        IF NOT {LATCH_READABLE} OR {START_BLOCKED} THEN
            IF NOT {LATCH_READABLE} THEN
                RAISE EXCEPTION '{LATCH_UNREADABLE}: {MESSAGES[LATCH_UNREADABLE]}' USING ERRCODE = '{LATCH_UNREADABLE}';
            END IF;
            RAISE EXCEPTION '{STOPPED}: {MESSAGES[STOPPED]}' USING ERRCODE = '{STOPPED}';
        END IF;
    END IF;
    IF OLD.status = '{EXECUTING}' THEN
        IF NOT {conditions.RECORD_AGREES} THEN
            RAISE EXCEPTION '{RECORD_DISAGREES}: {MESSAGES[RECORD_DISAGREES]}' USING ERRCODE = '{RECORD_DISAGREES}';
        END IF;
    END IF;
    RETURN NEW;
END
"""


def proposals_delete() -> str:
    """Allow deleting only finished proposals without a record that a prune permits."""
    return f"""
BEGIN
{raise_if(CHANGE_REFUSED, _PROPOSAL_NOT_DELETABLE)}\
    RETURN OLD;
END
"""


def written(table: str, **expected: str) -> str:
    """Return the end of an insert into a history, as `kept`: the row is there as intended, whatever triggers did."""
    columns = ", ".join(f"{table}.{name}" for name in expected)
    differs = " OR ".join(f"kept.{name} IS DISTINCT FROM {value}" for name, value in expected.items())
    return f"""\
        RETURNING {columns} INTO kept;
{raise_if(EVENT_MISSING, differs)}"""


def records_insert() -> str:
    """Open a record only for an executing proposal."""
    executing = (
        f"EXISTS (SELECT 1 FROM action_proposals AS p WHERE p.id = NEW.proposal_id AND p.status = '{EXECUTING}')"
    )
    return f"""
BEGIN
{raise_if(RECORD_DISAGREES, f"NEW.completed_at IS NOT NULL OR NOT {executing}")}\
{raise_if(UNREADABLE, f"{unreadable_times(conditions.RECORD_TIMES)} OR {unreadable(records, records.columns.keys())}")}\
    RETURN NEW;
END
"""


def records_update() -> str:
    """Close a record once, stamped with the stop that asked for it; resolve an unknown outcome once."""
    kept = changed(tuple(c for c in conditions.CLOSED_COLUMNS if c != "result_data"))
    resolves = (
        f"{conditions.RECORD_UNRESOLVED} AND NEW.finding IS NOT NULL AND NOT ({kept} "
        "OR NEW.result_data::text IS DISTINCT FROM OLD.result_data::text)"
    )
    requested = f"OLD.cancel_requested_at IS NOT NULL AND ({changed(conditions.REQUEST_COLUMNS)})"
    times = unreadable_times(conditions.RECORD_TIMES, changed=True)
    unread = f"{times} OR {unreadable(records, records.columns.keys(), changed=True)}"
    return f"""
BEGIN
{raise_if(CHANGE_REFUSED, f"OLD.completed_at IS NOT NULL AND NOT ({resolves}) OR {changed(conditions.RECORD_KEYS)}")}\
{raise_if(CHANGE_REFUSED, "OLD.completed_at IS NULL AND NEW.finding IS NOT NULL")}\
{raise_if(CHANGE_REFUSED, requested)}\
    IF OLD.completed_at IS NULL AND NEW.completed_at IS NOT NULL THEN
        NEW.stop_generation := {conditions.requested_stop("NEW.proposal_id")};
    END IF;
{raise_if(RECORD_DISAGREES, conditions.STOP_NOT_REQUESTED)}\
{raise_if(UNREADABLE, unread)}\
    RETURN NEW;
END
"""


def records_delete() -> str:
    """Allow deleting only the records of proposals that a prune permits."""
    return f"""
BEGIN
{raise_if(CHANGE_REFUSED, f"{conditions.RECORD_NOT_PRUNABLE} OR {conditions.RECORD_UNRESOLVED}")}\
    RETURN OLD;
END
"""


def refuse_always() -> str:
    """Refuse every change."""
    return f"""
BEGIN
    RAISE EXCEPTION '{CHANGE_REFUSED}: {MESSAGES[CHANGE_REFUSED]}' USING ERRCODE = '{CHANGE_REFUSED}';
END
"""


def require(condition: str, then: str = "") -> str:
    """Refuse every event except the one that the ledger itself writes; `then` completes it."""
    return f"""
BEGIN
    -- 1 is a client's own statement; the triggers that write history insert at 2.
{raise_if(CHANGE_REFUSED, f"pg_trigger_depth() < 2 OR NOT {condition}")}\
{then}    RETURN NEW;
END
"""
