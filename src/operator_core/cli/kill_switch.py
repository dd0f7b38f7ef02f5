"""`stop`, `release` and `status`: the kill switch by hand."""

import argparse
import asyncio
from contextlib import suppress

from operator_core.actions import KillSwitchStatus, Scope, StopFailedError, StopReceipt, StopUnconfirmedError
from operator_core.actions.validation import sanitise_text
from operator_core.cli import output
from operator_core.cli.database import database_url, open_existing
from operator_core.cli.options import Commands, Parser, number, scope, seconds
from operator_core.db import ActionDB
from operator_core.db.engine.factory import create_engine
from operator_core.db.stop.command import StopCommand
from operator_core.db.stop.engage import engage

CONFIRMED, NOT_ENGAGED, UNCONFIRMED = 0, 1, 2
NOTHING_STOPPED = "FAILED, NOTHING IS STOPPED: "
INTERRUPTED = "interrupted: NOT KNOWN TO BE STOPPED. Look with `operator-core status`, or stop again"
_LONGEST_NAME = 255
_WATCH_INTERVAL_SECONDS = 0.5
_FIELDS = ", ".join(Scope.model_fields)


async def stop(options: argparse.Namespace) -> int:
    """Engage a stop without checking the revision first: it also works on a newer or damaged schema."""
    url = database_url(options.url)
    # In an emergency no reason may be refused: what cannot be stored is sanitised.
    by = sanitise_text(options.by, longest=_LONGEST_NAME).strip() or "unknown"
    order = StopCommand(options.scope, by, sanitise_text(options.reason), options.timeout, options.terminate)
    engine = create_engine(url, lock_timeout=options.timeout, needs_session_state=False)
    try:
        return _confirmed(await engage(engine, url, order), as_json=options.json)
    except StopFailedError as error:
        lines = [NOTHING_STOPPED + error.problem, "Try again, or have this run on the database:", f"  {error.sql}"]
        output.print_error(*lines, error=error, as_json=options.json, sql=error.sql)
        return NOT_ENGAGED
    except StopUnconfirmedError as error:
        return _unconfirmed(error, as_json=options.json)
    finally:
        with suppress(Exception):  # the outcome has been printed; a failing close must not change the exit code
            await engine.dispose()


def _confirmed(receipt: StopReceipt, *, as_json: bool) -> int:
    if as_json:
        output.print_json({"confirmed": True, "problems": [], **output.to_json(receipt)})
    else:
        output.print_text("STOPPED: nothing that this stop covers starts any more", *output.receipt_lines(receipt))
    _warn_of_scope(receipt)
    return CONFIRMED


def _warn_of_scope(receipt: StopReceipt) -> None:
    if receipt.scope_warning is not None:
        output.print_warning(
            receipt.scope_warning, f"  this stop is engaged nevertheless: stop {receipt.generation} ({receipt.scope})"
        )


def _unconfirmed(error: StopUnconfirmedError, *, as_json: bool) -> int:
    if as_json:
        seen = {"confirmed": False, "start_possible": error.start_possible, "problems": list(error.problems)}
        output.print_json({**seen, **output.to_json(error.receipt)})
    else:
        output.print_text(*output.receipt_lines(error.receipt))
    left = "but one may still get through" if error.start_possible else "and none gets through; but all is not done"
    output.print_warning(
        f"ENGAGED, BUT NOT CONFIRMED: new starts are refused, {left}:",
        *(f"  {problem}" for problem in error.problems),
        *["Type it again with --terminate to end the connections in the way."] * bool(error.pids),
    )
    _warn_of_scope(error.receipt)
    return UNCONFIRMED


async def release(options: argparse.Namespace) -> int:
    """Release the one stop that the generation names."""
    async with open_existing(options.url) as db:
        released = await db.release_kill_switch(by=options.by, reason=options.reason, generation=options.generation)
    if options.json:
        output.print_json(output.to_json(released))
    else:
        output.print_text(f"RELEASED: {output.stop_line(released)}", "Propose again what it cancelled.")
    return 0


async def status(options: argparse.Namespace) -> int:
    """Show the status of the kill switch; with `--watch`, again at every change."""
    async with open_existing(options.url) as db:
        await _show(db, as_json=options.json)
        if options.watch:
            await _watch(db, as_json=options.json)
    return 0


async def _watch(db: ActionDB, *, as_json: bool) -> None:
    """Print the status again whenever a stop, a running action, or an answer has changed."""
    last = await db.kill_switch_status()
    while True:
        await asyncio.sleep(_WATCH_INTERVAL_SECONDS)
        found = await db.kill_switch_status()
        if _watch_key(found) != _watch_key(last):
            if not as_json:
                output.print_text(f"-- {output.format_time(found.at)}")
            _print(found, as_json=as_json)
        last = found


def _watch_key(found: KillSwitchStatus) -> object:
    answers = [(one.generation, one.proposal_id, one.answer) for one in found.answers]
    return found.engaged, found.still_executing, answers, found.not_yet_cancelled


async def _show(db: ActionDB, *, as_json: bool) -> None:
    _print(await db.kill_switch_status(), as_json=as_json)


def _print(found: KillSwitchStatus, *, as_json: bool) -> None:
    if as_json:
        output.print_json(output.to_json(found))
    else:
        output.print_text(*output.status_lines(found))


def add_commands(commands: "Commands[Parser]", common: Parser, actor: Parser) -> None:
    """Add `stop`, `release` and `status`."""
    parser = commands.add_parser("stop", parents=[common, actor], help="stop everything, or what a scope covers")
    parser.add_argument("--reason", required=True, help="why; a refused start shows it")
    parser.add_argument("--scope", type=scope, default=Scope(), help="everything (default), or field=value: " + _FIELDS)
    parser.add_argument("--timeout", type=seconds, default=5.0, help="seconds for all of it (default: 5)")
    parser.add_argument("--terminate", action="store_true", help="end connections that are in the way (PostgreSQL)")
    parser.set_defaults(run=stop, failed=NOTHING_STOPPED, interrupted=INTERRUPTED)
    parser = commands.add_parser("release", parents=[common, actor], help="release one stop; revives nothing")
    parser.add_argument("--reason", required=True, help="why")
    parser.add_argument("--generation", required=True, type=number, help="the number of the stop")
    parser.set_defaults(run=release)
    parser = commands.add_parser("status", parents=[common], help="show what is engaged, what runs, who has answered")
    parser.add_argument("--watch", action="store_true", help="go on showing it at every change")
    parser.set_defaults(run=status)
