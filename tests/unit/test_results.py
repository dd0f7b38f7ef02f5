"""What an action returns is stored in its JSON form; what has none is stored as text, and named by its path."""

import sys
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from pydantic import BaseModel, ConfigDict, RootModel, SecretStr, field_serializer
from pydantic.dataclasses import dataclass as pydantic_dataclass

from operator_core.actions.results import to_result
from operator_core.actions.validation import MAX_DEPTH, MAX_RESULT_BYTES, check_object
from tests.support.values import ANYTHING, STORABLE, UNSTORABLE, exact, examples, nested

ID = UUID("12345678-1234-5678-1234-567812345678")


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Word(StrEnum):
    YES = "yes"


class Pair(NamedTuple):
    a: int
    b: int


class Moved(BaseModel):
    store: int
    at: date = date(2026, 1, 31)
    share: Decimal = Decimal("1.10")


class Loose(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    good: int = 1
    bad: Any = None


class Written(BaseModel):
    at: int

    @field_serializer("at")
    def hours(self, at: int) -> str:
        return f"{at} h"


@dataclass
class Store:
    name: str
    moved: Moved
    tags: set[str] = field(default_factory=set)


@pydantic_dataclass
class Disk:
    path: Path


class Numbers(RootModel[list[int]]):
    pass


FORMS: dict[str, tuple[Any, Any]] = {
    "nothing": (None, None),
    "object": ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
    "model": (Moved(store=4), {"store": 4, "at": "2026-01-31", "share": "1.10"}),
    "model with a serializer": (Written(at=4), {"at": "4 h"}),
    "model of a list": (Numbers([1, 2]), {"value": [1, 2]}),
    "dataclass": (
        Store("x", Moved(store=4), {"hot"}),
        {"name": "x", "moved": {"store": 4, "at": "2026-01-31", "share": "1.10"}, "tags": ["hot"]},
    ),
    "dataclass of pydantic": (Disk(Path("/x")), {"path": "/x"}),
    "models within": ({"all": [Moved(store=1)]}, {"all": [{"store": 1, "at": "2026-01-31", "share": "1.10"}]}),
    "times": (
        {"d": date(2026, 1, 31), "t": time(12), "dt": datetime(2026, 1, 31, tzinfo=UTC), "td": timedelta(hours=1)},
        {"d": "2026-01-31", "t": "12:00:00", "dt": "2026-01-31T00:00:00Z", "td": "PT1H"},
    ),
    "scalars": (
        {"id": ID, "c": Colour.RED, "l": Level.HIGH, "w": Word.YES, "p": Path("/x"), "ip": ip_address("10.0.0.1")},
        {"id": str(ID), "c": "red", "l": 3, "w": "yes", "p": "/x", "ip": "10.0.0.1"},
    ),
    "containers": (
        {"t": (1, (2,)), "p": Pair(1, 2), "q": deque([1]), "c": Counter("aab"), "r": range(2), "v": {1: 2}.values()},
        {"t": [1, [2]], "p": [1, 2], "q": [1], "c": {"a": 2, "b": 1}, "r": [0, 1], "v": [2]},
    ),
    "keys": ({1: 2, ID: 3, Colour.RED: 4, date(2026, 1, 1): 5}, {"1": 2, str(ID): 3, "red": 4, "2026-01-01": 5}),
    "secret": ({"password": SecretStr("hidden")}, {"password": "**********"}),
    "bytes of text": (b"abc", {"value": "abc"}),
    "list": ([1, "a"], {"value": [1, "a"]}),
    "text": ("done", {"value": "done"}),
    "number": (7, {"value": 7}),
    "truth": (True, {"value": True}),
    "generator": ((n for n in range(2)), {"value": [0, 1]}),
}


@pytest.mark.parametrize("name", FORMS)
def test_what_has_a_json_form_is_stored_in_it_without_a_word(name: str) -> None:
    given, wanted = FORMS[name]

    stored, changes = to_result(given)

    assert exact(stored) == exact(wanted)
    assert changes is None


class Sly(dict[str, Any]):
    """A mapping that ends the process when it is read."""

    def items(self) -> Any:
        sys.exit(3)


class Broken(dict[str, Any]):
    def items(self) -> Any:
        raise ConnectionError("gone")


class Nameless:
    def __repr__(self) -> str:
        raise LookupError


def ring() -> dict[str, Any]:
    """Return an object that contains itself."""
    value: dict[str, Any] = {"a": 1}
    value["me"] = value
    return value


def endless() -> Iterator[int]:
    while True:
        yield 1


def shared() -> list[Any]:
    """Return a small value that is vast once it is written out."""
    value: list[Any] = [1]
    for _ in range(MAX_DEPTH - 5):
        value = [value, value]
    return value


FLAWS: dict[str, tuple[Any, str]] = {
    "nan": ({"a": [float("nan")]}, "result_data.a[0] is nan; JSON has no such number"),
    "infinite": ({"a": float("inf")}, "result_data.a is inf"),
    "surrogate": ({"a": "\ud800"}, "result_data.a holds a lone surrogate"),
    "NUL": ({"a": Colour.RED, "b": "a\0b"}, "result_data.b holds a NUL"),
    "bytes": ({"a": b"\xff"}, "result_data.a is a bytes, which has no JSON form"),
    "object": ({"a": object()}, "result_data.a is a object, which has no JSON form"),
    "error": ({"a": ValueError("no")}, "result_data.a is a ValueError, which has no JSON form"),
    "class": (int, "result_data is a type, which has no JSON form"),
    "field of a model": (Loose(bad=object()), "result_data.bad is a object"),
    "field of a dataclass": (Store("x", object()), "result_data.moved is a object"),
    "key": ({object(): 1}, "result_data has a key that is a object"),
    "keys that become one": ({1: 1, "1": 2}, "result_data has two members that are called '1'"),
    "ring": (ring(), "result_data.me contains itself"),
    "deep": (nested(MAX_DEPTH + 1), f"lies deeper than {MAX_DEPTH} levels"),
    "very deep": (nested(50_000), f"lies deeper than {MAX_DEPTH} levels"),
    "large": ({"a": "x" * MAX_RESULT_BYTES}, "result_data takes more than the 1,048,576 bytes"),
    "large list": (list(range(MAX_RESULT_BYTES)), "result_data takes more than the 1,048,576 bytes"),
    "vast": (shared(), "result_data takes more than the 1,048,576 bytes"),
    "endless": (endless(), "result_data takes more than the 1,048,576 bytes"),
    "huge integer": ({"a": 10**5_000}, "result_data.a is an integer of"),
    "unreadable": (Broken(a=1), "result_data cannot be read: ConnectionError: gone"),
    "unreadable within": ({"a": Broken(a=1)}, "result_data.a cannot be read: ConnectionError: gone"),
    "one that exits": (Sly(a=1), "result_data cannot be read: SystemExit: 3"),
    "nameless": ({"a": Nameless()}, "result_data.a is a Nameless"),
}


@pytest.mark.parametrize("name", FLAWS)
def test_what_has_none_is_stored_as_text_and_named_by_its_path(name: str) -> None:
    given, path = FLAWS[name]

    stored, changes = to_result(given)

    assert changes is not None
    assert path in changes
    assert stored is not None
    assert stored["_sanitised"] == changes
    assert exact(check_object(stored, "result_data", largest=MAX_RESULT_BYTES)) == exact(stored)


def test_what_is_beside_a_flaw_is_kept() -> None:
    stored, _ = to_result(Loose(good=4, bad=[Moved(store=1), object]))

    assert stored is not None
    assert stored["good"] == 4
    assert stored["bad"] == [{"store": 1, "at": "2026-01-31", "share": "1.10"}, "<class 'object'>"]


def test_many_flaws_are_counted() -> None:
    _, changes = to_result({"a": [float("nan")] * 500})

    assert changes is not None
    assert len(changes) <= 1_000
    assert changes.endswith("and 490 more")


@examples
@given(value=STORABLE)
def test_an_object_that_can_be_stored_is_stored_as_it_is(value: dict[str, Any]) -> None:
    assert exact(tuple(to_result(value))) == exact((value, None))


@examples
@given(value=ANYTHING | UNSTORABLE)
def test_anything_at_all_is_stored(value: Any) -> None:
    stored, changes = to_result(value)

    assert exact(check_object(stored, "result_data", largest=MAX_RESULT_BYTES)) == exact(stored)
    assert (changes is not None) == ("_sanitised" in (stored or {}))
