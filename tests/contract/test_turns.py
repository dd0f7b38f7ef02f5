"""Who waits for whom on one session or one transaction, and what a block that is left does with calls under way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.util import await_only

from operator_core.actions import (
    ActionProposal,
    ActionStatus,
    NotOpenError,
    SessionBusyError,
    StoredProposal,
    TransitionNotAllowedError,
)
from operator_core.db import ActionRepository
from operator_core.db.transactions.turns import EXCLUSIVE
from tests.support.factories import proposal, stored
from tests.support.host import DRIVERS, Host, TicketRow, hosted
from tests.support.ledger import Ledger


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def ledger(driver: str, request: pytest.FixtureRequest) -> Ledger:
    if driver == "sqlite":
        return Ledger(request.getfixturevalue("sqlite_path"))
    url = make_url(request.getfixturevalue("postgres_url")).set(drivername=DRIVERS[driver])
    return Ledger(url.render_as_string(hide_password=False))


@pytest.fixture
async def host(driver: str, ledger: Ledger) -> AsyncIterator[Host]:
    async with hosted(ledger, driver) as host:
        yield host


async def at_once(*calls: Awaitable[Any]) -> list[Any]:
    return await asyncio.gather(*calls, return_exceptions=True)


async def refused(host: Host, repository: ActionRepository) -> Callable[[], Awaitable[object]]:
    """Return a call that the guard refuses, on a session that is connected."""
    dropped = await stored(host.db, ActionStatus.CANCELLED)
    await repository.list_proposals(limit=1)
    return lambda: repository.start_execution(dropped.id, by="worker")


# -- calls of the ledger -----------------------------------------------------------------------------------------------


async def test_calls_at_the_same_moment_are_kept_beside_one_that_is_refused(host: Host) -> None:
    first, second = [await stored(host.db, ActionStatus.VALIDATED) for _ in range(2)]
    async with AsyncSession(host.engine) as session:
        refuse, repository = await refused(host, ActionRepository(session)), ActionRepository(session)

        found = await at_once(
            refuse(), repository.start_execution(first.id), ActionRepository(session).start_execution(second.id)
        )
        await session.commit()

    assert isinstance(found[0], TransitionNotAllowedError)
    assert [await host.db.get_record(one.id) for one in found[1:]] == found[1:]


async def test_the_first_calls_of_a_session_may_be_made_at_the_same_moment(host: Host) -> None:
    async with AsyncSession(host.engine) as session:
        repository = ActionRepository(session)

        made = await asyncio.gather(*(repository.create_proposal(proposal()) for _ in range(5)))
        await session.commit()

    assert sorted(one.id for one in await host.db.list_proposals()) == sorted(one.id for one in made)


async def test_the_first_calls_of_a_transaction_may_be_made_at_the_same_moment(host: Host) -> None:
    dropped = await stored(host.db, ActionStatus.CANCELLED)
    async with host.db.transaction() as tx:
        found = await at_once(tx.start_execution(dropped.id), *(tx.create_proposal(proposal()) for _ in range(5)))

    assert isinstance(found[0], TransitionNotAllowedError)
    assert [await host.db.get_proposal(one.id) for one in found[1:]] == found[1:]


async def test_claims_at_the_same_moment_in_one_session_are_kept(host: Host) -> None:
    ready = [await stored(host.db, ActionStatus.VALIDATED) for _ in range(3)]
    async with AsyncSession(host.engine) as session:
        refuse, repository = await refused(host, ActionRepository(session)), ActionRepository(session)
        claims = await at_once(refuse(), *(repository.claim_next(worker=f"w{n}") for n in range(3)))

        ended = await at_once(refuse(), *(claim.complete() for claim in claims[1:]))
        await session.commit()

    assert sorted(one.proposal_id for one in ended[1:]) == [one.id for one in ready]
    assert [await host.db.get_record(one.id) for one in ended[1:]] == ended[1:]


async def test_an_iterator_of_a_transaction_goes_on_beside_calls_that_are_refused(host: Host) -> None:
    dropped = [await stored(host.db, ActionStatus.CANCELLED) for _ in range(4)]
    async with host.db.transaction() as tx:

        async def read() -> list[int | None]:
            return [one.id async for one in tx.iter_proposals(ActionStatus.CANCELLED, chunk_size=1)]

        found = await at_once(read(), *(tx.start_execution(one.id) for one in dropped), tx.create_proposal(proposal()))

    assert found[0] == [one.id for one in reversed(dropped)]
    assert await host.db.get_proposal(found[-1].id) == found[-1]


async def test_two_sessions_on_one_connection_wait_for_each_other(host: Host) -> None:
    async with host.engine.connect() as connection:
        refuse = await refused(host, ActionRepository(AsyncSession(connection)))
        other = ActionRepository(AsyncSession(connection))

        _, made, _ = await at_once(refuse(), other.create_proposal(proposal()), connection.execute(a_ticket("mine")))
        await connection.commit()

    assert await host.db.get_proposal(made.id) == made
    assert await host.titles() == ["mine"]


async def test_a_call_that_is_cancelled_in_the_queue_does_nothing(host: Host) -> None:
    async with AsyncSession(host.engine) as session:
        repository = ActionRepository(session)
        first, second, third = (asyncio.ensure_future(repository.create_proposal(proposal())) for _ in range(3))
        await asyncio.sleep(0)
        second.cancel()
        found = await at_once(first, second, third)
        await session.commit()

    assert isinstance(found[1], asyncio.CancelledError)
    assert await host.db.list_proposals() == [found[2], found[0]]


async def test_a_listener_that_calls_the_ledger_within_a_call_of_it_is_refused_and_does_not_hang(host: Host) -> None:
    async with AsyncSession(host.engine) as session:
        repository, said = ActionRepository(session), []

        def call(_session: object, _context: object, _instances: object) -> None:
            try:
                await_only(repository.list_proposals())
            except SessionBusyError as error:
                said.append(error)

        sa.event.listen(session.sync_session, "before_flush", call)
        session.add(TicketRow(title="pending"))
        made = await repository.create_proposal(proposal())
        await session.commit()

    assert len(said) == 1
    assert await host.seen() == (["pending"], [made])


# -- the host's own work -----------------------------------------------------------------------------------------------


def a_ticket(title: str) -> sa.Insert:
    return sa.insert(TicketRow).values(title=title)


async def _execute(session: AsyncSession) -> None:
    await session.execute(a_ticket("of the host"))


async def _flush(session: AsyncSession) -> None:
    session.add(TicketRow(title="of the host"))
    await session.flush()


async def _in_a_savepoint(session: AsyncSession) -> None:
    async with session.begin_nested():
        await _flush(session)


async def _on_the_connection(session: AsyncSession) -> None:
    await (await session.connection()).execute(a_ticket("of the host"))


async def _many_rows(session: AsyncSession) -> None:
    session.add_all([TicketRow(title=f"{number:05}") for number in range(2_500)])
    await session.flush()
    await session.execute(a_ticket("of the host"))


OWN_WORK = [_execute, _flush, _in_a_savepoint, _on_the_connection, _many_rows]


@pytest.mark.parametrize("work", OWN_WORK, ids=lambda work: work.__name__.strip("_"))
async def test_what_the_host_writes_beside_a_refused_call_is_kept(
    host: Host, work: Callable[[AsyncSession], Awaitable[None]]
) -> None:
    for turns in range(6):  # the loop begins with ours, then so many of its turns pass before the host's
        async with AsyncSession(host.engine) as session:
            refuse = await refused(host, ActionRepository(session))

            async def late(session: AsyncSession = session, turns: int = turns) -> None:
                for _ in range(turns):
                    await asyncio.sleep(0)
                await work(session)

            found = await at_once(refuse(), late())
            await session.commit()

        assert [type(one) for one in found] == [TransitionNotAllowedError, type(None)]
        assert "of the host" in await host.titles()
        _delete_tickets(host)


def _delete_tickets(host: Host) -> None:
    with closing(host.ledger.connect()) as plain:
        plain.execute("DELETE FROM host_tickets")


async def test_a_commit_of_the_host_waits_for_the_call_that_runs(host: Host) -> None:
    async with AsyncSession(host.engine) as session:
        repository = ActionRepository(session)
        await repository.list_proposals(limit=1)

        made, _ = await asyncio.gather(repository.create_proposals([proposal()] * 3), session.commit())

    assert await host.db.list_proposals() == made[::-1]


async def test_a_commit_waits_for_the_call_that_flushes_what_is_pending(host: Host) -> None:
    async with AsyncSession(host.engine) as session:
        repository = ActionRepository(session)
        session.add_all([TicketRow(title="a"), TicketRow(title="b")])

        made, _ = await asyncio.gather(repository.create_proposal(proposal()), session.commit())
        await session.commit()

    assert await host.seen() == (["a", "b"], [made])


async def test_a_block_of_the_host_that_ends_under_a_call_keeps_it_or_refuses_it(host: Host) -> None:
    calls: list[asyncio.Task[StoredProposal]] = []
    async with AsyncSession(host.engine) as session, session.begin():
        repository = ActionRepository(session)
        await repository.list_proposals(limit=1)
        calls += [asyncio.create_task(repository.create_proposal(proposal())) for _ in range(3)]
        await asyncio.sleep(0)

    found = await at_once(*calls)
    kept = [one for one in found if isinstance(one, ActionProposal)]

    assert {type(one) for one in found} <= {StoredProposal, SessionBusyError}
    assert found[0] in kept
    assert await host.db.list_proposals() == kept[::-1]


@pytest.mark.parametrize("end", ["rollback", "close"])
async def test_a_rollback_of_the_host_takes_all_of_a_call_or_nothing(host: Host, end: str) -> None:
    async with AsyncSession(host.engine) as session:
        repository = ActionRepository(session)
        await repository.create_proposal(proposal())

        await asyncio.gather(repository.create_proposals([proposal()] * 3), getattr(session, end)())

    assert await host.db.list_proposals() == []


async def test_a_call_in_the_middle_of_the_hosts_commit_is_refused_by_name(host: Host) -> None:
    async with AsyncSession(host.engine) as session:
        repository = ActionRepository(session)
        made = await repository.create_proposal(proposal())

        _, beside = await at_once(session.commit(), repository.create_proposal(proposal()))

    assert isinstance(beside, SessionBusyError)
    assert "a commit" in str(beside)
    assert await host.db.list_proposals() == [made]


async def test_a_first_call_beside_the_hosts_first_statement_is_kept_or_refused_by_name(host: Host) -> None:
    async with AsyncSession(host.engine) as session:
        _, made = await at_once(
            session.execute(a_ticket("first")), ActionRepository(session).create_proposal(proposal())
        )
        await session.commit()

    assert isinstance(made, ActionProposal | SessionBusyError)
    assert await host.seen() == (["first"], [made] if isinstance(made, ActionProposal) else [])


async def test_a_first_statement_of_the_host_waits_for_the_first_call(host: Host) -> None:
    async with AsyncSession(host.engine) as session:
        made, _ = await asyncio.gather(
            ActionRepository(session).create_proposal(proposal()), session.execute(a_ticket("second"))
        )
        await session.commit()

    assert await host.seen() == (["second"], [made])


async def test_a_session_is_as_it_was_when_a_call_is_over(host: Host) -> None:
    async with AsyncSession(host.engine) as session:
        own = vars(session.sync_session)
        own["commit"] = commit = session.sync_session.commit  # as a host may do that counts its commits

        await ActionRepository(session).create_proposal(proposal())

        assert {name: own[name] for name in EXCLUSIVE if name in own} == {"commit": commit}


# -- leaving `transaction()` -------------------------------------------------------------------------------------------


async def test_a_call_that_runs_when_its_block_ends_is_committed(host: Host) -> None:
    async with host.db.transaction() as tx:
        await tx.list_proposals(limit=1)
        call = asyncio.create_task(tx.create_proposals([proposal()] * 3))
        await asyncio.sleep(0)

    assert await host.db.list_proposals() == (await call)[::-1]


async def test_a_call_that_has_not_begun_when_its_block_ends_is_refused(host: Host) -> None:
    async with host.db.transaction() as tx:
        first = asyncio.create_task(tx.create_proposal(proposal()))
        await asyncio.sleep(0)
        late = [asyncio.create_task(tx.create_proposal(proposal())) for _ in range(2)]

    found = await at_once(*late)

    assert [type(one) for one in found] == [NotOpenError] * 2
    assert await host.db.list_proposals() == [await first]


async def test_a_call_that_runs_when_its_block_is_left_with_an_error_is_not_acknowledged(host: Host) -> None:
    dropped = await stored(host.db, ActionStatus.CANCELLED)
    calls: list[asyncio.Task[Any]] = []

    with pytest.raises(TransitionNotAllowedError):
        async with host.db.transaction() as tx:
            calls += [asyncio.create_task(tx.start_execution(dropped.id))]
            calls += [asyncio.create_task(tx.create_proposals([proposal()] * 3)) for _ in range(2)]
            await asyncio.gather(*calls)  # raises for the first, and leaves the others under way

    assert [type(one) for one in await at_once(*calls[1:])] == [NotOpenError] * 2
    assert await host.db.list_proposals() == [dropped]


async def test_a_block_that_is_cancelled_under_a_call_keeps_nothing_and_gives_its_place_back(host: Host) -> None:
    async def block() -> None:
        async with host.db.transaction() as tx:
            await asyncio.gather(*(tx.create_proposal(proposal()) for _ in range(5)))

    for turns in range(12):
        task = asyncio.create_task(block())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        before = len(await host.db.list_proposals())
        await host.db.create_proposal(proposal())

        assert len(await host.db.list_proposals()) == before + 1
        assert task.cancelled() or before % 5 == 0


async def test_a_call_that_is_cancelled_in_the_queue_of_a_transaction_does_nothing(host: Host) -> None:
    async with host.db.transaction() as tx:
        first, second, third = (asyncio.ensure_future(tx.create_proposal(proposal())) for _ in range(3))
        await asyncio.sleep(0)
        second.cancel()
        found = await at_once(first, second, third)

    assert isinstance(found[1], asyncio.CancelledError)
    assert await host.db.list_proposals() == [found[2], found[0]]
