"""`stop`, `release` and `status`: the kill switch by hand."""

import argparse

from operator_core.actions import KillSwitchStatus, StopFailedError, StopUnconfirmedError
from operator_core.cli import screen
from operator_core.cli.target import database_url, existing
from operator_core.db import ActionDB
from operator_core.db.engage import Order, engage
from operator_core.db.engine import create_engine

CONFIRMED, NOT_ENGAGED, UNCONFIRMED = 0, 1, 2


async def stop(options: argparse.Namespace) -> int:
    """Engage a stop without looking at revisions first: it works also on a schema that is newer, or damaged."""
    url = database_url(options.url)
    order = Order(options.scope, options.by, options.reason, options.wait, options.terminate)
    engine = create_engine(url, lock_timeout=options.wait)
    try:
        receipt = await engage(engine, url, order)
    except StopFailedError as error:
        text = (
            f"FAILED, NOTHING IS STOPPED: {error.problem}\nTry again, or have this run on the database:\n  {error.sql}"
        )
        screen.complain(text, error, as_json=options.json, sql=error.sql)
        return NOT_ENGAGED
    except StopUnconfirmedError as error:
        return _unconfirmed(error, as_json=options.json)
    finally:
        await engine.dispose()
    if options.json:
        screen.emit({"confirmed": True, "problems": [], **screen.plain(receipt)})
    else:
        screen.say(
            "\n".join(["STOPPED: nothing that this stop covers starts any more", *screen.receipt_lines(receipt)])
        )
    return CONFIRMED


def _unconfirmed(error: StopUnconfirmedError, *, as_json: bool) -> int:
    if as_json:
        screen.emit({"confirmed": False, "problems": list(error.problems), **screen.plain(error.receipt)})
    else:
        screen.say("\n".join(screen.receipt_lines(error.receipt)))
    problems = "\n".join(f"  {problem}" for problem in error.problems)
    advice = "Type it again with --terminate to end the connections in the way." if error.pids else ""
    text = f"ENGAGED, BUT NOT CONFIRMED: new starts are refused, but one may still get through:\n{problems}\n{advice}"
    screen.warn(text.rstrip())
    return UNCONFIRMED


async def release(options: argparse.Namespace) -> int:
    """Release the one stop that the generation names."""
    async with existing(options.url) as db:
        released = await db.release_kill_switch(by=options.by, reason=options.reason, generation=options.generation)
    if options.json:
        screen.emit(screen.plain(released))
    else:
        screen.say(f"RELEASED: {screen.stop_line(released)}\nWhat was pending stays cancelled: propose it again.")
    return 0


async def status(options: argparse.Namespace) -> int:
    """Show how the kill switch stands; with `--watch`, again at every change."""
    async with existing(options.url) as db:
        await _show(db, as_json=options.json)
        if options.watch:
            last = await db.kill_switch_status()
            async for _change in db.watch_kill_switch():
                found = await db.kill_switch_status()
                if (found.generation, found.engaged) != (last.generation, last.engaged):
                    _print(found, as_json=options.json)
                last = found
    return 0


async def _show(db: ActionDB, *, as_json: bool) -> None:
    _print(await db.kill_switch_status(), as_json=as_json)


def _print(found: KillSwitchStatus, *, as_json: bool) -> None:
    if as_json:
        screen.emit(screen.plain(found))
    else:
        screen.say("\n".join(screen.status_lines(found)))
