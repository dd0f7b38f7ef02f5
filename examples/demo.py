"""Show what the ledger is for: an agent proposes, a check and a person decide, a worker runs, a stop stops it all.

The exit code is 0 when nothing started after the stop and the release revived nothing, else 1.
"""

import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, Field

from operator_core.actions import ActionProposal, ActionStatus, ActionType, StopReceipt, StoredProposal
from operator_core.db import ActionDB, Execution
from operator_core.worker import ActionRegistry, Worker

STORES = 9
ON_FIRE = 4
ROUNDS, ROUNDS_ON_FIRE = 4, 100
ROUND_SECONDS = 0.08
AGENT, PERSON = "agent-7", "anna"
COLOURS = {"green": "32", "red": "31", "yellow": "33", "blue": "36", "bold": "1", "faint": "2"}

registry = ActionRegistry()
fire = asyncio.Event()


class Store(BaseModel):
    """The parameters of a drain."""

    store: int = Field(ge=1, le=99)


@registry.action("drain_store")
async def drain_store(parameters: Store, execution: Execution) -> dict[str, int]:
    """Move a store's data away, in rounds, and leave between two of them when asked to stop."""
    moved = 0
    for done in range(ROUNDS_ON_FIRE if parameters.store == ON_FIRE else ROUNDS):
        execution.raise_if_stopped()
        await asyncio.sleep(ROUND_SECONDS)
        moved += 1
        if parameters.store == ON_FIRE and done == 1:
            fire.set()
    return {"moved_parts": moved}


@registry.action("snapshot_store")
async def snapshot_store(parameters: Store, execution: Execution) -> dict[str, str]:
    """Do something that cannot be broken off: it ends by itself, whatever is asked."""
    await execution.wait_for_stop()
    return {"snapshot": f"store-{parameters.store}"}


# -- what is printed ---------------------------------------------------------------------------------------------------


