"""One entry of the log stays one entry, whatever text of others it repeats."""

import ast
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

import operator_core
from operator_core.logs import get_logger, traceback_text
from tests.support.hostile import HOSTILE, assert_harmless

NAME = "operator_core.test"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """The output of a plain handler of a host."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = get_logger(NAME)
    logger.addHandler(handler)
    yield stream
    logger.removeHandler(handler)


class Unreadable:
    def __str__(self) -> str:
        raise RuntimeError("broken")


def raised(error: BaseException) -> BaseException:
    """Return an error with the traceback of this line."""
    try:
        raise error  # noqa: TRY301 - for its traceback
    except BaseException as caught:  # noqa: BLE001 - whatever it is
        return caught


def test_a_hostile_argument_makes_no_line_of_its_own(lines: io.StringIO) -> None:
    get_logger(NAME).warning("by %s, %d", HOSTILE, 3)

    assert_harmless(lines.getvalue())
    assert lines.getvalue().count("\n") == 1


def test_an_entry_that_is_printable_keeps_its_template(caplog: pytest.LogCaptureFixture) -> None:
    get_logger(NAME).warning("by %s, %d", "anna", 3)

    assert (caplog.records[0].msg, caplog.records[0].args) == ("by %s, %d", ("anna", 3))


def test_what_stands_in_the_extra_is_printable(caplog: pytest.LogCaptureFixture) -> None:
    get_logger(NAME).warning("x", extra={"worker": HOSTILE, "action_name": HOSTILE, "proposal_id": 7})

    entry = vars(caplog.records[0])
    assert_harmless(entry["worker"] + entry["action_name"])
    assert entry["proposal_id"] == 7


@pytest.mark.parametrize("arguments", [(Unreadable(), 3), ("x", "three"), ("x",)])
def test_an_entry_that_cannot_be_formatted_breaks_nothing(lines: io.StringIO, arguments: tuple[object, ...]) -> None:
    get_logger(NAME).warning("by %s, %d", *arguments)

    assert lines.getvalue().startswith("WARNING 'by %s, %d' (its values cannot be shown: ")


def test_a_message_that_is_very_long_is_cut(lines: io.StringIO) -> None:
    get_logger(NAME).warning("%s", "x" * 300_000)

    assert lines.getvalue().endswith("x [cut: 300,000 characters]\n")


def test_a_hostile_message_in_a_traceback_makes_no_line_of_its_own(lines: io.StringIO) -> None:
    error = ValueError(HOSTILE)
    error.add_note(HOSTILE)

    get_logger(NAME).error("failed", exc_info=raised(error))

    text = lines.getvalue()
    assert_harmless(text)
    assert text.startswith("ERROR failed\nTraceback (most recent call last):\n")
    assert [line for line in text.splitlines() if line.startswith("ValueError: x")]


def test_a_traceback_holds_its_causes_its_notes_and_its_inner_errors() -> None:
    cause = raised(KeyError("a"))
    inner = raised(TypeError("b"))
    inner.__cause__ = cause
    inner.add_note("while draining")

    text = traceback_text(raised(ExceptionGroup("several", [inner, ExceptionGroup("more", [OSError("c")])])))

    for part in ("KeyError: 'a'", "TypeError: b", "while draining", "OSError: c", "several (2 sub-exceptions)"):
        assert part in text
    assert text.index("KeyError: 'a'") < text.index("TypeError: b")


def test_a_chain_of_many_causes_is_cut() -> None:
    error: BaseException = ValueError(0)
    for number in range(1, 2_000):
        following = ValueError(number)
        following.__cause__ = error
        error = following

    text = traceback_text(error)

    assert text.startswith("... and more")
    assert text.endswith("ValueError: 1999")


def test_an_error_whose_text_fails_has_a_traceback_all_the_same() -> None:
    class UnreadableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("broken")

    assert "UnreadableError: <exception str() failed>" in traceback_text(raised(UnreadableError()))


def test_every_logger_of_the_library_is_made_by_get_logger() -> None:
    sources = {file: file.read_text("utf-8") for file in Path(operator_core.__file__).parent.rglob("*.py")}

    makers = [
        file.name
        for file, source in sources.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and node.attr == "getLogger"
    ]

    assert makers == ["logs.py"]
