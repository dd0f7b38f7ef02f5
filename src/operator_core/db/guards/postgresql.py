"""The guards of PostgreSQL: trigger functions with a fixed search path: no client can slip in tables of its own."""

from dataclasses import dataclass

from operator_core.db.guards import rules
from operator_core.db.guards.rules import (
    CHANGE_REFUSED,
    COUNTER,
    EXECUTING,
    FINAL,
    ISOLATION_REFUSED,
    LATCH_READABLE,
    LATCH_UNREADABLE,
    MESSAGES,
    RECORD_DISAGREES,
    START_BARRED,
    STEP_REFUSED,
    STOPPED,
    Latch,
)

START_LOCK = 0x6F70_6572_6174_6F72  # "operator": held shared by every start, exclusively for a moment by a stop
COUNTER_LOCK = START_LOCK + 1  # held by whoever takes the next generation

_ROW, _BEFORE, _INSERT, _DELETE, _UPDATE, _TRUNCATE = 1, 2, 4, 8, 16, 32  # pg_trigger.tgtype


@dataclass(frozen=True)
class Function:
    """One trigger function."""

    name: str
    body: str
    definer: bool = False

    @property
    def ddl(self) -> str:
        """Return the statement that creates it."""
        definer = " SECURITY DEFINER" if self.definer else ""
        head = f"CREATE OR REPLACE FUNCTION {self.name}() RETURNS trigger LANGUAGE plpgsql{definer}"
        return f"{head} AS $guard${self.body}$guard$"


@dataclass(frozen=True)
class Trigger:
    """One trigger; `when` is its timing and its events, such as `BEFORE INSERT OR UPDATE`."""

    name: str
    table: str
    when: str
    function: str
    level: str = "ROW"

    @property
    def ddl(self) -> str:
        """Return the statement that creates it."""
        return (
            f"CREATE TRIGGER {self.name} {self.when} ON {self.table} "
            f"FOR EACH {self.level} EXECUTE FUNCTION {self.function}()"
        )

    @property
    def kind(self) -> int:
        """Return what `pg_trigger.tgtype` holds."""
        events = {"INSERT": _INSERT, "DELETE": _DELETE, "UPDATE": _UPDATE, "TRUNCATE": _TRUNCATE}
        timing = _BEFORE if self.when.startswith("BEFORE") else 0
        return timing + (_ROW if self.level == "ROW" else 0) + sum(events[w] for w in self.when.split() if w in events)


def _refuse(code: str, condition: str) -> str:
    return (
        f"    IF {condition} THEN\n"
        f"        RAISE EXCEPTION '{code}: {MESSAGES[code]}' USING ERRCODE = '{code}';\n"
        f"    END IF;\n"
    )


def _changed(columns: tuple[str, ...]) -> str:
    return " OR ".join(f"NEW.{column} IS DISTINCT FROM OLD.{column}" for column in columns)


def _unreadable(columns: tuple[str, ...]) -> str:
    """Is true of a time that Python cannot hold: nobody could read the row."""
    years = f"NOT BETWEEN '{rules.FIRST_TIME}+00' AND '{rules.LAST_TIME}+00'"
    return " OR ".join(f"NEW.{column} {years}" for column in columns)


def _json(columns: tuple[str, ...], row: str) -> str:
    """Return the arguments of an object of columns, with times as SQLite writes them."""
    utc = "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
    values = (utc.format(f"{row}.{name}") if name.endswith("_at") else f"{row}.{name}" for name in columns)
    return ", ".join(f"'{name}', {value}" for name, value in zip(columns, values, strict=True))


def _changed_proposal() -> str:
    # json has no equality: its text is compared.
    return _changed(tuple(c for c in rules.PROPOSED_COLUMNS if c != "parameters")) + (
        " OR NEW.parameters::text IS DISTINCT FROM OLD.parameters::text"
    )


