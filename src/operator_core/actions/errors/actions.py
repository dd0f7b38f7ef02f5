"""What a ledger refuses, on any database."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from operator_core.actions.errors.base import ActionError
from operator_core.actions.lifecycle import ActionOutcome, ActionStatus, Resolution


@dataclass(eq=False)
class ProposalNotFoundError(ActionError):
    """There is no proposal with this id."""

    http_status = 404
    advice = "check the id; a pruned proposal is gone, and its history may be kept"

    proposal_id: int

    def __str__(self) -> str:
        return f"there is no proposal {self.proposal_id}"


@dataclass(eq=False)
class RecordNotFoundError(ActionError):
    """There is no record with this id."""

    http_status = 404
    advice = "check the id: a record has ids of its own, not those of its proposal"

    record_id: int

    def __str__(self) -> str:
        return f"there is no record {self.record_id}"


@dataclass(eq=False)
class TransitionNotAllowedError(ActionError):
    """The proposal `id` is `current` and may not become `target`; every loser of a race gets this error."""

    http_status = 409
    advice = "read the proposal: somebody was faster, or a step before this one is missing"

    id: int
    current: ActionStatus
    target: ActionStatus
    detail: str | None = None

    def __str__(self) -> str:
        text = f"proposal {self.id} is {self.current} and cannot become {self.target}"
        return f"{text}: {self.detail}" if self.detail else text


@dataclass(eq=False)
class RecordNotAllowedError(ActionError):
    """A record is opened only for an executing proposal, and a proposal has at most one."""

    http_status = 409
    advice = "start the proposal first; to run it once more, propose it again with `retry_of`"

    proposal_id: int
    current: ActionStatus
    record_id: int | None = None

    def __str__(self) -> str:
        if self.record_id is not None:
            return f"proposal {self.proposal_id} has record {self.record_id} already; a retry is a new proposal"
        return f"proposal {self.proposal_id} is {self.current}; a record is made only while it is executing"


@dataclass(eq=False, kw_only=True)
class KillSwitchEngagedError(TransitionNotAllowedError):
    """The start of proposal `id` was refused, because a stop covers it.

    `released_at` is set if the stop is over: a proposal made before a stop can never start after it.
    """

    http_status = 423
    advice = "wait for the release, then propose the action again; never retry in a loop"

    generation: int
    scope: str
    by: str
    reason: str
    since: datetime
    released_at: datetime | None = None

    def __str__(self) -> str:
        stop = f"stop {self.generation} ({self.scope}), engaged by {self.by} at {self.since.isoformat()}: {self.reason}"
        if self.released_at is None:
            return f"proposal {self.id} may not start: {stop}"
        return (
            f"proposal {self.id} may not start: it was proposed before {stop}. "
            f"That stop is released, but revives nothing: propose the action again"
        )


@dataclass(eq=False, kw_only=True)
class ProposalExpiredError(TransitionNotAllowedError):
    """The start of proposal `id` was refused, because it was valid only until `valid_until`."""

    http_status = 409
    advice = "propose the action again"

    valid_until: datetime

    def __str__(self) -> str:
        return (
            f"proposal {self.id} may not start: it was valid until {self.valid_until.isoformat()}. "
            "Propose the action again"
        )


@dataclass(eq=False)
class LeaseLostError(ActionError):
    """The worker has lost its execution: it was recovered, or another client ended it.

    The worker's late report is kept in the history; the record stays as it is.
    """

    http_status = 409
    advice = "stop the action at once; what it reported is kept in the history"

    record_id: int
    worker: str | None
    outcome: ActionOutcome | None
    by: str
    at: datetime | None

    def __str__(self) -> str:
        when = "" if self.at is None else f" since {self.at.isoformat()}"
        return (
            f"worker {self.worker} has lost record {self.record_id}: {self.by} ended it as {self.outcome}{when}. "
            "Stop what it still does; what it reported is kept in the history"
        )


@dataclass(eq=False)
class StopRequestedError(ActionError):
    """A running action is asked to stop; raised inside the action, to leave it."""

    http_status = 409
    advice = "let it leave the block: that answers the stop"

    record_id: int
    by: str
    reason: str | None

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return f"{self.by} asks the action of record {self.record_id} to stop{why}"


@dataclass(eq=False)
class AlreadyResolvedError(ActionError):
    """Only an unknown outcome can be resolved, and only once."""

    http_status = 409
    advice = "read the record: its outcome is known, or a person has resolved it"

    record_id: int
    outcome: ActionOutcome | None
    resolution: Resolution | None = None
    by: str | None = None

    def __str__(self) -> str:
        if self.resolution is not None:
            return f"record {self.record_id} was resolved by {self.by}: {self.resolution}"
        return f"record {self.record_id} is {outcome_text(self.outcome)}; only an unknown outcome can be resolved"


@dataclass(eq=False)
class IdempotencyKeyError(ActionError):
    """Another proposal was made under the same idempotency key; `differs` names the fields that differ."""

    http_status = 409
    advice = "repeat the proposal as it was, or take a new key"

    key: str
    proposal_id: int
    differs: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"proposal {self.proposal_id} was made under the idempotency key {self.key!r} with another "
            f"{', '.join(self.differs)}: repeat it as it was, or take a new key"
        )


@dataclass(eq=False)
class NotRetryableError(ActionError):
    """The proposal to retry is not finished, or does not exist (`current` is None)."""

    http_status = 409
    advice = "wait until the first proposal is finished, or cancel it"

    retry_of: int
    current: ActionStatus | None

    def __str__(self) -> str:
        if self.current is None:
            return f"there is no proposal {self.retry_of} to retry"
        return f"proposal {self.retry_of} is {self.current}; only what is finished is tried again"


@dataclass(eq=False)
class WaitTimeoutError(ActionError, TimeoutError):
    """A proposal has not reached the awaited state in time."""

    http_status = 504
    advice = "wait again, with a longer timeout"

    proposal_id: int
    current: ActionStatus
    seconds: float

    def __str__(self) -> str:
        return f"proposal {self.proposal_id} is still {self.current} after {self.seconds:g} s"


@dataclass(eq=False)
class StopNotEngagedError(ActionError):
    """A release names a stop that is not engaged; `engaged` lists the (generation, scope) of those that are."""

    http_status = 409
    advice = "look at `kill_switch_status` and name the generation that is engaged"

    generation: int
    engaged: tuple[tuple[int, str], ...]

    def __str__(self) -> str:
        now = ", ".join(f"{generation} ({scope})" for generation, scope in self.engaged) or "none"
        return f"stop {self.generation} is not engaged, nothing was released; engaged: {now}"


@dataclass(eq=False)
class StopUnconfirmedError(ActionError):
    """The latch is engaged and new starts are refused, but the stop is not complete.

    Attributes:
        receipt: The incomplete `StopReceipt`.
        problems: The obstacles, one sentence each.
        pids: The server processes that are in the way.
        start_possible: Whether a start in flight may still get through. If not, all that remains is to cancel what is
            pending, or to see what runs.
    """

    http_status = 503
    advice = "treat it as engaged; look at `problems`, and stop again with `terminate_blockers=True`"

    receipt: Any
    problems: tuple[str, ...]
    pids: tuple[int, ...] = ()
    start_possible: bool = True

    def __str__(self) -> str:
        stop = f"stop {self.receipt.generation} ({self.receipt.scope})"
        return f"{stop} IS engaged, but NOT confirmed: {'; '.join(self.problems)}"


@dataclass(eq=False)
class StopFailedError(ActionError):
    """The stop is NOT engaged; `sql` is the statement with which a DBA engages it by hand."""

    http_status = 503
    advice = "nothing is stopped: try again, or have a DBA run the statement in `sql`"

    problem: str
    sql: str

    def __str__(self) -> str:
        return f"the stop is NOT engaged: {self.problem}. Try again, or have this run on the database: {self.sql}"


def outcome_text(outcome: ActionOutcome | None) -> str:
    """Describe the state of a record, for a message."""
    return "open" if outcome is None else f"closed as {outcome}"
