"""Results as they are stored: the JSON form of what an action returned, and the changes that storing took."""

import dataclasses
from collections import deque
from collections.abc import Iterable, Mapping, ValuesView
from collections.abc import Set as AbstractSet
from contextlib import suppress
from enum import Enum
from reprlib import Repr
from types import GeneratorType
from typing import Any, NamedTuple, cast

from pydantic import BaseModel, JsonValue
from pydantic_core import to_jsonable_python

from operator_core.actions.errors import ActionError, ValueNotStorableError
from operator_core.actions.validation import (
    MAX_DEPTH,
    MAX_RESULT_BYTES,
    check_object,
    check_scalar,
    member_path,
    sanitise_text,
)

_ROOT = "result_data"
_MOST_NOTES, _LONGEST_NOTE = 10, 1_000


class StoredResult(NamedTuple):
    """A storable result and the changes made to it, each with its path; None if there were none."""

    data: dict[str, JsonValue] | None
    changes: str | None


def to_result(value: object, *, largest: int = MAX_RESULT_BYTES) -> StoredResult:
    """Return the JSON object that is stored for any value that an action returned.

    Models, dataclasses, dates, decimals, UUIDs, enums, paths, sets and tuples take Pydantic's JSON form; a value that
    is not an object becomes `{"value": ...}`. A value without such a form is stored as text and named in the changes
    and under `"_sanitised"`.
    """
    if value is None:
        return StoredResult(None, None)
    try:
        with suppress(Exception):  # most results are JSON objects already
            return StoredResult(check_object(value, _ROOT, largest=largest), None)
        form = _JsonForm(largest)
        data = form.whole(value)
        changes = form.changes
        kept = data if changes is None else {**data, "_sanitised": changes}
        return StoredResult(check_object(kept, _ROOT, largest=largest), changes)
    except BaseException as error:  # noqa: BLE001 - nothing wrong with a result may hide how the action ended
        why = _why(error)
        return StoredResult({**_as_text(value, largest), "_sanitised": why}, why)


def sanitise_object(value: object, *, largest: int = MAX_RESULT_BYTES) -> dict[str, JsonValue] | None:
    """Return a storable JSON object for any value; if it had to be changed, `"_sanitised"` gives the reason."""
    if value is None:
        return None
    try:
        return check_object(value, _ROOT, largest=largest)
    except BaseException as error:  # noqa: BLE001 - it runs code that comes with the value, which may even exit
        why = _why(error)
    try:
        return check_object(
            {**(to_result(value, largest=largest).data or {}), "_sanitised": why}, _ROOT, largest=largest
        )
    except ValueNotStorableError:
        return {**_as_text(value, largest), "_sanitised": why}


def _why(error: BaseException) -> str:
    known = isinstance(error, ActionError)
    return sanitise_text(error if known else f"{_ROOT} cannot be read: {_named(error)}", longest=_LONGEST_NOTE)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {sanitise_text(error, longest=_LONGEST_NOTE)}"


