"""Claim from one ledger on request: the process that `before.py` starts with the code of either commit.

`python benchmarks/claimer.py URL APPROVALS` reads one number a line from standard input. It prepares as many proposals,
each with so many approvals, claims them all, and prints how many seconds the claims took. It uses only calls that the
code before approvals has too, unless APPROVALS asks for more.
"""

import asyncio
import sys
import time

from operator_core.actions import ActionProposal, ActionStatus
from operator_core.db import ActionDB

NAME = "drain_store"
PEOPLE = ("anna", "bob")


async def prepare(db: ActionDB, count: int, approvals: int) -> None:
    """Make proposals that may start."""
    wanted = [ActionProposal(action_name=NAME, parameters={"store": n}, reason="hot") for n in range(count)]
    for proposal in await db.create_proposals(wanted):
        for person in PEOPLE[:approvals]:
            await db.approve(proposal.id, by=person)
        if not approvals:
            await db.update_proposal_status(proposal.id, ActionStatus.VALIDATED)


async def state_policy(db: ActionDB, approvals: int) -> None:
    """Ask for that many approvals of every action."""
    from operator_core.actions import ApprovalRule  # noqa: PLC0415 - the code before has none

    await db.set_approval_policy("everything", [ApprovalRule(approvals=approvals)], by="ops", reason="a benchmark")


async def claim(db: ActionDB, count: int) -> float:
    """Return the seconds that so many claims took."""
    started = time.perf_counter()
    for _ in range(count):
        if await db.claim_next(worker="worker-1", action_names=[NAME]) is None:
            raise RuntimeError("there was nothing to claim")
    return time.perf_counter() - started


async def main() -> None:
    """Serve until standard input ends."""
    url, approvals, in_front = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    async with ActionDB(url) as db:
        if in_front:
            others = [ActionProposal(action_name="wipe_disk", reason="full") for _ in range(in_front)]
            for proposal in await db.create_proposals(others):
                await db.update_proposal_status(proposal.id, ActionStatus.VALIDATED)
        if approvals:
            await state_policy(db, approvals)
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            await prepare(db, int(line), approvals)
            print(await claim(db, int(line)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
