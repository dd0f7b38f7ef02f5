"""Values of every kind that Python knows, and a comparison that is stricter than Python's."""

import enum
import struct
from collections.abc import Mapping
from datetime import UTC, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from operator_core.actions import InvalidArgumentError, ValueNotStorableError
from operator_core.actions.validation import MAX_INTEGER_BITS

REFUSED = (InvalidArgumentError, ValueNotStorableError)
"""What a call raises for a value, whether nobody could mean it or no engine could keep it; both name its path."""

# Derandomized: the examples are the same in every run, so no seed is needed to see a failure again.
examples = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Word(str):
    __slots__ = ()


class Colour(enum.StrEnum):
    RED = "red"


class Number(int):
    pass


class Level(enum.IntEnum):
    HIGH = 3


class Ratio(float):
    pass


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)  # also NUL and lone surrogates
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
NAMES = TEXT.filter(str.strip)
INTEGERS = st.integers() | st.integers(-(2**MAX_INTEGER_BITS) + 1, 2**MAX_INTEGER_BITS - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([-0.0, 0.0, 1.0, 1e16, 5e-324, 1e308])
PLAIN = st.none() | st.booleans() | INTEGERS | FLOATS | TEXT
SUBCLASSED = st.sampled_from([Word("é'\""), Colour.RED, Number(7), Level.HIGH, Ratio(-0.0), Ratio(1.0)])
UNSTORABLE = st.one_of(
    st.sampled_from([float("nan"), float("inf"), -float("inf"), "a\0b", "\ud800", 2**MAX_INTEGER_BITS, Decimal("1.5")]),
    st.sampled_from([object(), object, len, 1j, range(3), UTC, Path("a")]),
    st.binary(max_size=3),
    st.datetimes(),
    st.tuples(PLAIN),
    st.frozensets(st.integers()),
)


def _containers(members: st.SearchStrategy[Any], keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(members, max_size=4) | st.dictionaries(keys, members, max_size=4)


STORABLE = st.dictionaries(TEXT, st.recursive(PLAIN, lambda inner: _containers(inner, TEXT), max_leaves=12), max_size=5)
ANYTHING = st.dictionaries(
    ANY_TEXT,
    st.recursive(
        PLAIN | SUBCLASSED | UNSTORABLE | ANY_TEXT,
        lambda inner: _containers(inner, ANY_TEXT | SUBCLASSED | st.integers() | st.none()),
        max_leaves=8,
    ),
    max_size=3,
)
ZONES = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)


def plainly(value: Any) -> Any:
    """Return a value in JSON's own types, as it must come back."""
    match value:
        case None | bool():
            return value
        case str():
            return "".join(value)
        case int():
            return int(value)
        case float():
            return float(value)
        case Mapping():
            return {plainly(key): plainly(member) for key, member in value.items()}
        case list():
            return [plainly(item) for item in value]
    pytest.fail(f"a {type(value).__name__} was let in")


def exact(value: Any) -> Any:
    """Return what tells values apart that Python calls equal: True and 1, 1 and 1.0, 0.0 and -0.0, orders of keys."""
    match value:
        case float():
            return "float", struct.pack(">d", value)
        case dict():
            return "dict", [(exact(key), exact(member)) for key, member in value.items()]
        case list():
            return "list", [exact(item) for item in value]
        case _:
            return type(value).__name__, value


def nested(levels: int) -> dict[str, Any]:
    """Return an object of so many levels, itself included."""
    value: Any = "leaf"
    for _ in range(levels - 1):
        value = [value]
    return {"a": value}


def sized(size: int) -> dict[str, Any]:
    """Return an object whose JSON text takes so many bytes of UTF-8."""
    filling = size - len('{"a":""}')
    return {"a": "é" * (filling // 2) + "x" * (filling % 2)}
