"""Measure the five everyday calls beside the same by hand: the good driver, the usual way, and the predecessor's way.

Run it with `make bench`, or as `python benchmarks/calls.py [--quick] [--json FILE]`. Each side has a ledger of its own,
filled alike, and is given the same calls with the same values; the results are compared before anything is timed.
SQLite is measured with this process on one CPU: its hops between two threads cost what the scheduler makes of them.
"""

import asyncio
import itertools
import os
import tempfile
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from baselines import Baseline, Sql, postgresql, sqlite
from baselines.statements import recorded
from harness import Figure, Times, alternate, arguments, multiples, report, start_server, timed
from pydantic import BaseModel

from operator_core.actions import ActionProposal, ActionRecord, ActionStatus
from operator_core.db import ActionDB

ROUNDS, TIMES = 25, 25
QUICK = (9, 6)
TASKS = 8
PROPOSAL = ActionProposal(
    ticket_id=4711,
    action_name="drain_store",
    parameters={"store": "store-4", "zone": "eu-west-1b", "drain": True, "grace_seconds": 30},
    reason="store 4 is hot",
)

BARS: Mapping[str, Mapping[str, tuple[float, float]]] = {  # against the good driver, and against the usual way
    "SQLite": {
        "create": (2.0, 1.0),
        "guarded update": (2.0, 1.0),
        "lifecycle of four calls": (1.8, 1.0),
        "get": (4.2, 1.0),
        "list 50": (1.6, 1.2),
    },
    "PostgreSQL": {
        "create": (1.45, 0.8),
        "guarded update": (1.45, 0.8),
        "lifecycle of four calls": (1.5, 0.8),
        "get": (1.65, 0.8),
        "list 50": (1.6, 1.2),
    },
}
BARS_AT_ONCE = {"create": 1.5, "lifecycle of four calls": 1.6, "get": 2.5}
BAR_PREDECESSOR = 2.0


class Ours:
    """The library, under the names that a baseline has."""

    def __init__(self, db: ActionDB) -> None:
        self._db = db
        self.create, self.get, self.start = db.create_proposal, db.get_proposal, db.start_execution

    async def validate(self, number: int) -> ActionProposal:
        """Take the step to `validated`."""
        return await self._db.update_proposal_status(number, ActionStatus.VALIDATED)

    async def finish(self, number: int) -> ActionRecord:
        """Close the record as succeeded, and take the step to `completed`."""
        return await self._db.finish_execution(number, success=True)

    async def page(self, limit: int) -> list[ActionProposal]:
        """Return the newest proposals."""
        return await self._db.list_proposals(limit=limit)

    async def lifecycle(self, proposal: ActionProposal) -> ActionRecord:
        """Take a new proposal through its whole life: four calls."""
        made = await self.create(proposal)
        await self.validate(made.id)
        opened = await self.start(made.id)
        return await self.finish(opened.id)


Side = Ours | Baseline
Call = Callable[[Side, int], Awaitable[Any]]
CALLS: Mapping[str, Call] = {
    "create": lambda side, _: side.create(PROPOSAL),
    "guarded update": lambda side, number: side.validate(number),
    "lifecycle of four calls": lambda side, _: side.lifecycle(PROPOSAL),
    "get": lambda side, number: side.get(number),
    "list 50": lambda side, _: side.page(50),
}


async def fill(target: str, rows: int) -> None:
    """Store proposals, which the guarded updates take their step on."""
    async with ActionDB(target) as db:
        await db.create_proposals([PROPOSAL] * rows)


def comparable(result: BaseModel | Sequence[BaseModel]) -> Any:
    """Return what must be equal on all sides: all but the times that the database has set."""
    if isinstance(result, BaseModel):
        return {name: value for name, value in result if not (name.endswith("_at") and name != "proposed_at")}
    return [comparable(each) for each in result]


async def require_agreement(sides: Mapping[str, Side]) -> None:
    """Let every side do the same, and see that all say the same."""
    for number, (name, call) in enumerate(CALLS.items(), 1):
        answers = {side: comparable(await call(sides[side], number)) for side in sides}
        if any(answer != answers["ours"] for answer in answers.values()):
            raise RuntimeError(f"{name}: the sides disagree: {answers}")


async def compare(sides: Mapping[str, Side], rounds: int, times: int) -> dict[str, Times]:
    """Return the seconds of a block of each call, on each side."""
    await require_agreement(sides)

    async def block(call: Call, side: Side, numbers: Iterator[int]) -> None:
        for _ in range(times):
            await call(side, next(numbers))

    found: dict[str, Times] = {}
    for name, call in CALLS.items():
        first = len(CALLS) + 1  # behind those of the comparison
        contenders = {
            key: partial(timed, partial(block, call, side, itertools.count(first))) for key, side in sides.items()
        }
        found[name] = await alternate(contenders, rounds)
    return found


