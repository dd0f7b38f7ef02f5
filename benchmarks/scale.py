"""Measure whether calls stay flat: the same call at 1,000,000 rows as a multiple of it at 10,000.

Run it with `make bench`, or as `python benchmarks/scale.py [--quick] [--large] [--json FILE]`; `make bench-large`
compares 10,000,000 rows with 10,000. As many proposals are pending in both; each call of one is timed beside the same
call of the other. Iterating over all of them is measured too, in a process of its own: by how much its memory grows.
"""

import asyncio
import itertools
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

from filling import Filler, PostgresqlFiller, SqliteFiller
from harness import Figure, Spread, alternate, arguments, multiples, report, start_server, timed

from operator_core.actions import ActionStatus
from operator_core.db import ActionDB

ROUNDS, FEW, ROWS = 15, 10_000, 1_000_000
LARGE = 10_000_000
QUICK = (5, 2_000, 20_000)
PENDING = 2_000  # half of it validated, to be claimed
TIMES = 20  # of one call in one round
BAR, BAR_MEMORY = 1.5, 64.0
MIB = 2**20

Call = Callable[[ActionDB, int], Awaitable[object]]


async def claim(db: ActionDB, _number: int) -> None:
    """Claim one."""
    if await db.claim_next(worker="bench") is None:
        raise RuntimeError("the ledger ran empty")


CALLS: dict[str, Call] = {
    "get": lambda db, number: db.get_proposal(number),
    "list first page": lambda db, _: db.list_proposals(limit=50),
    "count pending": lambda db, _: db.count_proposals(ActionStatus.PROPOSED),
    "claim": claim,
}


async def compare(engine: str, fillers: dict[int, Filler], rounds: int) -> list[Figure]:
    """Return the figures of one engine; engaging comes last, for it cancels what the others need."""
    few, many = sorted(fillers)
    async with ActionDB(fillers[few].target) as small, ActionDB(fillers[many].target) as large:
        ledgers = {"few": small, "many": large}
        ids = {"few": spread_over(few), "many": spread_over(many)}

        async def block(call: Call, name: str) -> None:
            for _ in range(TIMES):
                await call(ledgers[name], next(ids[name]))

        async def engage(name: str) -> float:
            started = time.perf_counter()
            receipt = await ledgers[name].engage_kill_switch(by="bench", reason="measured")
            seconds = time.perf_counter() - started
            await ledgers[name].release_kill_switch(by="bench", reason="measured", generation=receipt.generation)
            return seconds

        figures: list[Figure] = []
        for name, call in CALLS.items():
            times = await alternate({key: partial(timed, partial(block, call, key)) for key in ledgers}, rounds)
            figures.append(Figure(f"{engine}: {name}, {many} rows / {few}", multiples(times, "many", "few"), BAR))
        times = await alternate({key: partial(engage, key) for key in ledgers}, rounds)
        figures.append(Figure(f"{engine}: engage, {many} rows / {few}", multiples(times, "many", "few"), BAR))
    return figures


def spread_over(rows: int) -> Iterator[int]:
    """Return ids without an order that a cache could follow; a prime number apart."""
    return (1 + number * 7919 % rows for number in itertools.count(1))


# -- memory ------------------------------------------------------------------------------------------------------------


def highest() -> float:
    """Return how many MiB this process has held at most."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux `getrusage` begins with what the process that started this one held
        found = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(found.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB


def growth(target: str, rows: int) -> float:
    """Return by how many MiB the memory of this process grows while it iterates over all proposals."""

    async def iterate() -> float:
        async with ActionDB(target) as db:
            await db.list_proposals(limit=1)
            before = highest()
            seen = 0
            async for _ in db.iter_proposals():
                seen += 1
        if seen != rows:
            raise RuntimeError(f"{seen} proposals were seen, not {rows}")
        return highest() - before

    return asyncio.run(iterate())


def memory(engine: str, target: str, rows: int) -> Figure:
    """Return how much iterating takes, in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        grown = pool.apply(growth, (target, rows))
    return Figure(f"{engine}: iter_proposals over {rows}, MiB above the start", Spread(grown, grown, grown), BAR_MEMORY)


# -- engines -----------------------------------------------------------------------------------------------------------


def measure(engine: str, fillers: dict[int, Filler], rounds: int) -> list[Figure]:
    """Fill both ledgers of an engine, and return its figures."""
    for filler in fillers.values():
        asyncio.run(ActionDB(filler.target).migrate())
        filler.fill()
    many = max(fillers)
    iterated = memory(engine, fillers[many].target, many)
    return [*asyncio.run(compare(engine, fillers, rounds)), iterated]


def main() -> int:
    """Run both engines, print the ratios, and return 1 where a bar is missed."""
    large = "--large" in sys.argv
    if large:
        sys.argv.remove("--large")
    given = arguments("The same calls on few rows and on many.")
    rounds, *sizes = QUICK if given.quick else (ROUNDS, FEW, LARGE if large else ROWS)
    with tempfile.TemporaryDirectory() as folder:
        fillers: dict[int, Filler] = {rows: SqliteFiller(Path(folder) / f"{rows}.db", rows, PENDING) for rows in sizes}
        figures = measure("SQLite", fillers, rounds)
    with start_server() as server:
        fillers = {rows: PostgresqlFiller(server.dsn(server.create_database()), rows, PENDING) for rows in sizes}
        figures += measure("PostgreSQL", fillers, rounds)
    return report(figures, given.json)


if __name__ == "__main__":
    raise SystemExit(main())
