"""Measure 64 tasks that create at the same time on one `ActionDB`, beside the same calls one after the other.

Run it with `make bench`, or as `python benchmarks/at_once.py [--quick] [--json FILE]`. An error, such as a locked
database, ends the program.
"""

import asyncio
import tempfile
from functools import partial
from pathlib import Path

from harness import Figure, alternate, arguments, multiples, report, start_server, timed

from calls import PROPOSAL
from operator_core.db import ActionDB

ROUNDS, TASKS, EACH = 15, 64, 4
QUICK_ROUNDS = 3
BARS = {"SQLite": 1.0, "PostgreSQL": 1.2}


async def compare(engine: str, target: str, rounds: int) -> Figure:
    """Return the throughput at once as a multiple of that one after the other."""
    async with ActionDB(target) as db:

        async def create(times: int) -> None:
            for _ in range(times):
                await db.create_proposal(PROPOSAL)

        async def at_once() -> None:
            await asyncio.gather(*(create(EACH) for _ in range(TASKS)))

        contenders = {"in turn": partial(timed, partial(create, TASKS * EACH)), "at once": partial(timed, at_once)}
        times = await alternate(contenders, rounds)
        stored = sum((await db.count_proposals()).values())
    if stored != (expected := (rounds + 1) * 2 * TASKS * EACH):
        raise RuntimeError(f"{stored} proposals are stored, not {expected}")
    name = f"{engine}: throughput of {TASKS} tasks at once / one after the other"
    return Figure(name, multiples(times, "in turn", "at once"), BARS[engine], at_least=True)


def main() -> int:
    """Run both engines, print the ratios, and return 1 where a bar is missed."""
    given = arguments("Creating at once beside creating in turn.")
    rounds = QUICK_ROUNDS if given.quick else ROUNDS
    with tempfile.TemporaryDirectory() as folder:
        figures = [asyncio.run(compare("SQLite", f"sqlite:///{Path(folder) / 'ops.db'}", rounds))]
    with start_server() as server:
        dsn = server.dsn(server.create_database())
        asyncio.run(ActionDB(dsn).migrate())
        figures.append(asyncio.run(compare("PostgreSQL", dsn, rounds)))
    return report(figures, given.json)


if __name__ == "__main__":
    raise SystemExit(main())