async def compare_at_once(sides: Mapping[str, Side], rounds: int, times: int) -> dict[str, Times]:
    """Return the seconds of a block of calls by eight tasks at once."""

    async def block(call: Call, side: str) -> None:
        async def some(first: int) -> None:
            for number in range(first, first + times):
                await call(sides[side], number)

        await asyncio.gather(*(some(1 + task * times) for task in range(TASKS)))

    found: dict[str, Times] = {}
    for name in BARS_AT_ONCE:
        contenders = {side: partial(timed, partial(block, CALLS[name], side)) for side in sides}
        found[name] = await alternate(contenders, rounds)
    return found


def figures_of(engine: str, found: Mapping[str, Times]) -> list[Figure]:
    """Return the figures of the five calls with their bars."""
    figures: list[Figure] = []
    for name, times in found.items():
        good, usual = BARS[engine][name]
        figures.append(Figure(f"{engine}: {name} / good driver", multiples(times, "ours", "good"), good))
        figures.append(Figure(f"{engine}: {name} / usual way", multiples(times, "ours", "usual"), usual))
    return figures


@contextmanager
def one_cpu() -> Generator[None]:
    """Keep this process, and the threads that it starts, on one CPU, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


# -- SQLite ------------------------------------------------------------------------------------------------------------


async def on_sqlite(folder: Path, rounds: int, times: int) -> list[Figure]:
    """Compare on SQLite, each side with a file of its own."""
    sql = await recorded(f"sqlite:///{folder / 'scratch.db'}")
    files = {side: folder / f"{side}.db" for side in ("ours", "good", "usual", "before")}
    for file in files.values():
        await fill(f"sqlite:///{file}", (rounds + 3) * times + len(CALLS))
    good, usual = sqlite.Good(files["good"], sql), sqlite.Usual(files["usual"], sql)
    predecessor = sqlite.Predecessor(files["before"], sql)
    async with AsyncExitStack() as stack:
        db = await stack.enter_async_context(ActionDB(files["ours"]))
        for side in (good, usual, predecessor):
            await side.open()
            stack.push_async_callback(side.close)
        found = await compare({"ours": Ours(db), "good": good, "usual": usual}, rounds, times)
        before = await compare_with_predecessor(db, predecessor, rounds, times)
    spread = multiples(before, "predecessor", "ours")
    name = "SQLite: create, the predecessor's way / ours"
    return [*figures_of("SQLite", found), Figure(name, spread, BAR_PREDECESSOR, at_least=True)]


async def compare_with_predecessor(db: ActionDB, predecessor: sqlite.Predecessor, rounds: int, times: int) -> Times:
    """Return the seconds of a block of creates, ours and as the predecessor made them."""
    create: dict[str, Callable[[ActionProposal], Awaitable[ActionProposal]]]
    create = {"ours": db.create_proposal, "predecessor": predecessor.create}
    stored = [comparable(each) for each in (await predecessor.create(PROPOSAL), await db.create_proposal(PROPOSAL))]
    if any({**each, "id": None} != {**stored[0], "id": None} for each in stored):
        raise RuntimeError(f"the sides disagree: {stored}")

    async def block(side: str) -> None:
        for _ in range(times):
            await create[side](PROPOSAL)

    return await alternate({side: partial(timed, partial(block, side)) for side in create}, rounds)


# -- PostgreSQL --------------------------------------------------------------------------------------------------------


async def on_postgresql(dsns: Mapping[str, str], sql: Sql, rounds: int, times: int) -> list[Figure]:
    """Compare on PostgreSQL, each side with a database of its own on the same server."""
    for dsn in dsns.values():
        await ActionDB(dsn).migrate()
        await fill(dsn, (rounds + 3) * times * 2 + len(CALLS))
    good, usual = postgresql.Good(dsns["good"], sql), postgresql.Usual(dsns["usual"], sql)
    async with AsyncExitStack() as stack:
        db = await stack.enter_async_context(ActionDB(dsns["ours"]))
        for side in (good, usual):
            await side.open()
            stack.push_async_callback(side.close)
        found = await compare({"ours": Ours(db), "good": good, "usual": usual}, rounds, times)
        at_once = await compare_at_once({"ours": Ours(db), "good": good}, rounds, times)
    figures = figures_of("PostgreSQL", found)
    for name, seconds in at_once.items():
        spread = multiples(seconds, "ours", "good")
        figures.append(Figure(f"PostgreSQL: {TASKS} tasks, {name} / good driver", spread, BARS_AT_ONCE[name]))
    return figures


async def scratch_sql(dsn: str) -> Sql:
    """Return the statements of the library on PostgreSQL."""
    await ActionDB(dsn).migrate()
    return await recorded(dsn)


def main() -> int:
    """Run both engines, print the ratios, and return 1 where a bar is missed."""
    given = arguments("The five calls beside the same by hand.")
    size = QUICK if given.quick else (ROUNDS, TIMES)
    with one_cpu(), tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(on_sqlite(Path(folder), *size))
    with start_server() as server:
        sql = asyncio.run(scratch_sql(server.dsn(server.create_database())))
        dsns = {side: server.dsn(server.create_database()) for side in ("ours", "good", "usual")}
        figures += asyncio.run(on_postgresql(dsns, sql, *size))
    return report(figures, given.json)


if __name__ == "__main__":
    raise SystemExit(main())
