"""The common base of all parsers: our class, options and argument types."""

import argparse
import getpass
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

from operator_core.actions import ActionError, Scope
from operator_core.actions.approvals import check_approval_seconds
from operator_core.actions.validation import check_seconds
from operator_core.cli import output, streams
from operator_core.cli.database import hide_urls

FAILED = 1
_MAX_COUNT = 10_000


class Parser(argparse.ArgumentParser):
    """A parser that exits with 1 on a mistyped command: argparse's own 2 would mean "engaged, but not confirmed"."""

    _words: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - it has overloads
        """Remember what was typed: a misplaced URL must not be repeated with its password."""
        self._words = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, without any URL, and exit."""
        self.print_usage(sys.stderr)
        output.print_warning(f"{hide_urls(message, self._words)}. NOTHING WAS DONE.")
        self.exit(FAILED)

    def _print_message(self, message: str, file: Any = None) -> None:
        streams.write(message, file)  # argparse's own raises if a standard stream is closed


Commands = argparse._SubParsersAction  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - argparse has no public name for it


def common_options() -> Parser:
    """Return the options of every command."""
    common = Parser(add_help=False)
    common.add_argument("--url", help="the database: a URL or a file; else OPERATOR_CORE_DATABASE_URL, else ops.db")
    common.add_argument("--json", action="store_true", help="print JSON on standard output")
    return common


def actor_options() -> Parser:
    """Return the options of a command that acts in a person's name."""
    actor = Parser(add_help=False)
    actor.add_argument("--by", default=_login(), help="the name to record (default: the login name)")
    return actor


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def seconds(text: str) -> float:
    """Parse a number of seconds."""
    try:
        return check_seconds(float(text), "this")
    except (ActionError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def duration(text: str) -> float:
    """Parse a number of seconds that may end in an "s"."""
    return seconds(text.removesuffix("s"))


_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def lasting(text: str) -> float:
    """Parse how long an approval counts: a number of seconds, or one with a unit, such as 15m, 8h or 2d."""
    number, unit = (text[:-1], _UNITS[text[-1]]) if text[-1:] in _UNITS else (text, 1)
    try:
        return check_approval_seconds(float(number) * unit, "this")
    except (ActionError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration; write 90, 15m, 8h or 2d") from error


def count(text: str) -> int:
    """Parse a number from 1 to 10,000."""
    if not text.isdecimal() or not 1 <= int(text) <= _MAX_COUNT:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 to {_MAX_COUNT}")
    return int(text)


def number(text: str) -> int:
    """Parse the number of a proposal, record, approval or stop."""
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!a} is not a number; the lists show them") from error


def time(text: str) -> datetime:
    """Parse a date or a time; UTC if it names no zone."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a date; write 2026-01-31 or 2026-01-31T12:00+00:00"
        ) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def scope(text: str) -> Scope:
    """Parse the scope of a stop."""
    try:
        return Scope.parse(text)
    except ActionError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
