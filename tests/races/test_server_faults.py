"""A server that refuses, dies or comes back gives one clear error, and calls work again by themselves."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import psycopg
import pytest

from operator_core.actions import ActionStatus
from operator_core.actions.errors import (
    DatabaseAccessError,
    DatabaseNotFoundError,
    DatabaseUnavailableError,
    StopFailedError,
)
from operator_core.db import ActionDB, upgrade
from operator_core.db.engine.postgresql import APPLICATION_NAME
from tests.support.factories import proposal, stored
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE
from tests.support.postgres import PrivatePostgres
from tests.support.race_steps import connections_in_use


async def created(url: str) -> object:
    """Open a ledger, create one proposal, and close it."""
    async with ActionDB(url) as db:
        return await db.create_proposal(proposal())


async def test_a_wrong_password_is_an_error_of_access(postgres: PrivatePostgres) -> None:
    with pytest.raises(DatabaseAccessError, match="password authentication failed"):
        await created(postgres.url(password="wrong"))  # noqa: S106 - it is wrong


async def test_a_database_that_does_not_exist_is_named(postgres: PrivatePostgres) -> None:
    with pytest.raises(DatabaseNotFoundError, match='"missing" does not exist'):
        await created(postgres.url("missing"))


async def test_a_user_without_grants_is_an_error_of_access(postgres: PrivatePostgres, postgres_url: str) -> None:
    name, ledger = "stranger", Ledger(postgres_url)
    with closing(ledger.connect()) as admin:
        admin.execute(
            f"DO $$ BEGIN CREATE ROLE {name} LOGIN PASSWORD '{name}'; EXCEPTION WHEN duplicate_object THEN END $$"
        )
    database = psycopg.conninfo.conninfo_to_dict(ledger.dsn)["dbname"]

    with pytest.raises(DatabaseAccessError, match="permission denied"):
        await created(postgres.url(str(database), user=name, password=name))


pytestmark = pytest.mark.usefixtures("no_announcements")


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    """A server that a test may crash."""
    with PrivatePostgres.start(private=True) as started:
        yield started


@pytest.fixture
def doomed(server: PrivatePostgres) -> str:
    """The URL of a ledger on it."""
    if server.postmaster_pid is None:  # a test has failed in between
        server.restart()
    url = server.url(server.create_database())
    upgrade(url)
    return url


async def test_calls_fail_while_the_server_is_gone_and_work_again_when_it_is_back(
    server: PrivatePostgres, doomed: str
) -> None:
    async with ActionDB(doomed) as db:
        made = await stored(db, ActionStatus.VALIDATED)
        await asyncio.to_thread(server.crash)
        for _ in range(3):
            with pytest.raises(DatabaseUnavailableError):
                await db.get_proposal(made.id)
            with pytest.raises(DatabaseUnavailableError):
                await db.start_execution(made.id)
        await asyncio.to_thread(server.restart)

        record = await db.start_execution(made.id)

        assert (await db.finish_execution(record.id, success=True)).success
        assert connections_in_use(db) == 0
    assert check_history(Ledger(doomed)) == []


async def test_a_crash_that_nobody_noticed_costs_one_call_for_each_connection_at_most(
    server: PrivatePostgres, doomed: str
) -> None:
    async with ActionDB(doomed) as db:
        made = await stored(db)
        await db._transactions.release_idle_connections()
        connections = db._transactions.engine.pool.checkedin()
        server.crash()  # the loop does not run meanwhile
        server.restart()
        failures = 0

        while True:
            try:
                found = await db.get_proposal(made.id)
                break
            except DatabaseUnavailableError:
                failures += 1
                assert failures <= connections

        assert found == made


async def test_what_was_acknowledged_survives_a_crash_of_the_server(server: PrivatePostgres, doomed: str) -> None:
    async with ActionDB(doomed) as db:
        made = [await stored(db, status) for status in ActionStatus]
    await asyncio.to_thread(server.crash)
    await asyncio.to_thread(server.restart)

    async with ActionDB(doomed) as db:
        found = await db.list_proposals()

    assert found == made[::-1]
    assert check_history(Ledger(doomed)) == []


async def test_a_crash_in_a_transaction_keeps_none_of_it(server: PrivatePostgres, doomed: str) -> None:
    async with ActionDB(doomed) as db:
        with pytest.raises(DatabaseUnavailableError):
            await _crash_within(db, server)
        await asyncio.to_thread(server.restart)

        assert await db.list_proposals() == []


async def _crash_within(db: ActionDB, server: PrivatePostgres) -> None:
    async with db.transaction() as tx:
        await tx.create_proposal(proposal())
        await asyncio.to_thread(server.crash)


async def test_a_server_that_is_gone_cannot_be_opened_and_leaves_nothing_behind(
    server: PrivatePostgres, doomed: str
) -> None:
    db = ActionDB(doomed)
    await asyncio.to_thread(server.crash)
    with pytest.raises(DatabaseUnavailableError):
        await db.open()
    await asyncio.to_thread(server.restart)

    async with db:
        assert await db.list_proposals() == []


async def test_a_connection_that_an_administrator_ends_is_replaced(postgres_url: str) -> None:
    async with ActionDB(postgres_url) as db:
        made = await stored(db)
        with closing(Ledger(postgres_url).connect()) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
                f"WHERE datname = current_database() AND application_name = '{APPLICATION_NAME}'"
            )
        await asyncio.sleep(0.05)

        found = await db.get_proposal(made.id)

        assert found == made


async def test_a_stop_at_a_frozen_server_ends_by_itself_and_is_called_failed() -> None:
    with PrivatePostgres.start(private=True) as server:
        url = server.url(server.create_database())
        upgrade(url)
        async with ActionDB(url) as db:
            frozen = _processes_of(server)
            _signal(frozen, signal.SIGSTOP)
            thawing = threading.Timer(PATIENCE, _signal, (frozen, signal.SIGCONT))
            thawing.start()
            try:
                with pytest.raises(StopFailedError):
                    await db.engage_kill_switch(by="ann", reason="fire", timeout=0.5)
                was_frozen = thawing.is_alive()
            finally:
                thawing.cancel()
                _signal(frozen, signal.SIGCONT)

    assert was_frozen


def _processes_of(server: PrivatePostgres) -> list[int]:
    with closing(psycopg.connect(server.dsn(), autocommit=True)) as plain:
        children = [row[0] for row in plain.execute("SELECT pid FROM pg_stat_activity").fetchall()]
    return [server.postmaster_pid, *children]


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
