"""Measure calls about many proposals: 10,000 created at once, and 100,000 pending among 1,000,000 cancelled or stopped.

Run it with `make bench`, or as `python benchmarks/bulk.py [--quick] [--json FILE]`. Creating is compared with the
driver's executemany, which gives no ids; cancelling and engaging with the one raw UPDATE under the same guards, on the
same ledger, whose pending proposals are put back before each measurement.
"""

import asyncio
import tempfile
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from baselines import postgresql, sqlite
from baselines.statements import recorded
from filling import Filler, PostgresqlFiller, SqliteFiller
from harness import Figure, Times, Work, alternate, arguments, multiples, report, start_server, timed

from calls import PROPOSAL
from operator_core.db import ActionDB

ROUNDS, MANY, ROWS, PENDING = 9, 10_000, 1_000_000, 100_000
QUICK = (2, 1_000, 10_000, 1_000)
BARS_CREATE = {"SQLite": 1.5, "PostgreSQL": 1.0}
BAR_CANCEL = 1.3
PATIENCE = 600.0

ByHand = sqlite.Good | postgresql.Good


async def create(db: ActionDB, baseline: ByHand, rounds: int, many: int) -> Times:
    """Return the seconds of creating many proposals, with their ids and by hand without."""
    given = [PROPOSAL] * many

    async def ours() -> None:
        ids = [stored.id for stored in await db.create_proposals(given)]
        if ids != list(range(ids[0], ids[0] + many)):
            raise RuntimeError("the ids are not in order")

    return await alternate(
        {"ours": partial(timed, ours), "hand": partial(timed, partial(baseline.many, given))}, rounds
    )


async def cancel(db: ActionDB, baseline: ByHand, filler: Filler, rounds: int, pending: int) -> Times:
    """Return the seconds of cancelling and of engaging, and of the one raw UPDATE."""

    async def after_restoring(work: Work) -> float:
        await asyncio.to_thread(filler.restore)
        return await timed(work)

    async def ours() -> None:
        require(await db.cancel_all_pending(), pending)

    async def raw() -> None:
        require(await baseline.cancel(), pending)

    async def engage() -> float:
        await asyncio.to_thread(filler.restore)
        seconds = await timed(stop)
        await db.release_kill_switch(by="bench", reason="measured", generation=generations.pop())
        return seconds

    async def stop() -> None:
        receipt = await db.engage_kill_switch(by="bench", reason="measured", timeout=PATIENCE)
        generations.append(receipt.generation)
        require(len(receipt.cancelled), pending)

    generations: list[int] = []
    contenders = {"ours": partial(after_restoring, ours), "raw": partial(after_restoring, raw), "engage": engage}
    return await alternate(contenders, rounds)


def require(cancelled: int, pending: int) -> None:
    """See that exactly what was pending was cancelled."""
    if cancelled != pending:
        raise RuntimeError(f"{cancelled} were cancelled, not {pending}")


async def compare(
    engine: str, empty: str, filler: Filler, by_hand: tuple[ByHand, ByHand], size: tuple[int, int, int, int]
) -> list[Figure]:
    """Return the figures of one engine; by hand one has a ledger of its own, one shares the filled ledger."""
    rounds, many, _, pending = size
    creating, cancelling = by_hand
    await asyncio.to_thread(filler.fill)
    async with AsyncExitStack() as stack:
        for baseline in by_hand:
            await baseline.open()
            stack.push_async_callback(baseline.close)
        db = await stack.enter_async_context(ActionDB(empty))
        created = await create(db, creating, rounds, many)
        filled = await stack.enter_async_context(ActionDB(filler.target))
        cancelled = await cancel(filled, cancelling, filler, rounds, pending)
    name = f"{engine}: create_proposals of {many} / executemany without ids"
    return [
        Figure(name, multiples(created, "ours", "hand"), BARS_CREATE[engine]),
        Figure(f"{engine}: cancel_all_pending / one UPDATE", multiples(cancelled, "ours", "raw"), BAR_CANCEL),
        Figure(f"{engine}: engage / one UPDATE", multiples(cancelled, "engage", "raw"), BAR_CANCEL),
    ]


async def on_sqlite(folder: Path, size: tuple[int, int, int, int]) -> list[Figure]:
    """Compare on SQLite."""
    files = {name: folder / f"{name}.db" for name in ("scratch", "ours", "hand", "filled")}
    for file in files.values():
        async with ActionDB(file):
            pass
    sql = await recorded(f"sqlite:///{files['scratch']}")
    filler = SqliteFiller(files["filled"], *size[2:])
    by_hand = sqlite.Good(files["hand"], sql), sqlite.Good(files["filled"], sql)
    return await compare("SQLite", f"sqlite:///{files['ours']}", filler, by_hand, size)


async def on_postgresql(dsns: dict[str, str], size: tuple[int, int, int, int]) -> list[Figure]:
    """Compare on PostgreSQL."""
    for dsn in dsns.values():
        await ActionDB(dsn).migrate()
    sql = await recorded(dsns["scratch"])
    filler = PostgresqlFiller(dsns["filled"], *size[2:])
    by_hand = postgresql.Good(dsns["hand"], sql), postgresql.Good(dsns["filled"], sql)
    return await compare("PostgreSQL", dsns["ours"], filler, by_hand, size)


def main() -> int:
    """Run both engines, print the ratios, and return 1 where a bar is missed."""
    given = arguments("Calls about many proposals.")
    size = QUICK if given.quick else (ROUNDS, MANY, ROWS, PENDING)
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(on_sqlite(Path(folder), size))
    with start_server() as server:
        dsns = {name: server.dsn(server.create_database()) for name in ("scratch", "ours", "hand", "filled")}
        figures += asyncio.run(on_postgresql(dsns, size))
    return report(figures, given.json)


if __name__ == "__main__":
    raise SystemExit(main())
