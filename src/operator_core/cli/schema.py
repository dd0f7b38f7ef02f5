"""`db ...`: look after the schema; only `upgrade`, `downgrade` and `repair` change anything."""

import argparse
import asyncio
import io
import time
from collections.abc import Callable

from sqlalchemy.engine import URL

from operator_core.actions import DatabaseUnavailableError
from operator_core.cli import screen
from operator_core.cli.streams import required_output
from operator_core.cli.target import database_url
from operator_core.db import migrate
from operator_core.db.engine.urls import shown
from operator_core.db.migrate import Standing
from operator_core.db.migrate.repair import repair as restore

UNREACHABLE, BEHIND, AHEAD = 1, 3, 4
CODES = {
    Standing.UP_TO_DATE: 0,
    Standing.BEHIND: BEHIND,
    Standing.GUARD_MISSING: BEHIND,
    Standing.AHEAD: AHEAD,
    Standing.UNKNOWN: AHEAD,
}
_PAUSE = 0.5  # seconds between two looks


async def upgrade(options: argparse.Namespace) -> int:
    """Bring a database to a revision, or print the statements that would."""
    url = database_url(options.url)
    if options.sql:
        statements = io.StringIO()
        await asyncio.to_thread(migrate.upgrade_sql, url, options.revision, statements)
        with required_output() as stream:
            stream.write(statements.getvalue())
        return 0
    await asyncio.to_thread(migrate.upgrade, url, options.revision, lock_timeout=options.lock_timeout)
    return await current(options)


async def downgrade(options: argparse.Namespace) -> int:
    """Take a database back to a revision."""
    await asyncio.to_thread(migrate.downgrade, database_url(options.url), options.revision)
    return await current(options)


async def current(options: argparse.Namespace) -> int:
    """Say which revision a database is at."""
    url = database_url(options.url)
    found = await asyncio.to_thread(migrate.report, url)
    if options.json:
        screen.emit({"revision": found.revision})
    else:
        screen.say(f"{shown(url)} is at revision {found.revision}" if found.revision else f"no ledger at {shown(url)}")
    return 0


async def history(options: argparse.Namespace) -> int:
    """List every revision, oldest first."""
    revisions = await asyncio.to_thread(migrate.history)
    if options.json:
        screen.emit([{"revision": number, "brings": text} for number, text in revisions])
        return 0
    for number, text in revisions:
        screen.say(f"{number}  {text.partition(chr(10))[0]}")
    return 0


async def check(options: argparse.Namespace) -> int:
    """Say how a database stands, by the exit code too; with `--timeout`, wait until it is up to date."""
    url = database_url(options.url)
    found = await _patiently(lambda: migrate.report(url), options.timeout)
    return _show(url, found, as_json=options.json)


async def repair(options: argparse.Namespace) -> int:
    """Restore guards, lost stops and counters, and say what is left."""
    url = database_url(options.url)
    return _show(url, await asyncio.to_thread(restore, url), as_json=options.json)


def _show(url: URL, found: migrate.Report, *, as_json: bool) -> int:
    if as_json:
        screen.emit({"revision": found.revision, "standing": found.standing, "guards": found.guards})
        return CODES[found.standing]
    at = f"revision {found.revision or 'none'}, this version has {migrate.HEAD}"
    screen.say(f"{shown(url)} is {found.standing}: {at}")
    for guard in found.guards:
        screen.say(f"  {guard}")
    if found.standing is Standing.BEHIND:
        screen.say("run: operator-core db upgrade")
    if found.standing is Standing.GUARD_MISSING:
        screen.say("find out who did it, run the statements that are given here, then: operator-core db repair")
    return CODES[found.standing]


async def _patiently(look: Callable[[], migrate.Report], seconds: float) -> migrate.Report:
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = await asyncio.to_thread(look)
            if found.standing is Standing.UP_TO_DATE or time.monotonic() >= deadline:
                return found
        except DatabaseUnavailableError:
            if time.monotonic() >= deadline:
                raise
        await asyncio.sleep(_PAUSE)
