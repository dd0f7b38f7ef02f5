"""Replay what an agent wanted to do in an incident: propose, validate, execute, and cancel what is left over.

The exit code is 0 when every line of the file is accounted for, 1 when one is not, 2 when the program cannot run.
"""

import argparse
import asyncio
import sys
import tempfile
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from calls import KEPT_CHARACTERS, Call, Transcript, read_transcript, to_result
from catalogue import find_flaw
from operator_core.actions import (
    TRANSITIONS,
    ActionError,
    ActionProposal,
    ActionRecord,
    ActionStatus,
    KillSwitchEngagedError,
    TransitionNotAllowedError,
    ValueNotStorableError,
)
from operator_core.db import ActionDB
from screen import Progress, one_line, show_counts, show_proposal

PROGRAM = Path(__file__).name
SAMPLE = Path(__file__).with_suffix(".jsonl")
BATCH = 100


@dataclass(frozen=True)
class Job:
    """Be a validated proposal, and what the simulated system is going to answer."""

    proposal_id: int
    answer: str


Tickets = dict[int | None, list[Job]]


async def replay(db: ActionDB, transcript: Transcript, agent: str, options: argparse.Namespace) -> bool:
    """Take all calls through their lifecycle; return whether every line is accounted for."""
    proposals = await propose(db, transcript.calls)
    tickets = await validate(db, proposals, transcript.calls)
    await execute(db, tickets, options.workers)
    counts = await db.count_proposals(proposed_by=agent)
    show_counts("Proposals by state", counts)
    await show_ticket(db, transcript, options.ticket)
    await cancel_the_rest(db, counts)
    counts = await db.count_proposals(proposed_by=agent)
    show_counts("Proposals by state, in the end", counts)
    return account(transcript, counts)


async def propose(db: ActionDB, calls: list[Call]) -> list[ActionProposal]:
    """Store what the agent wants, a batch at a time: all of a batch or none of it."""
    progress = Progress("proposed", len(calls))
    stored: list[ActionProposal] = []
    for start in range(0, len(calls), BATCH):
        batch = [call.proposal for call in calls[start : start + BATCH]]
        stored += await db.create_proposals(batch)
        progress.step(len(batch))
    return stored


async def validate(db: ActionDB, proposals: list[ActionProposal], calls: list[Call]) -> Tickets:
    """Check every proposal; return those that may run, by ticket, in the order of the file."""
    progress = Progress("validated", len(calls))
    tickets: Tickets = defaultdict(list)
    for proposal, call in zip(proposals, calls, strict=True):
        passed = await judge(db, proposal, call.flaw)
        if passed and call.outcome is not None:  # without an outcome the run ended before this call
            tickets[proposal.ticket_id].append(Job(id_of(proposal), call.outcome))
        progress.step()
    return tickets


async def judge(db: ActionDB, proposal: ActionProposal, flaw: str | None) -> bool:
    """Validate a proposal, or cancel it with the reason; return whether it may run."""
    flaw = flaw or find_flaw(proposal.action_name, proposal.parameters)
    verdict = ActionStatus.CANCELLED if flaw else ActionStatus.VALIDATED
    try:
        await db.update_proposal_status(id_of(proposal), verdict, by="validator", reason=flaw)
    except TransitionNotAllowedError:
        return False  # a stop, or somebody else, has cancelled it
    return flaw is None


async def execute(db: ActionDB, tickets: Tickets, workers: int) -> None:
    """Let workers run the jobs: many tickets at once, the calls of one ticket one after the other."""
    queue: asyncio.Queue[list[Job]] = asyncio.Queue()
    for jobs in tickets.values():
        queue.put_nowait(jobs)
    progress = Progress("executed", sum(map(len, tickets.values())))
    await asyncio.gather(*(work(db, queue, f"worker-{n}", progress) for n in range(1, workers + 1)))


async def work(db: ActionDB, queue: asyncio.Queue[list[Job]], worker: str, progress: Progress) -> None:
    """Be one worker: take a ticket after another until none is left."""
    while not queue.empty():
        for job in queue.get_nowait():
            await run(db, job, worker)
            progress.step()


async def run(db: ActionDB, job: Job, worker: str) -> None:
    """Execute one proposal and record how that ended; nothing happens unless the ledger lets it start."""
    try:
        record = await db.start_execution(job.proposal_id, by=worker)
    except (TransitionNotAllowedError, KillSwitchEngagedError):
        return  # cancelled or stopped since it was validated
    answer = await simulate(job)
    if answer.startswith("Error"):
        await db.finish_execution(id_of(record), success=False, error_message=answer, by=worker)
    else:
        await record_success(db, id_of(record), answer, worker)


async def record_success(db: ActionDB, record_id: int, answer: str, worker: str) -> None:
    """Record that an action succeeded, also when its answer is nothing that a record can hold."""
    try:
        await db.finish_execution(record_id, success=True, result_data=to_result(answer), by=worker)
    except ValueNotStorableError:
        kept = {"text": ascii(answer)[:KEPT_CHARACTERS]}
        await db.finish_execution(record_id, success=True, result_data=kept, by=worker)


async def simulate(job: Job) -> str:
    """Stand in for the live system: answer what was recorded, after a moment."""
    await asyncio.sleep(0.002)
    return job.answer


def id_of(stored: ActionProposal | ActionRecord) -> int:
    """Return the id that the ledger gave; the type allows None for what is not stored yet."""
    if stored.id is None:
        raise ValueError(stored)
    return stored.id


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
        show_proposal(proposal, await db.get_events(id_of(proposal)))


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
    """Read a number of workers."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("path", nargs="?", type=Path, default=SAMPLE, help="tool calls, one JSON object a line")
    parser.add_argument("--database", type=database, metavar="URL_OR_PATH", help="default: a temporary SQLite file")
    parser.add_argument("--workers", type=positive, default=4, help="how many tickets are worked on at once")
    parser.add_argument("--ticket", type=int, help="whose history is shown; default: the busiest")
    return parser.parse_args()


def main() -> int:
    """Run the program and return its exit code."""
    options = parse_options()
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
