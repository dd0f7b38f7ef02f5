"""The processes of a race against the kill switch: they propose, validate, start and finish until they are stopped."""

import asyncio
import contextlib
import os
import random
import sqlite3
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from typing import Any

import psycopg

from operator_core.actions import (
    ActionError,
    ActionStatus,
    ConnectionLostError,
    RetryTransactionError,
    TransitionNotAllowedError,
)
from operator_core.db import ActionDB
from operator_core.db.errors import guard_code
from tests.support.factories import proposal
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE

ENOUGH = 60  # validated proposals, beyond which proposers wait for starters
HOST_SECONDS = 0.03  # at most what a host does besides, in the transaction that starts
NAIVE_SECONDS = 0.6  # the same of a naive one, longer than a stop takes on a busy machine
LEASE_SECONDS = 0.5  # nobody recovers what ran out: it may still be completed
VALIDATED = "SELECT id FROM action_proposals WHERE status = 'validated' ORDER BY id DESC LIMIT 8"
NO_STOP = "NOT EXISTS (SELECT 1 FROM kill_switch WHERE engaged_at IS NOT NULL AND released_at IS NULL)"


@dataclass
class Worker:
    """What one process knows: where the ledger is, its own dice, and what it has counted."""

    ledger: Ledger
    seed: int
    ending: Event
    counts: Counter[str]

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.known: deque[int] = deque(maxlen=50)

    def choose(self, found: list[int]) -> int | None:
        """Return a proposal to start: mostly one of those found, sometimes one from before a stop."""
        self.known.extend(found)
        if not self.known:
            return None
        return self.dice.choice(found if found and self.dice.random() < 0.9 else self.known)


# -- through the library -----------------------------------------------------------------------------------------------

Act = Callable[[Worker, ActionDB], Awaitable[None]]


async def _start_one(worker: Worker, db: ActionDB) -> None:
    found = await db.list_proposals(ActionStatus.VALIDATED, limit=8)
    chosen = worker.choose([one.id for one in found if one.id is not None])
    if chosen is None:
        await asyncio.sleep(0.005)
        return
    record = await db.start_execution(chosen, by="library")
    worker.counts["starts"] += 1
    await db.finish_execution(record.id, success=True)


async def _start_what_was_just_made(worker: Worker, db: ActionDB) -> None:
    """Propose, validate and start in one transaction of a host: no sweep sees it before its commit."""
    async with db.transaction() as tx:
        made = await tx.create_proposal(proposal(proposed_by="host"))
        if made.status is ActionStatus.CANCELLED:
            return
        await tx.update_proposal_status(made.id, ActionStatus.VALIDATED)
        record = await tx.start_execution(made.id, by="host")
        await asyncio.sleep(worker.dice.random() * HOST_SECONDS)
    worker.counts["starts"] += 1
    await db.finish_execution(record.id, success=False, error_message="no")


async def _claim_and_complete(worker: Worker, db: ActionDB) -> None:
    """Claim one, or several in one statement, and record their ends together."""
    wanted, name = worker.dice.choice((1, 1, 4)), f"claimer-{worker.seed}"
    claimed = await db.claim_many(wanted, worker=name, lease_seconds=LEASE_SECONDS)
    if not claimed:
        await asyncio.sleep(0.005)
        return
    worker.counts["starts"] += len(claimed)
    await asyncio.gather(*(execution.complete() for execution in claimed))


async def _propose_and_validate(worker: Worker, db: ActionDB) -> None:
    if len(await db.list_proposals(ActionStatus.VALIDATED, limit=ENOUGH)) == ENOUGH:
        await asyncio.sleep(0.005)
        return
    made = await db.create_proposals([proposal() for _ in range(worker.dice.randint(1, 12))])
    if made[0].status is ActionStatus.CANCELLED:
        await asyncio.sleep(0.02)
        return
    for one in made:
        await db.update_proposal_status(one.id, ActionStatus.VALIDATED)


async def _cancel_all(worker: Worker, db: ActionDB) -> None:
    """Cancel all that is pending, under a name of its own, and note the number that was returned."""
    name = f"broom-{worker.seed}-{worker.counts['calls']}"
    worker.counts["calls"] += 1
    worker.counts[name] = await db.cancel_all_pending(by=name)
    await asyncio.sleep(worker.dice.random() * 0.03)


EXPECTED = (TransitionNotAllowedError, RetryTransactionError)


async def _repeat(worker: Worker, *acts: Act, expected: tuple[type[ActionError], ...] = EXPECTED) -> None:
    async with ActionDB(worker.ledger.target, lock_timeout=PATIENCE) as db:
        while not worker.ending.is_set():
            try:
                await worker.dice.choice(acts)(worker, db)
            except expected as error:
                worker.counts[type(error).__name__] += 1


def by_library(worker: Worker) -> None:
    asyncio.run(_repeat(worker, _start_one, _start_one, _start_what_was_just_made))


