"""Processes that race the kill switch with claims of one and of several, next to those of `stop_workers`."""

import asyncio
import os
from collections import Counter
from multiprocessing.synchronize import Event
from typing import Any

from operator_core.db import ActionDB, Execution
from tests.support import stop_workers
from tests.support.ledger import Ledger
from tests.support.stop_race import Crew
from tests.support.stop_workers import Worker


async def _claim_some(worker: Worker, db: ActionDB) -> None:
    wanted, name = worker.dice.choice((1, 1, 4)), f"claimer {worker.seed}"
    claimed = await db.claim_many(wanted, worker=name, lease_seconds=600.0)
    if not claimed:
        await asyncio.sleep(0.005)
        return
    worker.counts["starts"] += len(claimed)
    await asyncio.gather(*(_carry_out(worker, execution) for execution in claimed))


async def _carry_out(worker: Worker, execution: Execution) -> None:
    async with execution:
        await asyncio.sleep(worker.dice.random() * 0.005)


def claimer(worker: Worker) -> None:
    asyncio.run(stop_workers._repeat(worker, _claim_some))


def run(role: str, ledger: Ledger, seed: int, ending: Event, told: Any) -> None:
    """Be one process, and tell in the end what was counted."""
    if role != claimer.__name__:
        stop_workers.run(role, ledger, seed, ending, told)
        return
    os.nice(10)  # who stops is on a machine of its own, or at least wants to be heard
    worker = Worker(ledger, seed, ending, Counter())
    claimer(worker)
    told.send(worker.counts)
    told.close()


class ClaimCrew(Crew):
    """A crew that also has claimers."""

    def hire(self, role: str, number: int) -> None:
        """Start so many processes of one role, each with a seed of its own."""
        for _ in range(number):
            ours, theirs = self._context.Pipe(duplex=False)
            given = (role, self.ledger, self.seed + len(self._members), self._ending, theirs)
            process = self._context.Process(target=run, args=given, daemon=True)
            process.start()
            theirs.close()
            self._members.append((role, process, ours))
