"""What an engine that `ActionDB` makes sees to: encodings, connections that died while idle, and silence on values."""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import make_url

from operator_core.actions import ActionStatus
from operator_core.actions.errors import ActionError, DatabaseEncodingError
from operator_core.db import ActionDB
from operator_core.db.engine import postgresql
from tests.support.factories import proposal, stored
from tests.support.host import DRIVERS
from tests.support.ledger import Ledger
from tests.support.plain_sql import Plain
from tests.support.postgres import PrivatePostgres

SERVER_DRIVERS = [name for name in DRIVERS if name != "sqlite"]

# -- encodings ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def database_of_bytes(postgres: PrivatePostgres):
    """The name of a database that does not know which characters its bytes mean."""
    name = f"{postgres.create_database()}_bytes"
    made = "CREATE DATABASE {} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    with postgres._admin() as connection:
        connection.execute(sql.SQL(made).format(sql.Identifier(name)))
    yield name
    postgres.drop_database(name)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_server_that_does_not_speak_utf_8_is_refused(
    postgres: PrivatePostgres, database_of_bytes: str, driver: str
) -> None:
    db = ActionDB(postgres.url(database_of_bytes, driver=DRIVERS[driver]))

    with pytest.raises(DatabaseEncodingError, match="has the encoding SQL_ASCII, which cannot keep every text"):
        await db.open()


# -- connections that were idle ----------------------------------------------------------------------------------------


@pytest.fixture(params=SERVER_DRIVERS)
async def served(request: pytest.FixtureRequest, postgres_url: str) -> AsyncIterator[ActionDB]:
    """An open `ActionDB` on PostgreSQL, with one connection in its pool, by each driver in turn."""
    async with ActionDB(make_url(postgres_url).set(drivername=DRIVERS[request.param])) as db:
        await db.list_proposals()
        yield db


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The connections that were pinged."""
    connections, answers = list[object](), postgresql._answers

    def noting(engine, connection):
        connections.append(connection)
        return answers(engine, connection)

    monkeypatch.setattr(postgresql, "_answers", noting)
    return connections


async def test_a_connection_that_was_idle_is_asked_whether_it_lives(served: ActionDB, asked, monkeypatch) -> None:
    monkeypatch.setattr(postgresql, "IDLE_SECONDS", 0.0)

    await served.list_proposals()

    assert len(asked) == 1


async def test_a_connection_that_was_not_idle_is_not_asked(served: ActionDB, asked) -> None:
    for _ in range(3):
        await served.list_proposals()

    assert asked == []


async def test_a_connection_that_died_while_it_was_idle_is_replaced_by_another(
    served: ActionDB, postgres_url: str, monkeypatch
) -> None:
    monkeypatch.setattr(postgresql, "IDLE_SECONDS", 0.0)
    with closing(psycopg.connect(Ledger(postgres_url).dsn, autocommit=True)) as other:
        _end_all_but(other)

    made = await served.create_proposal(proposal())

    assert await served.list_proposals() == [made]


@pytest.mark.parametrize("served", ["asyncpg"], indirect=True)  # psycopg hears of it only when it speaks
async def test_a_connection_that_is_known_to_be_dead_is_replaced_without_asking(
    served: ActionDB, asked, postgres_url: str
) -> None:
    with closing(psycopg.connect(Ledger(postgres_url).dsn, autocommit=True)) as other:
        _end_all_but(other)
    await asyncio.sleep(0.1)

    made = await served.create_proposal(proposal())

    assert await served.list_proposals() == [made]
    assert asked == []


def _end_all_but(plain: psycopg.Connection) -> None:
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    assert plain.execute(f"SELECT pg_terminate_backend(pid, 60000) {others}").fetchall()


# -- values ------------------------------------------------------------------------------------------------------------

SECRET = "hunter2"  # noqa: S105 - it must not be seen
GIVEN = {"password": SECRET}
WRITES: dict[str, Callable[[ActionDB, int], Awaitable[object]]] = {
    "create_proposal": lambda db, _: db.create_proposal(proposal(parameters=GIVEN)),
    "create_proposals": lambda db, _: db.create_proposals([proposal(parameters=GIVEN)] * 2),
    "update_proposal_status": lambda db, one: db.update_proposal_status(one, ActionStatus.CANCELLED, reason=SECRET),
    "claim": lambda db, one: db.claim(one, worker=SECRET),
    "finish_execution": lambda db, one: db.finish_execution(one, success=True, result_data=GIVEN),
}
STOP = {"engage_kill_switch": lambda db, _: db.engage_kill_switch(by="ann", reason=SECRET)}


@pytest.mark.parametrize("name", WRITES)
async def test_no_error_holds_what_was_to_be_written(db: ActionDB, plain: Plain, name: str) -> None:
    for table in ("action_proposals", "action_records"):
        plain.execute(f"ALTER TABLE {table} RENAME TO {table}_gone")

    with pytest.raises(ActionError) as caught:
        await WRITES[name](db, 1)

    told = repr(caught.value) + "".join(traceback.format_exception(caught.value))
    assert (SECRET in told, "parameters hidden" in told) == (False, True)


@pytest.mark.parametrize("name", [*WRITES, *STOP])
async def test_no_log_of_a_library_holds_what_is_written(ledger: Ledger, name: str, caplog) -> None:
    caplog.set_level(logging.INFO, "sqlalchemy.engine")
    caplog.set_level(logging.DEBUG, "aiosqlite")
    async with ActionDB(ledger.target) as db:
        status = ActionStatus.EXECUTING if name == "finish_execution" else ActionStatus.VALIDATED
        made = await stored(db, status)

        await {**WRITES, **STOP}[name](db, made.id)

    assert (SECRET in caplog.text, "parameters hidden" in caplog.text) == (False, True)
