"""The DTOs that go into and come out of a ledger, all frozen and detached from it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    StrictStr,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from operator_core.actions.errors import ActionError, InvalidArgumentError, ValueNotStorableError
from operator_core.actions.lifecycle import INITIAL, ActionOutcome, ActionStatus, Resolution
from operator_core.actions.validation import (
    MAX_PARAMETERS_BYTES,
    MAX_RESULT_BYTES,
    check_integer,
    check_name,
    check_object,
    check_text,
    dump_json,
)


class ActionType(StrEnum):
    """What an action acts through."""

    SUBJECT = "subject"
    TOOL = "tool"
    WORKFLOW = "workflow"


class EventKind(StrEnum):
    """The kind of an event: a step of the lifecycle, or a remark or a decision that leaves the state unchanged."""

    STEP = "step"
    CANCEL_REQUESTED = "cancel_requested"
    REPORTED_LATE = "reported_late"
    RESOLVED = "resolved"
    APPROVED = "approved"
    REJECTED = "rejected"
    REVOKED = "revoked"


TRUSTED_CONTEXT: Final[dict[str, bool]] = {"from_ledger": True}
"""Validation context of values that were checked when they were stored, so that they are not checked again."""


# One day less at both ends, so that every session can read the time in its own zone.
_FIRST_TIME = datetime(1, 1, 2, tzinfo=UTC)
_LAST_TIME = datetime(9999, 12, 31, tzinfo=UTC)


def utc_now() -> datetime:
    """Return the time of this machine's clock, aware, in UTC."""
    return datetime.now(UTC)


def _field(info: ValidationInfo) -> str:
    return info.field_name or "value"


def _trusted(info: ValidationInfo) -> bool:
    return info.context is TRUSTED_CONTEXT


def _to_utc(value: datetime, info: ValidationInfo) -> datetime:
    if _trusted(info):
        return value
    if not _FIRST_TIME <= value < _LAST_TIME:
        raise ValueNotStorableError(path=_field(info), reason=f"({value}) lies outside the years 1 to 9999, less a day")
    return value.astimezone(UTC)


def _text(value: str, info: ValidationInfo) -> str:
    return value if _trusted(info) else check_text(value, _field(info))


def _name(value: str, info: ValidationInfo) -> str:
    return value if _trusted(info) else check_name(value, _field(info))


def _integer(value: int, info: ValidationInfo) -> int:
    return value if _trusted(info) else check_integer(value, _field(info))


def _parameters(value: object, info: ValidationInfo) -> object:
    return value if _trusted(info) else check_object(value, _field(info), largest=MAX_PARAMETERS_BYTES)


def _result(value: object, info: ValidationInfo) -> object:
    if value is None or _trusted(info):
        return value
    return check_object(value, _field(info), largest=MAX_RESULT_BYTES)


UtcDatetime = Annotated[AwareDatetime, AfterValidator(_to_utc)]
Text = Annotated[StrictStr, AfterValidator(_text)]
Name = Annotated[StrictStr, AfterValidator(_name)]
Integer = Annotated[int, Field(strict=True), AfterValidator(_integer)]
# Any: our validator has checked the values; a second pass by Pydantic would only cost time.
Parameters = Annotated[dict[str, Any], BeforeValidator(_parameters)]
Result = Annotated[dict[str, Any] | None, BeforeValidator(_result)]


