"""`import-legacy`: import the predecessor's database, completely or not at all."""

import argparse
from typing import TYPE_CHECKING

from operator_core.actions import ConnectionLostError
from operator_core.cli import output
from operator_core.cli.database import database_url, file_path
from operator_core.cli.options import Commands, Parser

if TYPE_CHECKING:
    from operator_core.legacy import ImportNote, ImportReport

INTERRUPTED = (
    "INTERRUPTED: nothing was imported, unless it had just been finished. Run it again: it does nothing twice."
)


async def import_legacy(options: argparse.Namespace) -> int:
    """Import a database, and report each row that was not imported unchanged."""
    from operator_core import legacy  # noqa: PLC0415 - a stop must not wait for it

    notes: list[ImportNote] = []
    options.failed = "NOTHING WAS IMPORTED: "
    try:
        with output.Progress("import-legacy") as progress:

            def add_note(note: "ImportNote") -> None:
                if options.json:
                    notes.append(note)
                else:
                    progress.say(str(note))

            report = await legacy.import_legacy(
                options.old,
                database_url(options.url),
                timezone=options.timezone,
                rejects=options.rejects,
                dry_run=options.dry_run,
                on_note=add_note,
                progress=progress,
            )
    except ConnectionLostError:
        options.failed = "run it again, it does nothing twice: "
        raise
    if options.json:
        output.print_json({**output.to_json(report), "notes": [output.to_json(note) for note in notes]})
        return 0
    output.print_text(*_lines(report))
    return 0


def _lines(report: "ImportReport") -> list[str]:
    verb = "would be imported" if report.dry_run else "imported"
    lines = [f"{verb}: {report.proposals} proposals with {report.records} records"]
    if report.already:
        lines.append(f"there already, and left as they are: {report.already} proposals")
    if report.unknown:
        lines.append(f"outcome unknown: {report.unknown} (see operator-core unknown and resolve)")
    if report.pending:
        lines.append(
            f"proposed or validated: {report.pending}; where no policy asks for approvals, a worker may start what is "
            "validated: cancel what is not wanted"
        )
    if report.rejected:
        where = "nowhere, this is a dry run" if report.rejects_file is None else report.rejects_file
        lines.append(f"rejected: {report.rejected} rows, in {where}")
    for table, columns in report.ignored.items():
        if columns:
            lines.append(f"columns of {table} that were ignored: {', '.join(columns)}")
    return lines


def add_commands(commands: "Commands[Parser]", common: Parser, actor: Parser) -> None:
    """Add `import-legacy`."""
    parser = commands.add_parser("import-legacy", parents=[common], help="import a database of the predecessor")
    parser.add_argument("old", type=file_path, metavar="OLD.db", help="its SQLite file; it is only read")
    parser.add_argument("--timezone", required=True, help="of its local times, as Europe/Berlin")
    parser.add_argument(
        "--rejects", type=file_path, help="a new file for rows that cannot be true (default: OLD.db.rejects.jsonl)"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be imported")
    parser.set_defaults(run=import_legacy, interrupted=INTERRUPTED)
