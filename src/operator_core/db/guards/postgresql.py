"""The guards of PostgreSQL: triggers, and functions with a fixed search path, which no client can redirect."""

from dataclasses import dataclass

from operator_core.db.guards import (
    approval_conditions,
    conditions,
    operator_functions,
    plpgsql,
    plpgsql_approvals,
    plpgsql_history,
    plpgsql_kill_switch,
    plpgsql_readable,
)

_ROW, _BEFORE, _INSERT, _DELETE, _UPDATE, _TRUNCATE = 1, 2, 4, 8, 16, 32  # pg_trigger.tgtype


@dataclass(frozen=True)
class Function:
    """One function: a trigger's, unless it has arguments and a return type.

    It runs as its owner, so that it sees every row, whatever row security hides from a client, and may take locks that
    no client may. `settings` apply while it runs, whatever those of the session are; `planning` is what the planner is
    told of it.
    """

    name: str
    body: str
    arguments: str = ""
    returns: str = "trigger"
    settings: tuple[str, ...] = ()
    planning: str = ""

    @property
    def ddl(self) -> str:
        """The statement that creates it."""
        signature = f"{self.name}({self.arguments}) RETURNS {self.returns}"
        settings = "".join(f" SET {setting}" for setting in self.settings)
        head = f"CREATE OR REPLACE FUNCTION {signature} LANGUAGE plpgsql SECURITY DEFINER{self.planning}{settings}"
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
        """The statement that creates it."""
        return (
            f"CREATE TRIGGER {self.name} {self.when} ON {self.table} "
            f"FOR EACH {self.level} EXECUTE FUNCTION {self.function}()"
        )

    @property
    def kind(self) -> int:
        """The value of `pg_trigger.tgtype`."""
        events = {"INSERT": _INSERT, "DELETE": _DELETE, "UPDATE": _UPDATE, "TRUNCATE": _TRUNCATE}
        timing = _BEFORE if self.when.startswith("BEFORE") else 0
        return timing + (_ROW if self.level == "ROW" else 0) + sum(events[w] for w in self.when.split() if w in events)


_SEE_ALL_ROWS = "row_security=off"  # an error, if a policy would hide rows from their owner too
_EXACT_FLOATS = "extra_float_digits=1"
_PLAN_ONCE = "plan_cache_mode=force_generic_plan"  # else the question for the approvals is planned again at every step
_SETTINGS = {
    "proposals_insert": (_SEE_ALL_ROWS,),
    "proposals_update": (_SEE_ALL_ROWS,),
    "records_update": (_SEE_ALL_ROWS,),
    "write_event": (_EXACT_FLOATS, _SEE_ALL_ROWS, _PLAN_ONCE),
    "approvals_insert": (_SEE_ALL_ROWS, _PLAN_ONCE),
    "lacks_approval": (_SEE_ALL_ROWS, _PLAN_ONCE),
}
_PLANNING = {"lacks_approval": " STABLE COST 100000"}
"""So dear that a claim walks along the index to the oldest that may start, instead of sorting all that wait."""


def functions() -> dict[str, Function]:
    """Return every trigger function by name."""
    bodies = {
        "proposals_insert": plpgsql.proposals_insert(),
        "proposals_update": plpgsql.proposals_update(),
        "proposals_delete": plpgsql.proposals_delete(),
        "records_insert": plpgsql.records_insert(),
        "records_update": plpgsql.records_update(),
        "records_delete": plpgsql.records_delete(),
        "events_keep": plpgsql_history.events_keep(),
        "notes_insert": plpgsql_history.notes_insert(),
        "prunes_insert": plpgsql_history.prunes_insert(),
        "kill_switch_counter": plpgsql_kill_switch.take_counter_lock(),
        "kill_switch_change": plpgsql_kill_switch.kill_switch_change(),
        "refuse_always": plpgsql.refuse_always(),
        "events_insert": plpgsql.require(conditions.IS_NEXT_EVENT, "    NEW.recorded_at := clock_timestamp();\n"),
        "kill_switch_events_insert": plpgsql.require(conditions.IS_NEXT_STOP_EVENT),
        "write_event": plpgsql_history.write_event(),
        "write_note": plpgsql_history.write_note(),
        "write_kill_switch_event": plpgsql_kill_switch.write_kill_switch_event(),
        "approvals_insert": plpgsql_approvals.approvals_insert(),
        "policies_change": plpgsql_approvals.policies_change(),
        "policy_events_insert": plpgsql.require(approval_conditions.IS_NEXT_POLICY_EVENT),
        "write_policy_event": plpgsql_approvals.write_policy_event(),
    }
    made = (Function(f"operator_core_{name}", body, settings=_SETTINGS.get(name, ())) for name, body in bodies.items())
    return {function.name: function for function in made}


