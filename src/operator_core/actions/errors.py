"""Everything that this library raises, in one tree.

::

    ActionError
    ├── ProposalNotFoundError          there is no such proposal
    ├── RecordNotFoundError            there is no such record
    ├── TransitionNotAllowedError      the table of steps, or the winner of a race, forbids it
    │   └── KillSwitchEngagedError     a stop covers the start
    ├── RecordNotAllowedError          the proposal is not executing, or has a record already
    ├── StopNotEngagedError            a release names a stop that is not engaged
    ├── StopUnconfirmedError           the stop is engaged, but something may still get through
    ├── StopFailedError                the stop is NOT engaged
    ├── OwnTransactionsError           a joined session cannot engage or release
    ├── NotNewError                    an insert was given an id or a state
    ├── ValueNotStorableError          a value would not come back equal (not a ValueError: Pydantic lets it through)
    ├── IsolationLevelError            an action was started outside READ COMMITTED
    ├── NotOpenError                   an ActionDB was used before `open` or after `close`
    ├── EngineNotConfiguredError       a host's engine was not passed to `configure_engine`
    └── DatabaseError
        ├── DatabaseUrlError           the target is not a URL that this library can use
        ├── MissingDriverError         the driver of the URL is not installed
        ├── EngineVersionError         SQLite or PostgreSQL is too old
        ├── SchemaError
        │   ├── SchemaOutOfDateError   the database is behind, or holds no ledger
        │   ├── SchemaTooNewError      the database is ahead of this library
        │   └── GuardMissingError      a guard is missing, disabled or altered
        ├── RetryTransactionError      run your transaction again
        ├── ConstraintError            the database refused a row
        └── DatabaseUnavailableError   it cannot be reached, or cannot be worked with now
            ├── ConnectionLostError    the connection broke under a statement, whose outcome is unknown
            ├── DatabaseNotFoundError  no such folder, file or database
            ├── DatabaseAccessError    wrong password, or no permission
            ├── DatabaseLockedError    somebody holds a lock for longer than we wait
            ├── DatabaseReadOnlyError  it cannot be written
            ├── DatabaseFullError      no room is left on the disk
            ├── DatabaseCorruptError   the file is damaged, or is no database
            └── DatabaseReplacedError  the file was deleted or replaced while it was open

Each carries its data as attributes, builds its own message, and survives pickling. A driver's error is its `__cause__`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from operator_core.actions.lifecycle import ActionOutcome, ActionStatus


def _rebuild(kind: type["ActionError"], data: dict[str, Any]) -> "ActionError":
    error = kind.__new__(kind)
    error.__dict__.update(data)
    return error


class ActionError(Exception):
    """Is the root of all errors of this library."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by attributes: errors cross process borders in worker pools."""
        return (_rebuild, (type(self), self.__dict__))


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


class DatabaseError(ActionError):
    """Is the root of what can be wrong with a database."""


@dataclass(eq=False)
class DatabaseUrlError(DatabaseError):
    """The target of an `ActionDB` is not one that this library can use."""

    problem: str

    def __str__(self) -> str:
        return self.problem


@dataclass(eq=False)
class MissingDriverError(DatabaseError):
    """The driver that a URL names is not installed."""

    driver: str
    extra: str

    def __str__(self) -> str:
        return f"the driver {self.driver} is not installed: pip install 'operator-core[{self.extra}]'"


@dataclass(eq=False)
class EngineVersionError(DatabaseError):
    """The database engine is older than the lowest version that keeps the promises."""

    engine: str
    version: str
    lowest: str

    def __str__(self) -> str:
        return f"{self.engine} {self.version} is too old: operator-core needs {self.lowest} or newer"


class SchemaError(DatabaseError):
    """Is the root of what can be wrong with a schema."""


@dataclass(eq=False)
class SchemaOutOfDateError(SchemaError):
    """The schema is behind this library; `current` is None when there is no ledger at all."""

    url: str
    current: str | None
    expected: str
    command: str

    def __str__(self) -> str:
        found = f"is at revision {self.current}" if self.current else "holds no ledger"
        return f"{self.url} {found}; this version of operator-core needs {self.expected}. Run: {self.command}"


@dataclass(eq=False)
class SchemaTooNewError(SchemaError):
    """The schema is ahead of this library by more than the one revision that it can work with."""

    url: str
    current: str
    expected: str

    def __str__(self) -> str:
        return (
            f"{self.url} is at revision {self.current}; this version of operator-core knows {self.expected} "
            "and works with the one after it at most. Upgrade operator-core"
        )


@dataclass(eq=False)
class GuardMissingError(SchemaError):
    """Guards of the database are missing, disabled or altered: no guard, no start."""

    url: str
    guards: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.url} lacks guards ({'; '.join(self.guards)}). Nothing is started without them. "
            "Find out who removed them, then restore them: operator_core.db.install_guards(connection)"
        )


@dataclass(eq=False)
class RetryTransactionError(DatabaseError):
    """The database gave up one of two transactions that met; nothing of this one was kept."""

    code: str

    def __str__(self) -> str:
        return f"this transaction met another one ({self.code}) and was given up: run your transaction again"


@dataclass(eq=False)
class ConstraintError(DatabaseError):
    """The database refused a row by one of its constraints."""

    code: str
    detail: str

    def __str__(self) -> str:
        return f"the database refused the change ({self.code}): {self.detail}"


@dataclass(eq=False)
class DatabaseUnavailableError(DatabaseError):
    """The database cannot be reached, or cannot be worked with now; `code` is the engine's own name for it."""

    url: str
    detail: str
    code: str | None = None

    advice = "see that the server runs and the URL is right"

    def __str__(self) -> str:
        code = f" ({self.code})" if self.code else ""
        return f"cannot work with {self.url}: {self.detail}{code}; {self.advice}"


class ConnectionLostError(DatabaseUnavailableError):
    """The connection broke while a statement was under way: it may have been committed or not."""

    advice = "what was under way may have been committed: read the row again before you repeat it"


class DatabaseNotFoundError(DatabaseUnavailableError):
    """There is no such folder, file or database."""

    advice = "create it, or correct the path or URL"


class DatabaseAccessError(DatabaseUnavailableError):
    """The database refused the user, the password or the permission."""

    advice = "check user, password and grants"


class DatabaseLockedError(DatabaseUnavailableError):
    """Somebody holds a lock for longer than this connection waits; nothing was changed."""

    advice = "find who holds the lock, or try again"


class DatabaseReadOnlyError(DatabaseUnavailableError):
    """The database cannot be written; nothing was changed."""

    advice = "check the permissions of the file and its folder, or connect to the primary server"


class DatabaseFullError(DatabaseUnavailableError):
    """No room is left for the database; nothing was changed."""

    advice = "make room on the disk and try again"


class DatabaseCorruptError(DatabaseUnavailableError):
    """The file is damaged, or is not a database."""

    advice = "stop all writers and restore a backup; do not delete the file"


class DatabaseReplacedError(DatabaseUnavailableError):
    """The database file was deleted or replaced while it was open: writes would go to the file that is gone."""

    advice = "nothing was written; open the database anew"


def outcome_text(outcome: ActionOutcome | None) -> str:
    """Say how a record stands, for a message."""
    return "open" if outcome is None else f"closed as {outcome}"
