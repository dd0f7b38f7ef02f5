"""Where the latch cannot be read or written, nothing starts, and the stop says FAILED with what to do instead."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress

import psycopg
import pytest
from sqlalchemy import event
from sqlalchemy.engine import make_url

from operator_core.actions import (
    ActionError,
    ActionStatus,
    DatabaseFullError,
    DatabaseNotFoundError,
    DatabaseUnavailableError,
    GuardMissingError,
    Scope,
    StopFailedError,
    StopUnconfirmedError,
    TransitionNotAllowedError,
)
from operator_core.db import ActionDB, configure_engine, upgrade
from operator_core.db.errors import guard_code
from operator_core.db.guards.codes import STOPPED
from tests.support import latch
from tests.support.factories import proposal, stored
from tests.support.history import check_history
from tests.support.host import engine_of
from tests.support.ledger import Ledger
from tests.support.plain_sql import on_postgresql, on_sqlite, step_alone
from tests.support.postgres import PrivatePostgres
from tests.support.stop_steps import client, engaged, start, started, status_of, stop

SHORT = 0.5  # seconds for a stop that fails, however long it tries
REASON = "smoke in Ann's hall: 100 %, \\ and :colon"


async def refused(db: ActionDB, number: int | None) -> ActionError:
    """Return the error with which a start is refused."""
    with pytest.raises(ActionError) as caught:
        await db.start_execution(number)
    return caught.value


# -- the latch is gone -------------------------------------------------------------------------------------------------


async def test_without_its_latch_a_ledger_starts_nothing_and_a_stop_is_called_failed(db, plain):
    made = await stored(db, ActionStatus.VALIDATED)
    latch.remove_latch(plain)

    start_error = await refused(db, made.id)
    with pytest.raises(StopFailedError, match="the stop is NOT engaged"):
        await stop(db, timeout=SHORT)

    assert isinstance(start_error, GuardMissingError)
    assert (started(plain), status_of(plain, made.id)) == ([], "validated")


async def test_without_the_table_of_its_latch_a_ledger_starts_nothing_and_a_stop_is_called_failed(db, plain):
    made = await stored(db, ActionStatus.VALIDATED)
    plain.execute("ALTER TABLE kill_switch RENAME TO kill_switch_old")

    try:
        await refused(db, made.id)
        with pytest.raises(StopFailedError, match="the stop is NOT engaged"):
            await stop(db, timeout=SHORT)
    finally:
        plain.execute("ALTER TABLE kill_switch_old RENAME TO kill_switch")

    assert (started(plain), engaged(plain)) == ([], [])


async def test_without_the_table_of_its_latch_a_plain_start_is_refused(db, plain):
    made = await stored(db, ActionStatus.VALIDATED)
    plain.execute("ALTER TABLE kill_switch RENAME TO kill_switch_old")

    with pytest.raises((psycopg.Error, sqlite3.Error)):
        plain.execute(start(made.id))

    assert started(plain) == []


async def test_a_stop_without_its_guards_is_engaged_but_unconfirmed(db, plain, ledger):
    on_table = "" if ledger.is_sqlite else " ON action_proposals"
    plain.execute(f"DROP TRIGGER operator_core_proposals_update{on_table}")

    with pytest.raises(StopUnconfirmedError, match=r"guards of the database do not hold: .*proposals_update") as caught:
        await stop(db)

    assert engaged(plain) == [("everything", caught.value.receipt.generation)]


@on_postgresql
async def test_a_stop_with_a_disabled_guard_is_engaged_but_unconfirmed(db, plain, ledger):
    plain.execute("ALTER TABLE action_proposals DISABLE TRIGGER operator_core_proposals_update")

    with pytest.raises(StopUnconfirmedError, match="operator_core_proposals_update is disabled"):
        await stop(db)


async def test_a_stop_that_is_committed_is_not_called_failed_when_its_guards_cannot_be_looked_at(
    db, plain, monkeypatch
):
    def unreadable(*_: object, **__: object) -> tuple[str, ...]:
        raise DatabaseUnavailableError(url="ledger", detail="input/output error")

    monkeypatch.setattr("operator_core.db.stop.command.missing_guards", unreadable)

    with pytest.raises(StopUnconfirmedError, match="input/output error") as caught:
        await stop(db)

    assert (caught.value.receipt.generation, engaged(plain)) == (1, [("everything", 1)])


# -- the database is gone ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    """A server of our own, to stop and to start again."""
    with PrivatePostgres.start(private=True) as private:
        yield private


@pytest.fixture
def remote(server: PrivatePostgres) -> Ledger:
    url = server.url(server.create_database())
    upgrade(url)
    return Ledger(url)


@asynccontextmanager
async def cut_off(server: PrivatePostgres, ledger: Ledger) -> AsyncIterator[tuple[ActionDB, int]]:
    """Return a handle whose server has crashed, and the id of a validated proposal; the server is back afterwards."""
    async with ActionDB(ledger.target) as db:
        made = await stored(db, ActionStatus.VALIDATED)
        server.crash()
        try:
            yield db, made.id
        finally:
            if server.postmaster_pid is None:
                server.restart()


async def test_without_its_server_a_ledger_starts_nothing_and_a_stop_is_called_failed(server, remote):
    async with cut_off(server, remote) as (db, number):
        start_error = await refused(db, number)
        with pytest.raises(StopFailedError, match="the stop is NOT engaged"):
            await stop(db, timeout=SHORT)

    assert isinstance(start_error, DatabaseUnavailableError)
    with client(remote, None) as plain:
        assert (started(plain), engaged(plain)) == ([], [])


async def test_a_stop_is_engaged_when_the_server_comes_back_within_the_deadline(server, remote):
    async with cut_off(server, remote) as (db, number):
        engaging = asyncio.create_task(stop(db))
        await asyncio.sleep(0.3)
        was_done = engaging.done()
        await asyncio.to_thread(server.restart)
        receipt = await engaging

    assert (was_done, receipt.cancelled) == (False, (number,))
    assert check_history(remote) == []


@on_sqlite
async def test_without_its_file_a_ledger_is_not_stopped_and_no_file_is_made(db, ledger):
    ledger.target.unlink()

    with pytest.raises(DatabaseNotFoundError):
        await stop(db, timeout=SHORT)

    assert not ledger.target.exists()


# -- the disk is full --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def with_room_for(ledger: Ledger, pages: int) -> AsyncIterator[ActionDB]:
    """Open a file as a host whose disk has room for so many more pages."""
    with closing(ledger.connect()) as plain:
        largest = plain.execute("PRAGMA page_count").fetchone()[0] + pages
    engine = configure_engine(engine_of(ledger, "sqlite"))

    @event.listens_for(engine.sync_engine, "connect")
    def limit(connection: sqlite3.Connection, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA max_page_count = {largest}")
        cursor.close()

    try:
        async with ActionDB(engine) as db:
            yield db
    finally:
        await engine.dispose()


async def fill(db: ActionDB) -> None:
    """Use up the room of a file, down to the last row."""
    for size in (20_000, 2_000, 10):
        with suppress(DatabaseFullError):
            while True:
                await db.create_proposal(proposal(reason="x" * size))


async def start_what_fits(db: ActionDB, numbers: list[int | None]) -> list[int | None]:
    """Start until there is room for none of them, and return those."""
    left: list[int | None] = []
    for number in numbers:
        try:
            await db.start_execution(number)
        except DatabaseFullError:
            left.append(number)
    return left if len(left) == len(numbers) else await start_what_fits(db, left)


@on_sqlite
async def test_on_a_full_disk_nothing_starts_by_half(ledger, db, plain):
    numbers = [(await stored(db, ActionStatus.VALIDATED)).id for _ in range(60)]

    async with with_room_for(ledger, 2) as full:
        await fill(full)
        left = await start_what_fits(full, numbers)

    assert left
    assert started(plain) == [number for number in numbers if number not in left]
    assert {status_of(plain, number) for number in left} == {"validated"}
    assert check_history(ledger) == []


@on_sqlite
async def test_a_stop_that_a_full_disk_has_no_room_for_is_called_failed(ledger, db, plain):
    async with with_room_for(ledger, 2) as full:
        with pytest.raises(StopFailedError, match=r"the stop is NOT engaged: .*full") as caught:
            await stop(full, reason="x" * 60_000, timeout=SHORT)

    assert caught.value.sql.startswith("UPDATE kill_switch SET")
    assert engaged(plain) == []


@on_sqlite
async def test_where_there_is_room_for_a_start_there_is_room_for_a_stop(ledger, db, plain):
    await db.create_proposals([proposal(reason="x" * 200) for _ in range(2_000)])
    made = await stored(db, ActionStatus.VALIDATED)

    async with with_room_for(ledger, 8) as nearly_full:
        with suppress(StopFailedError, StopUnconfirmedError):
            await stop(nearly_full)
        error = await refused(nearly_full, made.id)

    assert isinstance(error, TransitionNotAllowedError)
    assert (len(engaged(plain)), started(plain)) == (1, [])


# -- what a DBA pastes -------------------------------------------------------------------------------------------------


async def failed(db: ActionDB, plain: object, ledger: Ledger) -> StopFailedError:
    """Return the error of a stop that finds the latch locked."""
    lock = "BEGIN IMMEDIATE" if ledger.is_sqlite else "BEGIN; LOCK TABLE kill_switch"
    with client(ledger, lock), pytest.raises(StopFailedError) as caught:
        await db.engage_kill_switch(by="ann o'neill", reason=REASON, timeout=SHORT)
    return caught.value


async def test_the_statement_of_a_failed_stop_engages_everything_when_it_is_pasted(db, plain, ledger):
    made = await stored(db, ActionStatus.VALIDATED)
    error = await failed(db, plain, ledger)

    plain.execute(error.sql)

    with pytest.raises((psycopg.Error, sqlite3.Error)) as caught:
        plain.execute(step_alone(made.id, ActionStatus.EXECUTING) if not ledger.is_sqlite else start(made.id))
    stopped = (await db.kill_switch_status()).engaged[0]
    assert guard_code(caught.value) == STOPPED
    assert (stopped.by, stopped.reason, stopped.scope) == ("ann o'neill", REASON, Scope())
    assert (started(plain), check_history(ledger)) == ([], [])


async def test_the_statement_of_a_failed_stop_works_again_and_again(db, plain, ledger):
    error = await failed(db, plain, ledger)

    for _ in range(3):
        plain.execute(error.sql)

    assert engaged(plain) == [("everything", 3)]


async def test_a_stop_that_failed_can_be_tried_again(db, plain, ledger):
    await failed(db, plain, ledger)

    receipt = await stop(db)

    assert engaged(plain) == [("everything", receipt.generation)]


async def test_the_error_of_a_failed_stop_shows_no_password(db, plain, ledger):
    error = await failed(db, plain, ledger)

    secret = None if ledger.is_sqlite else make_url(ledger.target).password
    assert secret is None or secret not in str(error)
