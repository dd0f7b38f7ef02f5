"""What a ledger keeps of an error: its message, its notes, its cause, and what a group holds; never too much of it."""

from typing import Any

import pytest

from operator_core.actions.failures import error_text, is_only
from operator_core.actions.validation import MAX_TEXT_CHARACTERS, check_text


def caused(error: BaseException, cause: BaseException | None) -> BaseException:
    error.__cause__ = cause
    return error


def noted(error: BaseException, *notes: Any) -> BaseException:
    for note in notes:
        error.add_note(note)
    return error


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("broken")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("too hot"), "ValueError: too hot"),
        (TimeoutError(), "TimeoutError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (SystemExit(0), "SystemExit: 0"),
        (noted(ValueError("a"), "store 4", "twice"), "ValueError: a (note: store 4) (note: twice)"),
        (caused(ValueError("a"), KeyError("b")), "ValueError: a (caused by KeyError: 'b')"),
        (
            ExceptionGroup("several", [ValueError("a"), caused(TypeError("b"), OSError("c"))]),
            "ExceptionGroup: several (2 sub-exceptions) [ValueError: a; TypeError: b (caused by OSError: c)]",
        ),
        (
            BaseExceptionGroup("x", [ExceptionGroup("y", [noted(ValueError("a"), "n")]), SystemExit(3)]),
            (
                "BaseExceptionGroup: x (2 sub-exceptions) "
                "[ExceptionGroup: y (1 sub-exception) [ValueError: a (note: n)]; SystemExit: 3]"
            ),
        ),
        (UnreadableError(), "UnreadableError: <UnreadableError, whose text failed with RuntimeError>"),
    ],
)
def test_an_error_is_told_with_all_that_hangs_on_it(error: BaseException, text: str) -> None:
    assert error_text(error) == text


def _ring() -> BaseException:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    return first


def _deep() -> BaseException:
    error: Exception = ValueError("x")
    for _ in range(500):
        error = ExceptionGroup("g", [error])
    return error


def _wrong_notes(notes: Any) -> BaseException:
    error = ValueError("a")
    error.__notes__ = notes
    return error


@pytest.mark.parametrize(
    "error",
    [
        _ring(), _deep(), ExceptionGroup("g", [ExceptionGroup("h", [ValueError("x" * 9_000)] * 1_000)] * 100),
        ValueError("x" * 1_000_000), noted(ValueError("a"), *["n" * 100_000] * 100), _wrong_notes(7),
        _wrong_notes([UnreadableError()]), ValueError("a\0\ud800"),
    ],
    ids=["ring", "deep", "vast", "long", "noted", "wrong notes", "unreadable note", "no text"],
)  # fmt: skip
def test_an_error_of_any_size_and_shape_can_be_recorded(error: BaseException) -> None:
    text = error_text(error)

    assert check_text(text, "error_message") == text
    assert len(text) <= MAX_TEXT_CHARACTERS
    assert text.startswith(type(error).__name__)


def test_a_group_counts_what_it_leaves_out() -> None:
    text = error_text(ExceptionGroup("g", [ValueError(n) for n in range(80)]))

    assert text.endswith("ValueError: 48; and 31 more]")


def test_a_group_of_one_kind_is_only_that_kind() -> None:
    assert is_only(ExceptionGroup("g", [ExceptionGroup("h", [KeyError("a")])]), KeyError)
    assert not is_only(ExceptionGroup("g", [KeyError("a"), ValueError("b")]), KeyError)
    assert is_only(KeyError("a"), LookupError)
