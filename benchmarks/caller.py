"""Make calls of one kind on request: the process that `before.py` starts with the code of either commit.

`python benchmarks/caller.py URL APPROVALS IN_FRONT` reads lines such as `claim 100` from standard input. For each it
prepares what is needed, makes so many calls, and prints how many seconds they took. It uses only calls that the code
before approvals has too, unless APPROVALS asks for more.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

from operator_core.actions import ActionProposal, ActionStatus
from operator_core.db import ActionDB

NAME = "drain_store"
PEOPLE = ("anna", "bob")
PAGE = 50


def proposal(number: int) -> ActionProposal:
    """Return one proposal of an agent."""
    return ActionProposal(action_name=NAME, parameters={"store": number}, reason="the store is hot")


async def may_start(db: ActionDB, count: int, approvals: int) -> list[int]:
    """Make proposals that may start, and return their ids."""
    made = await db.create_proposals([proposal(n) for n in range(count)])
    for one in made:
        for person in PEOPLE[:approvals]:
            await db.approve(one.id, by=person)
        if not approvals:
            await db.update_proposal_status(one.id, ActionStatus.VALIDATED)
    return [one.id for one in made]


async def seconds(count: int, call: Callable[[int], Awaitable[object]]) -> float:
    """Return the seconds of so many calls, one after the other."""
    started = time.perf_counter()
    for number in range(count):
        await call(number)
    return time.perf_counter() - started


async def claim(db: ActionDB, count: int, approvals: int) -> float:
    """Claim what may start."""
    await may_start(db, count, approvals)

    async def call(_: int) -> None:
        if await db.claim_next(worker="worker-1", action_names=[NAME]) is None:
            raise RuntimeError("there was nothing to claim")

    return await seconds(count, call)


async def lifecycle(db: ActionDB, count: int, _approvals: int) -> float:
    """Create, validate, start and finish."""

    async def call(number: int) -> None:
        made = await db.create_proposal(proposal(number))
        await db.update_proposal_status(made.id, ActionStatus.VALIDATED)
        record = await db.start_execution(made.id)
        await db.finish_execution(record.id, success=True, result_data={"moved": number})

    return await seconds(count, call)


async def get(db: ActionDB, count: int, _approvals: int) -> float:
    """Get one proposal after another."""
    ids = [one.id for one in await db.create_proposals([proposal(n) for n in range(count)])]
    return await seconds(count, lambda number: db.get_proposal(ids[number]))


async def list_page(db: ActionDB, count: int, _approvals: int) -> float:
    """List a page of the newest."""
    await db.create_proposals([proposal(n) for n in range(PAGE)])
    return await seconds(count, lambda _: db.list_proposals(limit=PAGE))


async def open_and_close(_db: ActionDB, count: int, _approvals: int) -> float:
    """Open the ledger and close it."""

    async def call(_: int) -> None:
        async with ActionDB(sys.argv[1]):
            pass

    return await seconds(count, call)


CALLS = {"claim": claim, "lifecycle": lifecycle, "get": get, "list": list_page, "open": open_and_close}


async def prepare(db: ActionDB, approvals: int, in_front: int) -> None:
    """Let others wait in front without an approval, and state a policy for everything."""
    if in_front:
        for one in await db.create_proposals([ActionProposal(action_name="wipe", reason="full")] * in_front):
            await db.update_proposal_status(one.id, ActionStatus.VALIDATED)
    if approvals:
        from operator_core.actions import ApprovalRule  # noqa: PLC0415 - the code before has none

        await db.set_approval_policy("everything", [ApprovalRule(approvals=approvals)], by="ops", reason="a benchmark")


async def main() -> None:
    """Serve until standard input ends."""
    approvals, in_front = int(sys.argv[2]), int(sys.argv[3])
    async with ActionDB(sys.argv[1]) as db:
        await prepare(db, approvals, in_front)
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            name, count = line.split()
            print(await CALLS[name](db, int(count), approvals), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
