"""Replay what an agent wanted to do in an incident: propose, check, approve, execute, and cancel what is left over.

The exit code is 0 when every line of the file is accounted for, 1 when one is not, 2 when the program cannot run.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import uuid
from collections import Counter, defaultdict
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path

from calls import Call, Transcript, read_transcript
from operator_core.actions import (
    TRANSITIONS,
    ActionError,
    ActionStatus,
    ApprovalRefusedError,
    ApproverKind,
    StoredProposal,
    TransitionNotAllowedError,
)
from operator_core.db import ActionDB
from operator_core.worker import ActionRegistry, NotRegisteredError, ParametersNotValidError, Worker
from screen import Progress, one_line, show_counts, show_proposal
from system import make_registry

PROGRAM = Path(__file__).name
SAMPLE = Path(__file__).with_suffix(".jsonl")
BATCH = 100
LONGEST = 60.0  # seconds that one action may take
VALIDATOR = "validator"  # the program that decides here, by a stated rule: what fits its model may run


Tickets = dict[int | None, list[int]]


async def replay(db: ActionDB, transcript: Transcript, agent: str, options: argparse.Namespace) -> bool:
    """Take all calls through their lifecycle; return whether every line is accounted for."""
    registry = make_registry(transcript.calls)
    worker = Worker(db, registry, concurrency=options.workers, name=f"worker-of-{agent}", validate=False)
    proposals = await propose(db, transcript.calls)
    tickets = await check(db, registry, proposals, transcript.calls)
    await execute(db, worker, tickets)
    counts = await db.count_proposals(proposed_by=agent)
    show_counts("Proposals by state", counts)
    await show_ticket(db, transcript, options.ticket)
    await cancel_the_rest(db, counts)
    counts = await db.count_proposals(proposed_by=agent)
    show_counts("Proposals by state, in the end", counts)
    return account(transcript, counts)


async def propose(db: ActionDB, calls: list[Call]) -> list[StoredProposal]:
    """Store what the agent wants, a batch at a time: all of a batch or none of it."""
    progress = Progress("proposed", len(calls))
    stored: list[StoredProposal] = []
    for start in range(0, len(calls), BATCH):
        batch = [call.proposal for call in calls[start : start + BATCH]]
        stored += await db.create_proposals(batch)
        progress.step(len(batch))
    return stored


async def check(db: ActionDB, registry: ActionRegistry, proposals: list[StoredProposal], calls: list[Call]) -> Tickets:
    """Reject what must not run, with the reason; return what is to run, by ticket, in the order of the file."""
    progress = Progress("checked", len(calls))
    tickets: Tickets = defaultdict(list)
    for proposal, call in zip(proposals, calls, strict=True):
        if flaw := call.flaw or find_flaw(registry, proposal):
            await reject(db, proposal.id, flaw)
        elif call.outcome is not None:  # without an outcome the run ended before this call
            tickets[proposal.ticket_id].append(proposal.id)
        progress.step()
    return tickets


def find_flaw(registry: ActionRegistry, proposal: StoredProposal) -> str | None:
    """Say why an action must not run, or None when its model accepts the parameters."""
    try:
        registry.check(proposal.action_name, proposal.parameters)
    except NotRegisteredError:
        return "no such action"
    except ParametersNotValidError as error:
        return f"invalid arguments: {error.problems}"
    return None


async def reject(db: ActionDB, proposal_id: int, reason: str) -> None:
    """Reject a proposal, unless a stop, or somebody else, has cancelled it."""
    with suppress(ApprovalRefusedError):
        await db.reject(proposal_id, by=VALIDATOR, kind=ApproverKind.SYSTEM, reason=reason)


async def approve(db: ActionDB, proposal_id: int) -> None:
    """Approve a proposal, unless a stop, or somebody else, has cancelled it."""
    with suppress(ApprovalRefusedError, TransitionNotAllowedError):
        await db.approve(proposal_id, by=VALIDATOR, kind=ApproverKind.SYSTEM)


async def execute(db: ActionDB, worker: Worker, tickets: Tickets) -> None:
    """Have a worker do it: many tickets at once, and a call of a ticket after the one before it has ended.

    A worker does whatever is approved. So the next call of each ticket is approved when it may run, not sooner.
    """
    progress = Progress("executed", sum(map(len, tickets.values())))
    for wave in zip_longest(*tickets.values()):
        ids = [proposal_id for proposal_id in wave if proposal_id is not None]
        for proposal_id in ids:
            await approve(db, proposal_id)
        await worker.run_until_idle()
        for proposal_id in ids:
            await db.wait_for(proposal_id, timeout=LONGEST)  # another run that shares the ledger may have taken it
        progress.step(len(ids))


async def show_ticket(db: ActionDB, transcript: Transcript, ticket: int | None) -> None:
    """Print all that the ledger knows of one ticket: the chosen one, else the busiest of the file."""
    if ticket is None:
        busy = Counter(call.proposal.ticket_id for call in transcript.calls if call.proposal.ticket_id is not None)
        if not busy:
            return
        ticket = busy.most_common(1)[0][0]
    proposals = await db.list_proposals(ticket_id=ticket)
    print(f"\nHistory of ticket {ticket}: {len(proposals)} proposals in this ledger (times are UTC)")
    for proposal in reversed(proposals):
        show_proposal(proposal, await db.get_events(proposal.id))


async def cancel_the_rest(db: ActionDB, counts: dict[ActionStatus, int]) -> None:
    """Cancel everything that is pending, whoever proposed it: that is what `cancel_all_pending` does."""
    ours = counts[ActionStatus.PROPOSED] + counts[ActionStatus.VALIDATED]
    cancelled = await db.cancel_all_pending(by=PROGRAM, reason="the incident is over")
    print(f"\nCancelled everything pending in this ledger, whoever proposed it: {cancelled} ({ours} from this run)")


def account(transcript: Transcript, counts: dict[ActionStatus, int]) -> bool:
    """Compare what was read with what the ledger holds, and say so."""
    stored, broken = sum(counts.values()), len(transcript.broken)
    unfinished = sum(count for status, count in counts.items() if TRANSITIONS[status])
    complete = transcript.lines == stored + broken and not unfinished
    verdict = "all accounted for" if complete else f"NOT ALL ACCOUNTED FOR ({unfinished} unfinished)"
    print(f"\n{transcript.lines} lines = {stored} proposals + {broken} broken lines: {verdict}")
    return complete


async def replay_in(target: Path | str, transcript: Transcript, agent: str, options: argparse.Namespace) -> bool:
    """Open the ledger and replay the transcript in it."""
    async with ActionDB(target) as db:
        return await replay(db, transcript, agent, options)


def database(text: str) -> Path | str:
    """Tell a URL from the path of a SQLite file, as `ActionDB` wants them."""
    return text if "://" in text else Path(text)


def positive(text: str) -> int:
    """Read how many actions run at once."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("path", nargs="?", type=Path, default=SAMPLE, help="tool calls, one JSON object a line")
    parser.add_argument("--database", type=database, metavar="URL_OR_PATH", help="default: a temporary SQLite file")
    parser.add_argument("--workers", type=positive, default=4, help="how many actions run at once")
    parser.add_argument("--ticket", type=int, help="whose history is shown; default: the busiest")
    return parser.parse_args()


def main() -> int:
    """Run the program and return its exit code."""
    options = parse_options()
    logging.getLogger("operator_core").addHandler(logging.NullHandler())  # what happened is printed from the ledger
    agent = f"agent-{uuid.uuid4().hex[:8]}"  # one name per run: its proposals are told from others by it
    try:
        transcript = read_transcript(options.path, proposed_by=agent)
    except OSError as error:
        return fail(f"cannot read {options.path}: {error.strerror}")
    print(f"{transcript.lines} lines of {options.path.name}, proposed by {agent}")
    for line in transcript.broken:
        print(f"line {line.number} is broken: {one_line(line.why)}")
    with tempfile.TemporaryDirectory() as folder:
        target = options.database or Path(folder, "ops.db")
        if options.database:
            print("at the end, everything pending in the ledger that you gave is cancelled, whoever proposed it")
        else:
            print(f"the ledger is a temporary SQLite file, {target}; it is deleted at the end")
        try:
            return 0 if asyncio.run(replay_in(target, transcript, agent, options)) else 1
        except ActionError as error:
            return fail(str(error))


def fail(why: str) -> int:
    """Say in one line why the program cannot run."""
    print(f"{PROGRAM}: error: {one_line(why, 500)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
