"""A real PgBouncer in transaction mode stands in front: the contract holds, a stop gets through, nothing leaks."""

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from operator_core.actions import ActionStatus, DatabaseUrlError, KillSwitchEngagedError
from operator_core.db import ActionDB, upgrade
from operator_core.db.modes import TransactionMode, unit
from tests.support.factories import proposal, stored
from tests.support.ledger import Ledger
from tests.support.pgbouncer import NOTHING_FOUND, ROLE_SETTINGS, PgBouncer, pgbouncer, program
from tests.support.postgres import ENVIRONMENT_URL, PrivatePostgres
from tests.support.race_rounds import LONG
from tests.support.stop_steps import start, stop, waits_at_barrier

ROOT = Path(__file__).parents[2]
POOL = 3  # connections to the server, for each role and database
DRIVERS = ["asyncpg", "psycopg"]
WHAT = ["-n2", "--dist=worksteal", "tests/contract"] if LONG else ["tests/contract/test_history.py"]
NOT_THROUGH_PGBOUNCER = {
    "tests/contract/test_round_trips.py": ["test_a_call_is_one_trip"],  # statements are parsed anew
    "tests/contract/test_kill_switch_watch.py": [  # nobody listens
        "test_a_notification_comes_sooner_than_the_next_poll",
        "test_a_watch_that_ends_leaves_no_listener_behind",
        "test_where_there_is_no_connection_left_to_listen_a_watch_polls",
        "test_without_its_listener_a_watch_goes_on_by_polling",
    ],
}


@pytest.fixture(scope="module", autouse=True)
def is_there() -> None:
    """Skip where PgBouncer is not installed, and fail there when the long form is asked for."""
    if program() is None:
        (pytest.fail if LONG else pytest.skip)(NOTHING_FOUND)


# -- the contract ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", DRIVERS)
async def test_the_contract_holds_behind_pgbouncer(driver: str) -> None:
    left_out = [f"{file}::{name}" for file, names in NOT_THROUGH_PGBOUNCER.items() for name in names]
    words = ["-p", "tests.support.pgbouncer", "-k", "postgresql", "-q"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment.pop(ENVIRONMENT_URL, None)  # roles are made, which a server of others would keep
    environment |= {"OPERATOR_CORE_TEST_DRIVER": driver, "PYTHONPATH": str(ROOT)}

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", *words, *(f"--deselect={name}" for name in left_out), *WHAT,
        cwd=ROOT, env=environment, stdout=-1, stderr=-2,
    )  # fmt: skip
    told = (await process.communicate())[0].decode()

    summary = told.strip().rpartition("\n")[2]
    print(f"soak postgresql, PgBouncer, {driver}: {summary}")
    assert process.returncode == 0, told[-20_000:]
    assert re.search(r"[1-9]\d* passed", summary)


def test_what_is_left_out_exists() -> None:
    texts = {file: (ROOT / file).read_text(encoding="utf-8") for file in NOT_THROUGH_PGBOUNCER}

    assert [n for file, names in NOT_THROUGH_PGBOUNCER.items() for n in names if f"def {n}(" not in texts[file]] == []


# -- one PgBouncer -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    """A server whose superuser has the settings that a role needs, and whose other role has none."""
    with PrivatePostgres.start(private=True) as started:
        with started._admin() as admin:
            for name, value in ROLE_SETTINGS.items():
                admin.execute(f"ALTER ROLE {started.superuser} SET {name} = '{value}'")
            admin.execute(f"CREATE ROLE bare SUPERUSER LOGIN PASSWORD '{started.password}'")
        yield started


@pytest.fixture(scope="module")
def bouncer(server: PrivatePostgres) -> Iterator[PgBouncer]:
    """A PgBouncer with few connections."""
    settings = {"default_pool_size": POOL, "query_wait_timeout": 60}
    with pgbouncer(server, {"bare": server.password}, **settings) as started:
        yield started


@pytest.fixture
def direct(server: PrivatePostgres) -> str:
    """The URL of a ledger, at the server itself."""
    url = server.url(server.create_database())
    upgrade(url)
    return url


@pytest.fixture(params=DRIVERS)
def through(request: pytest.FixtureRequest, direct: str, bouncer: PgBouncer) -> str:
    """The URL of the ledger through PgBouncer, with each driver in turn."""
    url = make_url(direct).set(drivername=f"postgresql+{request.param}").render_as_string(hide_password=False)
    return bouncer.url(url)


def without_a_word(url: str) -> str:
    return make_url(url).difference_update_query(["pgbouncer"]).render_as_string(hide_password=False)


async def test_who_does_not_say_that_it_is_there_is_told(through: str) -> None:
    with pytest.raises(DatabaseUrlError, match=r"is PgBouncer.*pgbouncer=True") as caught:
        await ActionDB(without_a_word(through)).open()

    assert make_url(through).password not in str(caught.value)


