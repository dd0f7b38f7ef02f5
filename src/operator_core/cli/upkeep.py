"""`verify`, `export` and `prune`: see that the ledger is sound, keep its history, let go of what is old."""

import argparse
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from operator_core.actions import UnreadableRowError, ValueNotStorableError
from operator_core.cli import screen
from operator_core.cli.streams import required_output
from operator_core.cli.target import existing

DIFFERENT = INCOMPLETE = 1


async def verify(options: argparse.Namespace) -> int:
    """Compare the schema, the latch and the tables with what they must be; 1 where they differ."""
    async with existing(options.url) as db:
        with screen.Progress("verify") as progress:
            differences = await db.verify(progress=progress)
    if options.json:
        screen.emit([screen.plain(difference) for difference in differences])
        return DIFFERENT if differences else 0
    for difference in differences:
        screen.say(str(difference))
    screen.say(f"{len(differences)} differences" if differences else "the tables and the history agree")
    return DIFFERENT if differences else 0


@contextmanager
def _written(output: Path | None) -> Generator[TextIO]:
    """Give a new file that is there only when it is whole, or standard output."""
    if output is None:
        with required_output() as stream:
            yield stream
        return
    if output.exists():
        raise ValueNotStorableError(path=str(output), why="is there already; name a new file")
    part = output.with_name(f"{output.name}.part")
    with part.open("w", encoding="utf-8") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(output)


async def export(options: argparse.Namespace) -> int:
    """Write one event a line, in the order of proposals and of their steps; 1 where one cannot be read."""
    written, missing = 0, list[UnreadableRowError]()
    async with existing(options.url, missing.append) as db:
        try:
            with _written(options.output) as stream:
                async for event in db.iter_events(before=options.before):
                    stream.write(json.dumps(screen.plain(event), allow_nan=False) + "\n")
                    written += 1
        except OSError as error:
            raise ValueNotStorableError(path=str(options.output or "standard output"), why=f"broke: {error}") from error
    screen.warn(f"{written} events written to {options.output or 'standard output'}")
    for unreadable in missing:
        screen.warn(f"NOT written: {unreadable}")
    return INCOMPLETE if missing else 0


async def prune(options: argparse.Namespace) -> int:
    """Delete what was finished before a moment, or only say what would go."""
    keep = not options.events_too
    async with existing(options.url) as db:
        if options.dry_run:
            report = await db.count_prunable(options.before, keep_events=keep)
        else:
            with screen.Progress("prune") as progress:
                report = await db.prune(
                    options.before, keep_events=keep, by=options.by, reason=options.reason, progress=progress
                )
    if options.json:
        screen.emit(screen.plain(report))
        return 0
    verb = "would go" if options.dry_run else "are gone"
    screen.say(
        f"finished before {screen.moment(report.before)}: {report.proposals} proposals {verb}, with their records"
    )
    screen.say("their history stays" if keep else f"{report.events} events {verb}")
    if report.unsettled:
        screen.say(f"{report.unsettled} stay: nobody has settled their unknown outcome (operator-core unknown)")
    return 0
