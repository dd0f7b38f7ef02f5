"""The kill switch beside a host: its sessions, its engines, its exhausted pools, and ledgers that are not there."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import aiosqlite
import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from operator_core.actions import ActionStatus, DatabaseNotFoundError, NotOpenError, RequiresActionDBError, Scope
from operator_core.db import ActionDB, ActionRepository, configure_engine
from tests.support.factories import proposal, running, stored
from tests.support.host import DRIVERS, engine_of, hosted
from tests.support.ledger import Ledger
from tests.support.stop_steps import engaged, stop


@pytest.fixture(params=DRIVERS)
def any_ledger(request) -> tuple[Ledger, str]:
    """A ledger, and the driver of the host, with each driver in turn."""
    fixture = "sqlite_path" if request.param == "sqlite" else "postgres_url"
    return Ledger(request.getfixturevalue(fixture)), request.param


# -- a joined session --------------------------------------------------------------------------------------------------


async def test_a_joined_session_neither_engages_nor_releases_and_stays_usable(any_ledger):
    async with hosted(*any_ledger) as host:
        receipt = await stop(host.db)
        async with AsyncSession(host.engine) as session:
            repository = ActionRepository(session)
            with pytest.raises(RequiresActionDBError, match="engage_kill_switch"):
                await stop(repository)
            with pytest.raises(RequiresActionDBError, match="release_kill_switch"):
                await repository.release_kill_switch(by="bob", reason="no", generation=receipt.generation)
            made = await repository.create_proposal(proposal())
            await session.commit()

        assert (await host.db.get_proposal(made.id)).status is ActionStatus.CANCELLED
        assert [one.generation for one in (await host.db.kill_switch_status()).engaged] == [receipt.generation]


async def test_a_transaction_of_several_calls_neither_engages_nor_releases(db):
    async with db.transaction() as tx:
        with pytest.raises(RequiresActionDBError):
            await stop(tx)
        with pytest.raises(RequiresActionDBError):
            await tx.release_kill_switch(by="bob", reason="no", generation=1)


async def test_a_joined_session_gives_the_status(any_ledger):
    async with hosted(*any_ledger) as host:
        record = await running(host.db)
        receipt = await stop(host.db)
        async with AsyncSession(host.engine) as session:
            status = await ActionRepository(session).kill_switch_status()

    assert [one.generation for one in status.engaged] == [receipt.generation]
    assert [one.record_id for one in status.still_executing] == [record.id]


async def test_a_joined_session_asks_and_answers_for_a_running_action(any_ledger):
    async with hosted(*any_ledger) as host:
        record = await running(host.db)
        receipt = await stop(host.db)
        async with AsyncSession(host.engine) as session:
            repository = ActionRepository(session)
            asked = await repository.stop_requested(record.id)
            await repository.acknowledge_stop(record.id, by="worker-3")
            await session.commit()

        assert asked.generation == receipt.generation
        assert (await host.db.get_proposal(record.proposal_id)).status is ActionStatus.CANCELLED


async def test_a_joined_session_cancels_all_that_is_pending_at_the_hosts_commit(any_ledger):
    async with hosted(*any_ledger) as host:
        made = [await stored(host.db, status) for status in (ActionStatus.PROPOSED, ActionStatus.VALIDATED)]
        async with AsyncSession(host.engine) as session:
            number = await ActionRepository(session).cancel_all_pending(by="ann")
            before = [(await host.db.get_proposal(one.id)).status for one in made]
            await session.commit()

        assert (number, before) == (2, [one.status for one in made])
        assert {(await host.db.get_proposal(one.id)).status for one in made} == {ActionStatus.CANCELLED}


# -- a pool that is exhausted ------------------------------------------------------------------------------------------


async def test_a_stop_is_engaged_beside_an_exhausted_pool_of_a_host(any_ledger):
    ledger, driver = any_ledger
    made = engine_of(ledger, driver)
    engine = configure_engine(create_async_engine(made.url, pool_size=1, max_overflow=0, pool_timeout=0.2))
    try:
        async with ActionDB(engine) as db, AsyncExitStack() as stack:
            await stack.enter_async_context(engine.connect())
            receipt = await stop(db)

        assert receipt.generation == 1
    finally:
        await engine.dispose()


async def test_a_stop_is_engaged_while_all_connections_of_its_own_handle_are_busy(db, plain, ledger):
    async with AsyncExitStack() as stack:
        for _ in range(15):
            connection = await stack.enter_async_context(db._transactions.engine.connect())
            if not ledger.is_sqlite:
                await connection.exec_driver_sql("SELECT 1")
            else:
                await connection.execution_options(operator_core_begin="DEFERRED")
                await connection.exec_driver_sql("SELECT * FROM kill_switch")
        receipt = await stop(db)

    assert engaged(plain) == [("everything", receipt.generation)]


# -- a host's engine ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("any_ledger", ["sqlite", "asyncpg"], indirect=True)
async def test_a_stop_from_a_hosts_engine_is_made_by_the_hosts_creator(any_ledger):
    ledger, driver = any_ledger
    calls: list[str] = []

    async def connect() -> aiosqlite.Connection | asyncpg.Connection:
        calls.append(driver)
        return await (aiosqlite.connect(ledger.target) if ledger.is_sqlite else asyncpg.connect(ledger.dsn))

    # Only the creator knows the way to the server.
    url = f"sqlite+aiosqlite:///{ledger.target}" if ledger.is_sqlite else "postgresql+asyncpg://"
    engine = configure_engine(create_async_engine(url, async_creator=connect))
    try:
        async with ActionDB(engine) as db:
            before = len(calls)
            receipt = await stop(db)
    finally:
        await engine.dispose()

    assert (receipt.generation, len(calls) > before) == (1, True)


async def test_a_stop_from_a_hosts_engine_leaves_its_pool_as_it_was(any_ledger):
    ledger, driver = any_ledger
    async with hosted(ledger, driver) as host, ActionDB(host.engine) as db:
        before = host.engine.pool.status()
        await stop(db)

        assert host.engine.pool.status() == before
        assert await host.titles() == []


# -- in memory ---------------------------------------------------------------------------------------------------------


async def test_a_ledger_in_memory_is_stopped_and_released():
    async with ActionDB("sqlite://") as db:
        made = await stored(db, ActionStatus.VALIDATED)
        record = await running(db)
        receipt = await stop(db, scope=Scope(action_name="drain_store"))
        born = await db.create_proposal(proposal())
        await db.release_kill_switch(by="bob", reason="all clear", generation=receipt.generation)
        status = await db.kill_switch_status()

    assert receipt.cancelled == (made.id,)
    assert [one.record_id for one in receipt.still_executing] == [record.id]
    assert (born.status, status.engaged) == (ActionStatus.CANCELLED, ())


async def test_a_ledger_in_memory_is_stopped_beside_its_own_calls():
    async with ActionDB("sqlite://") as db:
        made = [db.create_proposal(proposal()) for _ in range(20)]
        *proposals, receipt = await asyncio.gather(*made, stop(db))

        found = [(await db.get_proposal(one.id)).status for one in proposals]
    assert receipt.generation == 1
    assert set(found) == {ActionStatus.CANCELLED}


# -- no ledger ---------------------------------------------------------------------------------------------------------


def contents(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_a_file_that_is_not_there_is_not_made_by_one_who_only_checks(tmp_path: Path):
    with pytest.raises(DatabaseNotFoundError):
        await ActionDB(tmp_path / "typo.db", migrate="check").open()

    assert contents(tmp_path) == []


async def test_a_handle_that_is_not_open_stops_nothing(tmp_path: Path):
    with pytest.raises(NotOpenError):
        await stop(ActionDB(tmp_path / "ops.db"))

    assert contents(tmp_path) == []
