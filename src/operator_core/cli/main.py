"""The command `operator-core`: stop, release, and look; none of it creates or migrates a ledger but `db`."""

import argparse
import asyncio
from collections.abc import Sequence

from operator_core import __version__
from operator_core.actions import ActionError, DatabaseNotFoundError, SchemaOutOfDateError
from operator_core.cli import (
    approvals,
    db,
    drill,
    kill_switch,
    legacy,
    maintenance,
    output,
    policies,
    proposals,
    recovery,
    streams,
    worker,
)
from operator_core.cli.options import FAILED, Parser, actor_options, common_options
from operator_core.logs import traceback_text

INTERRUPTED = 130
_TOPICS = (kill_switch, drill, proposals, approvals, policies, worker, recovery, maintenance, legacy, db)
_ELSEWHERE = "Name another with --url or OPERATOR_CORE_DATABASE_URL, or make one with `operator-core db upgrade`"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 not done, 2 stopped but not confirmed, 130 interrupted."""
    streams.occupy_missing()
    try:
        return _run(_parser().parse_args(arguments))
    finally:
        streams.flush()


def _parser() -> Parser:
    common, actor = common_options(), actor_options()
    parser = Parser(prog="operator-core", description=__doc__)
    parser.set_defaults(failed="", interrupted="")
    parser.add_argument("--version", action="version", version=f"operator-core {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    for topic in _TOPICS:
        topic.add_commands(commands, common, actor)
    return parser


def _run(options: argparse.Namespace) -> int:
    try:
        code: int = asyncio.run(options.run(options))
    except ActionError as error:
        output.print_error(options.failed + _plain(error), error=error, as_json=options.json)
        return FAILED
    except KeyboardInterrupt:
        if options.interrupted:
            output.print_warning(options.interrupted)
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - a fault of ours: its traceback may repeat text from outside
        lines = [*traceback_text(error).split("\n"), options.interrupted or "broke off: NOT KNOWN TO BE DONE"]
        output.print_error(*lines, error=error, as_json=options.json)
        return FAILED
    return code


def _plain(error: ActionError) -> str:
    if isinstance(error, SchemaOutOfDateError) and error.current is None:
        return f"no ledger at {error.url}. {_ELSEWHERE}"
    if isinstance(error, DatabaseNotFoundError):
        return f"no ledger at {error.url}: {error.detail}. {_ELSEWHERE}"
    return str(error)
