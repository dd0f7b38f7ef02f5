"""Show what the ledger is for: an agent proposes, people decide by a policy, a worker runs, and a stop stops it all.

The exit code is 0 when nothing ran without its approval, nothing started after the stop, and the release revived
nothing, else 1.
"""

import asyncio
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from operator_core.actions import (
    ActionProposal,
    ActionStatus,
    ApprovalRule,
    EventKind,
    SelfApprovalError,
    StopReceipt,
    StoredProposal,
    TransitionNotAllowedError,
)
from operator_core.db import ActionDB, Execution
from operator_core.worker import ActionRegistry, Worker

STORES = 9
ON_FIRE = 4
ROUNDS, ROUNDS_ON_FIRE = 4, 100
ROUND_SECONDS = 0.08
AGENT, PERSON, SECOND = "agent-7", "anna", "ben"
COLOURS = {"green": "32", "red": "31", "yellow": "33", "blue": "36", "bold": "1", "faint": "2"}

registry = ActionRegistry()
fire = asyncio.Event()


class Store(BaseModel):
    """The parameters of a drain."""

    store: int = Field(ge=1, le=99)


class Nothing(BaseModel):
    """The parameters of what takes none."""


@registry.action("list_stores", auto_approve=True, read_only=True)
async def list_stores(_parameters: Nothing, _execution: Execution) -> dict[str, int]:
    """Count the stores, which changes nothing: nobody is asked, unless a policy says so."""
    return {"stores": STORES}


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


async def state_policies(db: ActionDB) -> None:
    """Say who has to approve what: the database lets nothing start without it, whatever a program does."""
    reason = "the rules of this demo"
    await db.set_approval_policy("action_name=list_stores", [ApprovalRule(approvals=0)], by=PERSON, reason=reason)
    await db.set_approval_policy("action_name=snapshot_store", [ApprovalRule(approvals=2)], by=PERSON, reason=reason)
    await db.set_approval_policy("everything", [ApprovalRule()], by=PERSON, reason=reason)
    for policy in await db.approval_policies():
        count = policy.rules[0].approvals
        asked = f"{count} other than the proposer" if count else "nobody is asked"
        print(f"   {paint('..', 'blue')} {policy.scope:<27} {asked}")


async def propose(db: ActionDB) -> list[StoredProposal]:
    """Store what the agent wants: sensible things, one of them mistyped, and one that nobody ever allowed."""
    wanted = [("list_stores", {}), ("snapshot_store", {"store": 1})]
    wanted += [("drain_store", {"store": number}) for number in range(2, STORES + 1)]
    wanted += [("drain_store", {"store": "all"}), ("wipe_disk", {"host": "db-1"})]
    return [await _propose(db, name, parameters, "store 4 is hot") for name, parameters in wanted]


async def _propose(db: ActionDB, name: str, parameters: dict[str, Any], reason: str) -> StoredProposal:
    return await db.create_proposal(
        ActionProposal(action_name=name, parameters=parameters, reason=reason, proposed_by=AGENT)
    )


async def check(db: ActionDB) -> None:
    """Let a worker check what was proposed: it refuses what does not fit, and runs what needs nobody."""
    await Worker(db, registry, name="worker-1").run_until_idle()
    for proposal in reversed(await db.list_proposals()):
        if proposal.status is ActionStatus.CANCELLED:
            line("x", "red", proposal, (proposal.status_reason or "").partition("fit: ")[2])
        elif proposal.status is ActionStatus.COMPLETED:
            line("ok", "green", proposal, "needed nobody, completed")
    waiting = await db.list_pending_approvals()
    print(f"   {paint('..', 'blue')} {len(waiting)} wait for a person; the worker lets them wait")


