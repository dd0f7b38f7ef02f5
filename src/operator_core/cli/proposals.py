"""`list`, `show` and `cancel`: the ledger by hand."""

import argparse

from operator_core.actions import (
    ActionEvent,
    ActionStatus,
    EventKind,
    ProposalNotFoundError,
    UnreadableRowError,
)
from operator_core.actions.validation import dump_json
from operator_core.cli import output
from operator_core.cli.approvals import approval_lines
from operator_core.cli.database import open_existing
from operator_core.cli.options import Commands, Parser, number


async def list_(options: argparse.Namespace) -> int:
    """List proposals, newest first."""
    async with open_existing(options.url) as db:
        found = await db.list_proposals(
            options.status,
            ticket_id=options.ticket,
            action_name=options.action_name,
            before_id=options.before_id,
            limit=options.limit,
        )
    for proposal in found:
        if options.json:
            output.print_json(output.to_json(proposal))
        else:
            output.print_text(output.proposal_line(proposal))
    return 0


async def show(options: argparse.Namespace) -> int:
    """Show one proposal with its record and its history."""
    async with open_existing(options.url) as db:
        proposal = await db.get_proposal(options.id)
        if proposal is None:
            raise ProposalNotFoundError(proposal_id=options.id)
        records = await db.get_records_for_proposal(options.id)
        events = await db.get_events(options.id)
        status = await db.approval_status(options.id)
    if options.json:
        parts = {
            "records": [output.to_json(record) for record in records],
            "events": [output.to_json(e) for e in events],
        }
        output.print_json({**output.to_json(proposal), **parts, "approval_status": output.to_json(status)})
        return 0
    output.print_text(*output.proposal_lines(proposal), *approval_lines(status, decisions=False))
    for record in records:
        error = "" if record.error_message is None else f": {record.error_message}"
        output.print_text(f"  record {record.id}: {record.outcome or 'open'}{error}")
    for event in events:
        output.print_text(_event_line(event))
    return 0


def _event_line(event: ActionEvent) -> str:
    why = "" if event.reason is None else f": {event.reason}"
    what, more = f"{event.from_status or '(new)'} -> {event.to_status}", ""
    data = event.data or {}
    if event.kind in _DECISIONS:
        role = f" as {data['role']}" if data["role"] else ""
        of = f" of {data['revokes']}" if data["revokes"] else ""
        what, more = f"{event.kind} ({event.id}){of}", f"{role}, {data['kind']}"
    elif "policy" in data:
        more = f" by the policy for {data['policy']}, version {data['version']}, with {data['approvals']}"
    elif event.kind is not EventKind.STEP:
        what = event.kind.replace("_", " ")
        more = "" if event.data is None else f" {dump_json(event.data)}"
    return f"  {output.format_time(event.at)}  {what:<24}  {event.by}{why}{more}"


_DECISIONS = (EventKind.APPROVED, EventKind.REJECTED, EventKind.REVOKED)


async def cancel(options: argparse.Namespace) -> int:
    """Cancel one pending proposal, or ask an executing one to stop."""
    async with open_existing(options.url) as db:
        try:
            cancelled = await db.request_cancel(options.id, by=options.by, reason=options.reason)
        except UnreadableRowError as error:
            if not error.kept:
                raise
            output.print_error(str(error), error=error, as_json=options.json)
            return 0
    if options.json:
        output.print_json(output.to_json(cancelled))
    else:
        output.print_text(output.proposal_line(cancelled))
    if cancelled.status is ActionStatus.EXECUTING and not options.json:
        output.print_text("it is executing: it was asked to stop, and its worker answers")
    return 0


def add_commands(commands: "Commands[Parser]", common: Parser, actor: Parser) -> None:
    """Add `list`, `show` and `cancel`."""
    parser = commands.add_parser("list", parents=[common], help="list proposals, newest first")
    parser.add_argument("--status", type=ActionStatus, choices=list(ActionStatus), help="only those in this state")
    parser.add_argument("--ticket", type=number, help="only those of this ticket")
    parser.add_argument("--action-name", help="only those of this name")
    parser.add_argument("--before-id", type=number, help="only those with a lower id: the next page")
    parser.add_argument("--limit", type=number, default=50, help="how many at most (default: 50)")
    parser.set_defaults(run=list_)
    parser = commands.add_parser("show", parents=[common], help="show one proposal with its record and its history")
    parser.add_argument("id", type=number)
    parser.set_defaults(run=show)
    parser = commands.add_parser(
        "cancel", parents=[common, actor], help="cancel one proposal, or ask it to stop where it is executing"
    )
    parser.add_argument("id", type=number)
    parser.add_argument("--reason", default="cancelled by hand", help="why")
    parser.set_defaults(run=cancel)
