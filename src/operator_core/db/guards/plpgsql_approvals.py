"""The bodies of PostgreSQL's trigger functions of approvals and policies, and of the functions for approvers."""

from operator_core.actions.approvals import Decision
from operator_core.actions.lifecycle import PENDING, ActionStatus
from operator_core.db.guards import conditions
from operator_core.db.guards.approval_conditions import (
    ANY_POLICY,
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
    MESSAGES,
    NOT_APPROVED,
    OWN_APPROVAL,
    POLICY_REFUSED,
    STOPPED,
    UNREADABLE,
)
from operator_core.db.guards.conditions import COUNTER, EXECUTING, KillSwitchConditions
from operator_core.db.guards.plpgsql import raise_if, unreadable_times, written
from operator_core.db.guards.plpgsql_readable import name_is_blank, unreadable
from operator_core.db.schema import approvals, policies, policy_events, sql_list, status_in

_DIALECT = "postgresql"
_STEP = ApprovalConditions(_DIALECT)
_DECIDED = ApprovalConditions(_DIALECT, "proposal")

APPROVE_ARGUMENTS = (
    "decided bigint, approver text, approver_kind text, approver_role text, decision_reason text, seen_digest text, "
    "lasting double precision"
)
REJECT_ARGUMENTS = (
    "decided bigint, approver text, approver_kind text, approver_role text, decision_reason text, seen_digest text, "
    "replacement bigint"
)
REVOKE_ARGUMENTS = "revoked bigint, approver text, approver_kind text, approver_role text, decision_reason text"


def require_approval() -> str:
    """Return the statements that refuse a step without its approvals, and note those that it used in `evidence`.

    They run after the row was written: its lock keeps every decision about it waiting, and each statement sees what was
    committed before it. All of the evidence comes from the one statement that also decides.
    """
    used = (
        f"SELECT coalesce(json_agg(d.id ORDER BY d.id), '[]') FROM action_approvals AS d "
        f"WHERE d.proposal_id = NEW.id AND {_STEP.used('covering')}"
    )
    refused = f"RAISE EXCEPTION '{NOT_APPROVED}: {MESSAGES[NOT_APPROVED]}' USING ERRCODE = '{NOT_APPROVED}'"
    return f"""\
        IF NEW.status IN ({sql_list(NEEDS_APPROVAL)}) THEN
            IF {ANY_POLICY} THEN
                covering := {_STEP.scope};
            END IF;
            IF {_STEP.decided} AND ({_STEP.rejected} OR covering IS NULL AND NOT {_STEP.endorsed}) THEN
                {refused};
            END IF;
            IF covering IS NOT NULL THEN
                SELECT {_STEP.lacks("covering")} AS missing,
                    (SELECT max(g.version) FROM approval_policies AS g WHERE g.scope = covering) AS version,
                    CASE WHEN NEW.status = '{EXECUTING}' THEN ({used}) END AS used
                INTO approval;
                IF approval.missing THEN
                    {refused};
                END IF;
                IF NEW.status = '{EXECUTING}' THEN
                    evidence := json_build_object(
                        'policy', covering, 'version', approval.version, 'approvals', approval.used);
                END IF;
            END IF;
        END IF;
"""


def approvals_insert() -> str:
    """Allow a decision only while it can count, and stamp what the client cannot know."""
    approved = f"NEW.decision = '{Decision.APPROVED}'"
    unread = f"{unreadable_times(conditions.APPROVAL_TIMES)} OR {unreadable(approvals, approvals.columns.keys())}"
    return f"""
DECLARE
    proposal RECORD;
BEGIN
    -- Behind every step of the proposal that has begun: the decision sees it, or it sees the decision.
    SELECT p.* INTO proposal FROM action_proposals AS p WHERE p.id = NEW.proposal_id FOR NO KEY UPDATE;
{raise_if(APPROVAL_REFUSED, "NOT FOUND")}\
    NEW.at := clock_timestamp();
    NEW."by" := coalesce(NEW."by", 'sql:' || session_user::text);
    NEW.kind := coalesce(NEW.kind, 'human');
    NEW.login := session_user::text;
    NEW.status := proposal.status;
    NEW.generation := {COUNTER};
{raise_if(APPROVAL_REFUSED, f"NOT {_DECIDED.is_decidable} OR {REVOKES_NOTHING} OR {decision_invalid(name_is_blank)}")}\
    IF {approved} THEN
{raise_if(STOPPED, KillSwitchConditions("proposal").start_blocked)}\
{raise_if(EXPIRED, "proposal.valid_until <= clock_timestamp()")}\
{raise_if(OWN_APPROVAL, _DECIDED.is_own_approval)}\
        NEW.expires_at := least(NEW.expires_at, {later(_DIALECT, "NEW.at", _DECIDED.longest)});
    END IF;
{raise_if(UNREADABLE, unread)}\
    RETURN NEW;
END
"""


