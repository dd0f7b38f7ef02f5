"""Forced schedules on PostgreSQL: what is under way while a stop is engaged starts before it is confirmed, or never."""

import asyncio
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from operator_core.actions import ActionStatus, IsolationLevelError, KillSwitchEngagedError, StopUnconfirmedError
from operator_core.db import ActionDB, ActionRepository
from operator_core.db.errors import guard_code
from operator_core.db.guards.codes import ISOLATION_REFUSED, STOPPED
from tests.support.factories import stored
from tests.support.history import check_history
from tests.support.host import engine_of
from tests.support.ledger import Ledger
from tests.support.patience import IN_VAIN
from tests.support.plain_sql import on_postgresql
from tests.support.stop_steps import (
    client,
    engaged,
    pid,
    propose,
    record,
    start,
    started,
    status_of,
    stop,
    until,
    validate,
    waits_at_barrier,
    waits_for_start_lock,
)

pytestmark = [on_postgresql, pytest.mark.usefixtures("unhurried_stops")]


@pytest.fixture(autouse=True)
def _history(ledger: Ledger) -> Iterator[None]:
    yield
    assert check_history(ledger) == []


async def validated(db: ActionDB) -> int:
    return (await stored(db, ActionStatus.VALIDATED)).id or 0


# -- a start -----------------------------------------------------------------------------------------------------------


async def test_a_start_that_passed_the_guard_before_the_stop_is_waited_for_and_is_in_the_receipt(db, plain, ledger):
    number = await validated(db)

    with client(ledger) as starter:
        starter.execute(start(number))
        starter.execute(record(number))
        engaging = asyncio.create_task(stop(db))
        await waits_at_barrier(plain)
        was_published, was_done = engaged(plain), engaging.done()
        starter.execute("COMMIT")
        receipt = await engaging

    assert (was_published, was_done) == ([("everything", receipt.generation)], False)
    assert [one.proposal_id for one in receipt.still_executing] == started(plain) == [number]


async def test_a_start_that_passed_the_guard_and_is_rolled_back_is_swept(db, plain, ledger):
    number = await validated(db)

    with client(ledger) as starter:
        starter.execute(start(number))
        engaging = asyncio.create_task(stop(db))
        await waits_at_barrier(plain)
        starter.execute("ROLLBACK")
        receipt = await engaging

    assert (receipt.cancelled, receipt.still_executing, started(plain)) == ((number,), (), [])


async def test_a_start_is_refused_that_looked_before_the_stop_and_gets_its_lock_after(db, plain, ledger):
    number = await validated(db)

    with client(ledger) as holder:
        holder.execute("LOCK TABLE kill_switch_barrier IN EXCLUSIVE MODE")
        starting = asyncio.create_task(db.start_execution(number))
        await waits_for_start_lock(plain)
        engaging = asyncio.create_task(stop(db))
        await waits_at_barrier(plain)
        holder.execute("COMMIT")
        with pytest.raises(KillSwitchEngagedError) as caught:
            await starting
        receipt = await engaging

    assert (caught.value.generation, receipt.cancelled) == (receipt.generation, (number,))
    assert started(plain) == []


async def test_a_start_under_a_published_stop_does_not_queue_behind_its_barrier(db, plain, ledger):
    first, second = await validated(db), await validated(db)

    with client(ledger) as starter:
        starter.execute(start(first))
        engaging = asyncio.create_task(stop(db))
        await waits_at_barrier(plain)
        with pytest.raises(KillSwitchEngagedError):
            await db.start_execution(second)
        was_done = engaging.done()
        starter.execute("COMMIT")
        await engaging

    assert was_done is False


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_a_host_whose_snapshot_is_older_than_the_stop_cannot_start(db, plain, ledger, level):
    number = await validated(db)

    with client(ledger, f"BEGIN ISOLATION LEVEL {level}") as host:
        host.execute("SELECT * FROM kill_switch")
        await stop(db)
        with pytest.raises(psycopg.Error) as caught:
            host.execute(start(number))

    # The sweep has changed the row since: the server may refuse before the guard does.
    assert caught.value.sqlstate in {ISOLATION_REFUSED, "40001"}
    assert started(plain) == []


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_a_joined_session_starts_under_read_committed_only(db, plain, ledger, level):
    number = await validated(db)
    engine = engine_of(ledger, "asyncpg").execution_options(isolation_level=level)

    async with AsyncSession(engine) as session:
        with pytest.raises(IsolationLevelError):
            await ActionRepository(session).start_execution(number)
        await session.commit()
    await engine.dispose()

    assert started(plain) == []


