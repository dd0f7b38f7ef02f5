"""`verify`, `export` and `prune`: check the ledger, export its history, delete what is old."""

import argparse
import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from operator_core.actions import InvalidArgumentError, UnreadableRowError
from operator_core.cli import output
from operator_core.cli.database import file_path, open_existing
from operator_core.cli.options import Commands, Parser, time
from operator_core.cli.streams import required_output
from operator_core.files import NewFile

DIFFERENT = INCOMPLETE = 1


async def verify(options: argparse.Namespace) -> int:
    """Compare the schema, the latch and the tables with what they must be; exit with 1 if they differ."""
    async with open_existing(options.url) as db:
        with output.Progress("verify") as progress:
            differences = await db.verify(progress=progress)
    if options.json:
        output.print_json([output.to_json(difference) for difference in differences])
        return DIFFERENT if differences else 0
    for difference in differences:
        output.print_text(str(difference))
    output.print_text(f"{len(differences)} differences" if differences else "the tables and the history agree")
    return DIFFERENT if differences else 0


@contextmanager
def _written(path: Path | None) -> Generator[TextIO | NewFile]:
    """Yield a new file that appears only once it is complete, or standard output."""
    if path is None:
        with required_output() as stream:
            yield stream
        return
    if path.exists() or path.is_symlink():
        raise InvalidArgumentError(path=str(path), reason="is there already; name a new file")
    with NewFile(path) as file:
        yield file
        file.publish()


async def export(options: argparse.Namespace) -> int:
    """Write one event per line, in the order of proposals and of their steps; exit with 1 if one is unreadable."""
    written, missing = 0, list[UnreadableRowError]()
    async with open_existing(options.url, missing.append) as db:
        try:
            with _written(options.output) as stream:
                async for event in db.iter_events(before=options.before):
                    stream.write(json.dumps(output.to_json(event), allow_nan=False) + "\n")
                    written += 1
        except OSError as error:
            raise InvalidArgumentError(
                path=str(options.output or "standard output"), reason=f"broke: {error}"
            ) from error
    output.print_warning(f"{written} events written to {options.output or 'standard output'}")
    for unreadable in missing:
        output.print_warning(f"NOT written: {unreadable}")
    return INCOMPLETE if missing else 0


async def prune(options: argparse.Namespace) -> int:
    """Delete what was finished before a moment, or only print what would be deleted."""
    keep = not options.include_events
    async with open_existing(options.url) as db:
        if options.dry_run:
            report = await db.count_prunable(options.before, keep_events=keep)
        else:
            with output.Progress("prune") as progress:
                report = await db.prune(
                    options.before, keep_events=keep, by=options.by, reason=options.reason, progress=progress
                )
    if options.json:
        output.print_json(output.to_json(report))
        return 0
    verb = "would go" if options.dry_run else "are gone"
    output.print_text(
        f"finished before {output.format_time(report.before)}: {report.proposals} proposals {verb}, with their records"
    )
    output.print_text("their history stays" if keep else f"{report.events} events {verb}")
    if report.unresolved:
        output.print_text(f"{report.unresolved} stay: their unknown outcome is not resolved (operator-core unknown)")
    return 0


def add_commands(commands: "Commands[Parser]", common: Parser, actor: Parser) -> None:
    """Add `verify`, `export` and `prune`."""
    parser = commands.add_parser("verify", parents=[common], help="compare the tables with the history")
    parser.set_defaults(run=verify)
    parser = commands.add_parser("export", parents=[common], help="write the history as JSON lines")
    parser.add_argument("--before", type=time, help="only histories that began before: 2026-01-31, or with a time")
    parser.add_argument("--output", type=file_path, help="a new file (default: standard output)")
    parser.set_defaults(run=export)
    parser = commands.add_parser("prune", parents=[common, actor], help="delete what was finished before a moment")
    parser.add_argument("--before", type=time, required=True, help="2026-01-31, or with a time; UTC where no zone is")
    parser.add_argument("--reason", default="retention", help="why")
    parser.add_argument("--include-events", action="store_true", help="delete the history as well: export it first")
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    parser.set_defaults(run=prune)
