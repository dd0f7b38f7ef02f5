"""`ActionRepository` in a host's session, on each engine and driver: the host begins, commits and rolls back."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from operator_core.actions import ActionStatus
from operator_core.actions.types import cause_of
from operator_core.db import ActionRepository
from operator_core.db.stores.mapping import PROPOSER_COLUMNS
from tests.support.factories import proposal, running
from tests.support.host import DRIVERS, Host, TicketRow, every_call, hosted
from tests.support.ledger import Ledger


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def ledger(driver: str, request: pytest.FixtureRequest) -> Ledger:
    return Ledger(request.getfixturevalue("sqlite_path" if driver == "sqlite" else "postgres_url"))


@pytest.fixture
async def host(driver: str, ledger: Ledger) -> AsyncIterator[Host]:
    async with hosted(ledger, driver) as host:
        yield host


async def test_a_commit_of_the_host_keeps_both(host: Host) -> None:
    async with AsyncSession(host.engine) as session:
        session.add(TicketRow(title="hot store"))
        made = await ActionRepository(session).create_proposal(proposal())
        await session.commit()

    assert await host.seen() == (["hot store"], [made])


async def test_a_rollback_of_the_host_drops_both(host: Host) -> None:
    async with AsyncSession(host.engine) as session:
        session.add(TicketRow(title="hot store"))
        repository = ActionRepository(session)
        await running(repository)
        await repository.create_proposals([proposal() for _ in range(3)])
        await session.rollback()

    assert await host.seen() == ([], [])


async def test_the_host_can_begin_its_transaction_itself(host: Host) -> None:
    async with AsyncSession(host.engine) as session, session.begin():
        session.add(TicketRow(title="hot store"))
        made = await ActionRepository(session).create_proposal(proposal())

    assert await host.seen() == (["hot store"], [made])


async def test_nothing_is_committed_before_the_host_commits(host: Host) -> None:
    async with AsyncSession(host.engine) as session:
        session.add(TicketRow(title="hot store"))
        await every_call(ActionRepository(session))

        seen = await host.seen()
        await session.rollback()

    assert seen == ([], [])


async def test_every_call_leaves_the_transaction_open_and_usable(host: Host) -> None:
    async with AsyncSession(host.engine) as session:
        await every_call(ActionRepository(session))

        assert session.in_transaction()
        session.add(TicketRow(title="hot store"))
        await session.commit()

    titles, proposals = await host.seen()
    assert (titles, len(proposals)) == (["hot store"], 4)


@pytest.mark.parametrize("autoflush", [True, False])
async def test_pending_objects_of_the_host_are_flushed_first(host: Host, *, autoflush: bool) -> None:
    async with AsyncSession(host.engine, autoflush=autoflush) as session:
        ticket = TicketRow(title="hot store")
        session.add(ticket)

        await ActionRepository(session).get_proposal(4711)

        assert sa.inspect(ticket).persistent
        assert ticket.id == 1


async def test_a_savepoint_of_the_host_takes_back_only_what_happened_in_it(host: Host) -> None:
    async with AsyncSession(host.engine) as session:
        repository = ActionRepository(session)
        kept = await repository.create_proposal(proposal())
        async with session.begin_nested() as savepoint:
            await repository.create_proposal(proposal())
            session.add(TicketRow(title="hot store"))
            await savepoint.rollback()
        await session.commit()

    assert await host.seen() == ([], [kept])


async def test_two_repositories_work_in_one_session(host: Host) -> None:
    async with AsyncSession(host.engine) as session:
        made = await ActionRepository(session).create_proposal(proposal())
        moved = await ActionRepository(session).update_proposal_status(made.id, ActionStatus.VALIDATED)
        await session.commit()

    assert await host.seen() == ([], [moved])


async def test_a_session_that_is_bound_to_a_connection_is_joined_too(host: Host) -> None:
    async with host.engine.connect() as connection, connection.begin(), AsyncSession(connection) as session:
        made = await ActionRepository(session).create_proposal(proposal())
        await session.commit()

    assert await host.seen() == ([], [made])


async def test_many_proposals_are_created_in_the_transaction_of_the_host(host: Host) -> None:
    async with AsyncSession(host.engine) as session:
        made = await ActionRepository(session).create_proposals([proposal(action_name=f"a{n}") for n in range(2_500)])
        await session.commit()

    assert [one.action_name for one in made] == [f"a{n}" for n in range(2_500)]
    assert await host.db.list_proposals() == made[::-1]


async def test_a_joined_call_that_is_cancelled_says_so(host: Host) -> None:
    def cancel(_connection: object, _cursor: object, sql: str, *_: object) -> None:
        task = asyncio.current_task()
        if sql.startswith("INSERT") and task is not None:
            task.cancel()

    async with AsyncSession(host.engine) as session:
        sa.event.listen(host.engine.sync_engine, "before_cursor_execute", cancel)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(ActionRepository(session).create_proposals([proposal() for _ in range(3)]))
        sa.event.remove(host.engine.sync_engine, "before_cursor_execute", cancel)
        await session.rollback()

    assert await host.seen() == ([], [])


async def test_what_is_created_comes_back_as_its_own_ledger_gives_it(host: Host) -> None:
    given = proposal(parameters={"z": [1e16, -0.0, 1, True], "a": {"é": "🔥"}}, ticket_id=-1)

    async with AsyncSession(host.engine) as session:
        made = await ActionRepository(session).create_proposal(given)
        await session.commit()

    assert made.model_dump(include=set(PROPOSER_COLUMNS)) == given.model_dump(include=set(PROPOSER_COLUMNS))
    assert repr(made) == repr(await host.db.get_proposal(made.id))


@pytest.mark.parametrize("at", [datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)], ids=["first", "last"])
async def test_a_moment_that_is_let_in_can_be_read_in_every_session(host: Host, at: datetime) -> None:
    try:
        made = await host.db.create_proposal(proposal(proposed_at=at))
    except ValidationError as error:
        assert cause_of(error).path == "proposed_at"  # noqa: PT017 - either answer will do
        return

    async with AsyncSession(host.engine) as session:
        assert await ActionRepository(session).get_proposal(made.id) == made
