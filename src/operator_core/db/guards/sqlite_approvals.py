"""The triggers of approvals and policies on SQLite."""

from collections.abc import Iterator

from operator_core.actions.approvals import Decision
from operator_core.db.guards import conditions
from operator_core.db.guards.approval_conditions import (
    ANY_POLICY,
    IS_NEXT_POLICY_EVENT,
    NEEDS_APPROVAL,
    NEXT_VERSION,
    REVOKES_NOTHING,
    ApprovalConditions,
    decision_invalid,
    later,
    policy_invalid,
)
from operator_core.db.guards.codes import (
    APPROVAL_REFUSED,
    CHANGE_REFUSED,
    EXPIRED,
    NOT_APPROVED,
    OWN_APPROVAL,
    POLICY_REFUSED,
    STOPPED,
)
from operator_core.db.guards.conditions import COUNTER, EXECUTING, KillSwitchConditions
from operator_core.db.guards.sqlite_readable import name_is_blank
from operator_core.db.guards.sqlite_triggers import NOW, expect_event, refuse, refuse_row, trigger
from operator_core.db.schema import approvals, policies, policy_events, sql_list

_DIALECT = "sqlite"
_STEP = ApprovalConditions(_DIALECT)
_DECIDED = ApprovalConditions(_DIALECT, "p")

_AT_NOW = "abs(julianday(NEW.at) - julianday('now')) * 86400 <= 60"  # seconds: no client dates a decision


def require_approval() -> str:
    """Return the statement that refuses a step without the approvals that its policy asks for."""
    step = f"NEW.status IN ({sql_list(NEEDS_APPROVAL)})"
    return refuse(NOT_APPROVED, f"{step} AND {_STEP.short}")


def evidence() -> str:
    """Return the policy and the approvals that a start used, as a scalar expression; NULL where no policy covers it."""
    used = (
        "(SELECT json_group_array(u.id) FROM (SELECT d.id FROM action_approvals AS d WHERE d.proposal_id = NEW.id "
        f"AND {_STEP.used('c.scope')} ORDER BY d.id) AS u)"
    )
    version = "(SELECT max(g.version) FROM approval_policies AS g WHERE g.scope = c.scope)"
    covered = (
        f"(SELECT json_object('policy', c.scope, 'version', {version}, 'approvals', json({used})) "
        f"FROM (SELECT {_STEP.scope} AS scope) AS c WHERE c.scope IS NOT NULL)"
    )
    return f"CASE WHEN NEW.status = '{EXECUTING}' AND {ANY_POLICY} THEN {covered} END"


def approval_triggers() -> Iterator[tuple[str, str]]:
    """Yield the triggers of decisions, which no client changes, and which come while they can count."""
    of_proposal = "EXISTS (SELECT 1 FROM action_proposals AS p WHERE p.id = NEW.proposal_id AND {})"
    approved = f"NEW.decision = '{Decision.APPROVED}'"
    too_long = f"coalesce(NEW.expires_at > {later(_DIALECT, 'NEW.at', 'l.seconds')}, 1)"
    longest = "FROM action_proposals AS p WHERE p.id = NEW.proposal_id"
    yield trigger(
        "approvals_insert",
        "BEFORE INSERT ON action_approvals",
        # REPLACE fires no delete trigger: it must be refused before it removes the row.
        refuse(
            CHANGE_REFUSED,
            "EXISTS (SELECT 1 FROM action_approvals AS a WHERE a.id = NEW.id OR a.revokes = NEW.revokes)",
        ),
        *refuse_row(approvals),
        refuse(
            APPROVAL_REFUSED,
            f"NOT {of_proposal.format(f'p.status = NEW.status AND {_DECIDED.is_decidable}')} OR {REVOKES_NOTHING} "
            f"OR {decision_invalid(name_is_blank)}",
        ),
        refuse(CHANGE_REFUSED, f"NEW.login IS NOT NULL OR NOT {_AT_NOW} OR NEW.generation IS NOT {COUNTER}"),
        refuse(STOPPED, f"{approved} AND {of_proposal.format(KillSwitchConditions('p').start_blocked)}"),
        refuse(EXPIRED, f"{approved} AND {of_proposal.format(f'p.valid_until <= {NOW}')}"),
        refuse(OWN_APPROVAL, f"{approved} AND {of_proposal.format(_DECIDED.is_own_approval)}"),
        refuse(
            APPROVAL_REFUSED,
            f"{approved} AND EXISTS (SELECT 1 FROM (SELECT {_DECIDED.longest} AS seconds {longest}) AS l "
            f"WHERE l.seconds IS NOT NULL AND {too_long})",
        ),
    )
    yield trigger("approvals_update", "BEFORE UPDATE ON action_approvals", refuse(CHANGE_REFUSED, "1"))
    yield trigger(
        "approvals_delete", "BEFORE DELETE ON action_approvals", refuse(CHANGE_REFUSED, conditions.EVENT_NOT_PRUNABLE)
    )


def policy_triggers() -> Iterator[tuple[str, str]]:
    """Yield the triggers of policies: each change is under the next version, and in the history."""
    invalid = f"instr(NEW.scope, char(0)) OR {policy_invalid(name_is_blank)}"
    dated = f"NEW.version IS NOT {NEXT_VERSION} OR NOT {_AT_NOW}"
    columns = [column.name for column in policy_events.columns if column.name != "id"]
    names = ", ".join(f'"{name}"' for name in columns)
    values = ", ".join(f'NEW."{name}"' for name in columns)
    write = f"INSERT INTO approval_policy_events ({names}) VALUES ({values})"
    expected = expect_event("approval_policy_events AS e WHERE e.version = NEW.version AND e.scope = NEW.scope")
    rules = [*refuse_row(policies), refuse(POLICY_REFUSED, invalid), refuse(CHANGE_REFUSED, dated)]
    same = "g.scope = NEW.scope AND g.role = NEW.role OR g.version = NEW.version"
    yield trigger(
        "policies_insert",
        "BEFORE INSERT ON approval_policies",
        refuse(CHANGE_REFUSED, f"EXISTS (SELECT 1 FROM approval_policies AS g WHERE {same})"),
        *rules,
    )
    yield trigger(
        "policies_update",
        "BEFORE UPDATE ON approval_policies",
        refuse(CHANGE_REFUSED, "NEW.scope IS NOT OLD.scope OR NEW.role IS NOT OLD.role"),
        *rules,
    )
    yield trigger("policies_delete", "BEFORE DELETE ON approval_policies", refuse(CHANGE_REFUSED, "1"))
    yield trigger("policies_inserted", "AFTER INSERT ON approval_policies", write, expected)
    yield trigger("policies_updated", "AFTER UPDATE ON approval_policies", write, expected)
    yield trigger(
        "policy_events_insert",
        "BEFORE INSERT ON approval_policy_events",
        refuse(
            CHANGE_REFUSED,
            "EXISTS (SELECT 1 FROM approval_policy_events AS e WHERE e.id = NEW.id OR e.version = NEW.version) "
            f"OR NOT {IS_NEXT_POLICY_EVENT}",
        ),
    )
    for event in ("update", "delete"):
        yield trigger(
            f"policy_events_{event}", f"BEFORE {event.upper()} ON approval_policy_events", refuse(CHANGE_REFUSED, "1")
        )
