"""Upgrades a large ledger from the first revision to the last while clients of the first go on working."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import pytest

from operator_core.db import migrations, upgrade
from tests.support import latch
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE
from tests.support.postgres import PrivatePostgres
from tests.support.race_rounds import LONG, rounds, seed
from tests.support.upgrade_load import CYCLE, EVENTS_A_CYCLE, Client, fill

PROPOSALS = rounds(short=4_000, long=1_000_000)
CLIENTS = 8
BEFORE = 3.0 if LONG else 0.5  # seconds that the clients work before the upgrade, and after it
NOBODYS = "ticket_id=999"
FIRST = migrations.REVISIONS[0]


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    """A server that waits for its disk, as a real one does."""
    with PrivatePostgres.start({}) as started:
        yield started


@pytest.fixture
async def filled(server: PrivatePostgres) -> Ledger:
    """A ledger at the first revision, full."""
    made = Ledger(server.url(server.create_database()))
    upgrade(made.target, FIRST)
    begun = time.monotonic()
    await fill(made, PROPOSALS)
    with closing(made.connect()) as plain:
        (events,) = plain.execute("SELECT count(*) FROM action_events").fetchone()
    print(f"upgrade under load: {PROPOSALS} proposals, {events} events, filled in {time.monotonic() - begun:.0f} s")
    assert events == PROPOSALS * EVENTS_A_CYCLE // CYCLE
    return made


async def run_upgrade(ledger: Ledger) -> tuple[int, str]:
    """Upgrade as a deploy does, in a process of its own."""
    line = (sys.executable, "-m", "operator_core", "db", "upgrade", "--url", str(ledger.target))
    process = await asyncio.create_subprocess_exec(
        *line, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    told, _ = await process.communicate()
    return process.returncode or 0, told.decode()


async def stop_again_and_again(ledger: Ledger, enough: asyncio.Event) -> list[float]:
    """Publish a stop that covers nobody's work, and release it; return how many seconds each took."""
    took = []
    with closing(ledger.connect()) as plain:
        while not enough.is_set():
            begun = time.monotonic()
            await asyncio.to_thread(latch.engage, plain, NOBODYS)
            took.append(time.monotonic() - begun)
            await asyncio.to_thread(latch.release, plain, NOBODYS)
            await asyncio.sleep(0.02)
    return took


async def test_clients_of_the_first_revision_work_on_while_it_is_upgraded(filled: Ledger) -> None:
    start, enough = seed(), asyncio.Event()
    clients = [Client(filled, PATIENCE, start + number) for number in range(CLIENTS)]
    working = [asyncio.create_task(client.work(enough)) for client in clients]
    stopping = asyncio.create_task(stop_again_and_again(filled, enough))
    await asyncio.sleep(BEFORE)

    begun = time.monotonic()
    code, told = await run_upgrade(filled)
    ended = time.monotonic()
    await asyncio.sleep(BEFORE)
    enough.set()
    await asyncio.gather(*working)
    stops = await stopping

    waits = [wait for client in clients for wait in client.waits]
    during = [wait for wait in waits if wait[0] + wait[1] > begun and wait[0] < ended]
    longest = max(during, key=lambda wait: wait[1])
    beside = max((wait for wait in waits if wait not in during), key=lambda wait: wait[1])
    retried = dict(Counter(state for client in clients for state in client.retried))
    print(
        f"upgrade under load: {ended - begun:.1f} s beside {CLIENTS} clients, {sum(client.done for client in clients)} "
        f"proposals done, longest statement {longest[1]:.2f} s ({longest[2]}), else {beside[1]:.2f} s, "
        f"retried {retried}; {len(stops)} stops, the longest took {max(stops):.2f} s [seed {start}]"
    )
    assert (code, told) == (0, told)
    assert "55P03" not in retried
