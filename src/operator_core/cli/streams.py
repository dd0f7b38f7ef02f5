"""The standard streams: closed, broken or full, they change nothing about what a command does and returns."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TextIO

from operator_core.actions import InvalidArgumentError


def occupy_missing() -> None:
    """Open the null device in the place of standard streams that are closed, as under cron.

    Otherwise the next file that is opened, a database say, has the number of standard output or error, and whoever
    writes there writes into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # which has the lowest number that is free: this one


def write(text: str, stream: TextIO | None) -> None:
    """Write what the stream can show, and write it now; one that is closed, broken or full takes no more from here."""
    if stream is None:
        return
    try:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except (OSError, ValueError):  # ValueError: it is closed
        _discard(stream)


def flush() -> None:
    """Leave nothing to write: what Python cannot flush at its end would make the exit code 120."""
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
    """Give standard output to a command whose output is its result: here it must take everything.

    Raises:
        InvalidArgumentError: It is closed, or breaks.
    """
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison] - it is, where the process was started without
        raise InvalidArgumentError(path="standard output", reason="is closed")
    try:
        yield sys.stdout
        sys.stdout.flush()
    except OSError as error:
        _discard(sys.stdout)
        raise InvalidArgumentError(path="standard output", reason=f"broke: {error}") from error
