"""Loggers with forgery-proof lines: whatever text from outside is logged, one entry stays one entry."""

import logging
import traceback
from collections.abc import Iterator

from operator_core.actions.text import printable

_OF_OTHERS = ("worker", "action_name")  # what entries carry in their `extra`
_CAUSED = "The above exception was the direct cause of the following exception:"
_DURING = "During handling of the above exception, another exception occurred:"
_MOST_INNER, _DEEPEST = 15, 10  # errors of a group; causes of causes, and groups within groups
_LONGEST = 8_000  # characters of one message: clients of the ledger could write any number


class PrintableFilter(logging.Filter):
    """A filter that makes the message, the extra and the traceback of each entry printable, and drops none."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Escape an entry's text from outside; an entry that is already printable keeps its template and arguments."""
        try:
            message = record.getMessage()
            shown = _one_line(message)
        except BaseException as error:  # noqa: BLE001 - an entry that cannot be formatted must not interrupt the caller
            message, shown = "", printable(f"{record.msg!a} (its values cannot be shown: {type(error).__name__})")
        if shown != message:
            record.msg, record.args = shown, None
        for name in _OF_OTHERS:
            value = getattr(record, name, None)
            if isinstance(value, str):
                setattr(record, name, printable(value))
        if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
            record.exc_text = traceback_text(record.exc_info[1])  # formatters use it unchanged
        return True


PRINTABLE = PrintableFilter()


def get_logger(name: str) -> logging.Logger:
    """Return the logger of this name, with the filter: every logger of this library is made here."""
    logger = logging.getLogger(name)
    logger.addFilter(PRINTABLE)
    return logger


def traceback_text(error: BaseException) -> str:
    """Return the traceback of an error with its causes, notes and inner errors; each message on one line."""
    try:
        return "\n".join(_lines(traceback.TracebackException.from_exception(error, compact=True), 1))
    except BaseException as broken:  # noqa: BLE001 - as above; RecursionError and MemoryError among them
        return f"{type(error).__name__} (its traceback cannot be shown: {type(broken).__name__})"


def _one_line(text: str) -> str:
    if len(text) <= _LONGEST:
        return printable(text)
    return f"{printable(text[:_LONGEST])} [cut: {len(text):,} characters]"


def _lines(shown: traceback.TracebackException, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        yield "... and more"
        return
    if shown.__cause__ is not None:
        yield from (*_lines(shown.__cause__, depth + 1), "", _CAUSED, "")
    elif shown.__context__ is not None and not shown.__suppress_context__:
        yield from (*_lines(shown.__context__, depth + 1), "", _DURING, "")
    yield "Traceback (most recent call last):"
    for frame in shown.stack.format():
        yield from map(_one_line, frame.rstrip("\n").split("\n"))
    message, *notes = shown.format_exception_only()
    yield _one_line(message.rstrip("\n"))
    yield from (f"  {_one_line(note.rstrip())}" for note in notes)
    inner = shown.exceptions or []
    for number, one in enumerate(inner[:_MOST_INNER], 1):
        yield f"  +---- {number} of {len(inner)}"
        yield from (f"  | {line}" for line in _lines(one, depth + 1))