def test_who_migrates_through_it_is_told_to_take_the_server_itself(through: str) -> None:
    for url in (through, without_a_word(through)):
        with pytest.raises(DatabaseUrlError, match="the URL of the server itself"):
            upgrade(url)


async def test_a_role_without_its_settings_is_told_what_to_run(through: str) -> None:
    with pytest.raises(DatabaseUrlError) as caught:
        await ActionDB(make_url(through).set(username="bare")).open()

    named = re.findall(r"ALTER ROLE bare SET (\w+)", str(caught.value))
    assert named == [name for name in ROLE_SETTINGS if name != "default_transaction_isolation"]  # the server's default


async def test_many_clients_share_few_sessions_and_leave_nothing_in_them(
    through: str, direct: str, server: PrivatePostgres
) -> None:
    async with AsyncExitStack() as held:
        clients = [await held.enter_async_context(ActionDB(through)) for _ in range(8)]
        await asyncio.gather(*(stored(db, ActionStatus.COMPLETED) for db in clients * 5))
        await asyncio.gather(*(stop(db, scope=f"ticket_id={number}") for number, db in enumerate(clients)))
        found = await clients[0].count_proposals()
        left = await asyncio.gather(*(db._run(unit(TransactionMode.SNAPSHOT)(in_session)) for db in clients))
        differences = await clients[0].verify()

    with closing(psycopg.connect(Ledger(direct).dsn)) as plain:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ((sessions,),) = plain.execute(query).fetchall()
    assert (found[ActionStatus.COMPLETED], differences) == (40, [])
    assert sessions <= POOL
    assert {one for ones in left for one in ones} == set()


def in_session(connection) -> list[tuple[str, str]]:
    """Return what is set, prepared or locked in a session, less what PgBouncer sets anew for each client."""
    query = (
        "SELECT name, setting FROM pg_settings WHERE source = 'session' AND left(name, 12) <> 'transaction_' AND name "
        "NOT IN ('application_name', 'client_encoding', 'DateStyle', 'TimeZone', 'standard_conforming_strings') "
        "UNION ALL SELECT name, statement FROM pg_prepared_statements "
        "UNION ALL SELECT 'lock', mode FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    )
    return [tuple(row) for row in connection.exec_driver_sql(query)]


async def test_a_stop_waits_at_the_barrier_for_a_start_behind_pgbouncer(through: str, direct: str) -> None:
    async with ActionDB(through) as db, ActionDB(through) as other:
        made = await stored(db, ActionStatus.VALIDATED)
        async with other.transaction() as tx:
            record = await tx.start_execution(made.id)
            stopping = asyncio.ensure_future(stop(db))
            with closing(psycopg.connect(Ledger(direct).dsn, autocommit=True)) as plain:
                await waits_at_barrier(plain)
        receipt = await stopping

        late = await stored(db)
        with pytest.raises(KillSwitchEngagedError):
            await db.start_execution((await other.get_proposal(late.id)).id)

    assert [one.record_id for one in receipt.still_executing] == [record.id]


async def test_a_terminating_stop_ends_who_is_in_the_way_behind_pgbouncer(through: str, direct: str) -> None:
    async with ActionDB(through) as db:
        made = await stored(db, ActionStatus.VALIDATED)
        with closing(psycopg.connect(Ledger(direct).dsn)) as hanging:
            hanging.execute(start(made.id))

            receipt = await stop(db, terminate_blockers=True, timeout=10)

    assert receipt.cancelled == (made.id,)


# -- a pool that is exhausted ------------------------------------------------------------------------------------------


only_asyncpg = pytest.mark.parametrize("through", ["asyncpg"], indirect=True)


@pytest.fixture
async def exhausted(through: str):
    """A ledger whose workers hold all connections of their pool at PgBouncer."""
    async with AsyncExitStack() as held:
        for _ in range(POOL):
            db = await held.enter_async_context(ActionDB(through))
            tx = await held.enter_async_context(db.transaction())
            await tx.create_proposal(proposal())
        yield through


@only_asyncpg
async def test_a_stop_fails_loudly_while_the_workers_of_its_role_hold_the_pool(exhausted: str) -> None:
    code, told = await command(exhausted, "stop", "--reason", "smoke", "--timeout", "2")

    assert (code, "FAILED, NOTHING IS STOPPED" in told) == (1, True)


@only_asyncpg
async def test_a_stop_of_another_role_has_a_pool_of_its_own(exhausted: str) -> None:
    other = make_url(exhausted).set(username="bare").render_as_string(hide_password=False)

    code, told = await command(other, "stop", "--reason", "smoke", "--timeout", "20")

    assert (code, "STOPPED" in told) == (0, True), told


@only_asyncpg
async def test_a_stop_at_the_server_itself_needs_no_pool(exhausted: str, direct: str) -> None:
    code, told = await command(direct, "stop", "--reason", "smoke", "--timeout", "20")

    assert (code, "STOPPED" in told) == (0, True), told


async def command(url: str, *words: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "operator_core", *words, "--url", url, stdout=-1, stderr=-2
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()
