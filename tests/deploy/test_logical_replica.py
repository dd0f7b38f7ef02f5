"""A subscriber follows a ledger by logical replication, and takes over, by the words of docs/deploy.md."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from operator_core.actions import ActionStatus
from operator_core.db import ActionDB, migrations, upgrade
from tests.deploy.test_backup import run_program
from tests.support.factories import proposal, running, stored
from tests.support.ledger import Ledger
from tests.support.postgres import PrivatePostgres
from tests.support.roles import command, documented, finished
from tests.support.stop_steps import stop

PUBLISH, SUBSCRIBE, HAS_ALL, LEAVE = documented("A logical replica, and the switch-over")
PATIENCE = 120.0  # seconds; protects against a hang, and is nothing to be measured by
CONNECTION = "'host=publisher dbname=ledger user=postgres'"


@pytest.fixture
def publisher() -> Iterator[Ledger]:
    """A ledger on a server of its own that can be followed."""
    settings = {"wal_level": "logical", "fsync": "off", "full_page_writes": "off"}
    with PrivatePostgres.start(settings, private=True) as server:
        ledger = Ledger(server.url(server.create_database()))
        upgrade(ledger.target)
        yield ledger


@pytest.fixture
def subscriber(postgres: PrivatePostgres, publisher: Ledger, tmp_path: Path) -> Iterator[Ledger]:
    """A database on another server, with the schema of the publisher, that follows it."""
    ledger = Ledger(postgres.url(postgres.create_database()))
    file = tmp_path / "schema.sql"
    succeed(run_program(postgres, "pg_dump", "--schema-only", f"--file={file}", publisher.dsn))
    succeed(run_program(postgres, "psql", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={file}", ledger.dsn))
    run(publisher, PUBLISH)
    run(ledger, [statement.replace(CONNECTION, f"'{publisher.dsn}'") for statement in SUBSCRIBE])
    yield ledger
    with closing(ledger.connect()) as plain:
        if plain.execute("SELECT 1 FROM pg_subscription WHERE subname = 'ledger'").fetchone():
            run(ledger, LEAVE)


def succeed(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr


def run(ledger: Ledger, statements: list[str]) -> list[tuple]:
    """Run documented statements, and return the rows of the last one."""
    with closing(ledger.connect()) as plain:
        for statement in statements:
            done = plain.execute(statement)
        return done.fetchall() if done.description else []


def wait(ledger: Ledger, query: str) -> None:
    """Wait until a query says true."""
    give_up = time.monotonic() + PATIENCE
    while run(ledger, [query]) != [(True,)]:
        assert time.monotonic() < give_up, f"never came about: {query}"
        time.sleep(0.05)


def wait_for_the_first_copy(subscriber: Ledger) -> None:
    wait(subscriber, "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel")


async def test_a_stopped_ledger_is_stopped_on_the_subscriber_that_takes_over(
    publisher: Ledger, subscriber: Ledger
) -> None:
    wait_for_the_first_copy(subscriber)
    async with ActionDB(publisher.target) as old:
        await finished(old)
        await running(old)
        await stored(old, ActionStatus.VALIDATED)
        await stop(old, scope="ticket_id=4711")
        await stop(old)
        engaged = (await old.kill_switch_status()).engaged
        kept = [await old.list_proposals(), [event async for event in old.iter_events()]]

    wait(publisher, HAS_ALL[0])
    run(subscriber, LEAVE)
    before = await command(str(subscriber.target), "verify")
    repaired = await command(str(subscriber.target), "db", "repair")

    assert (before[0], "action_proposals.id" in before[1]) == (1, True)
    assert repaired[0] == 0, repaired[1]
    assert migrations.schema_status(subscriber.target).state is migrations.SchemaState.UP_TO_DATE
    async with ActionDB(subscriber.target) as new:
        assert await new.verify() == []
        assert (await new.kill_switch_status()).engaged == engaged
        assert [await new.list_proposals(), [event async for event in new.iter_events()]] == kept
        assert (await new.create_proposal(proposal())).status is ActionStatus.CANCELLED
        assert (await stop(new)).generation > max(latch.generation for latch in engaged)


async def test_a_subscriber_shows_what_the_publisher_did_and_its_guards_hold(
    publisher: Ledger, subscriber: Ledger
) -> None:
    async with ActionDB(publisher.target) as old:
        await stop(old)  # before the first copy is over
        wait_for_the_first_copy(subscriber)
        made = await old.create_proposal(proposal())
        receipt = await stop(old)
        wait(publisher, HAS_ALL[0])

        async with ActionDB(subscriber.target) as reader:
            assert await reader.get_proposal(made.id) == made
            assert [latch.generation for latch in (await reader.kill_switch_status()).engaged] == [receipt.generation]
            assert await reader.get_events(made.id) == await old.get_events(made.id)
    with closing(subscriber.connect()) as plain, pytest.raises(psycopg.Error, match="OC002"):
        plain.execute("DELETE FROM kill_switch")
