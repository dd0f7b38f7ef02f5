"""The command `operator-core`: stop, release, and look; none of it creates or migrates a ledger but `db`."""

import argparse
import asyncio
import getpass
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

from operator_core import __version__
from operator_core.actions import ActionError, ActionStatus, DatabaseNotFoundError, Finding, SchemaOutOfDateError, Scope
from operator_core.actions.values import check_seconds
from operator_core.cli import brake, drill, ledger, legacy, schema, screen, settle, streams, upkeep, work
from operator_core.cli.target import file_path, hide_urls, revision
from operator_core.logs import traceback_text

FAILED, INTERRUPTED = 1, 130


class _Parser(argparse.ArgumentParser):
    """Ends with 1 on a mistyped command: argparse's own 2 would read as "engaged, but not confirmed"."""

    _words: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - it has overloads
        """Remember what was typed: a URL in the wrong place must not be repeated with its password."""
        self._words = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        screen.warn(f"{hide_urls(message, self._words)}. NOTHING WAS DONE.")
        self.exit(FAILED)

    def _print_message(self, message: str, file: Any = None) -> None:
        streams.write(message, file)  # argparse's own raises where a standard stream is closed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 not done, 2 stopped but not confirmed, 130 interrupted."""
    streams.occupy_missing()
    try:
        return _run(_parser().parse_args(arguments))
    finally:
        streams.flush()


def _run(options: argparse.Namespace) -> int:
    try:
        code: int = asyncio.run(options.run(options))
    except ActionError as error:
        screen.complain(options.failed + _plain(error), error=error, as_json=options.json)
        return FAILED
    except KeyboardInterrupt:
        if options.interrupted:
            screen.warn(options.interrupted)
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - it is a fault of ours: its traceback repeats text of others
        lines = [*traceback_text(error).split("\n"), options.interrupted or "broke off: NOT KNOWN TO BE DONE"]
        screen.complain(*lines, error=error, as_json=options.json)
        return FAILED
    return code


def _plain(error: ActionError) -> str:
    if isinstance(error, SchemaOutOfDateError) and error.current is None:
        return f"no ledger at {error.url}. {_ELSEWHERE}"
    if isinstance(error, DatabaseNotFoundError):
        return f"no ledger at {error.url}: {error.detail}. {_ELSEWHERE}"
    return str(error)


_ELSEWHERE = "Name another with --url or OPERATOR_CORE_DATABASE_URL, or make one with `operator-core db upgrade`"