# -- a proposal in a host's transaction --------------------------------------------------------------------------------


async def _by_status(db: ActionDB, _generation: int) -> None:
    await db.kill_switch_status()


async def _by_another_stop(db: ActionDB, _generation: int) -> None:
    await stop(db, by="bob")


async def _by_the_release(db: ActionDB, generation: int) -> None:
    await db.release_kill_switch(by="bob", reason="go on", generation=generation)


sweeps = pytest.mark.parametrize("sweep", [_by_status, _by_another_stop, _by_the_release])


@sweeps
@pytest.mark.parametrize("is_validated", [False, True])
async def test_what_a_host_proposes_across_a_stop_does_not_delay_it_and_is_cancelled_by_the_next_sweep(
    db, plain, ledger, sweep, is_validated
):
    with client(ledger) as host:
        number = propose(host)
        if is_validated:
            validate(host, number)
        receipt = await stop(db)
        host.execute("COMMIT")
    left = status_of(plain, number)
    await sweep(db, receipt.generation)

    assert (left, receipt.not_yet_cancelled) == ("validated" if is_validated else "proposed", ())
    assert status_of(plain, number) == "cancelled"


@sweeps
async def test_what_a_host_validates_across_a_stop_is_unswept_and_is_cancelled_by_the_next_sweep(
    db, plain, ledger, sweep
):
    number = (await stored(db)).id

    with client(ledger) as host:
        validate(host, number)
        receipt = await stop(db, timeout=IN_VAIN)
        host.execute("COMMIT")
    left = status_of(plain, number)
    await sweep(db, receipt.generation)

    assert (left, receipt.not_yet_cancelled) == ("validated", (number,))
    assert status_of(plain, number) == "cancelled"


async def test_what_a_host_proposed_across_a_stop_never_starts(db, plain, ledger):
    with client(ledger) as host:
        number = propose(host)
        validate(host, number)
        receipt = await stop(db)
        host.execute("COMMIT")

    with pytest.raises(KillSwitchEngagedError) as caught:
        await db.start_execution(number)
    with pytest.raises(psycopg.Error) as plainly:
        plain.execute(start(number))

    assert (caught.value.generation, guard_code(plainly.value)) == (receipt.generation, STOPPED)
    assert started(plain) == []


async def test_what_a_host_proposed_across_a_stop_and_its_release_never_starts_and_is_cancelled(db, plain, ledger):
    with client(ledger) as host:
        number = propose(host)
        validate(host, number)
        receipt = await stop(db)
        await db.release_kill_switch(by="bob", reason="go on", generation=receipt.generation)
        host.execute("COMMIT")

    with pytest.raises(KillSwitchEngagedError, match="revives nothing"):
        await db.start_execution(number)
    status = await db.kill_switch_status()

    assert (status.engaged, status.not_yet_cancelled) == ((), ())
    assert (status_of(plain, number), started(plain)) == ("cancelled", [])


async def test_a_host_that_proposed_before_a_stop_cannot_start_it_in_the_same_transaction(db, plain, ledger):
    with client(ledger) as host:
        number = propose(host)
        validate(host, number)
        await stop(db)
        with pytest.raises(psycopg.Error) as caught:
            host.execute(start(number))

    assert guard_code(caught.value) == STOPPED
    assert started(plain) == []


