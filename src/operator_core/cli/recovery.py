"""`recover`, `unknown` and `resolve`: the executions of lost workers, and the resolution of their outcomes."""

import argparse

from operator_core.actions import Resolution, StoredRecord
from operator_core.cli import output
from operator_core.cli.database import open_existing
from operator_core.cli.options import Commands, Parser, number, seconds


def _line(record: StoredRecord) -> str:
    seen = f"worker {record.worker or '-'}, last seen {output.format_time(record.last_seen_at)}"
    return f"record {record.id}, proposal {record.proposal_id}: {record.outcome}, {seen}"


def _show(records: list[StoredRecord], nothing: str, *, as_json: bool) -> None:
    if as_json:
        output.print_json([output.to_json(record) for record in records])
        return
    for record in records:
        output.print_text(_line(record))
    if records:
        output.print_text(
            f'find out what happened, then: operator-core resolve {records[0].id} --resolution happened --reason "..."'
        )
    else:
        output.print_text(nothing)


async def recover(options: argparse.Namespace) -> int:
    """Fail the executions whose lease expired."""
    async with open_existing(options.url) as db:
        lost = await db.recover_expired_leases(grace_period=options.grace_period, by=options.by)
    _show(lost, "nothing is lost", as_json=options.json)
    return 0


async def unknown(options: argparse.Namespace) -> int:
    """List the executions of unknown, unresolved outcome."""
    async with open_existing(options.url) as db:
        unresolved = await db.list_unresolved()
    _show(unresolved, "every outcome is known or resolved", as_json=options.json)
    return 0


async def resolve(options: argparse.Namespace) -> int:
    """Resolve one of them."""
    async with open_existing(options.url) as db:
        record = await db.resolve_unknown(
            options.record, resolution=options.resolution, by=options.by, reason=options.reason
        )
    if options.json:
        output.print_json(output.to_json(record))
    else:
        output.print_text(f"record {record.id}, proposal {record.proposal_id}: {record.resolution}, says {options.by}")
    return 0


def _resolution(text: str) -> Resolution:
    try:
        return Resolution(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is none of: {', '.join(Resolution)}") from error


def add_commands(commands: "Commands[Parser]", common: Parser, actor: Parser) -> None:
    """Add `recover`, `unknown` and `resolve`."""
    parser = commands.add_parser("recover", parents=[common, actor], help="fail what lost workers left executing")
    parser.add_argument("--grace-period", type=seconds, default=0.0, help="seconds after a lease ended (default: 0)")
    parser.set_defaults(run=recover)
    parser = commands.add_parser("unknown", parents=[common], help="list what nobody knows the outcome of")
    parser.set_defaults(run=unknown)
    parser = commands.add_parser("resolve", parents=[common, actor], help="resolve an unknown outcome")
    parser.add_argument("record", type=number, help="the id of the record, as `unknown` shows it")
    parser.add_argument("--resolution", required=True, type=_resolution, help=", ".join(Resolution))
    parser.add_argument("--reason", required=True, help="how you know")
    parser.set_defaults(run=resolve)
