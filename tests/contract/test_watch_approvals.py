"""Watching decisions: in the order of their ids, each at least once, also behind a transaction that is still open."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from operator_core.actions import ActionProposal, Approval
from operator_core.db import ActionDB, ActionRepository
from operator_core.db.repository import waiting
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE

NEVER = 3600.0


@asynccontextmanager
async def watching(
    db: ActionDB, after_id: int | None = None, poll_interval: float = 0.02
) -> AsyncIterator[AsyncGenerator[Approval]]:
    async with aclosing(db.watch_approvals(after_id, poll_interval=poll_interval)) as decisions:
        yield decisions


async def following(decisions: AsyncGenerator[Approval], number: int) -> list[str]:
    """Return who made the next decisions."""
    async with asyncio.timeout(PATIENCE):
        return [(await anext(decisions)).by for _ in range(number)]


async def proposed(db: ActionDB) -> int:
    return (await db.create_proposal(ActionProposal(action_name="drain_store", reason="hot"))).id


async def approved(db: ActionDB, by: str) -> Approval:
    return await db.approve(await proposed(db), by=by)


async def test_decisions_come_in_their_order_and_from_now_on(db: ActionDB) -> None:
    await approved(db, "before")
    async with watching(db) as decisions:
        coming = asyncio.create_task(following(decisions, 3))
        await asyncio.sleep(0.1)  # it has begun to watch
        approval = await approved(db, "anna")
        await db.revoke(approval.id, by="bob", reason="not now")
        await db.reject(await proposed(db), by="carl", reason="never")

        assert await coming == ["anna", "bob", "carl"]


async def test_after_a_restart_it_goes_on_where_it_was(db: ActionDB) -> None:
    first = await approved(db, "anna")
    await approved(db, "bob")
    await approved(db, "carl")

    async with watching(db, first.id) as decisions:
        assert await following(decisions, 2) == ["bob", "carl"]
    async with watching(db, 0) as decisions:
        assert await following(decisions, 3) == ["anna", "bob", "carl"]


async def test_a_decision_in_this_process_ends_the_wait(db: ActionDB) -> None:
    async with watching(db, poll_interval=NEVER) as decisions:
        coming = asyncio.create_task(following(decisions, 1))
        await asyncio.sleep(0.1)
        await approved(db, "anna")

        assert await coming == ["anna"]


@pytest.mark.parametrize("ends", ["commit", "rollback"])
async def test_a_decision_waits_for_an_earlier_one_that_is_not_committed_yet(postgres_url: str, ends: str) -> None:
    ledger = Ledger(postgres_url)
    engine = create_async_engine(postgres_url.replace("postgresql://", "postgresql+asyncpg://"))
    async with ActionDB(ledger.target) as db, AsyncSession(engine) as session:
        number = await proposed(db)
        await ActionRepository(session).approve(number, by="early, and slow")
        await approved(db, "late, and quick")

        async with watching(db, 0) as decisions:
            coming = asyncio.create_task(following(decisions, 2 if ends == "commit" else 1))
            await asyncio.sleep(0.3)
            assert not coming.done()
            await (session.commit() if ends == "commit" else session.rollback())

            early = ["early, and slow"] if ends == "commit" else []
            assert await coming == [*early, "late, and quick"]
    await engine.dispose()


async def test_without_the_wait_an_earlier_decision_is_lost(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting._Gap, "hides_some", staticmethod(lambda *_: False))
    ledger = Ledger(postgres_url)
    engine = create_async_engine(postgres_url.replace("postgresql://", "postgresql+asyncpg://"))
    async with ActionDB(ledger.target) as db, AsyncSession(engine) as session:
        number = await proposed(db)
        await ActionRepository(session).approve(number, by="early, and slow")
        await approved(db, "late, and quick")

        async with watching(db, 0) as decisions:
            seen = await following(decisions, 1)
            await session.commit()
            await approved(db, "last")
            seen += await following(decisions, 1)
    await engine.dispose()

    assert seen == ["late, and quick", "last"]