async def test_what_a_host_holds_locked_is_unswept_and_is_cancelled_by_the_next_sweep(db, plain, ledger):
    locked, free = await validated(db), await validated(db)

    with client(ledger) as host:
        host.execute(f"SELECT * FROM action_proposals WHERE id = {locked} FOR UPDATE")
        receipt = await stop(db, timeout=IN_VAIN)
        while_locked = await db.kill_switch_status()
        host.rollback()  # a connection that is closed lets go a moment later
    after = await db.kill_switch_status()

    assert (receipt.cancelled, receipt.not_yet_cancelled) == ((free,), (locked,))
    assert (while_locked.not_yet_cancelled, after.not_yet_cancelled) == ((locked,), ())
    assert status_of(plain, locked) == "cancelled"


async def test_a_row_that_is_let_go_before_the_deadline_is_swept(db, plain, ledger):
    locked = await validated(db)

    with client(ledger) as host:
        host.execute(f"SELECT * FROM action_proposals WHERE id = {locked} FOR UPDATE")
        engaging = asyncio.create_task(stop(db))
        await until(lambda: engaged(plain), "the stop")
        await asyncio.sleep(0.1)
        was_done = engaging.done()
        host.execute("COMMIT")
        receipt = await engaging

    assert (was_done, receipt.cancelled, receipt.not_yet_cancelled) == (False, (locked,), ())


# -- a start that hangs ------------------------------------------------------------------------------------------------


async def test_a_start_that_hangs_leaves_the_stop_engaged_but_unconfirmed_and_is_named(db, plain, ledger):
    number, other = await validated(db), await validated(db)

    with client(ledger) as starter:
        starter.execute(start(number))
        hung = pid(starter)
        with pytest.raises(StopUnconfirmedError, match=f"pid {hung}.*holds a start open") as caught:
            await stop(db, timeout=IN_VAIN)
        starter.execute("ROLLBACK")

    receipt = caught.value.receipt
    assert (caught.value.pids, receipt.cancelled, receipt.not_yet_cancelled) == ((hung,), (other,), (number,))
    assert engaged(plain) == [("everything", receipt.generation)]


async def test_two_starts_that_hang_are_both_named(db, ledger):
    numbers = [await validated(db), await validated(db)]

    with client(ledger) as one, client(ledger) as other:
        for starter, number in zip((one, other), numbers, strict=True):
            starter.execute(start(number))
        with pytest.raises(StopUnconfirmedError) as caught:
            await stop(db, timeout=IN_VAIN)

        assert set(caught.value.pids) == {pid(one), pid(other)}


async def test_terminate_ends_a_start_that_hangs_and_confirms_the_stop(db, plain, ledger):
    number = await validated(db)

    with client(ledger) as starter:
        starter.execute(start(number))
        receipt = await stop(db, timeout=3 * IN_VAIN, terminate_blockers=True)
        with pytest.raises(psycopg.OperationalError):
            starter.execute("COMMIT")

    assert (receipt.cancelled, receipt.still_executing, started(plain)) == ((number,), (), [])


async def test_terminate_leaves_clients_alone_that_start_nothing(db, ledger):
    number = await validated(db)

    with client(ledger) as starter, client(ledger) as host:
        starter.execute(start(number))
        propose(host)
        await stop(db, timeout=3 * IN_VAIN, terminate_blockers=True)
        host.execute("COMMIT")

        assert host.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


async def test_a_stop_again_after_the_hung_start_has_gone_is_confirmed(db, plain, ledger):
    number = await validated(db)
    with client(ledger) as starter:
        starter.execute(start(number))
        with pytest.raises(StopUnconfirmedError) as caught:
            await stop(db, timeout=IN_VAIN)

    receipt = await stop(db)

    assert receipt.generation > caught.value.receipt.generation
    assert (receipt.cancelled, started(plain)) == ((number,), [])
