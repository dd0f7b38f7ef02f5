"""What a caller has to change: an argument, a value, or how it uses the library."""

from dataclasses import dataclass

from operator_core.actions.errors.base import ActionError


@dataclass(eq=False)
class RequiresActionDBError(ActionError):
    """A session that joins a host's transaction cannot do this: the call needs commits of its own."""

    http_status = 500
    advice = "call it on an `ActionDB`, which can be made from the same engine"

    call: str

    def __str__(self) -> str:
        return (
            f"{self.call} needs transactions of its own, and this repository works in the host's: "
            f"call it on an ActionDB, which can be made from the same engine"
        )


@dataclass(eq=False)
class AlreadyStoredError(ActionError):
    """An object to insert carries a value that only the database sets."""

    http_status = 422
    advice = "leave out what only the database gives"

    kind: str
    field: str
    value: object

    def __str__(self) -> str:
        return f"a new {self.kind} has no {self.field} yet, but this one has {self.value!r}: leave `{self.field}` out"


@dataclass(eq=False)
class InvalidArgumentError(ActionError, ValueError):
    """The argument that `path` names has the wrong type, or is outside what the call accepts."""

    http_status = 422
    advice = "correct the argument that the message names"

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path} {self.reason}"


@dataclass(eq=False)
class ValueNotStorableError(ActionError, ValueError):
    """A value would not come back equal from both engines; `path` leads to it."""

    http_status = 422
    advice = "correct the value at the path that the message names"

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path} {self.reason}"


@dataclass(eq=False)
class IsolationLevelError(ActionError):
    """An action was started in a transaction that cannot see a stop (REPEATABLE READ or SERIALIZABLE)."""

    http_status = 500
    advice = "start actions under READ COMMITTED"

    proposal_id: int | None

    def __str__(self) -> str:
        what = "no proposal" if self.proposal_id is None else f"proposal {self.proposal_id}"
        may = "may" if self.proposal_id is None else "may not"
        return (
            f"{what} {may} start in this transaction: its snapshot could hide a stop. "
            "Start actions under READ COMMITTED"
        )


@dataclass(eq=False)
class NotOpenError(ActionError):
    """An `ActionDB` was used before it was opened or after it was closed."""

    http_status = 500
    advice = "use `async with ActionDB(...) as db:`, or `await db.open()`"

    target: str

    def __str__(self) -> str:
        return f"{self.target} is not open: use `async with ActionDB(...) as db:` or `await db.open()`"


@dataclass(eq=False)
class OpenedElsewhereError(NotOpenError):
    """An `ActionDB`, or an object that it returned, was used outside the process or event loop that opened it."""

    http_status = 500
    advice = "open an `ActionDB` in each process and each event loop"

    where: str

    def __str__(self) -> str:
        return f"{self.target} was opened {self.where}: open an ActionDB of its own here"


@dataclass(eq=False)
class SessionBusyError(ActionError):
    """Two tasks use one session at the same time, and one cannot wait for the other; nothing was done."""

    http_status = 500
    advice = "await the other task first, or give each task a session"

    detail: str

    def __str__(self) -> str:
        return f"this session is in the middle of {self.detail}, in another task: await that first, then call again"


@dataclass(eq=False)
class EngineNotConfiguredError(ActionError):
    """A host's engine lacks settings that the guarantees depend on."""

    http_status = 500
    advice = "call `configure_engine` right after creating the engine; on PostgreSQL give its sessions what is named"

    detail: str

    def __str__(self) -> str:
        return (
            f"this engine is not configured ({self.detail}): on SQLite, call "
            "operator_core.db.configure_engine(engine) right after you create it; on PostgreSQL, use READ COMMITTED, "
            "and give its sessions what is named here, in connect_args or by ALTER ROLE ... SET"
        )
