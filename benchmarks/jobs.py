"""Compare jobs per second with procrastinate and pgqueuer: a whole worker with ten hands, from waiting to completed.

Run it with `make bench`, or as `python benchmarks/jobs.py [--quick] [--json FILE]`. Each round gives every queue a
fresh copy of the same filled database on the same server, and one process that runs its own worker until nothing is
left. For operator-core a job begins as a proposal that nobody has checked: the worker approves, claims and ends it.
"""

import asyncio
import logging
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import asyncpg
import psycopg
from harness import Figure, Spread, arguments, report, start_server, table
from pgqueuer import PgQueuer as Manager
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job as PickedJob
from pgqueuer.types import QueueExecutionMode
from procrastinate import App, PsycopgConnector
from pydantic import BaseModel
from queues import NAME, OperatorCore, PgQueuer, Procrastinate, Queue

from operator_core.actions import ActionProposal
from operator_core.db import ActionDB, Execution
from operator_core.worker import ActionRegistry, Worker
from tests.support.postgres import PrivatePostgres

OURS = "jobs a second: operator-core"
HANDS = 10
ROUNDS, JOBS = 9, 2_000
QUICK = (2, 2_000)
BARS = {"procrastinate": 2.5, "pgqueuer": 0.6}


class Drain(BaseModel):
    """The parameters of the job."""

    store: str
    zone: str
    drain: bool
    grace_seconds: int


class Proposed(OperatorCore):
    """Proposals that nobody has checked yet."""

    async def fill(self, dsn: str, rows: int) -> None:
        """Propose in bulk."""
        db = ActionDB(dsn)
        await db.migrate()
        parameters = {"store": "store-4", "zone": "eu-west-1b", "drain": True, "grace_seconds": 30}
        proposal = ActionProposal(action_name=NAME, parameters=parameters, reason="store 4 is hot")
        async with db:
            await db.create_proposals([proposal] * rows)


CONTENDERS: dict[str, Queue] = {queue.name: queue for queue in (Proposed(), Procrastinate(), PgQueuer())}


# -- in a worker process -----------------------------------------------------------------------------------------------


async def work_as_operator_core(dsn: str, ids: list[int]) -> None:
    """Run a `Worker` until nothing is left."""
    registry = ActionRegistry()

    @registry.action(NAME, auto_approve=True)
    async def drain(_: Drain, execution: Execution) -> dict[str, Any]:
        ids.append(execution.proposal.id)
        return {}

    async with ActionDB(dsn) as db:
        await Worker(db, registry, concurrency=HANDS).run_until_idle()


async def work_as_procrastinate(dsn: str, ids: list[int]) -> None:
    """Run procrastinate's worker until nothing is left."""
    app = App(connector=PsycopgConnector(conninfo=dsn))

    @app.task(name=NAME, pass_context=True)
    async def drain(context: Any, **_: Any) -> None:
        ids.append(context.job.id)

    async with app.open_async():
        await app.run_worker_async(wait=False, concurrency=HANDS, install_signal_handlers=False)


async def work_as_pgqueuer(dsn: str, ids: list[int]) -> None:
    """Run pgqueuer's manager until nothing is left: by default it takes ten at a time, and runs any number."""
    connection = await asyncpg.connect(dsn)
    manager = Manager(AsyncpgDriver(connection))

    @manager.entrypoint(NAME)
    async def drain(job: PickedJob) -> None:
        ids.append(int(job.id))

    await manager.run(mode=QueueExecutionMode.drain)
    await connection.close()


WORK = {
    "operator-core": work_as_operator_core,
    "procrastinate": work_as_procrastinate,
    "pgqueuer": work_as_pgqueuer,
}


@dataclass(frozen=True)
class Order:
    """What a process does in a round."""

    queue: str
    dsn: str


def serve(pipe: Connection) -> None:
    """Do what is ordered until the order is None; answer with the ids that were done, and the seconds that it took."""
    logging.disable(logging.WARNING)
    while (order := pipe.recv()) is not None:
        ids: list[int] = []
        started = time.perf_counter()
        asyncio.run(WORK[order.queue](order.dsn, ids))
        pipe.send((ids, time.perf_counter() - started))


# -- in the program ----------------------------------------------------------------------------------------------------


def measure(server: PrivatePostgres, pipe: Connection, name: str, template: str, jobs: int) -> float:
    """Return the jobs per second of one round, once each job was done exactly once."""
    database = server.create_database(template)
    with psycopg.connect(server.dsn(database), autocommit=True) as connection:
        connection.execute("CHECKPOINT")  # what the copy has written is not written during the round
    pipe.send(Order(name, server.dsn(database)))
    ids, seconds = pipe.recv()
    if len(ids) != jobs or len(set(ids)) != jobs:
        raise RuntimeError(f"{name}: {len(ids)} jobs of {len(set(ids))} ids were done, of {jobs}")
    server.drop_database(database)
    return jobs / float(seconds)


def fill(server: PrivatePostgres, queue: Queue, jobs: int) -> str:
    """Return the name of a filled database, to be copied for each round."""
    name = server.create_database()
    asyncio.run(queue.fill(server.dsn(name), jobs))
    with psycopg.connect(server.dsn(name), autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
    return name


def ratios(rates: dict[str, list[float]], other: str) -> Sequence[float]:
    """Return our rate as a multiple of another's, round by round."""
    return [ours / theirs for ours, theirs in zip(rates["operator-core"], rates[other], strict=True)]


def main() -> int:
    """Run all rounds, print the ratios, and return 1 where a bar is missed."""
    given = arguments("Jobs per second, beside procrastinate and pgqueuer.")
    rounds, jobs = QUICK if given.quick else (ROUNDS, JOBS)
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    with start_server() as server:
        templates = {name: fill(server, queue, jobs) for name, queue in CONTENDERS.items()}
        for number in range(rounds):
            first = number % len(CONTENDERS)
            for name in [*CONTENDERS][first:] + [*CONTENDERS][:first]:
                rates[name].append(measure(server, ours, name, templates[name], jobs))
            print(
                f"round {number + 1}:", ", ".join(f"{name} {rates[name][-1]:.0f}/s" for name in CONTENDERS), flush=True
            )
        version = server.version
    ours.send(None)
    process.join()

    print(f"\n{version}, fsync on, one process, {HANDS} hands, {rounds} rounds of {jobs} jobs, each done exactly once.")
    spreads = {name: Spread.of(found) for name, found in rates.items()}
    print(table([("queue", "jobs per second"), *((name, str(spread)) for name, spread in spreads.items())]))
    figures = [
        Figure(f"{OURS} / {name}", Spread.of(ratios(rates, name)), bar, at_least=True) for name, bar in BARS.items()
    ]
    settings: dict[str, Any] = {"server": version, "hands": HANDS, "jobs": jobs}
    return report(figures, given.json, rates=rates, **settings)


if __name__ == "__main__":
    raise SystemExit(main())
