"""A stop that was acknowledged survives: the engaging process is killed, the server crashes, the standby is dead."""

import asyncio
import multiprocessing
import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from multiprocessing.connection import Connection

import psycopg
import pytest
from sqlalchemy.engine import make_url

from operator_core.actions import (
    ActionStatus,
    KillSwitchEngagedError,
    StopFailedError,
    StopUnconfirmedError,
    TransitionNotAllowedError,
)
from operator_core.db import ActionDB, upgrade
from tests.support import latch, stop_workers
from tests.support.factories import stored
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.patience import IN_VAIN
from tests.support.postgres import PrivatePostgres
from tests.support.race_rounds import rounds
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
)

pytestmark = pytest.mark.usefixtures("unhurried_stops")
SETTINGS = {
    "max_prepared_transactions": "2",
    "wal_writer_delay": "10s",  # what is not waited for stays in memory
    "synchronous_standby_names": "",
}


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    """A server of our own, to crash and to reconfigure."""
    with PrivatePostgres.start(SETTINGS) as started_server:
        yield started_server


@pytest.fixture(scope="module")
def template(server: PrivatePostgres) -> str:
    name = server.create_database()
    upgrade(server.url(name))
    return name


@pytest.fixture
def crashable(server: PrivatePostgres, template: str) -> Ledger:
    """An empty ledger on the server of our own."""
    return Ledger(server.url(server.create_database(template)))


@pytest.fixture
async def opened(crashable: Ledger) -> AsyncIterator[ActionDB]:
    async with ActionDB(crashable.target) as db:
        yield db


def configure(server: PrivatePostgres, **settings: str) -> None:
    """Give the server other defaults, for sessions that begin from now on and for those that are open."""
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        for name, value in settings.items():
            admin.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        admin.execute("SELECT pg_reload_conf()")
        for name, value in settings.items():
            while admin.execute(f"SHOW {name}").fetchone() != (value,):
                pass


# -- the process is killed ---------------------------------------------------------------------------------------------


def engage_and_die(ledger: Ledger, told: Connection) -> None:
    """Stop, acknowledge it, and be killed at that moment."""

    async def engage() -> int:
        async with ActionDB(ledger.target) as db:
            told.send((await stop(db)).generation)
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    asyncio.run(engage())


async def test_a_stop_survives_that_its_process_is_killed_right_after_the_receipt(ledger, db, plain):
    made = await stored(db, ActionStatus.VALIDATED)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", stop_workers.__name__])
    ours, theirs = context.Pipe(duplex=False)

    process = context.Process(target=engage_and_die, args=(ledger, theirs), daemon=True)
    process.start()
    theirs.close()
    generation = await asyncio.to_thread(ours.recv)
    await asyncio.to_thread(process.join)
    ours.close()

    assert process.exitcode == -signal.SIGKILL
    assert (engaged(plain), status_of(plain, made.id)) == ([("everything", generation)], "cancelled")
    with pytest.raises(TransitionNotAllowedError):
        await db.start_execution(made.id)
    assert check_history(ledger) == []


# -- the server crashes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("default", ["on", "off"])
async def test_a_stop_survives_that_the_server_crashes_right_after_the_receipt(server, template, default):
    configure(server, synchronous_commit=default)
    times, kept = rounds(3, 20), 0

    for _ in range(times):
        ledger = Ledger(server.url(server.create_database(template)))
        async with ActionDB(ledger.target) as db:
            made = await stored(db, ActionStatus.VALIDATED)
            receipt = await stop(db)
            server.crash()
        server.restart()
        with client(ledger, None) as plain:
            latch_is_there = engaged(plain) == [("everything", receipt.generation)]
            kept += latch_is_there and made.id not in started(plain)
        assert check_history(ledger) == []

    print(f"kill switch, crash of the server, synchronous_commit={default}: {kept} of {times} stops survived")
    assert kept == times


async def test_the_same_crash_loses_a_stop_that_does_not_wait_for_the_disk(server, template):
    configure(server, synchronous_commit="off")
    lost = 0

    for _ in range(times := rounds(1, 20)):
        ledger = Ledger(server.url(server.create_database(template)))
        with client(ledger, None) as plain:
            latch.engage(plain)
            server.crash()
        server.restart()
        with client(ledger, None) as plain:
            lost += engaged(plain) == []

    print(f"kill switch, crash of the server: {lost} of {times} stops were lost that did not wait for the disk")
    assert lost


# -- the standby is dead -----------------------------------------------------------------------------------------------