def _proposals_insert() -> str:
    return f"""
DECLARE
    stop RECORD;
BEGIN
{_refuse(STEP_REFUSED, "NEW.status NOT IN ('proposed', 'cancelled')")}\
    SELECT {COUNTER} AS counter, {LATCH_READABLE} AS readable, s.* INTO stop
    FROM (SELECT 1) AS always LEFT JOIN (
        SELECT k.engaged_by, k.reason FROM kill_switch AS k WHERE {Latch().engaged}
        ORDER BY k.generation DESC LIMIT 1
    ) AS s ON true;
{_refuse(LATCH_UNREADABLE, "NOT stop.readable")}\
{_refuse(CHANGE_REFUSED, rules.BORN_LATER)}\
    NEW.generation := stop.counter;
    NEW.proposed_at := coalesce(NEW.proposed_at, clock_timestamp());
    NEW.proposed_by := coalesce(NEW.proposed_by, 'sql:' || session_user);
    NEW.status_at := coalesce(NEW.status_at, clock_timestamp());
{_refuse(CHANGE_REFUSED, _unreadable(rules.PROPOSAL_TIMES))}\
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


def _proposals_update() -> str:
    late = " OR ".join(f"(NEW.{s}_at IS DISTINCT FROM OLD.{s}_at AND NEW.status <> '{s}')" for s in rules.TIMED)
    unset = " OR ".join(f"(NEW.status = '{s}' AND NEW.{s}_at IS NULL)" for s in rules.TIMED)
    stamp = "".join(f"        IF NEW.status = '{s}' THEN NEW.{s}_at := NEW.status_at; END IF;\n" for s in rules.TIMED)
    return f"""
BEGIN
{_refuse(CHANGE_REFUSED, _changed_proposal())}\
{_refuse(STEP_REFUSED, f"NOT ({rules.IS_LEGAL_STEP})")}\
{_refuse(CHANGE_REFUSED, late)}\
    -- A client that sets the status alone: say when and who.
    IF {unset} THEN
        NEW.status_at := clock_timestamp();
        NEW.status_by := 'sql:' || session_user;
        IF NEW.status_reason IS NOT DISTINCT FROM OLD.status_reason THEN NEW.status_reason := NULL; END IF;
{stamp}\
    END IF;
{_refuse(CHANGE_REFUSED, _unreadable(("status_at",)))}\
    IF NEW.status = '{EXECUTING}' THEN
        IF current_setting('transaction_isolation') <> 'read committed' THEN
            RAISE EXCEPTION '{ISOLATION_REFUSED}: {MESSAGES[ISOLATION_REFUSED]}' USING ERRCODE = '{ISOLATION_REFUSED}';
        END IF;
        -- A stop that is published is seen here, without queueing behind its barrier.
        IF NOT {LATCH_READABLE} THEN
            RAISE EXCEPTION '{LATCH_UNREADABLE}: {MESSAGES[LATCH_UNREADABLE]}' USING ERRCODE = '{LATCH_UNREADABLE}';
        END IF;
        IF {START_BARRED} THEN
            RAISE EXCEPTION '{STOPPED}: {MESSAGES[STOPPED]}' USING ERRCODE = '{STOPPED}';
        END IF;
        PERFORM pg_advisory_xact_lock_shared({START_LOCK});
        -- Again, in a new statement: only its snapshot is younger than the lock.
        IF NOT {LATCH_READABLE} OR {START_BARRED} THEN
            RAISE EXCEPTION '{STOPPED}: {MESSAGES[STOPPED]}' USING ERRCODE = '{STOPPED}';
        END IF;
    END IF;
    IF OLD.status = '{EXECUTING}' THEN
        IF NOT {rules.RECORD_AGREES} THEN
            RAISE EXCEPTION '{RECORD_DISAGREES}: {MESSAGES[RECORD_DISAGREES]}' USING ERRCODE = '{RECORD_DISAGREES}';
        END IF;
    END IF;
    RETURN NEW;
END
"""


def _proposals_delete() -> str:
    pruned = "EXISTS (SELECT 1 FROM action_prunes AS p WHERE p.before > OLD.status_at)"
    return f"""
BEGIN
{_refuse(CHANGE_REFUSED, f"OLD.status NOT IN ({FINAL}) OR {rules.HAS_RECORD} OR NOT {pruned}")}\
    RETURN OLD;
