"""`list`, `show` and `cancel`: the ledger by hand."""

import argparse

from operator_core.actions import (
    ActionEvent,
    ActionProposal,
    ActionStatus,
    EventKind,
    ProposalNotFoundError,
    UnreadableRowError,
)
from operator_core.actions.values import dump_json
from operator_core.cli import screen
from operator_core.cli.target import existing


async def list_(options: argparse.Namespace) -> int:
    """List proposals, newest first."""
    async with existing(options.url) as db:
        found = await db.list_proposals(
            options.status,
            ticket_id=options.ticket,
            action_name=options.action_name,
            before_id=options.before_id,
            limit=options.limit,
        )
    for proposal in found:
        if options.json:
            screen.emit(screen.plain(proposal))
        else:
            screen.say(_line(proposal))
    return 0


def _line(proposal: ActionProposal) -> str:
    ticket = "-" if proposal.ticket_id is None else proposal.ticket_id
    reason = proposal.reason.partition("\n")[0][:60]
    return (
        f"{proposal.id:>8}  {proposal.status:<9}  {screen.moment(proposal.status_at)}  ticket {ticket:<8}  "
        f"{proposal.action_name}  ({proposal.proposed_by}: {reason})"
    )


async def show(options: argparse.Namespace) -> int:
    """Show one proposal with its record and its history."""
    async with existing(options.url) as db:
        proposal = await db.get_proposal(options.id)
        if proposal is None:
            raise ProposalNotFoundError(proposal_id=options.id)
        records = await db.get_records_for_proposal(options.id)
        events = await db.get_events(options.id)
    if options.json:
        parts = {"records": [screen.plain(record) for record in records], "events": [screen.plain(e) for e in events]}
        screen.emit({**screen.plain(proposal), **parts})
        return 0
    screen.say(_line(proposal))
    screen.say(f"  reason: {proposal.reason}")
    screen.say(f"  parameters: {dump_json(proposal.parameters)}")
    for record in records:
        error = "" if record.error_message is None else f": {record.error_message}"
        screen.say(f"  record {record.id}: {record.outcome or 'open'}{error}")
    for event in events:
        screen.say(_event_line(event))
    return 0


def _event_line(event: ActionEvent) -> str:
    why = "" if event.reason is None else f": {event.reason}"
    what, more = f"{event.from_status or '(new)'} -> {event.to_status}", ""
    if event.kind is not EventKind.STEP:
        what = event.kind.replace("_", " ")
        more = "" if event.data is None else f" {dump_json(event.data)}"
    return f"  {screen.moment(event.at)}  {what:<24}  {event.by}{why}{more}"


async def cancel(options: argparse.Namespace) -> int:
    """Cancel one proposal that is pending, or ask the one that is executing to stop."""
    async with existing(options.url) as db:
        try:
            cancelled = await db.request_cancel(options.id, by=options.by, reason=options.reason)
        except UnreadableRowError as error:
            if not error.kept:
                raise
            screen.complain(str(error), error=error, as_json=options.json)
            return 0
    if options.json:
        screen.emit(screen.plain(cancelled))
    else:
        screen.say(_line(cancelled))
    if cancelled.status is ActionStatus.EXECUTING and not options.json:
        screen.say("it is executing: it was asked to stop, and its worker answers")
    return 0
