"""The conditions that the guards of both engines share, in plain SQL generated from the transition table.

In these texts `NEW` and `OLD` are the rows of a trigger on `action_proposals` and `k` is a row of `kill_switch`.
"""

from dataclasses import dataclass

from operator_core.actions.kill_switch import EVERYTHING
from operator_core.actions.lifecycle import INITIAL, OUTCOMES, TERMINAL, TRANSITIONS, ActionStatus
from operator_core.actions.types import ActionType, EventKind
from operator_core.actions.validation import MAX_NAME_CHARACTERS
from operator_core.db.schema import IS_UNRESOLVED, SCOPE_FIELDS, proposals, records, sql_list, status_in
from operator_core.db.types import sqlite_time

GUARDED_TABLES = (
    "action_proposals",
    "action_records",
    "action_events",
    "action_notes",
    "action_prunes",
    "kill_switch",
    "kill_switch_events",
    "action_approvals",
    "approval_policies",
    "approval_policy_events",
)
LEDGER_TABLES = (*GUARDED_TABLES, "kill_switch_barrier")
"""All tables of the ledger; the last one never holds a row."""

EXECUTING = ActionStatus.EXECUTING
FINAL = sql_list(TERMINAL)
STATUS_COLUMNS = ("status", "status_at", "status_by", "status_reason")
TIMESTAMPED_STATUSES = tuple(status for status in TRANSITIONS if status is not INITIAL)


_IS_ENGAGED = "k.engaged_at IS NOT NULL AND k.released_at IS NULL"


@dataclass(frozen=True)
class KillSwitchConditions:
    """The conditions on the latch that the guard and the sweep use, for the proposal row called `row`."""

    row: str = "NEW"

    @property
    def covers(self) -> str:
        """The condition that a latch row's scope covers the proposal."""
        # CAST: with an integer PostgreSQL would look for an operator that a client can define.
        scopes = [f"'{EVERYTHING}'", *(f"'{field}=' || CAST({self.row}.{field} AS TEXT)" for field in SCOPE_FIELDS)]
        return f"k.scope IN ({', '.join(scopes)})"

    @property
    def engaged(self) -> str:
        """The condition that a latch row is engaged and covers the proposal."""
        return f"{self.covers} AND {_IS_ENGAGED}"

    @property
    def blocks_start(self) -> str:
        """The condition that a latch row blocks the start: engaged, or stopped since the proposal was made."""
        return f"{self.covers} AND ({_IS_ENGAGED} OR k.generation > {self.row}.generation)"

    @property
    def start_blocked(self) -> str:
        """The condition that a stop blocks the start of the proposal."""
        return f"EXISTS (SELECT 1 FROM kill_switch AS k WHERE {self.blocks_start})"

    @property
    def requests_stop(self) -> str:
        """The condition that a latch row asks the running proposal to stop."""
        return f"{self.covers} AND k.generation > {self.row}.generation"


WHITESPACE = tuple(code for code in range(0x3001) if chr(code).isspace())
"""The characters that `str.strip` removes, up to the last one, U+3000; a name of only these is blank."""

_NAMED_SCOPES = ("action_name=", "proposed_by=")
_TICKET = "ticket_id="
FIRST_NAME_CHARACTER = len(_NAMED_SCOPES[0]) + 1
FIRST_TICKET_CHARACTER = len(_TICKET) + 1


def scope_invalid(name_is_blank: str, is_ticket: str) -> str:
    """Return the condition that `Scope.parse` could not read a scope; its parts differ by engine.

    Args:
        name_is_blank: The condition that a name holds nothing but whitespace.
        is_ticket: The condition that a ticket is a whole number of 64 bits, without leading zeros.
    """
    return (
        f"NOT (NEW.scope = '{EVERYTHING}' "
        f"OR NEW.scope IN ({sql_list(f'action_type={kind}' for kind in ActionType)}) "
        f"OR substr(NEW.scope, 1, {FIRST_NAME_CHARACTER - 1}) IN ({sql_list(_NAMED_SCOPES)}) "
        f"AND length(NEW.scope) BETWEEN {FIRST_NAME_CHARACTER} AND {FIRST_NAME_CHARACTER - 1 + MAX_NAME_CHARACTERS} "
        f"AND NOT ({name_is_blank}) "
        f"OR substr(NEW.scope, 1, {FIRST_TICKET_CHARACTER - 1}) = '{_TICKET}' AND {is_ticket})"
    )


