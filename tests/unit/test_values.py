"""Which values are storable: refused by path where they are not, made storable where a failure is recorded."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from operator_core.actions import ActionProposal, ValueNotStorableError
from operator_core.actions.results import sanitise_object
from operator_core.actions.types import cause_of
from operator_core.actions.validation import (
    MAX_DEPTH,
    MAX_NAME_CHARACTERS,
    MAX_PARAMETERS_BYTES,
    MAX_RESULT_BYTES,
    MAX_TEXT_CHARACTERS,
    check_name,
    check_object,
    check_text,
    dump_json,
    sanitise_text,
)
from tests.support.factories import proposal
from tests.support.values import (
    ANY_TEXT,
    ANYTHING,
    PLAIN,
    STORABLE,
    TEXT,
    UNSTORABLE,
    exact,
    examples,
    nested,
    plainly,
    sized,
)


class Unreadable(dict[str, Any]):
    """A mapping whose reading fails, such as one that reads from a connection that is closed by now."""

    def items(self) -> Any:
        raise ConnectionError

    def __repr__(self) -> str:
        raise ConnectionError


class Unprintable:
    def __str__(self) -> str:
        raise LookupError

    __repr__ = __str__


class Counting(list[Any]):
    """A list that counts on behalf of its class how often one is walked, and fails before a test would hang."""

    walks = 0

    def __iter__(self) -> Iterator[Any]:
        Counting.walks += 1
        if Counting.walks > MOST_WALKS:
            raise RuntimeError(f"walked more than {MOST_WALKS:,} times")
        return super().__iter__()


MOST_WALKS = 10_000


@pytest.fixture
def _no_walks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "walks", 0)


def checked(value: object) -> dict[str, Any]:
    return check_object(value, "parameters", largest=MAX_PARAMETERS_BYTES)


def test_the_measures_of_this_module_tell_apart_what_python_calls_equal() -> None:
    alike = [[True, 1, 1.0], [0.0, -0.0], [{"a": 1, "b": 2}, {"b": 2, "a": 1}]]

    assert all(len({repr(exact(value)) for value in group}) == len(group) for group in alike)


@st.composite
def with_one_flaw(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    """Return an object with one value that cannot be stored, and the path to it."""
    value: Any = draw(UNSTORABLE)
    path = ""
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.booleans()):
            before = draw(st.lists(PLAIN, max_size=3))
            value, path = [*before, value], f"[{len(before)}]{path}"
        else:
            value, path = _within(draw, value, path)
    value, path = _within(draw, value, path)
    return value, f"parameters{path}"


def _within(draw: st.DrawFn, value: Any, path: str) -> tuple[dict[str, Any], str]:
    key = draw(st.sampled_from(["a", "store_4", "x y", "", "é", "'", "0"]))
    others = draw(st.dictionaries(TEXT, PLAIN, max_size=2))
    others.pop(key, None)
    return {**others, key: value}, (f".{key}" if key.isidentifier() else f"[{key!r}]") + path


@examples
@given(flawed=with_one_flaw())
def test_the_error_leads_to_the_value(flawed: tuple[dict[str, Any], str]) -> None:
    parameters, path = flawed

    with pytest.raises(ValidationError) as caught:
        proposal(parameters=parameters)

    assert cause_of(caught.value).path == path
    assert str(cause_of(caught.value)).startswith(f"{path} ")


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, MAX_DEPTH + 2, 500, 100_000])
def test_values_deeper_than_is_allowed_are_refused(levels: int) -> None:
    with pytest.raises(ValidationError, match=f"lies deeper than {MAX_DEPTH} levels"):
        proposal(parameters=nested(levels))


def test_a_value_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(ValidationError, match="lies deeper"):
        proposal(parameters={"a": endless})


def test_parameters_one_byte_larger_than_is_allowed_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"parameters takes 262,145 bytes as JSON; at most 262,144"):
        proposal(parameters=sized(MAX_PARAMETERS_BYTES + 1))


@examples
@given(text=ANY_TEXT)
@pytest.mark.parametrize("name", ["action_name", "reason", "proposed_by"])
def test_a_text_is_refused_by_path_exactly_when_the_engines_could_not_keep_it(name: str, text: str) -> None:
    blank = name != "reason" and not text.strip()
    broken = "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text)

    try:
        made: ActionProposal | None = proposal(**{name: text})
    except ValidationError as error:
        made = None
        assert cause_of(error).path == name  # noqa: PT017 - either answer will do

    assert (made is None) == (blank or broken)


@examples
@given(value=STORABLE)
def test_a_storable_object_is_copied_exactly(value: dict[str, Any]) -> None:
    copied = checked(value)

    assert exact(copied) == exact(value)
    assert copied is not value


@examples
@given(value=ANYTHING)
def test_what_is_let_in_is_in_jsons_own_types(value: dict[str, Any]) -> None:
    try:
        copied = checked(value)
    except ValueNotStorableError:
        return

    assert exact(copied) == exact(plainly(value))


@examples
@given(value=STORABLE)
def test_the_json_text_says_exactly_the_value(value: dict[str, Any]) -> None:
    assert exact(json.loads(dump_json(value))) == exact(value)


@pytest.mark.parametrize("key", [10**5_000, Unprintable(), (Unprintable(),), None, 1, 1.5, True, b"a"], ids=type)
@pytest.mark.parametrize("inner", [True, False])
def test_a_key_that_is_no_string_is_refused_whatever_it_is(key: Any, *, inner: bool) -> None:
    value = {"a": {key: 1}} if inner else {key: 1}

    with pytest.raises(ValueNotStorableError, match="JSON keys are strings") as caught:
        checked(value)

    assert caught.value.path == ("parameters.a" if inner else "parameters")


@pytest.mark.usefixtures("_no_walks")
def test_an_object_that_is_small_in_memory_and_vast_as_json_is_refused_without_walking_all_of_it() -> None:
    value: Any = "leaf"
    for _ in range(MAX_DEPTH - 2):
        value = Counting([value, value])

    with pytest.raises(ValueNotStorableError):
        check_object({"a": value}, "parameters", largest=1_000)


# -- text --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("letter", ["x", "é", "🔥"])
def test_a_name_is_measured_in_characters(letter: str) -> None:
    longest = letter * MAX_NAME_CHARACTERS

    assert check_name(longest, "by") == longest
    with pytest.raises(ValueNotStorableError, match="by has 256 characters; at most 255 are stored"):
        check_name(longest + letter, "by")


def test_a_text_is_measured_in_characters() -> None:
    longest = "🔥" * MAX_TEXT_CHARACTERS

    assert check_text(longest, "reason") == longest
    with pytest.raises(ValueNotStorableError, match="reason has 262,145 characters; at most 262,144 are stored"):
        check_text(longest + "x", "reason")


# -- where recording must not fail -------------------------------------------------------------------------------------

ODDITIES: dict[str, Any] = {
    "unprintable": Unprintable(),
    "unreadable": Unreadable(a=1),
    "unreadable within": {"a": [Unreadable(a=1)]},
    "unprintable within": {"a": {"b": Unprintable()}},
    "unprintable key": {Unprintable(): 1},
    "huge key": {10**5_000: 1},
    "huge key within": {"a": {10**5_000: 1}},
    "huge integer": {"a": 10**5_000},
    "set": {"a": {1, 2}},
    "exception": {"a": ValueError("no")},
    "class": int,
    "list": [1, {"a": 2}],
    "text": "a\0b",
    "number": 7,
    "deep": nested(100),
    "very deep": nested(100_000),
    "large": sized(MAX_RESULT_BYTES + 1),
    "large and flawed": {"a": float("nan"), **{f"k{n}": "x" * 100_000 for n in range(20)}},
    "long keys": {"🔥" * 250_000: {"🔥" * 250_000: float("nan")}},
    "keys that become one": {"a\0": 1, "a\ufffd": 2},
}


@pytest.mark.parametrize("name", ODDITIES)
def test_an_oddity_is_made_storable_and_says_so(name: str) -> None:
    kept = sanitise_object(ODDITIES[name])

    assert kept is not None
    assert kept["_sanitised"].startswith("result_data")
    assert exact(check_object(kept, "result_data", largest=MAX_RESULT_BYTES)) == exact(kept)


@pytest.mark.usefixtures("_no_walks")
def test_a_value_that_contains_itself_twice_is_made_storable_without_walking_it_for_ever() -> None:
    endless = Counting()
    endless += [endless, endless]

    kept = sanitise_object({"a": endless}, largest=1_000)

    assert kept is not None
    assert "_sanitised" in kept


@examples
@given(value=STORABLE)
def test_a_storable_object_is_left_as_it_is(value: dict[str, Any]) -> None:
    assert exact(sanitise_object(value)) == exact(value)


@examples
@given(value=ANYTHING | UNSTORABLE)
def test_anything_at_all_can_be_made_storable(value: Any) -> None:
    kept = sanitise_object(value)

    assert exact(check_object(kept, "result_data", largest=MAX_RESULT_BYTES)) == exact(kept)


def test_nothing_stays_nothing() -> None:
    assert sanitise_object(None) is None


def test_what_could_be_stored_is_kept_and_the_flaw_is_named() -> None:
    kept = sanitise_object({"good": [1, {"b": None}], "bad": float("nan"), "pair": (1, "a\0b")})

    assert kept == {
        "good": [1, {"b": None}],
        "bad": "nan",
        "pair": [1, "a\N{REPLACEMENT CHARACTER}b"],
        "_sanitised": "result_data.bad is nan; JSON has no such number",
    }


@examples
@given(text=ANY_TEXT)
def test_any_text_can_be_made_storable(text: str) -> None:
    kept = sanitise_text(text)

    assert check_text(kept, "error_message") == kept
    assert len(kept) == len(text)


@examples
@given(text=TEXT)
def test_a_storable_text_is_left_as_it_is(text: str) -> None:
    assert sanitise_text(text) == text


def test_a_text_that_is_too_long_is_cut_and_says_so() -> None:
    kept = sanitise_text("x" * 1_000, longest=100)

    assert len(kept) == 100
    assert kept.endswith("x [cut: 1,000 characters]")


@pytest.mark.parametrize("value", [Unprintable(), Unreadable()], ids=type)
def test_a_message_that_cannot_be_printed_is_described(value: object) -> None:
    assert type(value).__name__ in sanitise_text(value)
