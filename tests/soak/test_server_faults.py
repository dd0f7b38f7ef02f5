"""The server of working processes is restarted, and their connections are cut: they come back, and do nothing twice."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from operator_core.actions import ActionStatus
from operator_core.db import ActionDB, upgrade
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.postgres import PrivatePostgres
from tests.support.race_rounds import LONG, rounds, seed
from tests.support.soak_actions import done
from tests.support.soak_crew import Crew, crew, is_finished, propose, standing, until
from tests.support.soak_proxy import proxy

RESTARTS = rounds(short=2, long=20)
CUTS = rounds(short=20, long=400)
PROCESSES = 4 if LONG else 2
ENOUGH = 60
LEASE = 2.0


@pytest.fixture
def server() -> Iterator[PrivatePostgres]:
    """A server that a test may crash."""
    with PrivatePostgres.start(private=True) as started:
        yield started


@pytest.fixture
def url(server: PrivatePostgres) -> str:
    """The URL of a ledger on it."""
    made = server.url(server.create_database())
    upgrade(made)
    return made


async def disturbed(db: ActionDB, members: Crew, times: int, disturb: Callable[[], Awaitable[None]]) -> None:
    """Have processes work while something is done to them again and again, and wait until nothing is left to do."""
    dice = random.Random(members.seed)
    members.hire(PROCESSES, concurrency=4, lease_seconds=LEASE)
    for _ in range(times):
        if (await standing(db))[ActionStatus.PROPOSED] < ENOUGH:
            await propose(db, ENOUGH, lambda: {"before": dice.uniform(0, 0.1), "after": dice.uniform(0, 0.1)})
        await disturb()
        members.must_live()
    await until(db, is_finished, members)
    await asyncio.to_thread(members.dismiss)  # what stands between them and the server runs in this loop


async def judged(db: ActionDB, ledger: Ledger, members: Crew, title: str, begun: float) -> list[str]:
    """Print what came out, and return every contradiction."""
    counts, lost = done(members.folder), {record.proposal_id for record in await db.list_unresolved()}
    ended = {found.id async for found in db.iter_proposals(ActionStatus.COMPLETED)}
    every = {found.id async for found in db.iter_proposals()}  # a crashed server leaves gaps between the ids
    print(
        f"soak postgresql, {title}: {len(every)} proposals, {len(ended)} completed, {len(lost)} unknown, "
        f"{max(counts.values())} times at most, {time.monotonic() - begun:.0f} s [seed {members.seed}]"
    )
    return [
        *(f"proposal {number} was done {times} times" for number, times in counts.items() if times > 1),
        *(f"proposal {number} is neither completed nor unknown" for number in every - ended - lost),
        *(f"proposal {number} is completed, but was not done" for number in ended - set(counts)),
        *check_history(ledger),
        *map(str, await db.verify()),
    ]


async def test_workers_go_on_by_themselves_when_the_server_was_restarted(
    server: PrivatePostgres, url: str, tmp_path: Path
) -> None:
    begun, number = time.monotonic(), seed()
    dice = random.Random(number)

    async def restart() -> None:
        await asyncio.sleep(dice.uniform(0.2, 0.6))
        await asyncio.to_thread(dice.choice([server.stop, server.crash]))
        await asyncio.sleep(dice.uniform(0, 0.5))
        await asyncio.to_thread(server.restart)

    with crew(Ledger(url), tmp_path, number) as members:
        async with ActionDB(url) as db:
            await disturbed(db, members, RESTARTS, restart)
            problems = await judged(db, Ledger(url), members, f"{RESTARTS} restarts", begun)

    assert problems == []


def address_of(url: str) -> tuple[str, int]:
    """Return host and port of a database."""
    parts = make_url(url)
    return parts.host or "127.0.0.1", parts.port or 5432


async def test_workers_go_on_by_themselves_when_their_connections_are_cut(postgres_url: str, tmp_path: Path) -> None:
    begun, number = time.monotonic(), seed()
    dice = random.Random(number)

    async with proxy(*address_of(postgres_url), number) as between, ActionDB(postgres_url) as db:

        async def cut() -> None:
            await asyncio.sleep(dice.uniform(0, 0.1))
            between.cut_one()

        with crew(Ledger(between.url(postgres_url)), tmp_path, number) as members:
            await disturbed(db, members, CUTS, cut)
            title = f"{between.cuts} cuts, {between.swallowed} in place of an answer"
            problems = await judged(db, Ledger(postgres_url), members, title, begun)

    assert problems == []
