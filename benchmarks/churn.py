"""Measure what a claim costs on a ledger that has seen 200,000 state changes, and with 100,000 proposals waiting.

Run it with `make bench`, or as `python benchmarks/churn.py [--quick] [--json FILE]`. All ledgers of an engine are open
at the same time, and each round claims from every one of them, so that a slow moment of the machine hits them alike:
the ratios are to the claims of the same round from a ledger where nothing has happened yet.
"""

import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, AsyncExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import psycopg
from harness import Figure, Spread, arguments, report, start_server

from operator_core.actions import ActionProposal
from operator_core.db import ActionDB

BAR = 1.5
BATCH = 2_000
CLAIMS = 40  # of one ledger in one round
WAITING = 4_000
ROUNDS, CHANGES, MANY = 25, 200_000, 100_000
QUICK = (5, 6_000, 6_000)
STEPS_EACH = 3  # validated, executing, completed

NOW = {"postgresql": "statement_timestamp()", "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', 'now')"}


def step(source: str, target: str) -> str:
    """Return the statement that takes all in one state to the next; `{now}` is still to be filled in."""
    times = f"status_at = {{now}}, {target}_at = {{now}}"
    return f"UPDATE action_proposals SET status = '{target}', {times} WHERE status = '{source}'"


VALIDATE = step("proposed", "validated")
LIFE = (
    VALIDATE,
    step("validated", "executing"),
    (
        "INSERT INTO action_records (proposal_id, started_at) "
        "SELECT id, executing_at FROM action_proposals WHERE status = 'executing'"
    ),
    "UPDATE action_records SET outcome = 'succeeded', success = true, completed_at = {now} WHERE outcome IS NULL",
    step("executing", "completed"),
)

Plain = psycopg.Connection | sqlite3.Connection


@dataclass(frozen=True)
class Ledger:
    """One ledger to claim from, and what is done to it before."""

    name: str
    target: str
    connect: Callable[[], AbstractContextManager[Plain]]
    changes: int = 0
    waiting: int = WAITING
    bar: float | None = BAR
    first: str = ""
    """A statement that is run before anything else."""

    @property
    def now(self) -> str:
        """The time of the database's clock, in its SQL."""
        return NOW["sqlite" if self.target.startswith("sqlite") else "postgresql"]


async def prepare(ledger: Ledger) -> None:
    """Take proposals through their whole life until there were enough changes; then let some wait."""
    async with ActionDB(ledger.target) as db:
        with ledger.connect() as plain:
            for statement in filter(None, ledger.first.split(";")):
                plain.execute(statement)
            for _ in range(0, ledger.changes, BATCH * STEPS_EACH):
                await propose(db, BATCH)
                for statement in LIFE:
                    plain.execute(statement.format(now=ledger.now))
            await propose(db, ledger.waiting)
            plain.execute(VALIDATE.format(now=ledger.now))


async def propose(db: ActionDB, rows: int) -> None:
    """Store so many proposals."""
    proposal = ActionProposal(action_name="drain_store", parameters={"store": "store-4"}, reason="store 4 is hot")
    await db.create_proposals([proposal] * rows)


async def cost(db: ActionDB) -> float:
    """Return the median of some claims, in seconds."""
    found: list[float] = []
    for _ in range(CLAIMS):
        started = time.perf_counter()
        execution = await db.claim_next(worker="bench")
        found.append(time.perf_counter() - started)
        if execution is None:
            raise RuntimeError("the ledger ran empty")
    return statistics.median(found)


async def compare(engine: str, ledgers: list[Ledger], rounds: int) -> list[Figure]:
    """Return the cost of a claim from each ledger, as a multiple of that from the first one."""
    costs: dict[str, list[float]] = {ledger.name: [] for ledger in ledgers}
    async with AsyncExitStack() as stack:
        opened = {ledger.name: await stack.enter_async_context(ActionDB(ledger.target)) for ledger in ledgers}
        for number in range(rounds + 1):
            order = ledgers[number % len(ledgers) :] + ledgers[: number % len(ledgers)]
            for ledger in order:
                found = await cost(opened[ledger.name])
                if number:  # the first round warms up
                    costs[ledger.name].append(found)
    fresh, *others = ledgers
    figures: list[Figure] = []
    for ledger in others:
        ratios = [found / base for found, base in zip(costs[ledger.name], costs[fresh.name], strict=True)]
        figures.append(Figure(f"{engine}: a claim {ledger.name} / from a fresh ledger", Spread.of(ratios), ledger.bar))
    medians = ", ".join(f"{name} {statistics.median(found) * 1e3:.2f} ms" for name, found in costs.items())
    print(f"{engine}, for information: {medians}", flush=True)
    return figures


def postgresql(rounds: int, changes: int, many: int) -> list[Figure]:
    """Compare on PostgreSQL, with autovacuum as it is by default, without it, and while it can remove nothing."""
    tables = ("action_proposals", "action_records", "action_events")
    off = ";".join(f"ALTER TABLE {table} SET (autovacuum_enabled = off)" for table in tables)

    with start_server() as server:
        names = {key: server.create_database() for key in ("fresh", "churned", "off", "held", "many")}

        def ledger(key: str, name: str, **more: object) -> Ledger:
            dsn = server.dsn(names[key])
            return Ledger(name, dsn, lambda: psycopg.connect(dsn, autocommit=True), **more)  # type: ignore[arg-type]

        ledgers = [
            ledger("fresh", "fresh"),
            ledger("churned", f"after {changes} changes", changes=changes),
            ledger("off", f"after {changes} changes, autovacuum off", changes=changes, first=off, bar=None),
            ledger("held", f"after {changes // 4} changes, behind an old snapshot", changes=changes // 4, bar=None),
            ledger("many", f"{many} waiting", waiting=many),
        ]
        for each in ledgers:
            asyncio.run(ActionDB(each.target).migrate())
        with psycopg.connect(server.dsn(names["held"])) as holder:
            holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            holder.execute("SELECT count(*) FROM action_proposals")
            for each in ledgers:
                started = time.monotonic()
                asyncio.run(prepare(each))
                print(f"PostgreSQL: {each.name} made in {time.monotonic() - started:.0f} s", flush=True)
            return asyncio.run(compare("PostgreSQL", ledgers, rounds))


def sqlite(rounds: int, changes: int, many: int) -> list[Figure]:
    """Compare on SQLite, in files of a folder of their own."""
    with tempfile.TemporaryDirectory() as folder:

        def ledger(name: str, file: str, **more: object) -> Ledger:
            path = Path(folder) / file
            connect = lambda: closing(sqlite3.connect(path, isolation_level=None))  # noqa: E731
            return Ledger(name, f"sqlite:///{path}", connect, **more)  # type: ignore[arg-type]

        ledgers = [
            ledger("fresh", "fresh.db"),
            ledger(f"after {changes} changes", "churned.db", changes=changes),
            ledger(f"{many} waiting", "many.db", waiting=many),
        ]
        for each in ledgers:
            started = time.monotonic()
            asyncio.run(prepare(each))
            print(f"SQLite: {each.name} made in {time.monotonic() - started:.0f} s", flush=True)
        return asyncio.run(compare("SQLite", ledgers, rounds))


def main() -> int:
    """Run both engines, print the ratios, and return 1 where the bar is missed."""
    given = arguments("The cost of a claim after many state changes.")
    size = QUICK if given.quick else (ROUNDS, CHANGES, MANY)
    return report([*postgresql(*size), *sqlite(*size)], given.json)


if __name__ == "__main__":
    raise SystemExit(main())
