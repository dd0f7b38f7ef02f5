"""The steps of forced schedules: clients that hold something open, waits for a moment, looks at the latch."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from operator_core.actions import ActionStatus, StopReceipt
from operator_core.db import ActionDB
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE
from tests.support.plain_sql import LATER, insert, new, step

LISTENERS = (
    "SELECT pid FROM pg_stat_activity "
    "WHERE datname = current_database() AND query LIKE 'LISTEN%' AND state LIKE 'idle%'"
)
BARRIER = (
    "SELECT 1 FROM pg_locks WHERE relation = to_regclass('kill_switch_barrier') AND mode = '{mode}' "
    "AND granted = {granted}"
)


async def stop(db: ActionDB, **given: Any) -> StopReceipt:
    """Engage, as Ann, because of smoke; with all the time of a slow machine."""
    return await db.engage_kill_switch(**{"by": "ann", "reason": "smoke in hall 3", "timeout": PATIENCE, **given})


async def until(true: Callable[[], object] | Callable[[], Awaitable[object]], what: str) -> None:
    """Wait until something is true."""
    give_up = time.monotonic() + PATIENCE
    while True:
        found = true()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return
        assert time.monotonic() < give_up, f"never came about: {what}"
        await asyncio.sleep(0.005)


async def waits_at_barrier(plain: Any) -> None:
    """Wait until a stop waits for the starts that are under way."""
    query = BARRIER.format(mode="ExclusiveLock", granted="false")
    await until(lambda: plain.execute(query).fetchall(), "a stop at the barrier")


async def waits_for_start_lock(plain: Any) -> None:
    """Wait until a start that has passed the first look waits for the lock."""
    query = BARRIER.format(mode="RowShareLock", granted="false")
    await until(lambda: plain.execute(query).fetchall(), "a start at the lock")


def start(number: int | None) -> str:
    """Return the update that starts a proposal in plain SQL."""
    return step(number, ActionStatus.EXECUTING)


def record(number: int | None) -> str:
    """Return the insert of the record of a proposal that has started."""
    return insert("action_records", proposal_id=number, started_at=LATER)


def propose(client: Any) -> int:
    """Propose in plain SQL, in the open transaction of a client, and return the id."""
    counter = client.execute("SELECT max(generation) FROM kill_switch").fetchone()[0]
    return client.execute(f"{new(generation=counter)} RETURNING id").fetchone()[0]


def validate(client: Any, number: int) -> None:
    client.execute(step(number, ActionStatus.VALIDATED))


@contextmanager
def client(ledger: Ledger, begin: str | None = "BEGIN") -> Iterator[Any]:
    """Return a client of its own, with a transaction open; the caller may end it."""
    plain = ledger.connect()
    try:
        if begin:
            plain.execute(begin)
        yield plain
    finally:
        plain.close()


def pid(client: Any) -> int:
    """Return the server's process of a client."""
    assert isinstance(client, psycopg.Connection)
    return client.info.backend_pid


def started(plain: Any) -> list[int]:
    """Return the ids of all that ever started."""
    query = "SELECT proposal_id FROM action_events WHERE to_status = 'executing' ORDER BY proposal_id"
    return [row[0] for row in plain.execute(query).fetchall()]


def status_of(plain: Any, number: int | None) -> str:
    return plain.execute(f"SELECT status FROM action_proposals WHERE id = {number}").fetchone()[0]


def engaged(plain: Any) -> list[tuple[str, int]]:
    """Return scope and generation of all stops that are engaged."""
    query = "SELECT scope, generation FROM kill_switch WHERE engaged_at IS NOT NULL AND released_at IS NULL"
    return [tuple(row) for row in plain.execute(query).fetchall()]
