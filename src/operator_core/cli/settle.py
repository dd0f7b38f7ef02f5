"""`recover`, `unknown` and `resolve`: what lost workers left, and what a person found out about it."""

import argparse

from operator_core.actions import ActionRecord
from operator_core.cli import screen
from operator_core.cli.target import existing


def _line(record: ActionRecord) -> str:
    seen = f"worker {record.worker or '-'}, last seen {screen.moment(record.last_seen_at)}"
    return f"record {record.id}, proposal {record.proposal_id}: {record.outcome}, {seen}"


def _show(records: list[ActionRecord], nothing: str, *, as_json: bool) -> None:
    if as_json:
        screen.emit([screen.plain(record) for record in records])
        return
    for record in records:
        screen.say(_line(record))
    if records:
        screen.say(
            f'find out what happened, then: operator-core resolve {records[0].id} --finding happened --reason "..."'
        )
    else:
        screen.say(nothing)


async def recover(options: argparse.Namespace) -> int:
    """Fail the executions whose lease ran out."""
    async with existing(options.url) as db:
        lost = await db.recover_expired_leases(grace_period=options.grace_period, by=options.by)
    _show(lost, "nothing is lost", as_json=options.json)
    return 0


async def unknown(options: argparse.Namespace) -> int:
    """List what nobody knows the outcome of."""
    async with existing(options.url) as db:
        unsettled = await db.list_unresolved()
    _show(unsettled, "every outcome is known or settled", as_json=options.json)
    return 0


async def resolve(options: argparse.Namespace) -> int:
    """Settle one of them."""
    async with existing(options.url) as db:
        record = await db.resolve_unknown(options.record, finding=options.finding, by=options.by, reason=options.reason)
    if options.json:
        screen.emit(screen.plain(record))
    else:
        screen.say(f"record {record.id}, proposal {record.proposal_id}: {record.finding}, says {options.by}")
    return 0