def paint(text: object, colour: str) -> str:
    """Colour a text, where a terminal shows it and nobody has said NO_COLOR."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return str(text)
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"


def heading(number: int, text: str) -> None:
    """Begin a part of the story."""
    print(f"\n{paint(f'{number}. {text}', 'bold')}", flush=True)


def line(mark: str, colour: str, proposal: StoredProposal, text: str = "") -> None:
    """Say how a proposal stands."""
    what = f"{proposal.action_name} {proposal.parameters}"
    print(f"   {paint(mark, colour)} #{proposal.id:<3} {what:<34} {paint(text, 'faint')}", flush=True)


# -- the story ---------------------------------------------------------------------------------------------------------


async def propose(db: ActionDB) -> list[StoredProposal]:
    """Store what the agent wants: sensible things, one of them mistyped, and one that nobody ever allowed."""
    wanted = [
        ("snapshot_store", {"store": 1}),
        *[("drain_store", {"store": number}) for number in range(2, STORES + 1)],
    ]
    wanted += [("drain_store", {"store": "all"}), ("wipe_disk", {"host": "db-1"})]
    return await db.create_proposals(
        [
            ActionProposal(
                action_name=name,
                action_type=ActionType.TOOL,
                parameters=parameters,
                reason="store 4 is hot",
                proposed_by=AGENT,
            )
            for name, parameters in wanted
        ]
    )


async def check(db: ActionDB, proposals: Sequence[StoredProposal]) -> list[StoredProposal]:
    """Cancel what does not fit its model, and return the rest."""
    sound: list[StoredProposal] = []
    for proposal in proposals:
        known = proposal.action_name in registry.names
        flaw = registry[proposal.action_name].problems(proposal.parameters) if known else "no such action"
        if flaw is None:
            sound.append(proposal)
            continue
        line("x", "red", proposal, flaw)
        await db.update_proposal_status(proposal.id, ActionStatus.CANCELLED, by="check", reason=flaw)
    print(f"   {paint('ok', 'green')} {len(sound)} fit")
    return sound


async def approve(db: ActionDB, proposals: Sequence[StoredProposal]) -> None:
    """Have a person approve all of them but the last, which she rejects."""
    for proposal in proposals[:-1]:
        await db.update_proposal_status(proposal.id, ActionStatus.VALIDATED, by=PERSON)
    rejected = proposals[-1]
    await db.update_proposal_status(rejected.id, ActionStatus.CANCELLED, by=PERSON, reason="not before the backup")
    print(f"   {paint('ok', 'green')} {PERSON} approves {len(proposals) - 1}")
    line("x", "yellow", rejected, f"rejected by {PERSON}: not before the backup")


async def run_until_stopped(db: ActionDB) -> StopReceipt:
    """Run what is approved, two at a time, and stop everything in the middle of it."""
    worker = asyncio.create_task(Worker(db, registry, concurrency=2, name="worker-1", validate=False).run_until_idle())
    shown: set[int] = set()
    burning = asyncio.create_task(fire.wait())
    while not burning.done():
        for proposal in await db.list_proposals(ActionStatus.COMPLETED):
            if proposal.id not in shown:
                shown.add(proposal.id)
                line("ok", "green", proposal, "completed")
        await asyncio.wait({burning}, timeout=ROUND_SECONDS / 2)
    heading(5, f"Store {ON_FIRE} is on fire: {PERSON} stops everything, in the middle of the work")
    receipt = await db.engage_kill_switch(by=PERSON, reason=f"store {ON_FIRE} is on fire")
    stopped, cancelled, asked = paint("STOPPED", "red"), len(receipt.cancelled), len(receipt.still_executing)
    print(f"   {stopped} by stop {receipt.generation}; new starts refused after {receipt.publish_ms:.0f} ms")
    print(
        f"   {cancelled} pending actions cancelled, {asked} running ones asked to stop, after {receipt.stop_ms:.0f} ms"
    )
    await worker
    for answer in (await db.kill_switch_status()).answers:
        proposal = await db.get_proposal(answer.proposal_id)
        if proposal is not None:
            line("..", "yellow", proposal, f"answers: {answer.answer}")
    return receipt


async def started(db: ActionDB) -> set[int]:
    """Return every proposal that was ever started."""
    return {proposal.id for proposal in await db.list_proposals() if proposal.executing_at is not None}


async def release(db: ActionDB, receipt: StopReceipt) -> int:
    """Release the stop, run a worker, propose one action anew; return how many of the stopped ones were started."""
    before = await started(db)
    await db.release_kill_switch(by=PERSON, reason="the fire is out", generation=receipt.generation)
    await Worker(db, registry, name="worker-2", validate=False).run_until_idle()
    late = len(await started(db) - before)
    print(f"   {paint('ok', 'green')} a worker finds nothing to do: what was stopped stays cancelled")
    first = await db.get_proposal(receipt.cancelled[0])
    assert first is not None  # noqa: S101 - the receipt names it
    new = ActionProposal(
        action_name=first.action_name, parameters=first.parameters, reason="once more", proposed_by=AGENT
    )
    again = await db.create_proposal(new)
    await db.update_proposal_status(again.id, ActionStatus.VALIDATED, by=PERSON)
    await Worker(db, registry, name="worker-2", validate=False).run_until_idle()
    again = await db.get_proposal(again.id) or again
    line("ok", "green", again, f"proposed and approved anew, {again.status}; {first.id} stays cancelled")
    return late


async def history(db: ActionDB, receipt: StopReceipt) -> None:
    """Print who did what to one running action, as the database recorded it."""
    for event in await db.get_events(receipt.still_executing[-1].proposal_id):
        why = f": {event.reason}" if event.reason else ""
        print(f"   {event.at:%H:%M:%S.%f} {event.to_status:<10} by {event.by}{why}")


async def tell(target: Path) -> bool:
    """Tell the whole story in a new ledger; return whether every promise held."""
    async with ActionDB(target) as db:
        heading(1, f"An agent proposes {STORES + 2} actions; nothing runs yet")
        proposals = await propose(db)
        print(f"   {paint('..', 'blue')} {len(proposals)} stored in {target.name}, a SQLite ledger")
        heading(2, "Each is checked against the model of its parameters")
        sound = await check(db, proposals)
        heading(3, "A person decides")
        await approve(db, sound)
        heading(4, "A worker runs what was approved, two at a time")
        receipt = await run_until_stopped(db)
        heading(6, "The stop is released; it revives nothing")
        late = await release(db, receipt)
        heading(7, "Who did what is kept: the last action that was running at the stop")
        await history(db, receipt)
        differences = await db.verify()
    held = not late and not differences
    verdict = paint("every promise held", "green") if held else paint("A PROMISE WAS BROKEN", "red")
    print(f"\n{verdict}: {late} late starts, {len(differences)} differences between tables and history")
    return held


def main() -> int:
    """Run the demo in a temporary folder."""
    logging.getLogger("operator_core").setLevel(logging.ERROR)  # the story tells what the worker would log
    with tempfile.TemporaryDirectory() as folder:
        return 0 if asyncio.run(tell(Path(folder) / "ops.db")) else 1


if __name__ == "__main__":
    sys.exit(main())
