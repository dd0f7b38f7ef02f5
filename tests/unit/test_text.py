"""Text of others is shown on one line, with nothing that a terminal would obey; what is seen as itself stays."""

import pickle
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operator_core.actions import (
    ActionError,
    ActionStatus,
    IdempotencyKeyError,
    KillSwitchEngagedError,
    StopRequestedError,
    ValueNotStorableError,
)
from operator_core.actions.text import printable
from tests.support.hostile import HOSTILE, assert_harmless

ANY_TEXT = st.text(st.characters())


@given(text=ANY_TEXT)
def test_whatever_is_shown_is_one_printable_line(text: str) -> None:
    shown = printable(text)

    assert shown.isprintable()
    assert_harmless(shown)


@given(text=ANY_TEXT)
def test_what_is_printable_is_left_alone(text: str) -> None:
    shown = printable(text)

    assert printable(shown) == shown


@pytest.mark.parametrize("text", ["Störung in Köln", "磁盘已满", "⚠️ 90 %", "a\\nb", "'quoted' \"twice\""])
def test_what_people_write_is_left_alone(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x1b[2J\x9b\x7f", r"\x1b[2J\x9b\x7f"),
        ("\u202e\u200b\u2028", r"\u202e\u200b\u2028"),
        ("\ud800", r"\ud800"),
        ("\U000e0041\u3164", r"\U000e0041\u3164"),
    ],
)
def test_what_is_not_seen_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    "error",
    [
        KillSwitchEngagedError(
            id=1, current=ActionStatus.VALIDATED, target=ActionStatus.EXECUTING, generation=1,
            scope=HOSTILE, by=HOSTILE, reason=HOSTILE, since=datetime.now(UTC),
        ),
        StopRequestedError(record_id=1, by=HOSTILE, reason=HOSTILE),
        ValueNotStorableError(path=HOSTILE, reason=HOSTILE),
        IdempotencyKeyError(key=HOSTILE, proposal_id=1, differs=(HOSTILE,)),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_the_message_of_an_error_is_printable_whatever_it_repeats(error: ActionError) -> None:
    assert_harmless(str(error))
    assert "\n" not in str(error)


def test_an_error_keeps_what_it_carries_as_it_is() -> None:
    error = pickle.loads(pickle.dumps(StopRequestedError(record_id=1, by=HOSTILE, reason=None)))  # noqa: S301 - its own

    assert error.by == HOSTILE


def test_an_error_of_a_host_that_derives_from_ours_is_printable_too() -> None:
    @dataclass(eq=False)
    class HostError(ActionError):
        what: str

        def __str__(self) -> str:
            return f"no {self.what}"

    assert str(HostError(what="\x1b")) == r"no \x1b"
