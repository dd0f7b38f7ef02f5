"""Compare claims per second with procrastinate, pgqueuer and DBOS: 8 worker processes, PostgreSQL, one claim per call.

Run it with `make bench`, or as `python benchmarks/claims.py [--quick] [--json FILE]`. Each round gives every queue a
fresh copy of the same filled database on the same server, and the same eight processes; who comes first alternates.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import psycopg
from harness import Figure, Spread, arguments, report, start_server, table
from queues import QUEUES, Queue

from tests.support.postgres import PrivatePostgres

OURS = "claims a second: operator-core"
PROCESSES = 8
WARM_UP = 20  # claims of each process: statements are prepared, and plans made generic, before the clock starts
ROUNDS, SECONDS, ROWS = 9, 2.0, 20_000
QUICK = (2, 0.4, 6_000)


@dataclass(frozen=True)
class Order:
    """What a process does in a round."""

    queue: str
    dsn: str
    worker: str
    seconds: float


@dataclass(frozen=True)
class Done:
    """What it has claimed, warm-up included, and how many a second after it."""

    ids: list[int]
    rate: float


# -- in a worker process -----------------------------------------------------------------------------------------------


def serve(pipe: Connection) -> None:
    """Do what is ordered until the order is None."""
    while (order := pipe.recv()) is not None:
        pipe.send(asyncio.run(claim_for(order, pipe)))


async def claim_for(order: Order, pipe: Connection) -> Done:
    """Connect and warm up, wait for the others, then claim as fast as the queue gives."""
    async with QUEUES[order.queue].worker(order.dsn, order.worker) as claim:
        ids = [await claim() for _ in range(WARM_UP)]
        pipe.send("ready")
        pipe.recv()
        started = now = time.perf_counter()
        while now < started + order.seconds:
            ids.append(await claim())
            now = time.perf_counter()
        found = [number for number in ids if number is not None]
        if len(found) < len(ids):
            raise RuntimeError(f"{order.queue} ran empty: fill in more rows")
        return Done(found, (len(found) - WARM_UP) / (now - started))


# -- in the program ----------------------------------------------------------------------------------------------------


class Workers:
    """Starts the processes once; all queues are claimed from by the same ones."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for _ in range(PROCESSES):
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def round(self, queue: str, dsn: str, seconds: float) -> list[Done]:
        """Let all claim at the same time."""
        for number, pipe in enumerate(self._pipes):
            pipe.send(Order(queue, dsn, f"worker-{number}", seconds))
        for pipe in self._pipes:
            pipe.recv()
        for pipe in self._pipes:
            pipe.send("go")
        return [pipe.recv() for pipe in self._pipes]

    def close(self) -> None:
        """Let them end."""
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.send(None)
            process.join()


def fill(server: PrivatePostgres, queue: Queue, rows: int) -> str:
    """Return the name of a filled database, to be copied for each round."""
    name = server.create_database()
    asyncio.run(queue.fill(server.dsn(name), rows))
    with psycopg.connect(server.dsn(name), autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
    return name


def measure(server: PrivatePostgres, workers: Workers, queue: Queue, template: str, seconds: float) -> float:
    """Return the claims per second of one round, once its history says that each id was claimed exactly once."""
    name = server.create_database(template)
    with psycopg.connect(server.dsn(name), autocommit=True) as connection:
        connection.execute("CHECKPOINT")  # what the copy has written is not written during the round
        done = workers.round(queue.name, server.dsn(name), seconds)
        history = sorted(row[0] for row in connection.execute(queue.claimed))
    claimed = sorted(number for worker in done for number in worker.ids)
    if not claimed == history == sorted(set(claimed)):
        raise RuntimeError(f"{queue.name}: {len(claimed)} claims of {len(set(claimed))} ids, history {len(history)}")
    server.drop_database(name)
    return sum(worker.rate for worker in done)


def ratios(rates: dict[str, list[float]], other: str) -> Sequence[float]:
    """Return our rate as a multiple of another's, round by round."""
    return [ours / theirs for ours, theirs in zip(rates["operator-core"], rates[other], strict=True)]


def main() -> int:
    """Run all rounds, print the ratios, and return 1 where a bar is missed."""
    given = arguments("Claims per second, beside procrastinate, pgqueuer and DBOS.")
    rounds, seconds, rows = QUICK if given.quick else (ROUNDS, SECONDS, ROWS)
    rates: dict[str, list[float]] = {name: [] for name in QUEUES}
    workers = Workers()
    with start_server() as server:
        templates = {name: fill(server, queue, rows) for name, queue in QUEUES.items()}
        for number in range(rounds):
            first = number % len(QUEUES)
            order = list(QUEUES)[first:] + list(QUEUES)[:first]
            for name in order:
                rates[name].append(measure(server, workers, QUEUES[name], templates[name], seconds))
            print(f"round {number + 1}:", ", ".join(f"{name} {rates[name][-1]:.0f}/s" for name in QUEUES), flush=True)
        version = server.version
    workers.close()

    print(f"\n{version}, fsync on, {PROCESSES} processes, {rounds} rounds of {seconds} s, {rows} rows waiting;")
    print("every id was claimed exactly once, by the history. Claims per second, for information:")
    spreads = {name: Spread.of(found) for name, found in rates.items()}
    print(table([("queue", "claims per second"), *((name, str(spread)) for name, spread in spreads.items())]))
    figures = [
        Figure(
            f"{OURS} / procrastinate",
            Spread.of(ratios(rates, "procrastinate")),
            1.0,
            at_least=True,
        ),
        Figure(f"{OURS} / pgqueuer", Spread.of(ratios(rates, "pgqueuer")), 0.9, at_least=True),
        Figure(f"{OURS} / DBOS", Spread.of(ratios(rates, "dbos"))),
    ]
    settings: dict[str, Any] = {"server": version, "processes": PROCESSES, "seconds": seconds, "rows": rows}
    return report(figures, given.json, rates=rates, **settings)


if __name__ == "__main__":
    raise SystemExit(main())