async def decide(db: ActionDB) -> int:
    """Have people approve and reject what waits; return how many of the attempts to do without them got through."""
    *waiting, snapshot = [one.proposal for one in await db.list_pending_approvals()]
    unknown, last, *drains = waiting
    broken = 0
    try:
        await db.approve(drains[-1].id, by=AGENT)
        broken += 1
    except SelfApprovalError:
        line("x", "red", drains[-1], f"{AGENT} may not approve its own")
    for proposal, why in ((unknown, "never"), (last, "not before the backup")):
        await db.reject(proposal.id, by=PERSON, reason=why)
        line("x", "yellow", proposal, f"rejected by {PERSON}: {why}")
    for proposal in drains:
        await db.approve(proposal.id, by=PERSON)
    print(f"   {paint('ok', 'green')} {PERSON} approves {len(drains)} drains")
    await db.approve(snapshot.id, by=PERSON)
    try:
        await db.start_execution(snapshot.id, by="impatient")
        broken += 1
    except TransitionNotAllowedError:
        line("..", "yellow", snapshot, f"{(await db.approval_status(snapshot.id)).missing[0]} approvals")
    await db.approve(snapshot.id, by=SECOND)
    line("ok", "green", snapshot, f"approved by {PERSON} and {SECOND}")
    return broken


async def run_until_stopped(db: ActionDB) -> StopReceipt:
    """Run what is approved, two at a time, and stop everything in the middle of it."""
    worker = asyncio.create_task(Worker(db, registry, concurrency=2, name="worker-1").run_until_idle())
    shown = {proposal.id for proposal in await db.list_proposals(ActionStatus.COMPLETED)}
    burning = asyncio.create_task(fire.wait())
    while not burning.done() and not worker.done():
        for proposal in await db.list_proposals(ActionStatus.COMPLETED):
            if proposal.id not in shown:
                shown.add(proposal.id)
                line("ok", "green", proposal, "completed")
        await asyncio.wait({burning}, timeout=ROUND_SECONDS / 2)
    heading(6, f"Store {ON_FIRE} is on fire: {PERSON} stops everything, in the middle of the work")
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
    await Worker(db, registry, name="worker-2").run_until_idle()
    late = len(await started(db) - before)
    print(f"   {paint('ok', 'green')} a worker finds nothing to do: what was stopped stays cancelled")
    first = await db.get_proposal(receipt.cancelled[0])
    assert first is not None  # noqa: S101 - the receipt names it
    again = await _propose(db, first.action_name, first.parameters, "once more")
    await db.approve(again.id, by=PERSON)
    await Worker(db, registry, name="worker-2").run_until_idle()
    again = await db.get_proposal(again.id) or again
    line("ok", "green", again, f"proposed and approved anew, {again.status}; {first.id} stays cancelled")
    return late


async def history(db: ActionDB, receipt: StopReceipt) -> None:
    """Print who did what to one running action, as the database recorded it."""
    for event in await db.get_events(receipt.still_executing[-1].proposal_id):
        what = event.to_status if event.kind is EventKind.STEP else event.kind
        why = f": {event.reason}" if event.reason else ""
        used = f", with the approvals {event.data['approvals']}" if "approvals" in (event.data or {}) else ""
        print(f"   {event.at:%H:%M:%S.%f} {what:<10} by {event.by}{why}{used}")


async def tell(target: Path) -> bool:
    """Tell the whole story in a new ledger; return whether every promise held."""
    async with ActionDB(target) as db:
        heading(1, "A person says who has to approve what; the database enforces it")
        await state_policies(db)
        heading(2, f"An agent proposes {STORES + 3} actions")
        proposals = await propose(db)
        print(f"   {paint('..', 'blue')} {len(proposals)} stored in {target.name}, a SQLite ledger; nothing runs yet")
        heading(3, "A worker checks each against the model of its parameters")
        await check(db)
        heading(4, "People approve and reject")
        broken = await decide(db)
        heading(5, "The worker runs what was approved, two at a time")
        receipt = await run_until_stopped(db)
        heading(7, "The stop is released; it revives nothing")
        late = await release(db, receipt)
        heading(8, "Who did what is kept: the last action that was running at the stop")
        await history(db, receipt)
        differences = await db.verify()
    held = not broken and not late and not differences
    verdict = paint("every promise held", "green") if held else paint("A PROMISE WAS BROKEN", "red")
    print(f"\n{verdict}: {broken} starts without approval, {late} late starts, {len(differences)} differences")
    return held


def main() -> int:
    """Run the demo in a temporary folder."""
    logging.getLogger("operator_core").setLevel(logging.ERROR)  # the story tells what the worker would log
    with tempfile.TemporaryDirectory() as folder:
        return 0 if asyncio.run(tell(Path(folder) / "ops.db")) else 1


if __name__ == "__main__":
    sys.exit(main())
