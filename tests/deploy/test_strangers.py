"""A role with no right on the ledger can neither block a stop nor blind it; a role with one is named and ended."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from psycopg import sql

from operator_core.actions import (
    ActionStatus,
    KillSwitchEngagedError,
    StopFailedError,
    StopUnconfirmedError,
)
from operator_core.db import ActionDB, upgrade
from operator_core.db.guards.plpgsql import START_LOCK
from tests.support.factories import stored
from tests.support.patience import IN_VAIN
from tests.support.postgres import PrivatePostgres
from tests.support.roles import APP, OWNER, Deployed
from tests.support.stop_steps import engaged, pid, start, stop

pytestmark = pytest.mark.usefixtures("unhurried_stops")


@pytest.fixture
def stranger(deployed: Deployed) -> Iterator[psycopg.Connection]:
    """A client that may log in and see the names of the tables, and nothing else."""
    name, password = f"stranger_{secrets.token_hex(4)}", secrets.token_urlsafe(18)
    with closing(deployed.connect()) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), password))
        admin.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(*map(sql.Identifier, (deployed.database, name)))
        )
        admin.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(sql.Identifier(name)))
        url = deployed.server.url(deployed.database, user=name, password=password)
        try:
            with closing(psycopg.connect(url.replace("+asyncpg", ""), autocommit=True)) as client:
                yield client
        finally:
            admin.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


LOCKS = {
    "the lock of a start, exclusively": f"SELECT pg_advisory_lock({START_LOCK})",
    "the lock of a start, shared": f"SELECT pg_advisory_lock_shared({START_LOCK})",
    "the lock that was the counter's": f"SELECT pg_advisory_lock({START_LOCK + 1})",
}


@pytest.mark.parametrize("lock", LOCKS)
async def test_an_advisory_lock_of_a_stranger_is_in_nobodys_way(app, stranger, lock):
    first, second = await stored(app, ActionStatus.VALIDATED), await stored(app, ActionStatus.VALIDATED)
    stranger.execute(LOCKS[lock])

    await app.start_execution(first.id)
    receipt = await stop(app)

    assert receipt.cancelled == (second.id,)
    assert [running.proposal_id for running in receipt.still_executing] == [first.id]


async def test_a_start_under_a_stop_is_refused_whatever_lock_a_stranger_holds(app, stranger):
    proposal = await stored(app, ActionStatus.VALIDATED)
    stranger.execute(LOCKS["the lock of a start, exclusively"])
    receipt = await stop(app)

    with pytest.raises(KillSwitchEngagedError) as caught:
        await app.start_execution(proposal.id)

    assert caught.value.generation == receipt.generation


@pytest.mark.parametrize("mode", ["ACCESS SHARE", "ROW SHARE", "EXCLUSIVE"])
@pytest.mark.parametrize("table", ["kill_switch", "kill_switch_barrier", "kill_switch_events", "action_proposals"])
def test_a_stranger_locks_no_table(stranger, table, mode):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        stranger.execute(f"BEGIN; LOCK TABLE {table} IN {mode} MODE")


@pytest.mark.parametrize("call", ["operator_core_barrier()", "operator_core_engage('everything', 'x', 'x')"])
def test_a_stranger_calls_no_function_of_a_stop(stranger, call):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        stranger.execute(f"SELECT {call}")


async def test_a_stop_gets_through_while_the_queue_of_notifications_is_full(tmp_path):
    with PrivatePostgres.start({"max_notify_queue_pages": "64"}, private=True) as server:
        url = server.url(server.create_database())
        upgrade(url)
        async with ActionDB(url) as db:
            proposal = await stored(db)
            with closing(psycopg.connect(server.dsn())) as listener:
                listener.execute("LISTEN other")
                listener.commit()
                listener.execute("SELECT 1")  # in an open transaction, it reads nothing of the queue
                with (
                    closing(psycopg.connect(server.dsn(), autocommit=True)) as client,
                    pytest.raises(psycopg.errors.ProgramLimitExceeded),
                ):
                    for number in range(1_000):
                        client.execute("SELECT pg_notify('other', %s)", (f"{number}{'x' * 7_900}",))

                receipt = await stop(db)

        assert receipt.cancelled == (proposal.id,)


# -- who has a right ---------------------------------------------------------------------------------------------------

HOLDS = {
    "a row of the latch": "SELECT * FROM kill_switch FOR UPDATE",
    "the latch": "LOCK TABLE kill_switch IN ACCESS EXCLUSIVE MODE",
}


@pytest.mark.parametrize("hold", HOLDS)
async def test_a_client_that_keeps_a_stop_from_being_engaged_is_named(app, plain, deployed, hold):
    with closing(deployed.connect(APP)) as holder:
        holder.execute(f"BEGIN; {HOLDS[hold]}")

        with pytest.raises(StopFailedError, match=f"server pid {pid(holder)}, .*holds the latch locked"):
            await stop(app, timeout=IN_VAIN)

        holder.execute("ROLLBACK")
    assert engaged(plain) == []


@pytest.mark.parametrize("hold", HOLDS)
async def test_a_client_that_keeps_a_stop_from_being_engaged_is_ended_on_request(app, deployed, hold):
    with closing(deployed.connect(APP)) as holder:
        holder.execute(f"BEGIN; {HOLDS[hold]}")

        receipt = await stop(app, timeout=3 * IN_VAIN, terminate_blockers=True)

    assert receipt.generation == 1


async def test_a_client_that_only_keeps_the_sweep_out_lets_no_start_through_and_is_named(app, deployed):
    await stored(app, ActionStatus.VALIDATED)
    with closing(deployed.connect(APP)) as holder:
        holder.execute("BEGIN; LOCK TABLE action_proposals IN ACCESS EXCLUSIVE MODE")

        with pytest.raises(StopUnconfirmedError, match=f"server pid {pid(holder)}, ") as caught:
            await stop(app, timeout=IN_VAIN)

        assert (caught.value.start_possible, caught.value.pids) == (False, (pid(holder),))


async def test_a_client_that_only_keeps_the_sweep_out_is_ended_on_request(app, deployed):
    proposal = await stored(app, ActionStatus.VALIDATED)
    with closing(deployed.connect(APP)) as holder:
        holder.execute("BEGIN; LOCK TABLE action_proposals IN ACCESS EXCLUSIVE MODE")

        receipt = await stop(app, timeout=3 * IN_VAIN, terminate_blockers=True)

    assert receipt.cancelled == (proposal.id,)


async def test_a_client_behind_the_one_that_starts_is_named_with_it(app, deployed):
    proposal = await stored(app, ActionStatus.VALIDATED)
    with closing(deployed.connect(OWNER)) as holder, closing(deployed.connect(APP)) as starter:
        holder.execute("BEGIN; LOCK TABLE kill_switch_barrier IN SHARE MODE")
        starter.execute("BEGIN")
        starter.execute(start(proposal.id))

        with pytest.raises(StopUnconfirmedError) as caught:
            await stop(app, timeout=IN_VAIN)

        assert set(caught.value.pids) == {pid(holder), pid(starter)}


# -- whose stop it is --------------------------------------------------------------------------------------------------


async def test_the_stop_of_another_is_not_reported_as_ones_own(app, plain, deployed):
    anna = await stop(app, by="anna", reason="smoke")
    with closing(deployed.connect(APP)) as holder:
        holder.execute("BEGIN; SELECT * FROM kill_switch FOR UPDATE")

        with pytest.raises(StopFailedError, match=f"stop {anna.generation} .* by anna"):
            await stop(app, by="bob", reason="fire", timeout=IN_VAIN)

        holder.execute("ROLLBACK")
    assert engaged(plain) == [("everything", anna.generation)]


async def test_an_older_stop_with_the_same_words_is_not_reported_as_ones_own(app, deployed):
    await stop(app, by="cron", reason="nightly")
    with closing(deployed.connect(APP)) as holder:
        holder.execute("BEGIN; SELECT * FROM kill_switch FOR UPDATE")

        with pytest.raises(StopFailedError):
            await stop(app, by="cron", reason="nightly", timeout=IN_VAIN)
        holder.execute("ROLLBACK")


# -- two ledgers in one database ---------------------------------------------------------------------------------------


async def test_ledgers_in_two_schemas_do_not_meet(postgres):
    name = postgres.create_database()
    urls = []
    with closing(psycopg.connect(postgres.dsn(name), autocommit=True)) as admin:
        for schema in ("one", "two"):
            role, password = f"{schema}_{secrets.token_hex(4)}", secrets.token_urlsafe(18)
            admin.execute(sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}").format(sql.Identifier(role), password))
            admin.execute(f"CREATE SCHEMA {schema}")
            admin.execute(f"ALTER ROLE {role} SET search_path = {schema}")
            urls.append(postgres.url(name, user=role, password=password))
    for url in urls:
        upgrade(url)
    async with ActionDB(urls[0]) as one, ActionDB(urls[1]) as two:
        proposal, other = await stored(one, ActionStatus.VALIDATED), await stored(two)
        with closing(psycopg.connect(urls[0].replace("+asyncpg", ""))) as starter:
            starter.execute(start(proposal.id))

            receipt = await stop(two, terminate_blockers=True)
            await asyncio.sleep(0)

            starter.commit()

        assert receipt.cancelled == (other.id,)
        assert (await one.get_proposal(proposal.id)).status is ActionStatus.EXECUTING
