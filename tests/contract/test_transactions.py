"""`ActionDB` on a host's engine, and its transactions of several calls, on each engine."""

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from operator_core.actions import ActionStatus, DatabaseLockedError
from operator_core.db import ActionDB, ActionRepository, configure_engine
from operator_core.db.engine.urls import resolve_url
from tests.support.factories import proposal
from tests.support.host import every_call
from tests.support.ledger import Ledger

on_sqlite = pytest.mark.parametrize("ledger", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("ledger", ["postgresql"], indirect=True)


async def test_a_ledger_on_the_engine_of_a_host_works_and_leaves_the_engine_alone(ledger: Ledger) -> None:
    engine = configure_engine(create_async_engine(resolve_url(ledger.target)))
    pool = engine.sync_engine.pool

    async with ActionDB(engine) as db:
        await every_call(db)

    assert engine.sync_engine.pool is pool
    async with AsyncSession(engine) as session:
        assert len(await ActionRepository(session).list_proposals()) == 4
    await engine.dispose()


async def test_a_transaction_keeps_all_its_calls(db: ActionDB) -> None:
    async with db.transaction() as tx:
        await every_call(tx)

    assert len(await db.list_proposals()) == 4


async def test_a_transaction_that_raises_keeps_none_of_its_calls(db: ActionDB) -> None:
    with pytest.raises(LookupError):
        async with db.transaction() as tx:
            await every_call(tx)
            raise LookupError

    assert await db.list_proposals() == []


async def test_a_transaction_is_not_seen_before_it_ends(db: ActionDB) -> None:
    async with db.transaction() as tx:
        await tx.create_proposal(proposal())

        seen = await db.list_proposals()

    assert seen == []
    assert len(await db.list_proposals()) == 1


@on_sqlite
async def test_writing_beside_an_open_transaction_gives_an_error_and_no_hang(ledger: Ledger) -> None:
    async with ActionDB(ledger.target, lock_timeout=0.2) as db:
        async with db.transaction() as tx:
            made = await tx.create_proposal(proposal())
            with pytest.raises(DatabaseLockedError, match="within it, call the methods of what it gave you"):
                await db.create_proposal(proposal())
            await tx.update_proposal_status(made.id, ActionStatus.VALIDATED)

        assert [one.status for one in await db.list_proposals()] == [ActionStatus.VALIDATED]


@on_sqlite
async def test_a_transaction_in_a_transaction_gives_an_error_and_no_hang(ledger: Ledger) -> None:
    async with ActionDB(ledger.target, lock_timeout=0.2) as db, db.transaction():
        with pytest.raises(DatabaseLockedError):
            async with db.transaction():
                pytest.fail("a second writer was let in")


@on_postgresql
async def test_writing_beside_an_open_transaction_is_a_transaction_of_its_own(db: ActionDB) -> None:
    with pytest.raises(LookupError):
        async with db.transaction() as tx:
            await tx.create_proposal(proposal(action_name="within"))
            await db.create_proposal(proposal(action_name="beside"))
            raise LookupError

    assert [one.action_name for one in await db.list_proposals()] == ["beside"]
