"""How many connections an `ActionDB` opens, and what a call hears that finds all of them busy."""

import asyncio
from contextlib import AsyncExitStack, closing

import pytest

from operator_core.actions import DatabaseLockedError
from operator_core.db import ActionDB
from operator_core.db.engine.postgresql import APPLICATION_NAME
from tests.support.factories import proposal
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE

PLACES = 15
"""What docs/deploy.md promises."""

_BACKENDS = (
    "SELECT count(*) FROM pg_stat_activity "
    f"WHERE datname = current_database() AND application_name = '{APPLICATION_NAME}'"
)


def open_connections(db: ActionDB) -> int:
    """Return how many connections its pool has open, in use or not."""
    assert db._transactions is not None
    pool = db._transactions.engine.pool
    return pool.checkedin() + pool.checkedout()  # type: ignore[attr-defined, no-any-return]


async def test_many_calls_at_once_share_the_connections(ledger: Ledger) -> None:
    async with ActionDB(ledger.target) as db:
        made = await db.create_proposal(proposal())

        await asyncio.gather(
            *(db.get_proposal(made.id) for _ in range(4 * PLACES)),
            *(db.create_proposal(proposal()) for _ in range(4 * PLACES)),
        )

        assert 1 <= open_connections(db) <= PLACES


@pytest.mark.parametrize("ledger", ["postgresql"], indirect=True)
async def test_a_call_that_finds_all_busy_says_so(ledger: Ledger) -> None:
    async with ActionDB(ledger.target, lock_timeout=0.2) as db, AsyncExitStack() as stack:
        made = await db.create_proposal(proposal())
        for _ in range(PLACES):
            tx = await stack.enter_async_context(db.transaction())
            assert await tx.get_proposal(made.id) == made

        with pytest.raises(DatabaseLockedError, match="all its places are taken"):
            await db.get_proposal(made.id)

        connection = stack.enter_context(closing(ledger.connect()))
        found = connection.execute(_BACKENDS).fetchone()
    assert found is not None
    assert found[0] == PLACES


async def test_a_reader_finds_a_place_beside_an_open_transaction(ledger: Ledger) -> None:
    async with ActionDB(ledger.target) as db, db.transaction() as tx:
        made = await tx.create_proposal(proposal())

        found = await asyncio.gather(*(db.get_proposal(made.id) for _ in range(PLACES)))

    assert found == [None] * PLACES


@pytest.mark.parametrize("ledger", ["sqlite"], indirect=True)
async def test_a_call_that_is_cancelled_behind_another_one_does_nothing(ledger: Ledger) -> None:
    async with ActionDB(ledger.target) as db:
        other = ledger.connect()
        other.execute("BEGIN IMMEDIATE")
        first, second = (asyncio.create_task(db.create_proposal(proposal())) for _ in range(2))
        await asyncio.sleep(0.05)  # the first one waits in the thread, the second one behind it
        second.cancel()
        await asyncio.sleep(0)
        other.execute("ROLLBACK")

        made = await first
        with pytest.raises(asyncio.CancelledError):
            await second

        other.close()
        assert await db.list_proposals() == [made]


async def test_a_call_that_is_cancelled_in_the_queue_leaves_no_place_taken(ledger: Ledger) -> None:
    async with ActionDB(ledger.target) as db:
        made = await db.create_proposal(proposal())
        calls = [asyncio.create_task(db.update_proposal_status(made.id, "cancelled")) for _ in range(3 * PLACES)]
        await asyncio.sleep(0)
        for call in calls[1:]:
            call.cancel()
        await asyncio.wait(calls)

        async with asyncio.timeout(PATIENCE):
            stored = await asyncio.gather(*(db.create_proposal(proposal()) for _ in range(2 * PLACES)))

    assert len({each.id for each in stored}) == 2 * PLACES
