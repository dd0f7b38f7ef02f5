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

LACKS_ARGUMENTS = "looks boolean, number bigint, name text, proposer text, principal text"
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
    committed before it. Without a decision and without a policy, one short query settles it. Otherwise one statement
    returns, for each rule, how many approvals count and which.
    """
    return f"""\
        IF NEW.status IN ({sql_list(NEEDS_APPROVAL)}) AND ({_STEP.decided} OR {ANY_POLICY}) THEN
            FOR rule IN
                SELECT c.scope, g.approvals, n.given, n.ids, {_STEP.rejected} AS rejected,
                    (SELECT max(h.version) FROM approval_policies AS h WHERE h.scope = c.scope) AS version
                FROM (SELECT {_STEP.scope} AS scope OFFSET 0) AS c
                JOIN approval_policies AS g ON g.in_force AND g.scope = c.scope
                CROSS JOIN LATERAL (SELECT count(DISTINCT d."by") AS given, array_agg(d.id ORDER BY d.id) AS ids
                    FROM action_approvals AS d WHERE {_STEP.counts}) AS n
            LOOP
                refused := refused OR rule.rejected OR rule.given < rule.approvals;
                rules := rules + 1;
                covering := rule.scope;
                policy_version := rule.version;
                used := used || rule.ids;
            END LOOP;
            IF rules = 0 THEN
                refused := {_STEP.rejected} OR {_STEP.decided} AND NOT {_STEP.endorsed};
            ELSIF rules > 1 THEN
                used := ARRAY(SELECT DISTINCT id FROM unnest(used) AS id ORDER BY id);
            END IF;
            IF refused THEN
                RAISE EXCEPTION '{NOT_APPROVED}: {MESSAGES[NOT_APPROVED]}' USING ERRCODE = '{NOT_APPROVED}';
            ELSIF NEW.status = '{EXECUTING}' AND rules > 0 THEN
                evidence := json_build_object(
                    'policy', covering, 'version', policy_version, 'approvals', to_json(used));
            END IF;
        END IF;
"""


def lacks_approval() -> str:
    """Return whether a claim must pass over a proposal, if it looks for approvals at all.

    A claim takes the oldest without looking, until the guard has refused one: `require_approval` looks in any case.
    """
    proposal = ApprovalConditions(_DIALECT, "proposal")
    return f"""
DECLARE
    proposal RECORD;
BEGIN
    IF NOT looks THEN
        RETURN false;
    END IF;
    SELECT number AS id, name AS action_name, proposer AS proposed_by, principal AS on_behalf_of INTO proposal;
    IF NOT ({proposal.decided} OR {ANY_POLICY}) THEN
        RETURN false;
    END IF;
    RETURN {proposal.short};
END
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
