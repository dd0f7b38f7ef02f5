"""What a ledger refuses, whatever database holds it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from operator_core.actions.errors.root import ActionError
from operator_core.actions.lifecycle import ActionOutcome, ActionStatus


@dataclass(eq=False)
class ProposalNotFoundError(ActionError):
    """There is no proposal with this id."""

    proposal_id: int

    def __str__(self) -> str:
        return f"there is no proposal {self.proposal_id}"


@dataclass(eq=False)
class RecordNotFoundError(ActionError):
    """There is no record with this id."""

    record_id: int

    def __str__(self) -> str:
        return f"there is no record {self.record_id}"


@dataclass(eq=False)
class TransitionNotAllowedError(ActionError):
    """The proposal `id` is `current` and may not become `wanted`: what every loser of a race gets."""

    id: int
    current: ActionStatus
    wanted: ActionStatus
    detail: str | None = None

    def __str__(self) -> str:
        text = f"proposal {self.id} is {self.current} and cannot become {self.wanted}"
        return f"{text}: {self.detail}" if self.detail else text


@dataclass(eq=False)
class RecordNotAllowedError(ActionError):
    """A record is made only for a proposal that is executing, and one proposal has at most one."""

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

    `released_at` is set when the stop is over: what was proposed before a stop can never start after it.
    """

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


@dataclass(eq=False)
class StopNotEngagedError(ActionError):
    """A release names a stop that is not engaged; `engaged` lists (generation, scope) of those that are."""

    generation: int
    engaged: tuple[tuple[int, str], ...]

    def __str__(self) -> str:
        now = ", ".join(f"{generation} ({scope})" for generation, scope in self.engaged) or "none"
        return f"stop {self.generation} is not engaged, nothing was released; engaged: {now}"


@dataclass(eq=False)
class StopUnconfirmedError(ActionError):
    """The latch is engaged and new starts are refused, but a start that was under way may still get through.

    Attributes:
        receipt: The `StopReceipt` as far as it goes.
        problems: What is in the way, a sentence each.
        pids: The server processes that hold a start open.
    """

    receipt: Any
    problems: tuple[str, ...]
    pids: tuple[int, ...] = ()

    def __str__(self) -> str:
        stop = f"stop {self.receipt.generation} ({self.receipt.scope})"
        return f"{stop} IS engaged, but NOT confirmed: {'; '.join(self.problems)}"


@dataclass(eq=False)
class StopFailedError(ActionError):
    """The stop is NOT engaged; `sql` is the statement with which a DBA engages it by hand."""

    problem: str
    sql: str

    def __str__(self) -> str:
        return f"the stop is NOT engaged: {self.problem}. Try again, or have this run on the database: {self.sql}"


@dataclass(eq=False)
class OwnTransactionsError(ActionError):
    """A session that joins a host's transaction cannot do this: it needs commits of its own."""

    call: str

    def __str__(self) -> str:
        return (
            f"{self.call} must commit at once, and this repository works in the host's transaction: "
            f"call it on an ActionDB, which can be made from the same engine"
        )


@dataclass(eq=False)
class NotNewError(ActionError):
    """What was to be inserted carries a value that only the database gives."""

    kind: str
    field: str
    value: object

    def __str__(self) -> str:
        return f"a new {self.kind} has no {self.field} yet, but this one has {self.value!r}: leave `{self.field}` out"


@dataclass(eq=False)
class ValueNotStorableError(ActionError):
    """A value would not come back equal from both engines; `path` leads to it."""

    path: str
    why: str

    def __str__(self) -> str:
        return f"{self.path} {self.why}"


@dataclass(eq=False)
class IsolationLevelError(ActionError):
    """An action was started in a transaction that cannot see a stop (REPEATABLE READ or SERIALIZABLE)."""

    proposal_id: int

    def __str__(self) -> str:
        return (
            f"proposal {self.proposal_id} may not start in this transaction: its snapshot could hide a stop. "
            "Start actions under READ COMMITTED"
        )


@dataclass(eq=False)
class NotOpenError(ActionError):
    """An `ActionDB` was used before it was opened or after it was closed."""

    target: str

    def __str__(self) -> str:
        return f"{self.target} is not open: use `async with ActionDB(...) as db:` or `await db.open()`"


@dataclass(eq=False)
class EngineNotConfiguredError(ActionError):
    """A host's engine has not the settings that the promises rest on."""

    detail: str

    def __str__(self) -> str:
        return (
            f"this engine is not configured ({self.detail}): on SQLite, call "
            "operator_core.db.configure_engine(engine) right after you create it; on PostgreSQL, use READ COMMITTED"
        )


def outcome_text(outcome: ActionOutcome | None) -> str:
    """Say how a record stands, for a message."""
    return "open" if outcome is None else f"closed as {outcome}"
