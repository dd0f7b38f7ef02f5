"""The model of a stop: its scope, its receipt, and its status."""

import re
from enum import StrEnum
from typing import Any, Self

from pydantic import ValidationError, model_serializer, model_validator

from operator_core.actions.errors import InvalidArgumentError
from operator_core.actions.types import ActionType, FrozenModel, Integer, Name, UtcDatetime, cause_of

EVERYTHING = "everything"


class Scope(FrozenModel):
    """The scope of a stop: everything (`Scope()`), or the proposals that have one value in one of four fields.

    Raises:
        pydantic.ValidationError: More than one field is set (engage one stop for each), or a value is invalid.
    """

    action_type: ActionType | None = None
    action_name: Name | None = None
    proposed_by: Name | None = None
    ticket_id: Integer | None = None

    @model_validator(mode="after")
    def _one_field(self) -> Self:
        given = [name for name, value in self if value is not None]
        if len(given) > 1:
            raise InvalidArgumentError(path="scope", reason=f"names {' and '.join(given)}; engage one stop for each")
        return self

    @property
    def field(self) -> str | None:
        """The name of the field, or None for everything."""
        return next((name for name, value in self if value is not None), None)

    @property
    def value(self) -> Any:
        """The value of the field, or None for everything."""
        return None if self.field is None else getattr(self, self.field)

    def __str__(self) -> str:
        return EVERYTHING if self.field is None else f"{self.field}={self.value}"

    @model_serializer
    def _as_text(self) -> str:
        return str(self)

    @classmethod
    def coerce(cls, scope: "Scope | str | None") -> "Scope":
        """Return the scope for a `Scope`, for its text, or for None, which means everything."""
        if scope is None:
            return cls()
        if isinstance(scope, str):
            return cls.parse(scope)
        if not isinstance(scope, Scope):  # pyright: ignore[reportUnnecessaryIsInstance] - a caller may be untyped
            raise InvalidArgumentError(
                path="scope", reason=f"is a {type(scope).__name__}; a Scope or its text is wanted"
            )
        return scope

    @classmethod
    def read(cls, text: str) -> "Scope | str":
        """Return the scope that a row of the latch names, or the text itself if it is not a scope."""
        try:
            return cls.parse(text)
        except ValueError:
            return text

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `everything` or `field=value`, the form of the command line and of the table.

        Raises:
            InvalidArgumentError: The text is neither.
            ValueNotStorableError: No row could have the value.
        """
        if text == EVERYTHING:
            return cls()
        field, equals, value = text.partition("=")
        if not equals or field not in cls.model_fields or not value:
            fields = ", ".join(f"{name}=..." for name in cls.model_fields)
            raise InvalidArgumentError(path="scope", reason=f"is {text!r}; write {EVERYTHING}, or one of {fields}")
        if field == "ticket_id":
            if not re.fullmatch(r"0|-?[1-9][0-9]{0,18}", value):
                raise InvalidArgumentError(path="scope", reason=f"is {text!r}; a ticket_id is a whole number")
            return cls._of_field(field, int(value))
        if field == "action_type" and value not in list(ActionType):
            raise InvalidArgumentError(path="scope", reason=f"is {text!r}; the types are {', '.join(ActionType)}")
        return cls._of_field(field, value)

    @classmethod
    def _of_field(cls, field: str, value: object) -> Self:
        try:
            return cls.model_validate({field: value})
        except ValidationError as error:
            raise cause_of(error) from error


class Stop(FrozenModel):
    """One engagement of the kill switch; `generation` identifies it.

    A row that was written past the guards may hold unreadable values. They are shown as the text "(cannot be read)", as
    1970-01-01, or as generation 0, and `verify` names each of them.

    Attributes:
        scope: A text if the database holds one that is not a scope, from before its guard refused such rows. It covers
            nothing that this library proposes, and can be released like any other.
    """

    generation: int
    scope: Scope | str
    engaged_at: UtcDatetime
    by: str
    reason: str
    released_at: UtcDatetime | None = None
    released_by: str | None = None
    release_reason: str | None = None


class RunningAction(FrozenModel):
    """An action that was running when the status was read; `worker` names the worker that started it.

    Attributes:
        lease_expires_at: None if it was started without a lease: no recovery touches it.
        last_seen_at: The last heartbeat of its worker.
    """

    proposal_id: int
    record_id: int | None
    action_name: str
    worker: str
    since: UtcDatetime
    lease_expires_at: UtcDatetime | None = None
    last_seen_at: UtcDatetime | None = None


class StopReceipt(FrozenModel):
    """The proof of a stop: once it is returned, nothing that the scope covers starts until a release.

    Attributes:
        cancelled: The ids of the proposals that this stop cancelled.
        still_executing: The actions that still run: ask them to stop, wait for them, or end them by hand.
        not_yet_cancelled: The ids of pending proposals that another client holds locked. They cannot start either, and
            the next sweep cancels them.
        publish_ms: Milliseconds from the call until new starts were refused.
        stop_ms: Milliseconds from the call until the receipt.
        on_standby: False if a synchronous standby did not answer: a failover would lose this stop.
        scope_warning: A sentence if no proposal has ever matched the scope, which may be a typo; else None.
        similar_values: Similar values that proposals have in that field, closest first.
    """

    generation: int
    scope: Scope
    engaged_at: UtcDatetime
    cancelled: tuple[int, ...] = ()
    still_executing: tuple[RunningAction, ...] = ()
    not_yet_cancelled: tuple[int, ...] = ()
    publish_ms: float
    stop_ms: float
    on_standby: bool = True
    scope_warning: str | None = None
    similar_values: tuple[str, ...] = ()


class StopRequest(FrozenModel):
    """A request to a running action, made by a stop (with its generation and scope), or by a person."""

    generation: int | None = None
    scope: Scope | str | None = None
    at: UtcDatetime
    by: str
    reason: str | None


class Answer(StrEnum):
    """How a running action responded to a stop."""

    STOPPED = "stopped"
    FINISHED_ANYWAY = "finished anyway"
    SILENT = "silent"


class StopResponse(FrozenModel):
    """How one running action responded to one stop.

    Attributes:
        seconds: Seconds from the stop to the answer, or until now if it is silent, by the database's clock.
    """

    generation: int
    proposal_id: int
    record_id: int | None
    worker: str
    answer: Answer
    at: UtcDatetime | None
    seconds: float


class KillSwitchStatus(FrozenModel):
    """The status of the kill switch.

    Attributes:
        generation: The number of the last stop; 0 if there was none.
        still_executing: Everything that runs, whether a stop covers it or not.
        answers: The answers of the actions that ran during the stops in `engaged` and `last_stops`.
        last_stops: The newest stops first, including engaged ones.
        not_yet_cancelled: The ids of pending proposals that can never start.
    """

    generation: int
    at: UtcDatetime
    engaged: tuple[Stop, ...]
    still_executing: tuple[RunningAction, ...]
    answers: tuple[StopResponse, ...]
    last_stops: tuple[Stop, ...]
    not_yet_cancelled: tuple[int, ...]


class KillSwitchEvent(FrozenModel):
    """One engage or release, as the database recorded it."""

    id: int
    generation: int
    scope: Scope | str
    change: str
    at: UtcDatetime
    by: str
    reason: str
