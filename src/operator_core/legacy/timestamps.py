"""Time zones for the predecessor's times: its own are local, those of SQLite's CURRENT_TIMESTAMP are UTC."""

import re
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from operator_core.actions.errors import InvalidArgumentError

_WRITTEN = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone by its IANA name, such as `Europe/Berlin`.

    Raises:
        InvalidArgumentError: This machine does not know the zone.
    """
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        why = f"is {name!a}, which this machine does not know; write one such as Europe/Berlin"
        raise InvalidArgumentError(path="timezone", reason=why) from error


def read(text: object) -> datetime:
    """Return the time that an ISO text means, naive unless it names its offset.

    Raises:
        ValueError: It is not such a text; the message completes a sentence about the column.
    """
    if not isinstance(text, str) or not _WRITTEN.fullmatch(text):
        raise ValueError(f"is {text!a:.80}, which is no time such as 2026-01-31T12:00:00")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"is {text!a}, which is no time: {error}") from error


def utc(text: object) -> datetime:
    """Return the time of a text that is in UTC."""
    at = read(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else _in_utc(at)


def local(text: object, zone: tzinfo) -> tuple[datetime, bool]:
    """Return the time of a local time, and whether it occurred twice: then the first is meant.

    Raises:
        ValueError: There is no such time, as in the hour that is skipped when the clocks go forward.
    """
    at = read(text)
    if at.tzinfo is not None:
        return _in_utc(at), False
    first, second = (at.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    before, after = first.utcoffset(), second.utcoffset()
    if before is not None and after is not None and before < after:
        raise ValueError(f"is {text!a}, which did not exist in {zone}: the clocks went forward")
    return _in_utc(first), before != after


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"is {at.isoformat()}, which lies outside the years 1 to 9999") from error
