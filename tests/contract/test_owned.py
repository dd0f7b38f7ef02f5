"""What `ActionDB` does around its calls: opening, closing, transactions, and the isolation of a host's engine."""

import asyncio
import threading
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from operator_core.actions import ActionStatus, NotOpenError, StoredProposal
from operator_core.db import ActionDB
from tests.support.factories import proposal, stored
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE
from tests.support.plain_sql import on_postgresql
from tests.support.stop_steps import until


async def test_many_new_files_are_made_at_once_in_one_process(tmp_path: Path) -> None:
    ledgers = [ActionDB(tmp_path / f"{number}.db") for number in range(6)]

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(ledger.open() for ledger in ledgers))
    made = [await ledger.create_proposal(proposal()) for ledger in ledgers]
    await asyncio.gather(*(ledger.close() for ledger in ledgers))

    assert [one.id for one in made] == [1] * 6


async def test_a_close_lets_the_calls_under_way_come_to_their_end(ledger: Ledger) -> None:
    threads = threading.active_count()
    db = await ActionDB(ledger.target).open()
    calls = [asyncio.create_task(db.create_proposal(proposal())) for _ in range(6)]
    await asyncio.sleep(0)

    await db.close()
    ended = await asyncio.gather(*calls, return_exceptions=True)

    assert {type(one) for one in ended} <= {StoredProposal, NotOpenError}
    await until(lambda: threading.active_count() <= threads, "the end of its threads")


async def test_no_target_means_the_url_of_the_environment(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{ledger.target}" if ledger.is_sqlite else str(ledger.target)
    monkeypatch.setenv("OPERATOR_CORE_DATABASE_URL", url)

    async with ActionDB() as db:
        made = await db.create_proposal(proposal())

    async with ActionDB(ledger.target) as named:
        assert await named.list_proposals() == [made]


@pytest.mark.parametrize("url", [None, ""])
async def test_no_target_and_no_url_in_the_environment_mean_a_file_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str | None
) -> None:
    monkeypatch.delenv("OPERATOR_CORE_DATABASE_URL", raising=False)
    if url is not None:
        monkeypatch.setenv("OPERATOR_CORE_DATABASE_URL", url)
    monkeypatch.chdir(tmp_path)

    async with ActionDB() as db:
        made = await db.create_proposal(proposal())

    async with ActionDB(tmp_path / "ops.db") as named:
        assert await named.list_proposals() == [made]


@pytest.mark.parametrize("scheme", ["postgres", "postgres+asyncpg", "postgres+psycopg"])
async def test_the_short_name_of_postgresql_in_a_url_will_do(postgres_url: str, scheme: str) -> None:
    url = Ledger(postgres_url).dsn.replace("postgresql", scheme, 1)

    async with ActionDB(url) as db:
        made = await db.create_proposal(proposal())

    async with ActionDB(postgres_url) as named:
        assert await named.list_proposals() == [made]


@on_postgresql
@pytest.mark.parametrize("level", ["SERIALIZABLE", "REPEATABLE READ"])
async def test_a_transaction_starts_actions_on_an_engine_of_a_stricter_host(ledger: Ledger, level: str) -> None:
    engine = create_async_engine(ledger.target, isolation_level=level)

    async with ActionDB(engine) as db:
        made = await stored(db, ActionStatus.VALIDATED)
        async with db.transaction() as tx:
            await tx.start_execution(made.id)
        found = await db.get_proposal(made.id)
    await engine.dispose()

    assert found.status is ActionStatus.EXECUTING


@on_postgresql
async def test_a_lost_connection_does_not_hide_what_went_wrong_in_a_transaction(ledger: Ledger) -> None:
    async with ActionDB(ledger.target) as db:
        with pytest.raises(ZeroDivisionError):
            async with db.transaction() as tx:
                await tx.create_proposal(proposal())
                _end_all_others(ledger)
                raise ZeroDivisionError

        assert await db.list_proposals() == []


def _end_all_others(ledger: Ledger) -> None:
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    with closing(psycopg.connect(ledger.dsn, autocommit=True)) as plain:
        plain.execute(f"{others} AND pid <> pg_backend_pid()")


async def test_more_calls_at_once_than_there_are_connections_come_to_their_end(db):
    async def group() -> int:
        async with db.transaction() as tx:
            return (await tx.create_proposal(proposal())).id or 0

    async def one() -> int:
        return (await db.create_proposal(proposal())).id or 0

    found = await asyncio.gather(*(group() if number % 8 == 0 else one() for number in range(80)))

    assert sorted(found) == sorted(made.id for made in await db.list_proposals(limit=80))
