"""What a host's session is told when it is refused, and that it is usable afterwards, on each engine and driver."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from operator_core.actions import (
    ActionRecord,
    ActionStatus,
    AlreadyStoredError,
    EngineNotConfiguredError,
    IsolationLevelError,
    ProposalNotFoundError,
    RecordNotAllowedError,
    RecordNotFoundError,
    RetryTransactionError,
    SchemaOutOfDateError,
    TransitionNotAllowedError,
    ValueNotStorableError,
)
from operator_core.db import ActionDB, ActionRepository, configure_engine
from tests.support.factories import proposal, running, stored
from tests.support.host import DRIVERS, Host, TicketRow, engine_of, hosted
from tests.support.ledger import Ledger

STARTS = ["start_execution", "update_proposal_status"]
on_postgresql = pytest.mark.parametrize("driver", ["asyncpg", "psycopg"], indirect=True)
on_sqlite = pytest.mark.parametrize("driver", ["sqlite"], indirect=True)


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


Refusal = tuple[type[Exception], Callable[[ActionRepository], Awaitable[object]]]


async def _forbidden_step(repository: ActionRepository) -> None:
    await repository.update_proposal_status((await stored(repository)).id, ActionStatus.COMPLETED)


async def _step_against_the_record(repository: ActionRepository) -> None:
    await repository.update_proposal_status((await running(repository)).proposal_id, ActionStatus.COMPLETED)


async def _start_of_an_unvalidated(repository: ActionRepository) -> None:
    await repository.start_execution((await stored(repository)).id)


async def _second_record(repository: ActionRepository) -> None:
    await repository.create_record(ActionRecord(proposal_id=(await running(repository)).proposal_id))


async def _record_too_early(repository: ActionRepository) -> None:
    await repository.create_record(ActionRecord(proposal_id=(await stored(repository)).id))


async def _second_close(repository: ActionRepository) -> None:
    record = await running(repository)
    await repository.update_record(record.id, success=True)
    await repository.finish_execution(record.id, success=False)


async def _unstorable_result(repository: ActionRepository) -> None:
    await repository.update_record((await running(repository)).id, success=True, result_data={"a": float("nan")})


REFUSALS: dict[str, Refusal] = {
    "a step of nothing": (ProposalNotFoundError, lambda r: r.update_proposal_status(4711, ActionStatus.VALIDATED)),
    "a start of nothing": (ProposalNotFoundError, lambda r: r.start_execution(4711)),
    "a record of nothing": (ProposalNotFoundError, lambda r: r.create_record(ActionRecord(proposal_id=4711))),
    "a close of nothing": (RecordNotFoundError, lambda r: r.update_record(4711, success=True)),
    "a finish of nothing": (RecordNotFoundError, lambda r: r.finish_execution(4711, success=True)),
    "a forbidden step": (TransitionNotAllowedError, _forbidden_step),
    "a step against the record": (TransitionNotAllowedError, _step_against_the_record),
    "a start of an unvalidated": (TransitionNotAllowedError, _start_of_an_unvalidated),
    "a second close": (TransitionNotAllowedError, _second_close),
    "a second record": (RecordNotAllowedError, _second_record),
    "a record too early": (RecordNotAllowedError, _record_too_early),
    "one that is not new": (AlreadyStoredError, lambda r: r.create_proposal(proposal(id=7))),
    "many, one not new": (AlreadyStoredError, lambda r: r.create_proposals([proposal(), proposal(id=7)])),
    "an unstorable id": (ValueNotStorableError, lambda r: r.get_proposal(2**63)),
    "an unstorable result": (ValueNotStorableError, _unstorable_result),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_session_is_usable_after_a_refusal_and_keeps_what_was_done_before(host: Host, name: str) -> None:
    error, refused = REFUSALS[name]
    async with AsyncSession(host.engine) as session:
        repository = ActionRepository(session)
        before = await repository.create_proposal(proposal(action_name="before"))
        session.add(TicketRow(title="before"))

        with pytest.raises(error):
            await refused(repository)

        session.add(TicketRow(title="after"))
        after = await repository.create_proposal(proposal(action_name="after"))
        await session.commit()

    titles, proposals = await host.seen()
    assert titles == ["before", "after"]
    assert {before.id, after.id} <= {one.id for one in proposals}


async def test_a_flaw_of_the_hosts_own_objects_reaches_the_host_as_its_own_error(host: Host) -> None:
    async with AsyncSession(host.engine) as session:
        session.add_all([TicketRow(title="twice"), TicketRow(title="twice")])

        with pytest.raises(IntegrityError, match="host_tickets"):
            await ActionRepository(session).list_proposals()


@on_postgresql
@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("call", STARTS)
async def test_nothing_starts_in_a_session_that_could_not_see_a_stop(host: Host, level: str, call: str) -> None:
    made = await stored(host.db, ActionStatus.VALIDATED)
    arguments = [ActionStatus.EXECUTING] if call == "update_proposal_status" else []

    async with AsyncSession(host.engine.execution_options(isolation_level=level)) as session:
        repository = ActionRepository(session)
        with pytest.raises(IsolationLevelError, match="Start actions under READ COMMITTED") as caught:
            await getattr(repository, call)(made.id, *arguments)
        cancelled = await repository.update_proposal_status(made.id, ActionStatus.CANCELLED)
        await session.commit()

    assert caught.value.proposal_id == made.id
    assert await host.db.get_proposal(made.id) == cancelled


@on_postgresql
async def test_a_transaction_of_the_host_that_met_another_is_to_be_run_again(host: Host) -> None:
    made = await stored(host.db)

    async with AsyncSession(host.engine.execution_options(isolation_level="REPEATABLE READ")) as session:
        repository = ActionRepository(session)
        await repository.get_proposal(made.id)
        moved = await host.db.update_proposal_status(made.id, ActionStatus.VALIDATED)
        with pytest.raises(RetryTransactionError, match="run your transaction again"):
            await repository.update_proposal_status(made.id, ActionStatus.VALIDATED)
        await session.rollback()
        assert await repository.get_proposal(made.id) == moved


@on_sqlite
async def test_a_reader_of_the_host_that_would_write_on_an_old_snapshot_is_to_run_again(host: Host) -> None:
    made = await stored(host.db)

    async with AsyncSession(host.engine.execution_options(operator_core_begin="DEFERRED")) as session:
        repository = ActionRepository(session)
        await repository.get_proposal(made.id)
        moved = await host.db.update_proposal_status(made.id, ActionStatus.VALIDATED)
        with pytest.raises(RetryTransactionError, match="run your transaction again"):
            await repository.update_proposal_status(made.id, ActionStatus.CANCELLED)
        await session.rollback()
        assert await repository.get_proposal(made.id) == moved


@on_sqlite
async def test_an_engine_that_was_not_configured_is_refused(ledger: Ledger, driver: str) -> None:
    engine = engine_of(ledger, driver)

    async with AsyncSession(engine) as session:
        with pytest.raises(EngineNotConfiguredError, match=r"call operator_core\.db\.configure_engine\(engine\)"):
            await ActionRepository(session).create_proposal(proposal())
    await engine.dispose()


@on_sqlite
async def test_an_engine_that_was_not_configured_cannot_be_opened(ledger: Ledger, driver: str) -> None:
    engine = engine_of(ledger, driver)

    with pytest.raises(EngineNotConfiguredError):
        await ActionDB(engine).open()
    await engine.dispose()


@on_sqlite
async def test_a_session_on_a_database_without_a_ledger_is_refused(tmp_path: Path, driver: str) -> None:
    engine = configure_engine(engine_of(Ledger(tmp_path / "empty.db"), driver))

    async with AsyncSession(engine) as session:
        with pytest.raises(SchemaOutOfDateError, match="holds no ledger"):
            await ActionRepository(session).list_proposals()
    await engine.dispose()