@pytest.fixture
def without_standby(server: PrivatePostgres, crashable: Ledger) -> Iterator[Ledger]:
    """A ledger whose commits wait for a standby that never comes."""
    configure(server, synchronous_commit="on", synchronous_standby_names="ghost")
    yield crashable
    configure(server, synchronous_standby_names="")


async def test_a_stop_on_a_server_with_a_dead_standby_is_engaged_here_and_says_so(opened, without_standby):
    with pytest.raises(StopUnconfirmedError, match="it is engaged here, not on the standby") as caught:
        await stop(opened, timeout=IN_VAIN)
    with client(without_standby, None) as plain:
        found = engaged(plain)

    assert caught.value.receipt.on_standby is False
    assert found == [("everything", caught.value.receipt.generation)]


async def test_a_stop_on_a_server_with_a_dead_standby_is_swept_and_bars_starts(server, opened, without_standby):
    configure(server, synchronous_standby_names="")
    made = await stored(opened, ActionStatus.VALIDATED)
    configure(server, synchronous_standby_names="ghost")

    with pytest.raises(StopUnconfirmedError) as caught:
        await stop(opened, timeout=IN_VAIN)
    with pytest.raises(TransitionNotAllowedError):
        await opened.start_execution(made.id)

    assert caught.value.receipt.cancelled == (made.id,)


async def test_a_start_whose_commit_waits_for_a_dead_standby_is_named_and_terminate_shows_that_it_runs(
    server, opened, without_standby
):
    configure(server, synchronous_standby_names="")
    made = await stored(opened, ActionStatus.VALIDATED)
    configure(server, synchronous_standby_names="ghost")

    with client(without_standby) as starter, client(without_standby, None) as plain:
        hung = pid(starter)
        starter.execute(start(made.id))
        starter.execute(record(made.id))
        committing = asyncio.create_task(asyncio.to_thread(starter.execute, "COMMIT"))
        waiting = f"SELECT 1 FROM pg_stat_activity WHERE pid = {hung} AND wait_event = 'SyncRep'"
        await until(lambda: plain.execute(waiting).fetchall(), "a commit that waits for the standby")
        with pytest.raises(StopUnconfirmedError) as named:
            await stop(opened, timeout=IN_VAIN)
        with pytest.raises(StopUnconfirmedError) as terminated:
            await stop(opened, timeout=IN_VAIN, terminate_blockers=True)
        await asyncio.wait({committing})
        committing.exception()

    assert named.value.pids == (hung,)
    assert terminated.value.pids == ()
    assert [one.proposal_id for one in terminated.value.receipt.still_executing] == [made.id]


async def test_a_stop_that_is_engaged_is_not_called_failed_when_there_is_no_second_connection(
    server, crashable, without_standby
):
    role, secret = f"app_{secrets.token_hex(4)}", secrets.token_urlsafe(12)
    with client(crashable, None) as owner:
        owner.execute("SET synchronous_commit = local")
        owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{secret}' CONNECTION LIMIT 2")
        owner.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
        owner.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}")
    url = make_url(crashable.target).set(username=role, password=secret)

    async with ActionDB(url) as db:
        with pytest.raises((StopUnconfirmedError, StopFailedError)) as caught:
            await stop(db, timeout=IN_VAIN)
    with client(crashable, None) as plain:
        is_engaged = engaged(plain) != []

    assert isinstance(caught.value, StopUnconfirmedError) is is_engaged


# -- a start is prepared -----------------------------------------------------------------------------------------------


async def test_a_prepared_start_leaves_the_stop_unconfirmed_and_is_named(server, crashable, opened):
    configure(server, synchronous_commit="on")
    name = secrets.token_hex(4)
    made = await stored(opened, ActionStatus.VALIDATED)

    with client(crashable) as starter:
        starter.execute(start(made.id))
        starter.execute(f"PREPARE TRANSACTION '{name}'")
        with pytest.raises(StopUnconfirmedError, match="see pg_prepared_xacts") as caught:
            await stop(opened, timeout=IN_VAIN, terminate_blockers=True)
        starter.execute(f"ROLLBACK PREPARED '{name}'")
    receipt = await stop(opened)

    assert caught.value.pids == ()
    assert receipt.cancelled == (made.id,)


async def test_a_stop_is_not_held_up_by_a_prepared_transaction_that_only_proposes(crashable, opened):
    name = secrets.token_hex(4)

    with client(crashable) as host:
        number = propose(host)
        validate(host, number)
        host.execute(f"PREPARE TRANSACTION '{name}'")
        await stop(opened)
        host.execute(f"COMMIT PREPARED '{name}'")
        with pytest.raises(KillSwitchEngagedError):
            await opened.start_execution(number)

    assert check_history(crashable) == []
