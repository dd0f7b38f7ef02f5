"""Checks of call arguments, made before anything runs; an error names the argument."""

from collections.abc import Sequence
from typing import Any, TypedDict, cast

from operator_core.actions.errors import InvalidArgumentError
from operator_core.actions.failures import error_text
from operator_core.actions.lifecycle import ActionOutcome, ActionStatus
from operator_core.actions.results import sanitise_object
from operator_core.actions.types import ActionType
from operator_core.actions.validation import (
    MAX_RESULT_BYTES,
    check_integer,
    check_member,
    check_name,
    check_object,
    check_text,
    sanitise_text,
)


def by_(by: str) -> str:
    """Return the checked name of the actor that takes a step."""
    return check_name(by, "by")


def reason_(reason: str | None) -> str | None:
    """Return the checked reason for a step, if there is one."""
    return None if reason is None else check_text(reason, "reason")


def limit_(limit: int | None, path: str = "limit") -> int | None:
    """Return the checked row limit: 1 or more, or None for all rows."""
    if limit is not None and check_integer(limit, path) < 1:
        raise InvalidArgumentError(path=path, reason=f"is {limit}; ask for 1 or more")
    return limit


class ProposalFilters(TypedDict, total=False):
    """The filters of lists and counts of proposals, besides the status; None and a missing one match everything."""

    ticket_id: int | None
    action_name: str | None
    action_type: ActionType | None
    proposed_by: str | None


def filters_(
    status: ActionStatus | None,
    *,
    ticket_id: int | None = None,
    action_name: str | None = None,
    action_type: ActionType | None = None,
    proposed_by: str | None = None,
) -> dict[str, Any]:
    """Return the column values that a list is filtered by."""
    return {
        "status": None if status is None else check_member(status, "status", ActionStatus),
        "ticket_id": None if ticket_id is None else check_integer(ticket_id, "ticket_id"),
        "action_name": None if action_name is None else check_text(action_name, "action_name"),
        "action_type": None if action_type is None else check_member(action_type, "action_type", ActionType),
        "proposed_by": None if proposed_by is None else check_text(proposed_by, "proposed_by"),
    }


def require_distinct(ids: Sequence[int], path: str) -> None:
    """Require that no id is given twice.

    Raises:
        InvalidArgumentError: One is.
    """
    seen: set[int] = set()
    for number in ids:
        if number in seen:
            raise InvalidArgumentError(path=path, reason=f"name {number} twice")
        seen.add(number)


def flag_(value: bool, path: str) -> bool:  # noqa: FBT001 - it is the value itself
    """Return a value that must be a bool; the text "no" would be truthy."""
    if not isinstance(value, bool):  # pyright: ignore[reportUnnecessaryIsInstance] - a caller may be untyped
        raise InvalidArgumentError(path=path, reason=f"is {value!a}; True or False is wanted")
    return value


def outcome_(success: bool) -> ActionOutcome:  # noqa: FBT001 - it is the value itself
    """Return the outcome that `success` means."""
    return ActionOutcome.SUCCEEDED if flag_(success, "success") else ActionOutcome.FAILED


def ending_(
    outcome: ActionOutcome, error_message: object, result_data: dict[str, Any] | None
) -> tuple[str | None, dict[str, Any] | None]:
    """Return error and result as they are stored: validated for a success, sanitised for anything else."""
    if outcome is not ActionOutcome.SUCCEEDED:
        return _error_text(error_message), sanitise_object(result_data)
    if result_data is not None:
        result_data = check_object(result_data, "result_data", largest=MAX_RESULT_BYTES)
    return (None if error_message is None else check_text(cast("str", error_message), "error_message")), result_data


def _error_text(error: object) -> str | None:
    if isinstance(error, BaseException):
        return error_text(error)
    return None if error is None else sanitise_text(error)
