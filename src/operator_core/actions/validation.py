"""The values that both engines store and return unchanged; the DTOs refuse all others by path.

The rules are the sum of what PostgreSQL and SQLite refuse or change: PostgreSQL text holds no NUL and no lone
surrogates, JSON (RFC 8259) has no NaN and no infinities, its keys are strings, and Python itself refuses to turn
integers of more than 4,300 digits into text.
"""

import json
import math
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar, cast

from pydantic import JsonValue

from operator_core.actions.errors import InvalidArgumentError, ValueNotStorableError
from operator_core.actions.text import shows_as_itself

E = TypeVar("E", bound=StrEnum)

MAX_DEPTH = 32
MAX_PARAMETERS_BYTES = 256 * 1024
MAX_RESULT_BYTES = 1024 * 1024
MAX_TEXT_CHARACTERS = 256 * 1024
MAX_NAME_CHARACTERS = 255
MAX_INTEGER_BITS = 2_000  # about 600 digits: below the lowest limit Python can be set to (640)
INT64 = 2**63

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def dump_json(value: object) -> str:
    """Return the JSON text of a checked value, as the tables store it."""
    return _ENCODER.encode(value)


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def check_text(text: str, path: str, *, longest: int = MAX_TEXT_CHARACTERS) -> str:
    """Return `text` as a plain `str`.

    Raises:
        InvalidArgumentError: It is not text.
        ValueNotStorableError: It holds NUL or a lone surrogate, or is longer than `longest` characters.
    """
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - a caller may be untyped
        raise _invalid(path, f"is a {type(text).__name__}; a text is wanted")
    if "\x00" in text:
        raise _not_storable(path, "holds a NUL character, which PostgreSQL cannot store")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _not_storable(path, "holds a lone surrogate, which is not valid Unicode text") from error
    if len(text) > longest:
        raise _not_storable(path, f"has {len(text):,} characters; at most {longest:,} are stored")
    return str.__str__(text)


def check_name(name: str, path: str) -> str:
    """Return `name`, which must be storable text of 1 to 255 characters that is not blank."""
    name = check_text(name, path, longest=MAX_NAME_CHARACTERS)
    if not name.strip():
        raise _invalid(path, "is empty; give a name")
    return name


def check_exact_name(name: str, path: str) -> str:
    """Return `name`, which is compared with others: besides `check_name`, it must look like what it is."""
    name = check_name(name, path)
    if not shows_as_itself(name):
        raise _invalid(path, f"is {name!a}, with blanks around it or characters that do not show; write what is meant")
    return name


def check_why(reason: str, path: str = "reason") -> str:
    """Return a reason that has to be given: text that is not blank."""
    reason = check_text(reason, path)
    if not reason.strip():
        raise _invalid(path, "is empty; say why, for the history")
    return reason


def check_integer(value: int, path: str) -> int:
    """Return `value`, which must fit a signed 64-bit column."""
    if not isinstance(value, int) or isinstance(value, bool):  # pyright: ignore[reportUnnecessaryIsInstance] - as above
        raise _invalid(path, f"is a {type(value).__name__}; a whole number is wanted")
    if not -INT64 <= value < INT64:
        raise _not_storable(path, "does not fit a 64-bit integer column")
    return value


def check_member(value: str, path: str, enum: type[E]) -> E:
    """Return the enum member that `value` is or names."""
    try:
        return enum(value)
    except ValueError as error:
        raise _invalid(path, f"is {value!a}; it is one of {', '.join(enum)}") from error


