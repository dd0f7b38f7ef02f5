"""Measure a call that joins the open transaction of a host, beside the same statement by hand in an open transaction.

Run it with `make bench`, or as `python benchmarks/joined.py [--quick] [--json FILE]`. The host's engine is a plain one
of SQLAlchemy after `configure_engine`. On PostgreSQL a write has a savepoint on both sides: without it, a refusal by a
guard would leave the host with an aborted transaction.
"""

import asyncio
import itertools
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

from baselines import postgresql, sqlite
from baselines.statements import recorded
from harness import Figure, alternate, arguments, multiples, report, start_server, timed
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from calls import PROPOSAL, comparable, fill, one_cpu
from operator_core.actions import ActionStatus
from operator_core.db import ActionDB, ActionRepository, configure_engine

ROUNDS, TIMES = 25, 40
QUICK = (9, 10)
BARS = {"SQLite": 1.9, "PostgreSQL": 1.7}

ByHand = sqlite.Good | postgresql.Joined
Call = Callable[[int], Awaitable[Any]]


def ours(repository: ActionRepository) -> Mapping[str, Call]:
    """Return the calls of the library."""
    return {
        "create": lambda _: repository.create_proposal(PROPOSAL),
        "guarded update": lambda number: repository.update_proposal_status(number, ActionStatus.VALIDATED),
        "get": repository.get_proposal,
    }


def by_hand(baseline: ByHand) -> Mapping[str, Call]:
    """Return the same calls by hand."""
    return {"create": lambda _: baseline.create(PROPOSAL), "guarded update": baseline.validate, "get": baseline.get}


async def require_agreement(sides: Mapping[str, Mapping[str, Call]]) -> None:
    """Let both sides do the same, and see that both say the same."""
    for name in sides["ours"]:
        answers = [comparable(await calls[name](1)) for calls in sides.values()]
        if answers[0] != answers[1]:
            raise RuntimeError(f"{name}: the sides disagree: {answers}")


async def compare(engine: str, url: str, baseline: ByHand, rounds: int, times: int) -> list[Figure]:
    """Return the figures of one engine; every block of calls stands in a transaction that is undone afterwards."""
    async with AsyncExitStack() as stack:
        host = configure_engine(create_async_engine(url))
        stack.push_async_callback(host.dispose)
        session = await stack.enter_async_context(AsyncSession(host))
        await baseline.open()
        stack.push_async_callback(baseline.close)
        return await compare_open(engine, session, baseline, rounds, times)


async def compare_open(engine: str, session: AsyncSession, baseline: ByHand, rounds: int, times: int) -> list[Figure]:
    """Do so once all is open."""
    sides = {"ours": ours(ActionRepository(session)), "hand": by_hand(baseline)}
    begin: Mapping[str, Callable[[], Awaitable[Any]]] = {"ours": session.connection, "hand": baseline.begin}
    undo: Mapping[str, Callable[[], Awaitable[Any]]] = {"ours": session.rollback, "hand": baseline.rollback}

    async def calls(call: Call, numbers: Iterator[int]) -> None:
        for _ in range(times):
            await call(next(numbers))

    async def block(side: str, name: str) -> float:
        await begin[side]()
        seconds = await timed(partial(calls, sides[side][name], itertools.count(1)))
        await undo[side]()
        return seconds

    for side in sides:
        await begin[side]()
    await require_agreement(sides)
    for side in sides:
        await undo[side]()
    figures: list[Figure] = []
    for name in sides["ours"]:
        found = await alternate({side: partial(block, side, name) for side in sides}, rounds)
        figures.append(Figure(f"{engine}: joined {name} / by hand", multiples(found, "ours", "hand"), BARS[engine]))
    return figures


async def on_sqlite(folder: Path, rounds: int, times: int) -> list[Figure]:
    """Compare on SQLite; each side has a file of its own, for each holds the write lock of its file."""
    sql = await recorded(f"sqlite:///{folder / 'scratch.db'}")
    files = {side: folder / f"{side}.db" for side in ("ours", "hand")}
    for file in files.values():
        await fill(f"sqlite:///{file}", times + 1)
    url = f"sqlite+aiosqlite:///{files['ours']}"
    return await compare("SQLite", url, sqlite.Good(files["hand"], sql), rounds, times)


async def on_postgresql(dsns: Mapping[str, str], rounds: int, times: int) -> list[Figure]:
    """Compare on PostgreSQL."""
    for dsn in dsns.values():
        await ActionDB(dsn).migrate()
    sql = await recorded(dsns["scratch"])
    for side in ("ours", "hand"):
        await fill(dsns[side], times + 1)
    url = dsns["ours"].replace("postgresql://", "postgresql+asyncpg://")
    return await compare("PostgreSQL", url, postgresql.Joined(dsns["hand"], sql), rounds, times)


def main() -> int:
    """Run both engines, print the ratios, and return 1 where a bar is missed."""
    given = arguments("Joined calls beside the same by hand.")
    size = QUICK if given.quick else (ROUNDS, TIMES)
    with one_cpu(), tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(on_sqlite(Path(folder), *size))
    with start_server() as server:
        dsns = {side: server.dsn(server.create_database()) for side in ("scratch", "ours", "hand")}
        figures += asyncio.run(on_postgresql(dsns, *size))
    return report(figures, given.json)


if __name__ == "__main__":
    raise SystemExit(main())