def _seconds(text: str) -> float:
    try:
        return check_seconds(float(text), "this")
    except (ActionError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _duration(text: str) -> float:
    return _seconds(text.removesuffix("s"))


def _some(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 to {_MOST}")
    return int(text)


_MOST = 10_000


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _finding(text: str) -> Finding:
    try:
        return Finding(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is none of: {', '.join(Finding)}") from error


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no date; write 2026-01-31 or 2026-01-31T12:00+00:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _scope(text: str) -> Scope:
    try:
        return Scope.parse(text)
    except ActionError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _parser() -> argparse.ArgumentParser:
    common = _Parser(add_help=False)
    common.add_argument("--url", help="the database: a URL or a file; else OPERATOR_CORE_DATABASE_URL, else ops.db")
    common.add_argument("--json", action="store_true", help="print JSON on standard output")
    person = _Parser(add_help=False)
    person.add_argument("--by", default=_login(), help="who does it (default: the login name)")
    parser = _Parser(prog="operator-core", description=__doc__)
    parser.set_defaults(failed="", interrupted="")
    parser.add_argument("--version", action="version", version=f"operator-core {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    _add_brake(commands, common, person)
    _add_ledger(commands, common, person)
    _add_workers(commands, common, person)
    _add_retention(commands, common, person)
    _add_import(commands, common)
    _add_schema(commands, common)
    return parser


_Commands = argparse._SubParsersAction  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - argparse has no public name for it


def _add_brake(commands: "_Commands[_Parser]", common: _Parser, person: _Parser) -> None:
    stop = commands.add_parser("stop", parents=[common, person], help="stop everything, or what a scope covers")
    stop.add_argument("--reason", required=True, help="why; whoever is refused reads it")
    stop.add_argument("--scope", type=_scope, default=Scope(), help="everything (default), or field=value: " + _FIELDS)
    stop.add_argument("--timeout", type=_seconds, default=5.0, help="seconds for all of it (default: 5)")
    stop.add_argument("--terminate", action="store_true", help="end connections that are in the way (PostgreSQL)")
    stop.set_defaults(run=brake.stop, failed=brake.NOTHING_STOPPED, interrupted=brake.INTERRUPTED)
    release = commands.add_parser("release", parents=[common, person], help="release one stop; revives nothing")
    release.add_argument("--reason", required=True, help="why")
    release.add_argument("--generation", required=True, type=int, help="the number of the stop")
    release.set_defaults(run=brake.release)
    status = commands.add_parser("status", parents=[common], help="show what is engaged, what runs, who has answered")
    status.add_argument("--watch", action="store_true", help="go on showing it at every change")
    status.set_defaults(run=brake.status)
    practise = commands.add_parser("drill", parents=[common, person], help="practise a stop in a scope of its own")
    practise.add_argument("--proposals", type=_some, default=40, help="how many to make (default: 40)")
    practise.add_argument("--starters", type=_some, default=4, help="how many start them at once (default: 4)")
    practise.set_defaults(run=drill.drill)


_FIELDS = ", ".join(Scope.model_fields)


def _add_ledger(commands: "_Commands[_Parser]", common: _Parser, person: _Parser) -> None:
    listing = commands.add_parser("list", parents=[common], help="list proposals, newest first")
    listing.add_argument("--status", type=ActionStatus, choices=list(ActionStatus), help="only those in this state")
    listing.add_argument("--ticket", type=int, help="only those of this ticket")
    listing.add_argument("--action-name", help="only those of this name")
    listing.add_argument("--before-id", type=int, help="only those with a lower id: the next page")
    listing.add_argument("--limit", type=int, default=50, help="how many at most (default: 50)")
    listing.set_defaults(run=ledger.list_)
    show = commands.add_parser("show", parents=[common], help="show one proposal with its record and its history")
    show.add_argument("id", type=int)
    show.set_defaults(run=ledger.show)
    cancel = commands.add_parser(
        "cancel", parents=[common, person], help="cancel one proposal, or ask it to stop where it is executing"
    )
    cancel.add_argument("id", type=int)
    cancel.add_argument("--reason", default="cancelled by hand", help="why")
    cancel.set_defaults(run=ledger.cancel)


def _add_workers(commands: "_Commands[_Parser]", common: _Parser, person: _Parser) -> None:
    worker = commands.add_parser("worker", parents=[common], help="do the actions of a registry until SIGTERM")
    worker.add_argument("registry", metavar="MODULE:registry", help="where the ActionRegistry is")
    worker.add_argument("--concurrency", type=_some, default=1, help="how many actions at once (default: 1)")
    worker.add_argument("--lease", type=_seconds, default=60.0, help="seconds without a heartbeat (default: 60)")
    worker.add_argument("--shutdown-timeout", type=_seconds, default=30.0, help="seconds after SIGTERM (default: 30)")
    worker.add_argument("--name", help="unique among all workers (default: made up)")
    worker.add_argument("--no-validate", action="store_true", help="run only what somebody else has validated")
    worker.set_defaults(run=work.work)
    recover = commands.add_parser("recover", parents=[common, person], help="fail what lost workers left executing")
    recover.add_argument("--grace-period", type=_seconds, default=0.0, help="seconds after a lease ended (default: 0)")
    recover.set_defaults(run=settle.recover)
    unknown = commands.add_parser("unknown", parents=[common], help="list what nobody knows the outcome of")
    unknown.set_defaults(run=settle.unknown)
    resolve = commands.add_parser("resolve", parents=[common, person], help="settle an unknown outcome")
    resolve.add_argument("record", type=int, help="the id of the record, as `unknown` shows it")
    resolve.add_argument("--finding", required=True, type=_finding, help=", ".join(Finding))
    resolve.add_argument("--reason", required=True, help="how you know")
    resolve.set_defaults(run=settle.resolve)


def _add_retention(commands: "_Commands[_Parser]", common: _Parser, person: _Parser) -> None:
    verify = commands.add_parser("verify", parents=[common], help="compare the tables with the history")
    verify.set_defaults(run=upkeep.verify)
    export = commands.add_parser("export", parents=[common], help="write the history as JSON lines")
    export.add_argument("--before", type=_moment, help="only histories that began before: 2026-01-31, or with a time")
    export.add_argument("--output", type=file_path, help="a new file (default: standard output)")
    export.set_defaults(run=upkeep.export)
    prune = commands.add_parser("prune", parents=[common, person], help="delete what was finished before a moment")
    prune.add_argument("--before", type=_moment, required=True, help="2026-01-31, or with a time; UTC where no zone is")
    prune.add_argument("--reason", default="retention", help="why")
    prune.add_argument("--events-too", action="store_true", help="delete the history as well: export it first")
    prune.add_argument("--dry-run", action="store_true", help="only say what would go")
    prune.set_defaults(run=upkeep.prune)


def _add_import(commands: "_Commands[_Parser]", common: _Parser) -> None:
    taken_over = commands.add_parser("import-legacy", parents=[common], help="import a database of the predecessor")
    taken_over.add_argument("old", type=file_path, metavar="OLD.db", help="its SQLite file; it is only read")
    taken_over.add_argument("--timezone", required=True, help="of its local times, as Europe/Berlin")
    taken_over.add_argument(
        "--aside", type=file_path, help="a new file for rows that cannot be true (default: OLD.db.aside.jsonl)"
    )
    taken_over.add_argument("--dry-run", action="store_true", help="only say what would be imported")
    taken_over.set_defaults(run=legacy.import_legacy, interrupted=legacy.INTERRUPTED)


def _add_schema(commands: "_Commands[_Parser]", common: _Parser) -> None:
    db = commands.add_parser("db", help="look after the schema")
    tasks = db.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    upgrade = tasks.add_parser("upgrade", parents=[common], help="bring a database to the revision of this version")
    upgrade.add_argument("revision", nargs="?", type=revision, default="head", help="another revision (default: head)")
    upgrade.add_argument("--sql", action="store_true", help="print the statements and run none")
    upgrade.add_argument(
        "--lock-timeout", type=_duration, default=5.0, help="how long to wait for a lock (default: 5s)"
    )
    upgrade.set_defaults(run=schema.upgrade)
    check = tasks.add_parser("check", parents=[common], help="exit 0 up to date, 3 behind, 4 ahead, 1 unreachable")
    check.add_argument("--timeout", type=_seconds, default=0.0, help="seconds to wait until it is up to date")
    check.set_defaults(run=schema.check)
    repair = tasks.add_parser("repair", parents=[common], help="restore guards, lost stops and counters of ids")
    repair.set_defaults(run=schema.repair)
    current = tasks.add_parser("current", parents=[common], help="say which revision a database is at")
    current.set_defaults(run=schema.current)
    history = tasks.add_parser("history", parents=[common], help="list every revision")
    history.set_defaults(run=schema.history)
    downgrade = tasks.add_parser("downgrade", parents=[common], help="go back to a revision; later columns are lost")
    downgrade.add_argument("revision", type=revision, help="its number, or base")
    downgrade.set_defaults(run=schema.downgrade)