END
"""


def _write_event() -> str:
    columns = "(proposal_id, from_status, to_status, at, by, reason, generation, data)"
    proposed = _json(rules.SNAPSHOT_COLUMNS, "NEW")
    outcome = _json(rules.OUTCOME_COLUMNS, "r")
    return f"""
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO action_events {columns}
        VALUES (NEW.id, NULL, 'proposed', NEW.status_at, NEW.proposed_by, NEW.reason, NEW.generation,
            json_build_object({proposed}));
        IF NEW.status <> 'proposed' THEN
            INSERT INTO action_events {columns}
            VALUES (NEW.id, 'proposed', NEW.status, NEW.status_at, NEW.status_by, NEW.status_reason,
                NEW.generation, NULL);
        END IF;
    ELSIF OLD.status = '{EXECUTING}' THEN
        INSERT INTO action_events {columns}
        SELECT NEW.id, OLD.status, NEW.status, NEW.status_at, NEW.status_by, NEW.status_reason, {COUNTER},
            json_build_object('record_id', r.id, {outcome})
        FROM action_records AS r WHERE r.proposal_id = NEW.id;
    ELSE
        INSERT INTO action_events {columns}
        VALUES (NEW.id, OLD.status, NEW.status, NEW.status_at, NEW.status_by, NEW.status_reason, {COUNTER}, NULL);
    END IF;
    RETURN NULL;
END
"""


def _records_insert() -> str:
    executing = (
        f"EXISTS (SELECT 1 FROM action_proposals AS p WHERE p.id = NEW.proposal_id AND p.status = '{EXECUTING}')"
    )
    return f"""
BEGIN
{_refuse(RECORD_DISAGREES, f"NEW.completed_at IS NOT NULL OR NOT {executing}")}\
{_refuse(CHANGE_REFUSED, _unreadable(rules.RECORD_TIMES))}\
    RETURN NEW;
END
"""


def _records_update() -> str:
    requested = f"OLD.cancel_requested_at IS NOT NULL AND ({_changed(rules.REQUEST_COLUMNS)})"
    return f"""
BEGIN
{_refuse(CHANGE_REFUSED, f"OLD.completed_at IS NOT NULL OR {_changed(rules.RECORD_KEYS)}")}\
{_refuse(CHANGE_REFUSED, requested)}\
    IF NEW.completed_at IS NOT NULL THEN
        NEW.stop_generation := {rules.stop_asking("NEW.proposal_id")};
    END IF;
{_refuse(RECORD_DISAGREES, rules.UNASKED)}\
{_refuse(CHANGE_REFUSED, _unreadable(rules.RECORD_TIMES))}\
    RETURN NEW;
END
"""


def _records_delete() -> str:
    pruned = (
        "EXISTS (SELECT 1 FROM action_proposals AS p JOIN action_prunes AS q ON q.before > p.status_at "
        f"WHERE p.id = OLD.proposal_id AND p.status IN ({FINAL}))"
    )
    return f"""
BEGIN
{_refuse(CHANGE_REFUSED, f"NOT {pruned}")}\
    RETURN OLD;
END
"""


def _kill_switch_change() -> str:
    rewritten = _changed(("scope", "generation", "engaged_at", "engaged_by", "reason"))
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
        NEW.generation := {COUNTER} + 1;
        NEW.engaged_at := coalesce(NEW.engaged_at, clock_timestamp());
        NEW.engaged_by := coalesce(NEW.engaged_by, 'sql:' || session_user);
    END IF;
{_refuse(CHANGE_REFUSED, _unreadable(rules.LATCH_TIMES))}\
    RETURN NEW;
END
"""


def _write_kill_switch_event() -> str:
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


def _refuse_always() -> str:
    return f"""
BEGIN
    RAISE EXCEPTION '{CHANGE_REFUSED}: {MESSAGES[CHANGE_REFUSED]}' USING ERRCODE = '{CHANGE_REFUSED}';
END
"""