def other_functions() -> dict[str, Function]:
    """Return the other functions by name: an operator's stop, an approver's decisions, the barrier, and helpers."""
    made = {
        "engage": (operator_functions.engage(), operator_functions.ENGAGE_ARGUMENTS, operator_functions.ENGAGE_RETURNS),
        "sweep": (operator_functions.sweep(), operator_functions.SWEEP_ARGUMENTS, operator_functions.SWEEP_RETURNS),
        "barrier": (plpgsql_kill_switch.pass_barrier(), "", "void"),
        "lacks_approval": (plpgsql_approvals.lacks_approval(), plpgsql_approvals.LACKS_ARGUMENTS, "boolean"),
        "json_unreadable": (plpgsql_readable.json_unreadable(), plpgsql_readable.ARGUMENTS, "boolean"),
        "approve": (plpgsql_approvals.approve(), plpgsql_approvals.APPROVE_ARGUMENTS, "bigint"),
        "reject": (plpgsql_approvals.reject(), plpgsql_approvals.REJECT_ARGUMENTS, "bigint"),
        "revoke": (plpgsql_approvals.revoke(), plpgsql_approvals.REVOKE_ARGUMENTS, "bigint"),
    }
    return {
        f"operator_core_{name}": Function(
            f"operator_core_{name}",
            body,
            arguments,
            returns,
            _SETTINGS.get(name, ()),
            _PLANNING.get(name, ""),
        )
        for name, (body, arguments, returns) in made.items()
    }


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
        _trigger("action_records", "written", "AFTER UPDATE", "write_note"),
        _trigger("kill_switch", "counter", "BEFORE INSERT OR UPDATE", "kill_switch_counter", "STATEMENT"),
        _trigger("kill_switch", "change", "BEFORE INSERT OR UPDATE", "kill_switch_change"),
        _trigger("kill_switch", "written", "AFTER INSERT OR UPDATE", "write_kill_switch_event"),
        _trigger("kill_switch", "delete", "BEFORE DELETE", "refuse_always"),
        _trigger("action_events", "insert", "BEFORE INSERT", "events_insert"),
        _trigger("kill_switch_events", "insert", "BEFORE INSERT", "kill_switch_events_insert"),
        _trigger("action_notes", "insert", "BEFORE INSERT", "notes_insert"),
        _trigger("action_prunes", "insert", "BEFORE INSERT", "prunes_insert"),
        _trigger("action_events", "keep", "BEFORE UPDATE OR DELETE", "events_keep"),
        _trigger("action_notes", "keep", "BEFORE UPDATE OR DELETE", "events_keep"),
        _trigger("action_approvals", "insert", "BEFORE INSERT", "approvals_insert"),
        _trigger("action_approvals", "keep", "BEFORE UPDATE OR DELETE", "events_keep"),
        _trigger("approval_policies", "change", "BEFORE INSERT OR UPDATE", "policies_change"),
        _trigger("approval_policies", "written", "AFTER INSERT OR UPDATE", "write_policy_event"),
        _trigger("approval_policies", "delete", "BEFORE DELETE", "refuse_always"),
        _trigger("approval_policy_events", "insert", "BEFORE INSERT", "policy_events_insert"),
    ]
    made += [
        _trigger(table, "keep", "BEFORE UPDATE OR DELETE", "refuse_always")
        for table in ("action_prunes", "kill_switch_events", "approval_policy_events")
    ]
    made += [
        _trigger(table, "truncate", "BEFORE TRUNCATE", "refuse_always", "STATEMENT")
        for table in conditions.GUARDED_TABLES
    ]
    return {trigger.name: trigger for trigger in made}


def fix_functions() -> str:
    """Return the statement that binds every function to the schema of the tables, and revokes it from PUBLIC."""
    names = ", ".join(f"'{name}'" for name in (*functions(), *other_functions()))
    return f"""DO $do$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[{names}] LOOP
        EXECUTE format('ALTER FUNCTION %I SET search_path = pg_catalog, %I, pg_temp', name, current_schema());
        EXECUTE format('REVOKE ALL ON FUNCTION %I FROM PUBLIC', name);
    END LOOP;
END
$do$"""
