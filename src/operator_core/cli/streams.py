"""The standard streams: if they are closed, broken or full, commands still do and return the same."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TextIO

from operator_core.actions import InvalidArgumentError


def occupy_missing() -> None:
    """Open the null device in place of closed standard streams, as under cron.

    Otherwise the next opened file, perhaps a database, gets the descriptor of standard output or error, and output is
    written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # which has the lowest free number: this one


def write(text: str, stream: TextIO | None) -> None:
    """Write what the stream can show, and flush it; a closed, broken or full stream is discarded."""
    if stream is None:
        return
    try:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except (OSError, ValueError):  # ValueError: it is closed
        _discard(stream)


def flush() -> None:
    """Leave nothing to write: if Python cannot flush at its exit, the exit code becomes 120."""
    for stream in (sys.stdout, sys.stderr):
        write("", stream)


def _discard(stream: TextIO) -> None:
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, stream.fileno())
        finally:
            os.close(null)


@contextmanager
def required_output() -> Generator[TextIO]:
    """Yield standard output to a command whose output is its result: here it must accept everything.

    Raises:
        InvalidArgumentError: It is closed, or breaks.
    """
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison] - it is, if the process was started without
        raise InvalidArgumentError(path="standard output", reason="is closed")
    try:
        yield sys.stdout
        sys.stdout.flush()
    except OSError as error:
        _discard(sys.stdout)
        raise InvalidArgumentError(path="standard output", reason=f"broke: {error}") from error
