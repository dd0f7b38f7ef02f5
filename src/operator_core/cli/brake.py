"""`stop`, `release` and `status`: the kill switch by hand."""

import argparse
import asyncio
from contextlib import suppress

from operator_core.actions import KillSwitchStatus, StopFailedError, StopReceipt, StopUnconfirmedError
from operator_core.actions.values import sanitise_text
from operator_core.cli import screen
from operator_core.cli.target import database_url, existing
from operator_core.db import ActionDB
from operator_core.db.actions.engage import Order, engage
from operator_core.db.engine import create_engine

CONFIRMED, NOT_ENGAGED, UNCONFIRMED = 0, 1, 2
NOTHING_STOPPED = "FAILED, NOTHING IS STOPPED: "
INTERRUPTED = "interrupted: NOT KNOWN TO BE STOPPED. Look with `operator-core status`, or stop again"
_LONGEST_NAME = 255


async def stop(options: argparse.Namespace) -> int:
    """Engage a stop without looking at revisions first: it works also on a schema that is newer, or damaged."""
    url = database_url(options.url)
    # An emergency is no time to refuse a reason: what cannot be stored is made storable.
    by = sanitise_text(options.by, longest=_LONGEST_NAME).strip() or "unknown"
    order = Order(options.scope, by, sanitise_text(options.reason), options.timeout, options.terminate)
    engine = create_engine(url, lock_timeout=options.timeout, lasting=False)
    try:
        return _confirmed(await engage(engine, url, order), as_json=options.json)
    except StopFailedError as error:
        lines = [NOTHING_STOPPED + error.problem, "Try again, or have this run on the database:", f"  {error.sql}"]
        screen.complain(*lines, error=error, as_json=options.json, sql=error.sql)
        return NOT_ENGAGED
    except StopUnconfirmedError as error:
        return _unconfirmed(error, as_json=options.json)
    finally:
        with suppress(Exception):  # the outcome has been printed; a failing close must not change the exit code
            await engine.dispose()


def _confirmed(receipt: StopReceipt, *, as_json: bool) -> int:
    if as_json:
        screen.emit({"confirmed": True, "problems": [], **screen.plain(receipt)})
    else:
        screen.say("STOPPED: nothing that this stop covers starts any more", *screen.receipt_lines(receipt))
    _warn_of_scope(receipt)
    return CONFIRMED


def _warn_of_scope(receipt: StopReceipt) -> None:
    if receipt.scope_warning is not None:
        screen.warn(
            receipt.scope_warning, f"  this stop is engaged nevertheless: stop {receipt.generation} ({receipt.scope})"
        )


def _unconfirmed(error: StopUnconfirmedError, *, as_json: bool) -> int:
    if as_json:
        seen = {"confirmed": False, "start_possible": error.start_possible, "problems": list(error.problems)}
        screen.emit({**seen, **screen.plain(error.receipt)})
    else:
        screen.say(*screen.receipt_lines(error.receipt))
    left = "but one may still get through" if error.start_possible else "and none gets through; but all is not done"
    screen.warn(
        f"ENGAGED, BUT NOT CONFIRMED: new starts are refused, {left}:",
        *(f"  {problem}" for problem in error.problems),
        *["Type it again with --terminate to end the connections in the way."] * bool(error.pids),
    )
    _warn_of_scope(error.receipt)
    return UNCONFIRMED


async def release(options: argparse.Namespace) -> int:
    """Release the one stop that the generation names."""
    async with existing(options.url) as db:
        released = await db.release_kill_switch(by=options.by, reason=options.reason, generation=options.generation)
    if options.json:
        screen.emit(screen.plain(released))
    else:
        screen.say(f"RELEASED: {screen.stop_line(released)}", "What was pending stays cancelled: propose it again.")
    return 0


async def status(options: argparse.Namespace) -> int:
    """Show how the kill switch stands; with `--watch`, again at every change."""
    async with existing(options.url) as db:
        await _show(db, as_json=options.json)
        if options.watch:
            await _watch(db, as_json=options.json)
    return 0


async def _watch(db: ActionDB, *, as_json: bool) -> None:
    """Print the status again whenever a stop, what runs, or an answer has changed."""
    last = await db.kill_switch_status()
    while True:
        await asyncio.sleep(_LOOK_AGAIN)
        found = await db.kill_switch_status()
        if _gist(found) != _gist(last):
            if not as_json:
                screen.say(f"-- {screen.moment(found.at)}")
            _print(found, as_json=as_json)
        last = found


_LOOK_AGAIN = 0.5  # seconds


def _gist(found: KillSwitchStatus) -> object:
    answers = [(one.generation, one.proposal_id, one.answer) for one in found.answers]
    return found.engaged, found.still_executing, answers, found.not_yet_cancelled


async def _show(db: ActionDB, *, as_json: bool) -> None:
    _print(await db.kill_switch_status(), as_json=as_json)


def _print(found: KillSwitchStatus, *, as_json: bool) -> None:
    if as_json:
        screen.emit(screen.plain(found))
    else:
        screen.say(*screen.status_lines(found))