def _as_text(value: object, largest: int) -> dict[str, JsonValue]:
    return {"text": sanitise_text(_described(value), longest=largest // 16)}


def _described(value: object) -> str:
    try:
        return _SHORT.repr(value)
    except BaseException as error:  # noqa: BLE001 - as in sanitise_text
        return f"<{type(value).__name__}, whose repr failed with {type(error).__name__}>"


_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = _LONGEST_NOTE


class _TooLargeError(ValueNotStorableError):
    """A value whose JSON form exceeds the size limit."""


class _JsonForm:
    """A copy of a value in its JSON form, with notes on what has none; limited to `largest` bytes."""

    def __init__(self, largest: int) -> None:
        self._largest, self._left = largest, largest
        self._notes: list[str] = []
        self._around: set[int] = set()  # the ids of the values that enclose the current one

    @property
    def changes(self) -> str | None:
        """The changes, within the length limit; None if there were none."""
        more = len(self._notes) - _MOST_NOTES
        named = [*self._notes[:_MOST_NOTES], *([f"and {more} more"] if more > 0 else [])]
        return sanitise_text("; ".join(named), longest=_LONGEST_NOTE) or None

    def whole(self, value: object) -> dict[str, JsonValue]:
        """Return the JSON form of a result, which is an object."""
        is_object = isinstance(value, Mapping) or _has_fields(value)
        data = self.value(value, _ROOT, 1 if is_object else 2)  # pyright: ignore[reportUnknownArgumentType]
        return data if is_object and isinstance(data, dict) else {"value": data}

    def value(self, value: object, path: str, depth: int) -> JsonValue:
        """Return the JSON form of a value; if it has none, its text, with a note of the reason."""
        self._left -= 1 + (len(value) if isinstance(value, str | bytes) else 0)
        if self._left < 0:
            raise _TooLargeError(
                path=_ROOT, reason=f"takes more than the {self._largest:,} bytes as JSON that are stored"
            )
        try:
            return self._form(value, path, depth)
        except _TooLargeError:
            raise
        except BaseException as error:  # noqa: BLE001 - as above
            known = isinstance(error, ActionError)
            return self._text(value, str(error) if known else f"{path} cannot be read: {_named(error)}")

    def _form(self, value: object, path: str, depth: int) -> JsonValue:
        match value:
            case None | bool() | str() | int() | float():
                return check_scalar(value, path)
            case Enum():
                return self.value(cast("object", value.value), path, depth)
            case Mapping() | list() | tuple() | AbstractSet() | ValuesView() | deque() | range() | GeneratorType():
                return self._inside(cast("object", value), path, depth)
            case _ if _has_fields(value):
                return self._inside(value, path, depth)
            case _:
                return self._by_pydantic(value, path, depth)

    def _by_pydantic(self, value: object, path: str, depth: int) -> JsonValue:
        try:
            form = to_jsonable_python(value)
        except BaseException as error:
            kind = type(value).__name__
            raise ValueNotStorableError(path=path, reason=f"is a {kind}, which has no JSON form") from error
        return self.value(form, path, depth)

    def _inside(self, value: object, path: str, depth: int) -> JsonValue:
        identity = id(value)
        if identity in self._around:
            raise ValueNotStorableError(path=path, reason="contains itself")
        if depth > MAX_DEPTH:
            raise ValueNotStorableError(path=path, reason=f"lies deeper than {MAX_DEPTH} levels")
        self._around.add(identity)
        try:
            if _has_fields(value):
                return self.value(_fields(value), path, depth)
            if isinstance(value, Mapping):
                return self._members(cast("Mapping[object, object]", value), path, depth)
            items = enumerate(cast("Iterable[object]", value))
            return [self.value(item, f"{path}[{index}]", depth + 1) for index, item in items]
        finally:
            self._around.discard(identity)

    def _members(self, value: Mapping[object, object], path: str, depth: int) -> JsonValue:
        members: dict[str, JsonValue] = {}
        for key, item in value.items():
            name = self._key(key, path)
            if name in members:
                self._notes.append(f"{path} has two members that are called {name!a}; one of them is stored")
            members[name] = self.value(item, member_path(path, name), depth + 1)
        return members

    def _key(self, key: object, path: str) -> str:
        if not isinstance(key, str):
            try:
                (key,) = to_jsonable_python({key: None})
            except BaseException:  # noqa: BLE001 - as above
                return self._text(key, f"{path} has a key that is a {type(key).__name__}")
        return str(self.value(key, f"{path}[{key!a}]", 1))

    def _text(self, value: object, why: str) -> str:
        self._notes.append(f"{why}; it is stored as text")
        return sanitise_text(value if isinstance(value, str) else _described(value))


def _has_fields(value: object) -> bool:
    return not isinstance(value, type) and (isinstance(value, BaseModel) or dataclasses.is_dataclass(value))


def _fields(value: Any) -> object:
    """Return the JSON form of a model or dataclass, or its raw fields, to be converted one by one."""
    if hasattr(value, "__pydantic_serializer__"):
        with suppress(Exception):  # then one of its fields has no JSON form: the others are kept
            return value.__pydantic_serializer__.to_python(value, mode="json")
    if isinstance(value, BaseModel):
        return dict(value)
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
