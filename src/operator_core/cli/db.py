"""`db ...`: maintain the schema; only `upgrade`, `downgrade` and `repair` change anything."""

import argparse
import asyncio
import io
import time
from collections.abc import Callable

from sqlalchemy.engine import URL

from operator_core.actions import DatabaseUnavailableError
from operator_core.cli import output
from operator_core.cli.database import database_url, revision
from operator_core.cli.options import Commands, Parser, duration, seconds
from operator_core.cli.streams import required_output
from operator_core.db import migrations
from operator_core.db.engine.urls import display_url
from operator_core.db.migrations.repair import repair as restore
from operator_core.db.migrations.status import SchemaState

UNREACHABLE, BEHIND, AHEAD = 1, 3, 4
CODES = {
    SchemaState.UP_TO_DATE: 0,
    SchemaState.BEHIND: BEHIND,
    SchemaState.GUARD_MISSING: BEHIND,
    SchemaState.AHEAD: AHEAD,
    SchemaState.UNKNOWN: AHEAD,
}
_POLL_INTERVAL_SECONDS = 0.5


async def upgrade(options: argparse.Namespace) -> int:
    """Bring a database to a revision, or print the statements that would."""
    url = database_url(options.url)
    if options.sql:
        statements = io.StringIO()
        await asyncio.to_thread(migrations.upgrade_sql, url, options.revision, statements)
        with required_output() as stream:
            stream.write(statements.getvalue())
        return 0
    await asyncio.to_thread(migrations.upgrade, url, options.revision, lock_timeout=options.lock_timeout)
    return await current(options)


async def downgrade(options: argparse.Namespace) -> int:
    """Take a database back to a revision."""
    await asyncio.to_thread(migrations.downgrade, database_url(options.url), options.revision)
    return await current(options)


async def current(options: argparse.Namespace) -> int:
    """Print the revision of a database."""
    url = database_url(options.url)
    found = await asyncio.to_thread(migrations.schema_status, url)
    if options.json:
        output.print_json({"revision": found.revision})
    else:
        output.print_text(
            f"{display_url(url)} is at revision {found.revision}"
            if found.revision
            else f"no ledger at {display_url(url)}"
        )
    return 0


async def history(options: argparse.Namespace) -> int:
    """List every revision, oldest first."""
    revisions = await asyncio.to_thread(migrations.history)
    if options.json:
        output.print_json([{"revision": number, "brings": text} for number, text in revisions])
        return 0
    for number, text in revisions:
        output.print_text(f"{number}  {text.partition(chr(10))[0]}")
    return 0


async def check(options: argparse.Namespace) -> int:
    """Print the status of a database, and exit with its code; with `--timeout`, wait until it is up to date."""
    url = database_url(options.url)
    found = await _poll_until_current(lambda: migrations.schema_status(url), options.timeout)
    return _show(url, found, as_json=options.json)


async def repair(options: argparse.Namespace) -> int:
    """Restore guards, lost stops and counters, and print what remains wrong."""
    url = database_url(options.url)
    return _show(url, await asyncio.to_thread(restore, url), as_json=options.json)


def _show(url: URL, found: migrations.SchemaStatus, *, as_json: bool) -> int:
    if as_json:
        output.print_json({"revision": found.revision, "state": found.state, "guards": found.guards})
        return CODES[found.state]
    at = f"revision {found.revision or 'none'}, this version has {migrations.HEAD}"
    output.print_text(f"{display_url(url)} is {found.state}: {at}")
    for guard in found.guards:
        output.print_text(f"  {guard}")
    if found.state is SchemaState.BEHIND:
        output.print_text("run: operator-core db upgrade")
    if found.state is SchemaState.GUARD_MISSING:
        output.print_text("find out who did it, run the statements that are given here, then: operator-core db repair")
    return CODES[found.state]


async def _poll_until_current(read: Callable[[], migrations.SchemaStatus], seconds: float) -> migrations.SchemaStatus:
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = await asyncio.to_thread(read)
            if found.state is SchemaState.UP_TO_DATE or time.monotonic() >= deadline:
                return found
        except DatabaseUnavailableError:
            if time.monotonic() >= deadline:
                raise
        await asyncio.sleep(_POLL_INTERVAL_SECONDS)


def add_commands(commands: "Commands[Parser]", common: Parser, actor: Parser) -> None:
    """Add `db` with its own commands."""
    parser = commands.add_parser("db", help="look after the schema")
    tasks = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    parser = tasks.add_parser("upgrade", parents=[common], help="bring a database to the revision of this version")
    parser.add_argument("revision", nargs="?", type=revision, default="head", help="another revision (default: head)")
    parser.add_argument("--sql", action="store_true", help="print the statements and run none")
    parser.add_argument("--lock-timeout", type=duration, default=5.0, help="how long to wait for a lock (default: 5s)")
    parser.set_defaults(run=upgrade)
    parser = tasks.add_parser("check", parents=[common], help="exit 0 up to date, 3 behind, 4 ahead, 1 unreachable")
    parser.add_argument("--timeout", type=seconds, default=0.0, help="seconds to wait until it is up to date")
    parser.set_defaults(run=check)
    parser = tasks.add_parser("repair", parents=[common], help="restore guards, lost stops and counters of ids")
    parser.set_defaults(run=repair)
    parser = tasks.add_parser("current", parents=[common], help="say which revision a database is at")
    parser.set_defaults(run=current)
    parser = tasks.add_parser("history", parents=[common], help="list every revision")
    parser.set_defaults(run=history)
    parser = tasks.add_parser("downgrade", parents=[common], help="go back to a revision; later columns are lost")
    parser.add_argument("revision", type=revision, help="its number, or base")
    parser.set_defaults(run=downgrade)