def check_seconds(value: float, path: str) -> float:
    """Return a number of seconds from 0 to 86,400, a day."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= MAX_SECONDS:  # pyright: ignore[reportUnnecessaryIsInstance] - as above
        raise _invalid(path, f"is {value!a}; seconds from 0 to {MAX_SECONDS:,} are wanted")
    return float(value)


MAX_SECONDS = 86_400


def check_object(value: object, path: str, *, largest: int) -> dict[str, JsonValue]:
    """Return a deep copy of a JSON object in plain types, equal to what both engines will return.

    Raises:
        ValueNotStorableError: A value would not come back equal, or the JSON text of `value` exceeds `largest` bytes of
            UTF-8; with the path of the first such value.
    """
    if not isinstance(value, Mapping):
        raise _invalid(path, f"is a {type(value).__name__}; a JSON object (dict) is wanted")
    checked = _JsonChecker(path, largest).members(cast("Mapping[object, object]", value), path, 1)
    size = len(dump_json(checked).encode())
    if size > largest:
        raise _not_storable(path, f"takes {size:,} bytes as JSON; at most {largest:,} are stored")
    return checked


class _JsonChecker:
    """A copy of a value, limited to `largest` bytes, because shared or circular values could become huge."""

    def __init__(self, root: str, largest: int) -> None:
        self._root, self._largest, self._left = root, largest, largest

    def members(self, value: Mapping[object, object], path: str, depth: int) -> dict[str, JsonValue]:
        checked: dict[str, JsonValue] = {}
        for key, member in value.items():
            if not isinstance(key, str):
                raise _not_storable(path, f"has a key that is a {type(key).__name__}; JSON keys are strings")
            name = check_text(key, f"{path}[{key!a}]")
            self._spend(len(name))
            checked[name] = self.value(member, member_path(path, name), depth + 1)
        return checked

    def value(self, value: object, path: str, depth: int) -> JsonValue:
        self._spend(1)
        match value:
            case None | bool():
                return value
            case str():
                self._spend(len(value))
                return check_text(value, path, longest=MAX_RESULT_BYTES)
            case int():
                return _check_big_integer(value, path)
            case float():
                if not math.isfinite(value):
                    raise _not_storable(path, f"is {value}; JSON has no such number")
                return float.__float__(value)
            case dict() | list() if depth > MAX_DEPTH:
                raise _not_storable(path, f"lies deeper than {MAX_DEPTH} levels")
            case dict():
                return self.members(cast("dict[object, object]", value), path, depth)
            case list():
                items = cast("list[object]", value)
                return [self.value(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(items)]
            case _:
                name = type(value).__name__
                raise _not_storable(path, f"is a {name}; JSON has dict, list, str, int, float, bool and None")

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise _not_storable(self._root, f"takes more than the {self._largest:,} bytes as JSON that are stored")


def check_scalar(value: object, path: str) -> JsonValue:
    """Return a text, number, boolean or None as JSON holds it; otherwise raise with its path."""
    return _JsonChecker(path, MAX_RESULT_BYTES).value(value, path, 1)


def _check_big_integer(value: int, path: str) -> int:
    if value.bit_length() > MAX_INTEGER_BITS:
        raise _not_storable(
            path, f"is an integer of {value.bit_length():,} bits; at most {MAX_INTEGER_BITS:,} are stored"
        )
    return int.__int__(value)


def member_path(path: str, key: str) -> str:
    """Return the path of a member of an object."""
    return f"{path}.{key}" if key.isidentifier() else f"{path}[{key!r}]"


def _not_storable(path: str, reason: str) -> ValueNotStorableError:
    return ValueNotStorableError(path=path, reason=reason)


def _invalid(argument: str, reason: str) -> InvalidArgumentError:
    return InvalidArgumentError(path=argument, reason=reason)


def sanitise_text(value: object, *, longest: int = MAX_TEXT_CHARACTERS) -> str:
    """Return storable text for any object: recording a failure must never fail."""
    try:
        text = str(value)
    except BaseException as error:  # noqa: BLE001 - a broken __str__, which may even exit, must not hide the failure
        text = f"<{type(value).__name__}, whose text failed with {type(error).__name__}>"
    text = text.replace("\x00", _REPLACEMENT).encode("utf-8", "replace").decode()
    if len(text) <= longest:
        return text
    note = f" [cut: {len(text):,} characters]"
    return text[: longest - len(note)] + note