def by_claim(worker: Worker) -> None:
    asyncio.run(_repeat(worker, _claim_and_complete))


def terminable(worker: Worker) -> None:
    """Start in every way, also after a stop that was told to do so has ended the connection."""
    acts = (_start_one, _start_what_was_just_made, _claim_and_complete)
    asyncio.run(_repeat(worker, *acts, expected=(*EXPECTED, ConnectionLostError)))


def proposer(worker: Worker) -> None:
    asyncio.run(_repeat(worker, _propose_and_validate))


def broom(worker: Worker) -> None:
    asyncio.run(_repeat(worker, _cancel_all))


# -- in plain SQL ------------------------------------------------------------------------------------------------------


def _in_plain_sql(worker: Worker, *acts: Callable[[Worker, Any], None]) -> None:
    with contextlib.closing(worker.ledger.connect()) as plain:
        while not worker.ending.is_set():
            try:
                worker.dice.choice(acts)(worker, plain)
            except (psycopg.Error, sqlite3.Error) as error:
                if guard_code(error) is None:
                    raise
                plain.execute("ROLLBACK")
                worker.counts["refusals"] += 1


def _start_plainly(worker: Worker, plain: Any) -> None:
    chosen = worker.choose([row[0] for row in plain.execute(VALIDATED).fetchall()])
    if chosen is None:
        time.sleep(0.005)
        return
    plain.execute("BEGIN")
    step = f"UPDATE action_proposals SET status = 'executing' WHERE id = {chosen} AND status = 'validated'"
    if not plain.execute(step).rowcount:
        plain.execute("ROLLBACK")
        return
    plain.execute(f"INSERT INTO action_records (proposal_id, started_at) VALUES ({chosen}, now())")
    plain.execute("COMMIT")
    worker.counts["starts"] += 1
    _finish_plainly(plain, chosen)


def _finish_plainly(plain: Any, number: int) -> None:
    plain.execute("BEGIN")
    close = "completed_at = clock_timestamp(), outcome = 'succeeded', success = true"
    plain.execute(f"UPDATE action_records SET {close} WHERE proposal_id = {number}")
    plain.execute(f"UPDATE action_proposals SET status = 'completed' WHERE id = {number}")
    plain.execute("COMMIT")


def propose_plainly(plain: Any) -> tuple[int, str]:
    columns = "(action_name, action_type, parameters, reason, generation)"
    values = "('drain_store', 'tool', '{}', 'hot', 0)"
    return plain.execute(f"INSERT INTO action_proposals {columns} VALUES {values} RETURNING id, status").fetchone()


def make_validated(plain: Any) -> int:
    """Propose and validate something on PostgreSQL, in whatever transaction is open, and return its id."""
    number, status = propose_plainly(plain)
    assert status == "proposed", "a stop is engaged"
    step(plain, number, "validated")
    return number


def _validate_plainly(_worker: Worker, plain: Any) -> None:
    number, status = propose_plainly(plain)
    if status == "proposed":
        step(plain, number, "validated", "AND status = 'proposed'")  # the sweep may have been quicker


def _start_naively(worker: Worker, plain: Any) -> None:
    """Do in one transaction what a host does, but with the check that everybody writes first."""
    plain.execute("BEGIN")
    number, status = propose_plainly(plain)
    if status == "proposed":
        step(plain, number, "validated")
        worker.counts["starts"] += step(plain, number, "executing", f"AND {NO_STOP}")
        time.sleep(worker.dice.random() * NAIVE_SECONDS)
    plain.execute("COMMIT")


def _start_an_old_one_naively(worker: Worker, plain: Any) -> None:
    chosen = worker.choose([row[0] for row in plain.execute(VALIDATED).fetchall()])
    condition = f"AND status = 'validated' AND {NO_STOP}"
    if chosen is None or not step(plain, chosen, "executing", condition):
        time.sleep(0.005)


def step(plain: Any, number: int, status: str, condition: str = "") -> int:
    changes = f"status = '{status}', status_at = now(), status_by = 'naive', {status}_at = now()"
    return plain.execute(f"UPDATE action_proposals SET {changes} WHERE id = {number} {condition}").rowcount


def by_sql(worker: Worker) -> None:
    _in_plain_sql(worker, _start_plainly)


def naive(worker: Worker) -> None:
    _in_plain_sql(worker, _validate_plainly, _start_naively, _start_an_old_one_naively)


ROLES: dict[str, Callable[[Worker], None]] = {
    role.__name__: role for role in (by_library, by_claim, terminable, proposer, broom, by_sql, naive)
}


def run(role: str, ledger: Ledger, seed: int, ending: Event, told: Any) -> None:
    """Be one process, and tell in the end what was counted."""
    os.nice(10)  # who stops is on a machine of its own, or at least wants to be heard
    worker = Worker(ledger, seed, ending, Counter())
    ROLES[role](worker)
    told.send(worker.counts)
    told.close()
