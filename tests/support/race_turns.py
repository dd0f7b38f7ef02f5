"""Calls at the same moment on one transaction or session, some of them refused, and what became of the others."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from operator_core.actions import ActionError, ActionProposal, ActionRecord, ActionStatus
from operator_core.db import ActionRepository
from tests.support.factories import proposal, stored
from tests.support.host import Host, TicketRow

Way = Callable[[Host], AbstractAsyncContextManager[tuple[ActionRepository, AsyncSession | None]]]


@asynccontextmanager
async def in_a_transaction(host: Host) -> AsyncGenerator[tuple[ActionRepository, None]]:
    """Give the repository of `ActionDB.transaction`."""
    async with host.db.transaction() as tx:
        yield tx, None


@asynccontextmanager
async def in_a_session(host: Host) -> AsyncGenerator[tuple[ActionRepository, AsyncSession]]:
    """Give the repository of a host's session, which is committed."""
    async with AsyncSession(host.engine) as session:
        yield ActionRepository(session), session
        await session.commit()


WAYS: dict[str, Way] = {"transaction": in_a_transaction, "session": in_a_session}


async def lost_in_a_round(host: Host, way: Way, dice: random.Random) -> tuple[int, list[str]]:
    """Make calls at the same moment; return how many were refused, and what was returned and is not in the ledger."""
    ready = [await stored(host.db, ActionStatus.VALIDATED) for _ in range(3)]
    dropped = [await stored(host.db, ActionStatus.CANCELLED) for _ in range(2)]
    titles = [f"ticket {dice.random()}" for _ in range(2)]
    async with way(host) as (repository, session):
        calls: list[Awaitable[Any]] = [repository.start_execution(one.id) for one in ready + dropped]
        calls += [repository.create_proposal(proposal()), repository.create_proposals([proposal(), proposal()])]
        if session is not None:
            calls.append(_write(session, titles))
        dice.shuffle(calls)
        if dice.random() < 0.5:
            await repository.list_proposals(limit=1)  # else they are the first calls of the block
        results = await asyncio.gather(*calls, return_exceptions=True)
    refused = [one for one in results if isinstance(one, BaseException)]
    wrong = [f"not typed: {one!r}" for one in refused if not isinstance(one, ActionError)]
    lost = [f"lost: {one!r}" for one in results if not await _is_kept(host, one)]
    if session is not None and not wrong and set(titles) - set(await host.titles()):
        lost.append(f"the host's own rows: {titles}")
    return len(refused), wrong + lost


async def _write(session: AsyncSession, titles: list[str]) -> None:
    for title in titles:  # one task: two that write at the same moment are refused by SQLAlchemy
        await session.execute(sa.insert(TicketRow).values(title=title))


async def _is_kept(host: Host, result: object) -> bool:
    if isinstance(result, list):
        return all([await _is_kept(host, one) for one in result])
    if isinstance(result, ActionProposal):
        return await host.db.get_proposal(result.id) is not None
    if isinstance(result, ActionRecord):
        return await host.db.get_record(result.id) is not None
    return True


class NoTurns:
    """The queue of a session, without the queueing."""

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        """Let everybody pass."""
        yield


@contextmanager
def nobody_waits(*_: object) -> Any:
    """Keep nobody waiting."""
    yield