class FrozenModel(BaseModel):
    """The base of all DTOs: detached from the ledger and immutable. Their validation errors repeat no values."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def check_digest(digest: str) -> str:
    """Return a text that can be the digest of a proposal."""
    if not _DIGEST.fullmatch(check_text(digest, "digest")):
        reason = f"is {digest[:80]!a}; write all of what was shown: sha256: and 64 digits"
        raise InvalidArgumentError(path="digest", reason=reason)
    return digest


class ActionProposal(FrozenModel):
    """An action that an agent proposes, with its reason. `create_proposal` returns it as a `StoredProposal`.

    Attributes:
        id: None: the database assigns ids.
        ticket_id: A reference into the host's own ticket system; 0 is an id like any other.
        action_name: What to do, 1 to 255 characters.
        action_type: A label to filter and to stop by; it changes nothing else.
        parameters: A JSON object of at most 256 KiB and 32 levels; it comes back equal, including its key order.
        reason: The reason, for the person that decides.
        status: `proposed`: the other states are reached by steps.
        proposed_at: When it was proposed, by the caller's clock; aware, stored in UTC.
        proposed_by: The name of the proposer, 1 to 255 characters.
        valid_until: After this moment, by the database's clock, it cannot start and is cancelled as expired.
        retry_of: The id of the finished proposal that this one tries again; a retry must name its `proposed_by`.
        idempotency_key: Unique in the ledger: a second proposal with the same key returns the first one.
        on_behalf_of: The person for whom the proposer acts, 1 to 255 characters; a policy may keep that person from
            approving it.

    Raises:
        pydantic.ValidationError: A value is invalid, or the engines would refuse or change it; with its path.
    """

    id: Integer | None = None
    ticket_id: Integer | None = None
    action_name: Name
    action_type: ActionType = ActionType.SUBJECT
    parameters: Parameters = Field(default_factory=dict)
    reason: Text
    status: ActionStatus = INITIAL
    proposed_at: UtcDatetime = Field(default_factory=utc_now)
    proposed_by: Name = "agent"
    valid_until: UtcDatetime | None = None
    retry_of: Integer | None = None
    idempotency_key: Name | None = None
    on_behalf_of: Name | None = None

    @property
    def digest(self) -> str:
        """The SHA-256 of what would run: type, name, ticket and parameters, but no reason and no person.

        An approver names it to say what was seen; a claim compares it with what it is about to run.
        """
        text = dump_json([self.action_type, self.action_name, self.ticket_id, self.parameters])
        return f"sha256:{sha256(text.encode()).hexdigest()}"

    @model_validator(mode="after")
    def _require_proposer_of_retry(self) -> Self:
        if self.retry_of is not None and "proposed_by" not in self.model_fields_set:
            raise InvalidArgumentError(path="proposed_by", reason="is not given; a retry says who decided on it")
        return self


class StoredProposal(ActionProposal):
    """A proposal as the ledger stores it, with its progress.

    Attributes:
        id: Counts from 1.
        generation: The number of the last stop when it was stored; a covering stop with a higher one blocks its start.
        status_at: When `status` was reached, by the database's clock.
        status_by: The actor of the last step.
        status_reason: The reason for the last step, if one was given.
        validated_at: When it reached that state, like the four that follow; None if it never did.
        repeated: True if `create_proposal` returned the first proposal of its idempotency key.
    """

    id: Integer  # pyright: ignore[reportGeneralTypeIssues, reportIncompatibleVariableOverride] - frozen, so it may be narrower
    generation: int
    status_at: UtcDatetime
    status_by: str
    status_reason: str | None = None
    validated_at: UtcDatetime | None = None
    executing_at: UtcDatetime | None = None
    completed_at: UtcDatetime | None = None
    failed_at: UtcDatetime | None = None
    cancelled_at: UtcDatetime | None = None
    repeated: bool = False


class ActionRecord(FrozenModel):
    """One execution of one proposal. `create_record` returns it as a `StoredRecord`.

    Attributes:
        id: None: the database assigns ids.
        proposal_id: The proposal, which is executing.
        started_at: When it started; aware, stored in UTC.
        completed_at: None: `update_record` or `finish_execution` sets it on closing, like the three that follow.
        success: None while executing; True exactly if the outcome is `succeeded`.
        error_message: The reason for a failure.
        result_data: A JSON object of at most 1 MiB and 32 levels.

    Raises:
        pydantic.ValidationError: A value is invalid, or the engines would refuse or change it; with its path.
    """

    id: Integer | None = None
    proposal_id: Integer
    started_at: UtcDatetime = Field(default_factory=utc_now)
    completed_at: UtcDatetime | None = None
    success: bool | None = None
    error_message: Text | None = None
    result_data: Result = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionResult:
    """How one execution ended, for a call that finishes many.

    Attributes:
        record_id: The id of its record.
        success: Whether it succeeded.
        error_message: What went wrong.
        result_data: What came of it: a JSON object.
    """

    record_id: int
    success: bool
    error_message: str | None = None
    result_data: dict[str, Any] | None = None


class StoredRecord(ActionRecord):
    """A record as the ledger stores it; open until it is closed, once, with an outcome.

    Attributes:
        id: Counts from 1.
        outcome: How it ended; None while it is open.
        cancel_requested_at: When a person asked the running action to stop; None if no person did.
        stop_generation: The last stop that asked the running action to stop before the record was closed.
        worker: The worker that claimed it under a lease; None if it was started without one.
        lease_seconds: The seconds by which a heartbeat extends the lease.
        last_seen_at: The last heartbeat, by the database's clock, like all times here.
        lease_expires_at: When the lease expires, unless a heartbeat comes before the recovery.
        claim_key: The idempotency key of the claim, so that the claim can be repeated.
        resolution: What a person found out about an unknown outcome.
    """

    id: Integer  # pyright: ignore[reportGeneralTypeIssues, reportIncompatibleVariableOverride] - frozen, so it may be narrower
    outcome: ActionOutcome | None = None
    cancel_requested_at: UtcDatetime | None = None
    cancel_requested_by: str | None = None
    cancel_reason: str | None = None
    stop_generation: int | None = None
    worker: str | None = None
    lease_seconds: FiniteFloat | None = None
    last_seen_at: UtcDatetime | None = None
    lease_expires_at: UtcDatetime | None = None
    claim_key: str | None = None
    resolution: Resolution | None = None
    resolution_at: UtcDatetime | None = None
    resolution_by: str | None = None
    resolution_reason: str | None = None


class ActionEvent(FrozenModel):
    """One step of one proposal, recorded by the database in the step's transaction; or a remark or decision about it.

    Attributes:
        id: Counts from 1; steps, remarks and decisions have separate counters.
        kind: `step`, or what left the state unchanged: then `from_status` and `to_status` are that state.
        from_status: None for the first event.
        by: The actor of the step; `sql:` and a role if a client used plain SQL on PostgreSQL.
        generation: The number of the last stop at that moment.
        data: The content of the proposal (first event), the policy and the approvals that a start used, how the
            execution ended (the event out of `executing`), what a worker reported too late, what a person found out, or
            the rest of a decision.
        recorded_at: When the database recorded a step, by its own clock, whatever time the step claims; None for
            remarks, and for steps from before revision 0003.
        record_id: The execution that a remark is about; None for steps.
    """

    id: int
    kind: EventKind = EventKind.STEP
    proposal_id: int
    from_status: ActionStatus | None
    to_status: ActionStatus
    at: UtcDatetime
    by: str
    reason: str | None
    generation: int
    data: dict[str, JsonValue] | None
    recorded_at: UtcDatetime | None = None
    record_id: int | None = None


def cause_of(error: ValidationError) -> ActionError:
    """Return the first problem of an invalid DTO as an error of this library, for a call that builds one."""
    first = error.errors(include_url=False, include_input=False)[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, ActionError):
        return cause
    return ValueNotStorableError(
        path=".".join(map(str, first["loc"])) or error.title, reason=f"does not fit: {first['msg']}"
    )


def revalidated_fields(dto: "ActionProposal | ActionRecord") -> Mapping[str, Any]:
    """Return the fields of a DTO, validated again, because `model_copy(update=...)` accepts anything.

    Raises:
        ValueNotStorableError, InvalidArgumentError: A value is invalid, or the engines would refuse or change it.
    """
    try:
        return vars(type(dto).model_validate(vars(dto)))
    except ValidationError as error:
        raise cause_of(error) from error