def _expect(condition: str) -> str:
    return f"""
BEGIN
    -- 1 is a client's own statement; the triggers that write history insert at 2.
{_refuse(CHANGE_REFUSED, f"pg_trigger_depth() < 2 OR NOT {condition}")}\
    RETURN NEW;
END
"""


def _take_counter_lock() -> str:
    return f"""
BEGIN
    -- Before any row is locked, so that two stops at once queue instead of meeting crosswise.
    PERFORM pg_advisory_xact_lock({COUNTER_LOCK});
    RETURN NULL;
END
"""


def functions() -> dict[str, Function]:
    """Return every trigger function by name."""
    bodies = {
        "proposals_insert": _proposals_insert(),
        "proposals_update": _proposals_update(),
        "proposals_delete": _proposals_delete(),
        "records_insert": _records_insert(),
        "records_update": _records_update(),
        "records_delete": _records_delete(),
        "kill_switch_counter": _take_counter_lock(),
        "kill_switch_change": _kill_switch_change(),
        "refuse_always": _refuse_always(),
        "events_insert": _expect(rules.IS_NEXT_EVENT),
        "kill_switch_events_insert": _expect(rules.IS_NEXT_STOP_EVENT),
    }
    history = {"write_event": _write_event(), "write_kill_switch_event": _write_kill_switch_event()}
    made = [Function(f"operator_core_{name}", body) for name, body in bodies.items()]
    made += [Function(f"operator_core_{name}", body, definer=True) for name, body in history.items()]
    return {function.name: function for function in made}


def _trigger(table: str, name: str, when: str, function: str, level: str = "ROW") -> Trigger:
    short = table.removeprefix("action_")
    return Trigger(f"operator_core_{short}_{name}", table, when, f"operator_core_{function}", level)


def triggers() -> dict[str, Trigger]:
    """Return every trigger by name."""
    made = [
        _trigger("action_proposals", "insert", "BEFORE INSERT", "proposals_insert"),
        _trigger("action_proposals", "update", "BEFORE UPDATE", "proposals_update"),
        _trigger("action_proposals", "delete", "BEFORE DELETE", "proposals_delete"),
        _trigger("action_proposals", "written", "AFTER INSERT OR UPDATE", "write_event"),
        _trigger("action_records", "insert", "BEFORE INSERT", "records_insert"),
        _trigger("action_records", "update", "BEFORE UPDATE", "records_update"),
        _trigger("action_records", "delete", "BEFORE DELETE", "records_delete"),
        _trigger("kill_switch", "counter", "BEFORE INSERT OR UPDATE", "kill_switch_counter", "STATEMENT"),
        _trigger("kill_switch", "change", "BEFORE INSERT OR UPDATE", "kill_switch_change"),
        _trigger("kill_switch", "written", "AFTER INSERT OR UPDATE", "write_kill_switch_event"),
        _trigger("kill_switch", "delete", "BEFORE DELETE", "refuse_always"),
        _trigger("action_events", "insert", "BEFORE INSERT", "events_insert"),
        _trigger("kill_switch_events", "insert", "BEFORE INSERT", "kill_switch_events_insert"),
    ]
    made += [
        _trigger(table, "keep", "BEFORE UPDATE OR DELETE", "refuse_always")
        for table in ("action_events", "action_prunes", "kill_switch_events")
    ]
    made += [
        _trigger(table, "truncate", "BEFORE TRUNCATE", "refuse_always", "STATEMENT")
        for table in (
            "action_proposals",
            "action_records",
            "action_events",
            "action_prunes",
            "kill_switch",
            "kill_switch_events",
        )
    ]
    return {trigger.name: trigger for trigger in made}


def fix_functions() -> str:
    """Return the statement that ties every function to the schema of the tables, and lends it to nobody."""
    names = ", ".join(f"'{name}'" for name in functions())
    return f"""DO $do$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[{names}] LOOP
        EXECUTE format('ALTER FUNCTION %I() SET search_path = pg_catalog, %I, pg_temp', name, current_schema());
        EXECUTE format('REVOKE ALL ON FUNCTION %I() FROM PUBLIC', name);
    END LOOP;
END
$do$"""
