"""What an idle worker costs, counted: statements and connections."""

import asyncio
from collections import Counter
from contextlib import closing

import psycopg
import pytest

from operator_core.db import ActionDB
from operator_core.worker import Worker
from tests.support.ledger import DRIVER, Ledger
from tests.support.workbench import Diary, at_work, registry_of
from tests.worker.test_approvals import WatchedDB

SESSIONS = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name LIKE 'operator_core%'"
)


async def test_a_poll_is_a_look_for_work_and_one_for_proposals(ledger: Ledger) -> None:
    async with WatchedDB(ledger.target) as db, at_work(Worker(db, registry_of(Diary()))):
        await db.rests()
        while not db.units["sweep_all"]:  # the first recovery is not over yet
            await asyncio.sleep(0.01)

        polls = await db.units_of(5)

    assert polls == Counter({"claim_next": 5, "list_": 5})


@pytest.mark.skipif(DRIVER != "asyncpg", reason="the connections of a listener")
@pytest.mark.parametrize("ledger", ["postgresql"], indirect=True)
async def test_an_idle_worker_holds_two_connections(ledger: Ledger) -> None:
    with closing(psycopg.connect(ledger.dsn, autocommit=True)) as plain:
        async with ActionDB(ledger.target) as db, at_work(Worker(db, registry_of(Diary()), poll_interval=0.02)):
            await asyncio.sleep(0.5)  # many polls and the first recovery

            (sessions,) = plain.execute(SESSIONS).fetchone() or (0,)

    assert sessions == 2