def policies_change() -> str:
    """Allow only rules within their limits, each change under the next version."""
    columns = [column.name for column in policies.columns if column.name != "scope"]
    invalid = policy_invalid(name_is_blank)
    return f"""
BEGIN
{raise_if(CHANGE_REFUSED, "TG_OP = 'UPDATE' AND (NEW.scope <> OLD.scope OR NEW.role <> OLD.role)")}\
    NEW.version := {NEXT_VERSION};
    NEW.at := clock_timestamp();
    NEW."by" := coalesce(NEW."by", 'sql:' || session_user::text);
{raise_if(POLICY_REFUSED, invalid)}\
{raise_if(UNREADABLE, unreadable(policies, columns))}\
    RETURN NEW;
END
"""


def write_policy_event() -> str:
    """Write the history of the policies."""
    columns = [column.name for column in policy_events.columns if column.name != "id"]
    values = ", ".join(f'NEW."{name}"' for name in columns)
    return f"""
DECLARE
    kept RECORD;
BEGIN
    INSERT INTO approval_policy_events AS e ({", ".join(columns)})
    VALUES ({values})
{written("e", version="NEW.version", scope="NEW.scope", role="NEW.role", in_force="NEW.in_force")}\
    RETURN NULL;
END
"""


def approve() -> str:
    """Record an approval, and validate the proposal if it has all that its policy asks for; return the decision's id.

    Of two approvers at once, the second waits for the first and takes the step.
    """
    return f"""
DECLARE
    decision bigint;
    moment timestamptz := clock_timestamp();
BEGIN
    INSERT INTO action_approvals AS a (proposal_id, decision, by, kind, role, reason, digest, expires_at)
    VALUES (decided, '{Decision.APPROVED}', approver, approver_kind, approver_role, decision_reason, seen_digest,
        moment + make_interval(secs => lasting))
    RETURNING a.id INTO decision;
    UPDATE action_proposals AS p
    SET status = '{ActionStatus.VALIDATED}', status_at = moment, validated_at = moment, status_by = approver,
        status_reason = decision_reason
    WHERE p.id = decided AND p.status = '{ActionStatus.PROPOSED}' AND NOT {ApprovalConditions(_DIALECT, "p").short};
    RETURN decision;
END
"""


def reject() -> str:
    """Record a rejection and cancel the proposal; with a replacement, it is cancelled already. Return its id."""
    pending = status_in(PENDING).replace("status", "p.status")
    return f"""
DECLARE
    decision bigint;
    moment timestamptz := clock_timestamp();
BEGIN
    INSERT INTO action_approvals AS a (proposal_id, decision, by, kind, role, reason, digest, replaced_by)
    VALUES (decided, '{Decision.REJECTED}', approver, approver_kind, approver_role, decision_reason, seen_digest,
        replacement)
    RETURNING a.id INTO decision;
    UPDATE action_proposals AS p
    SET status = '{ActionStatus.CANCELLED}', status_at = moment, cancelled_at = moment, status_by = approver,
        status_reason = decision_reason
    WHERE p.id = decided AND ({pending});
    RETURN decision;
END
"""


def revoke() -> str:
    """Record the revocation of an approval; return the decision's id, or NULL if there is no such approval."""
    return f"""
DECLARE
    decision bigint;
BEGIN
    INSERT INTO action_approvals AS a (proposal_id, decision, by, kind, role, reason, revokes)
    SELECT d.proposal_id, '{Decision.REVOKED}', approver, approver_kind, approver_role, decision_reason, d.id
    FROM action_approvals AS d WHERE d.id = revoked
    RETURNING a.id INTO decision;
    RETURN decision;
END
"""