_COUNTED = "generation <= 9223372036854775806"
"""The condition that counting may continue from a generation; SQLite sorts a text, written past the guards, highest."""
COUNTER = f"(SELECT max(k.generation) FROM kill_switch AS k WHERE k.{_COUNTED})"
NEXT_GENERATION = (
    f"(SELECT max(n.generation) + 1 FROM (SELECT max(k.generation) AS generation FROM kill_switch AS k "
    f"WHERE k.{_COUNTED} UNION ALL SELECT max(e.generation) FROM kill_switch_events AS e WHERE e.{_COUNTED}) AS n)"
)
"""Above everything in the latch and in its history, because a restore may have lost a row of the latch."""

LATCH_READABLE = f"EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope = '{EVERYTHING}')"
START_BLOCKED = KillSwitchConditions().start_blocked
IS_LEGAL_STEP = " OR ".join(
    # Not as a list: SQLite would build a table of it for every row.
    f"(OLD.status = '{source}' AND ({status_in(targets).replace('status', 'NEW.status')}))"
    for source, targets in TRANSITIONS.items()
    if targets
)
RECORD_AGREES = (
    "EXISTS (SELECT 1 FROM action_records AS r WHERE r.proposal_id = OLD.id AND ("
    + " OR ".join(
        f"(NEW.status = '{status}' AND r.outcome IN ({sql_list(outcomes)}))" for status, outcomes in OUTCOMES.items()
    )
    + "))"
)


def requested_stop(proposal_id: str) -> str:
    """Return the generation of the last stop that asks a running proposal to stop, as a scalar query."""
    return (
        "(SELECT max(k.generation) FROM action_proposals AS p JOIN kill_switch AS k "
        f"ON {KillSwitchConditions('p').requests_stop} WHERE p.id = {proposal_id})"
    )


RECORD_UNRESOLVED = f"OLD.{IS_UNRESOLVED}".replace("AND ", "AND OLD.")
"""The condition that a record's outcome is unknown and unresolved."""

STOP_NOT_REQUESTED = "NEW.outcome = 'stopped' AND NEW.cancel_requested_at IS NULL AND NEW.stop_generation IS NULL"
"""The condition that a record answers a stop that was never requested."""

_LAST_EVENT = "(SELECT e.to_status FROM action_events AS e WHERE e.proposal_id = {} ORDER BY e.id + 0 DESC LIMIT 1)"
IS_NEXT_EVENT = (
    "EXISTS (SELECT 1 FROM action_proposals AS p WHERE p.id = NEW.proposal_id AND p.status_at = NEW.at AND ("
    "NEW.from_status IS NULL AND NEW.to_status = 'proposed' OR NEW.from_status IS NOT NULL AND p.status = NEW.to_status"
    # One read of the history for both: PostgreSQL would plan again for every event, to leave one of two out.
    f") AND coalesce({_LAST_EVENT.format('p.id')}, '') = coalesce(NEW.from_status, ''))"
)
"""The condition that an event is the one that the ledger itself would write, which no client can know sooner."""

IS_NEXT_STOP_EVENT = (
    "EXISTS (SELECT 1 FROM kill_switch AS k WHERE k.scope = NEW.scope AND k.generation = NEW.generation "
    "AND k.engaged_at IS NOT NULL AND (k.released_at IS NULL) = (NEW.change = 'engaged') "
    "AND CASE WHEN k.released_at IS NULL THEN k.engaged_at ELSE k.released_at END = NEW.at)"
)
STATUS_CHANGED_MEANWHILE = f"OLD.status <> {_LAST_EVENT.format('OLD.id')}"
"""The condition that the row has taken another step since this one began, in a client's trigger."""

RETRY_REFUSED = (
    "NEW.retry_of IS NOT NULL AND NOT EXISTS "
    f"(SELECT 1 FROM action_proposals AS o WHERE o.id = NEW.retry_of AND o.status IN ({FINAL}))"
)
"""The condition that a new proposal retries one that is not finished or does not exist."""

NOTE_CONTRADICTS_RECORD = (
    "NOT EXISTS (SELECT 1 FROM action_records AS r JOIN action_proposals AS p ON p.id = r.proposal_id "
    "WHERE r.id = NEW.record_id AND p.id = NEW.proposal_id AND p.status = NEW.status AND ("
    f"NEW.kind = '{EventKind.REPORTED_LATE}' AND r.completed_at IS NOT NULL "
    f"OR NEW.kind = '{EventKind.CANCEL_REQUESTED}' AND r.cancel_requested_at = NEW.at "
    f"OR NEW.kind = '{EventKind.RESOLVED}' AND r.finding_at = NEW.at))"
)
"""The condition that a note contradicts its record."""


