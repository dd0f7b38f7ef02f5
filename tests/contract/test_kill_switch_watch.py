"""Watching the kill switch: what is engaged comes first, then every change, whoever makes it."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import psycopg
import pytest
from sqlalchemy.engine import make_url

from operator_core.actions import KillSwitchEvent, Scope
from operator_core.db import ActionDB
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.stores import kill_switch_status
from tests.support import latch
from tests.support.ledger import DRIVER, Ledger
from tests.support.patience import PATIENCE
from tests.support.plain_sql import on_postgresql
from tests.support.stop_steps import LISTENERS, client, stop, until

NEVER = 3600.0
listening = pytest.mark.skipif(DRIVER != "asyncpg", reason=f"{DRIVER} does not listen: there, polling is all")
DRIVERS = {"sqlite": "sqlite+aiosqlite", "asyncpg": "postgresql+asyncpg", "psycopg": "postgresql+psycopg"}


@pytest.fixture(params=DRIVERS)
async def watched(request) -> AsyncIterator[tuple[Ledger, ActionDB]]:
    """A ledger, and a handle on it with each driver in turn."""
    if request.param == "sqlite":
        ledger = Ledger(request.getfixturevalue("sqlite_path"))
    else:
        url = make_url(request.getfixturevalue("postgres_url")).set(drivername=DRIVERS[request.param])
        ledger = Ledger(url.render_as_string(hide_password=False))
    async with ActionDB(ledger.target) as db:
        yield ledger, db


@asynccontextmanager
async def watching(db: ActionDB, poll_interval: float = 0.02) -> AsyncIterator[AsyncGenerator[KillSwitchEvent]]:
    async with aclosing(db.watch_kill_switch(poll_interval=poll_interval)) as changes:
        yield changes


async def following(changes: AsyncGenerator[KillSwitchEvent], number: int) -> list[tuple[int, str, str]]:
    """Return the next changes: generation, scope and what happened."""
    async with asyncio.timeout(PATIENCE):
        found = [await anext(changes) for _ in range(number)]
    return [(one.generation, str(one.scope), one.change) for one in found]


async def release(db: ActionDB, generation: int) -> None:
    await db.release_kill_switch(by="bob", reason="all clear", generation=generation)


async def test_what_is_engaged_comes_first_and_what_was_released_does_not_come(watched):
    _, db = watched
    await release(db, (await stop(db)).generation)
    await stop(db, scope=Scope(ticket_id=7))
    await stop(db)

    async with watching(db) as changes:
        found = await following(changes, 2)

    assert found == [(2, "ticket_id=7", "engaged"), (3, "everything", "engaged")]


async def test_of_a_scope_that_was_engaged_twice_the_last_stop_comes(watched):
    _, db = watched
    await stop(db)
    await stop(db)

    async with watching(db) as changes:
        found = await following(changes, 1)

    assert found == [(2, "everything", "engaged")]


async def test_then_comes_every_engage_and_release_in_their_order(watched):
    ledger, db = watched

    async with ActionDB(ledger.target) as other, watching(db) as changes:
        first = asyncio.create_task(following(changes, 1))
        receipt = await stop(other)
        found = await first
        await release(other, receipt.generation)
        await stop(other, scope=Scope(ticket_id=7))
        found += await following(changes, 2)

    assert found == [(1, "everything", "engaged"), (1, "everything", "released"), (2, "ticket_id=7", "engaged")]


async def test_a_change_made_in_plain_sql_comes_with_who_and_why(watched):
    ledger, db = watched
    await stop(db)

    with client(ledger, None) as plain:
        async with watching(db) as changes:
            await following(changes, 1)
            latch.engage(plain, by="carol", reason="fire")
            async with asyncio.timeout(PATIENCE):
                change = await anext(changes)

    assert (change.generation, change.by, change.reason, change.at) == (2, "carol", "fire", latch.SINCE)


async def test_a_stop_that_is_engaged_while_the_watch_begins_comes_too(watched, monkeypatch):
    ledger, db = watched
    read = kill_switch_status.changes

    @unit(TransactionMode.READ)
    def read_late(connection, seen):
        if seen == 0 and not engaged_meanwhile:
            with client(ledger, None) as plain:
                engaged_meanwhile.append(latch.engage(plain))
        return read(connection, seen)

    engaged_meanwhile: list[int] = []
    monkeypatch.setattr(kill_switch_status, "changes", read_late)

    async with watching(db) as changes:
        found = await following(changes, 1)

    assert found == [(1, "everything", "engaged")]


async def test_a_stop_that_is_released_while_the_watch_begins_is_seen_to_be_released(watched, monkeypatch):
    ledger, db = watched
    await stop(db)
    read = kill_switch_status.changes

    @unit(TransactionMode.READ)
    def read_late(connection, seen):
        if seen == 0 and not released_meanwhile:
            released_meanwhile.append(True)
            with client(ledger, None) as plain:
                latch.release(plain)
        return read(connection, seen)

    released_meanwhile: list[bool] = []
    monkeypatch.setattr(kill_switch_status, "changes", read_late)

    async with watching(db) as changes:
        found = await following(changes, 1)
        if found[-1][-1] == "engaged":
            found += await following(changes, 1)

    assert found[-1] == (1, "everything", "released")


async def test_two_watchers_both_see_a_change(watched):
    _, db = watched
    await stop(db, scope=Scope(ticket_id=7))

    async with watching(db) as one, watching(db) as other:
        first = [await following(one, 1), await following(other, 1)]
        await stop(db)
        found = [await following(one, 1), await following(other, 1)]

    assert first == [[(1, "ticket_id=7", "engaged")]] * 2
    assert found == [[(2, "everything", "engaged")]] * 2


async def test_a_watch_that_is_given_up_while_it_waits_leaves_the_ledger_usable(watched):
    _, db = watched

    async with watching(db) as changes:
        waiting = asyncio.create_task(anext(changes))
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    assert (await stop(db)).generation == 1


async def listener(plain: psycopg.Connection) -> int:
    """Wait for the connection that listens, and return its process."""
    await until(lambda: plain.execute(LISTENERS).fetchall(), "a listener")
    return plain.execute(LISTENERS).fetchone()[0]


@on_postgresql
@listening
async def test_a_notification_comes_sooner_than_the_next_poll(db, plain, ledger):
    async with ActionDB(ledger.target) as other, watching(db, NEVER) as changes:
        first = asyncio.create_task(following(changes, 1))
        await listener(plain)
        await stop(other)

        assert await first == [(1, "everything", "engaged")]


@on_postgresql
@listening
async def test_without_its_listener_a_watch_goes_on_by_polling(db, plain, ledger):
    async with ActionDB(ledger.target) as other, watching(db, 0.05) as changes:
        first = asyncio.create_task(following(changes, 1))
        plain.execute("SELECT pg_terminate_backend(%s)", [await listener(plain)])
        await stop(other)
        found = await first
        await stop(other)
        found += await following(changes, 1)

    assert found == [(1, "everything", "engaged"), (2, "everything", "engaged")]


@on_postgresql
@listening
async def test_a_watch_that_ends_leaves_no_listener_behind(db, plain):
    async with watching(db) as changes:
        waiting = asyncio.create_task(anext(changes))
        await listener(plain)
        waiting.cancel()
        await asyncio.wait({waiting})

    await until(lambda: plain.execute(LISTENERS).fetchall() == [], "the end of the listener")
    assert plain.execute(LISTENERS).fetchall() == []


@on_postgresql
async def test_where_there_is_no_connection_left_to_listen_a_watch_polls(db, plain, ledger):
    role = f"app_{secrets.token_hex(4)}"
    plain.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{role}' CONNECTION LIMIT 1")
    plain.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    await stop(db)

    url = make_url(ledger.target).set(username=role, password=role)
    async with ActionDB(url) as limited, watching(limited) as changes:
        found = await following(changes, 1)
        await stop(db)
        found += await following(changes, 1)

    assert found == [(1, "everything", "engaged"), (2, "everything", "engaged")]
