"""Migrates through an engine of a host: what it connects to, whatever its URL says, and with its settings put back."""

from contextlib import closing
from pathlib import Path
from typing import Any

import aiosqlite
import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from operator_core.actions import DatabaseUrlError, EngineNotConfiguredError
from operator_core.db import ActionDB, configure_engine, migrations
from tests.migrations.support import add_revision, schema_of, version_of
from tests.support.factories import stored
from tests.support.ledger import Ledger

SETTINGS = {
    "sqlite": ("PRAGMA foreign_keys", "PRAGMA legacy_alter_table", "PRAGMA busy_timeout"),
    "postgresql": ("SHOW lock_timeout", "SHOW statement_timeout", "SHOW transaction_isolation", "SHOW search_path"),
}


def plain_url(ledger: Ledger, driver: str) -> str:
    """Return the URL as a host writes it."""
    if ledger.is_sqlite:
        return f"sqlite+aiosqlite:///{ledger.target}"
    return make_url(str(ledger.target)).set(drivername=driver).render_as_string(hide_password=False)


def by_creator(said: Ledger, meant: Ledger) -> AsyncEngine:
    """Return an engine that connects by a function of the host's."""

    async def connect() -> Any:
        if meant.is_sqlite:
            return await aiosqlite.connect(str(meant.target))
        return await asyncpg.connect(meant.dsn)

    return create_async_engine(plain_url(said, "postgresql+asyncpg"), async_creator=connect)


def by_psycopg_creator(said: Ledger, meant: Ledger) -> AsyncEngine:
    async def connect() -> Any:
        return await psycopg.AsyncConnection.connect(meant.dsn)

    return create_async_engine(plain_url(said, "postgresql+psycopg"), async_creator=connect)


def by_event(said: Ledger, meant: Ledger) -> AsyncEngine:
    """Return an engine that is given its credentials when it connects, as those with tokens are."""
    engine = create_async_engine(plain_url(said, "postgresql+asyncpg"))

    @event.listens_for(engine.sync_engine, "do_connect")
    def connect(_dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]) -> None:
        if meant.is_sqlite:
            arguments[0] = str(meant.target)
        else:
            options["database"] = make_url(str(meant.target)).database

    return engine


def by_arguments(said: Ledger, meant: Ledger) -> AsyncEngine:
    """Return an engine with arguments for its driver."""
    database = make_url(str(meant.target)).database
    return create_async_engine(plain_url(said, "postgresql+psycopg"), connect_args={"dbname": database})


MAKERS = {
    "sqlite": [by_creator, by_event],
    "postgresql": [by_creator, by_psycopg_creator, by_event, by_arguments],
}
WAYS = [(name, make) for name, makers in MAKERS.items() for make in makers]


@pytest.fixture
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Ledger, Ledger]:
    """Two empty databases: the one that a URL names, and the one that the engine connects to."""
    if request.param == "sqlite":
        return Ledger(tmp_path / "said.db"), Ledger(tmp_path / "meant.db")
    server = request.getfixturevalue("postgres")
    said, meant = (Ledger(server.url(server.create_database())) for _ in range(2))
    return said, meant


@pytest.mark.parametrize(("pair", "make"), WAYS, indirect=["pair"])
async def test_a_migration_goes_where_the_engine_connects_to(pair, make):
    said, meant = pair
    engine = configure_engine(make(said, meant))

    await ActionDB(engine).migrate()
    async with ActionDB(engine) as db:
        await stored(db)
    await engine.dispose()

    assert (schema_of(said), version_of(meant)) == ({}, migrations.HEAD)


@pytest.mark.parametrize(("pair", "make"), [way for way in WAYS if way[0] == "sqlite"], indirect=["pair"])
async def test_opening_a_hosts_engine_creates_the_ledger_where_it_connects_to(pair, make):
    said, meant = pair
    engine = configure_engine(make(said, meant))

    async with ActionDB(engine) as db:
        await stored(db)
    await engine.dispose()

    assert (schema_of(said), version_of(meant)) == ({}, migrations.HEAD)


DRIVERS = [("sqlite", ""), ("postgresql", "postgresql+asyncpg"), ("postgresql", "postgresql+psycopg")]


def single(ledger: Ledger, driver: str, **options: Any) -> AsyncEngine:
    """Return a host's engine with one connection, whose settings can be looked at afterwards."""
    return configure_engine(create_async_engine(plain_url(ledger, driver), pool_size=1, max_overflow=0, **options))


async def settings_of(engine: AsyncEngine) -> list[object]:
    async with engine.connect() as connection:
        return [(await connection.exec_driver_sql(text)).scalar() for text in SETTINGS[engine.dialect.name]]


@pytest.mark.parametrize(("empty", "driver"), DRIVERS, indirect=["empty"])
async def test_a_migration_puts_the_settings_of_a_hosts_connection_back(empty, driver):
    options: dict[str, Any] = {} if empty.is_sqlite else {"isolation_level": "REPEATABLE READ"}
    engine = single(empty, driver, **options)
    before = await settings_of(engine)

    await ActionDB(engine).migrate()

    after = await settings_of(engine)
    await engine.dispose()
    assert (after, version_of(empty)) == (before, migrations.HEAD)


@pytest.mark.parametrize(("empty", "driver"), DRIVERS, indirect=["empty"])
async def test_a_migration_that_fails_on_an_engine_that_autocommits_leaves_nothing(
    empty, driver, monkeypatch, tmp_path
):
    options: dict[str, Any] = {} if empty.is_sqlite else {"isolation_level": "AUTOCOMMIT"}
    engine = single(empty, driver, **options)
    before = await settings_of(engine)
    add_revision(monkeypatch, tmp_path, "raise RuntimeError('the power went')")

    with pytest.raises(RuntimeError, match="the power went"):
        await ActionDB(engine).migrate()

    after = await settings_of(engine)
    await engine.dispose()
    assert (schema_of(empty), after) == ({}, before)


async def test_a_hosts_engine_can_migrate_again_after_its_connection_was_lost(postgres):
    ledger = Ledger(postgres.url(postgres.create_database()))
    engine = single(ledger, "postgresql+asyncpg")

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def cut(connection: sa.Connection, _cursor: object, statement: str, *_: object) -> None:
        if "CREATE TABLE action_events" in statement:
            event.remove(engine.sync_engine, "before_cursor_execute", cut)
            with closing(ledger.connect()) as plain:
                plain.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )

    with pytest.raises(Exception, match=r"terminat|closed|lost|reset"):
        await ActionDB(engine).migrate()
    await ActionDB(engine).migrate()

    await engine.dispose()
    assert version_of(ledger) == migrations.HEAD


async def test_an_engine_without_our_settings_migrates_nothing(tmp_path):
    ledger = Ledger(tmp_path / "host.db")
    engine = create_async_engine(plain_url(ledger, ""))

    with pytest.raises(EngineNotConfiguredError):
        await ActionDB(engine).migrate()

    await engine.dispose()
    assert schema_of(ledger) == {}


async def test_a_hosts_engine_through_pgbouncer_migrates_nothing(postgres_url):
    engine = create_async_engine(postgres_url.replace("postgresql://", "postgresql+asyncpg://"))

    with pytest.raises(DatabaseUrlError, match="names PgBouncer"):
        await ActionDB(engine, pgbouncer=True).migrate()

    await engine.dispose()
