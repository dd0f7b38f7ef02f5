"""The bodies of two PostgreSQL functions that run as their owner, so that a role without write rights can stop.

They engage a scope, and cancel the earlier proposals that a stop covers, which can never start. Nothing else.
"""

from operator_core.actions.lifecycle import PENDING, ActionStatus
from operator_core.db.guards.conditions import KillSwitchConditions
from operator_core.db.schema import kill_switch, status_in

ENGAGE_ARGUMENTS = "stop_scope text, stop_by text, stop_reason text"
_COLUMNS = tuple(column.name for column in kill_switch.columns)
_TYPES = {"generation": "bigint", "engaged_at": "timestamptz", "released_at": "timestamptz"}
ENGAGE_RETURNS = "TABLE ({})".format(", ".join(f"{name} {_TYPES.get(name, 'text')}" for name in _COLUMNS))
SWEEP_ARGUMENTS = "swept_generation bigint, sweep_rows integer"
SWEEP_RETURNS = "SETOF bigint"


def engage() -> str:
    """Engage the latch of a scope and return its row; without a given name, the actor is the login role.

    One statement, so that two first stops of a scope do not collide: the second one engages again.
    """
    row = ", ".join(f"k.{name}" for name in _COLUMNS)
    again = ", ".join(f"{name} = excluded.{name}" for name in ("engaged_at", "engaged_by", "reason"))
    return f"""
#variable_conflict use_column
BEGIN
    RETURN QUERY INSERT INTO kill_switch AS k (scope, generation, engaged_at, engaged_by, reason)
    -- The trigger takes the next generation.
    VALUES (stop_scope, 0, statement_timestamp(), stop_by, stop_reason)
    ON CONFLICT (scope) DO UPDATE
    SET {again}, released_at = NULL, released_by = NULL, release_reason = NULL
    RETURNING {row};
END
"""


def sweep() -> str:
    """Cancel some proposals that a stop left pending, in its name; return their ids. Locked rows are skipped."""
    cancelled = ActionStatus.CANCELLED
    pending = status_in(PENDING).replace("status", "p.status")
    return f"""
BEGIN
    RETURN QUERY WITH leftover AS (
        SELECT p.id, k.by, k.reason
        FROM kill_switch_events AS k
        JOIN action_proposals AS p ON ({pending}) AND p.generation < k.generation AND {KillSwitchConditions("p").covers}
        WHERE k.generation = swept_generation AND k.change = 'engaged'
        LIMIT sweep_rows FOR UPDATE OF p SKIP LOCKED
    )
    UPDATE action_proposals AS p
    SET status = '{cancelled}', status_at = statement_timestamp(), {cancelled}_at = statement_timestamp(),
        status_by = l.by, status_reason = l.reason
    FROM leftover AS l WHERE p.id = l.id AND ({pending})
    RETURNING p.id;
END
"""