def _later_than_recorded(proposal_id: str, at: str) -> str:
    # A client may date its steps freely, but not when they were recorded.
    recorded = f"(SELECT max(e.recorded_at) FROM action_events AS e WHERE e.proposal_id = {proposal_id})"
    return f'q."before" > {at} AND q."before" > coalesce({recorded}, {at})'


EVENT_NOT_PRUNABLE = (
    "EXISTS (SELECT 1 FROM action_proposals AS p WHERE p.id = OLD.proposal_id) OR NOT EXISTS "
    "(SELECT 1 FROM action_prunes AS q WHERE NOT q.keep_events AND "
    f'{_later_than_recorded("OLD.proposal_id", "OLD.at")} AND q."before" > '
    "coalesce((SELECT max(e.at) FROM action_events AS e WHERE e.proposal_id = OLD.proposal_id), OLD.at))"
)
"""The condition that an event's proposal still exists, or that no prune permits deleting its history."""

PROPOSAL_NOT_PRUNABLE = (
    f"NOT EXISTS (SELECT 1 FROM action_prunes AS q WHERE {_later_than_recorded('OLD.id', 'OLD.status_at')})"
)
"""The condition that no prune permits deleting a finished proposal."""

RECORD_NOT_PRUNABLE = (
    "NOT EXISTS (SELECT 1 FROM action_proposals AS p JOIN action_prunes AS q "
    f"ON {_later_than_recorded('p.id', 'p.status_at')} WHERE p.id = OLD.proposal_id AND p.status IN ({FINAL}))"
)
"""The condition that a record's proposal is not finished, or that no prune permits deleting it."""

HAS_RECORD = "EXISTS (SELECT 1 FROM action_records AS r WHERE r.proposal_id = OLD.id)"
HAS_LATER_TIMESTAMP = " OR ".join(
    f"NEW.{status}_at IS NOT NULL" for status in TIMESTAMPED_STATUSES if status is not ActionStatus.CANCELLED
)
"""The condition that a new proposal claims to be in a later state already."""

HAS_OTHER_PROPOSER = f"NEW.status = '{INITIAL}' AND (NEW.status_by <> NEW.proposed_by OR NEW.status_reason IS NOT NULL)"
"""The condition that a new proposal's row contradicts the event of its first step."""

PROPOSAL_TIMES = ("proposed_at", "status_at", "valid_until")
RECORD_TIMES = (
    "started_at",
    "completed_at",
    "cancel_requested_at",
    "last_seen_at",
    "lease_expires_at",
    "finding_at",
)
LATCH_TIMES = ("engaged_at", "released_at")
APPROVAL_TIMES = ("at", "expires_at")
FIRST_TIME, LAST_TIME = "0001-01-02 00:00:00", "9999-12-31 00:00:00"

PROPOSED_COLUMNS = tuple(
    column.name
    for column in proposals.columns
    if column.name not in STATUS_COLUMNS and column.name not in {f"{status}_at" for status in TIMESTAMPED_STATUSES}
)
"""The columns of the proposal itself, which never change after the insert."""

RECORD_KEYS = ("id", "proposal_id", "started_at", "worker", "lease_seconds", "claim_key")
"""The columns that are fixed for ever when a record is opened."""

FINDING_COLUMNS = ("finding", "finding_at", "finding_by", "finding_reason")
CLOSED_COLUMNS = tuple(column.name for column in records.columns if column.name not in FINDING_COLUMNS)
"""The columns that are fixed for ever when a record is closed."""

REQUEST_COLUMNS = ("cancel_requested_at", "cancel_requested_by", "cancel_reason")
SNAPSHOT_COLUMNS = tuple(name for name in PROPOSED_COLUMNS if name not in ("id", "generation"))
"""The columns that the first event of a proposal holds."""

OUTCOME_COLUMNS = tuple(name for name in CLOSED_COLUMNS if name not in ("id", "proposal_id"))
"""The columns that the event out of `executing` holds, in addition to the id of the record."""


def stop_statement(dialect: str, by: str, reason: str) -> str:
    """Return the one statement with which a DBA stops everything by hand."""
    by, reason = (text.replace("'", "''") for text in (by, reason))
    at = sqlite_time() if dialect == "sqlite" else "now()"
    return (
        f"UPDATE kill_switch SET generation = {NEXT_GENERATION}, engaged_at = {at}, "
        f"engaged_by = '{by}', reason = '{reason}', released_at = NULL, released_by = NULL, release_reason = NULL "
        f"WHERE scope = '{EVERYTHING}';"
    )
