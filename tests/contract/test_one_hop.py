"""What a statement on a host's SQLite engine costs after `configure_engine`, and that it still does all that it did."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from operator_core.db import ActionDB, ActionRepository, configure_engine
from tests.support.factories import proposal

_NUMBERS = sa.text(
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000) SELECT noted(x) FROM n"
)


class Hops:
    """Counts what is asked of the threads of connections."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        execute: Callable[..., Awaitable[Any]] = aiosqlite.Connection._execute

        async def hop(connection: aiosqlite.Connection, *args: Any, **kwargs: Any) -> Any:
            self.count += 1
            return await execute(connection, *args, **kwargs)

        monkeypatch.setattr(aiosqlite.Connection, "_execute", hop)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    """Give a host's engine, in whose file a ledger is."""
    file = tmp_path / "host.db"
    async with ActionDB(file):
        pass
    engine = configure_engine(create_async_engine(f"sqlite+aiosqlite:///{file}"))
    yield engine
    await engine.dispose()


@pytest.fixture
def noted(engine: AsyncEngine) -> list[int]:
    """Give the numbers that SQLite has come to."""
    numbers: list[int] = []

    def note(number: int) -> int:
        numbers.append(number)
        return number

    @sa.event.listens_for(engine.sync_engine, "connect")
    def connect(connection: Any, _record: object) -> None:
        connection.create_function("noted", 1, note)

    return numbers


async def test_a_joined_call_is_one_hop(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    async with AsyncSession(engine) as session:
        repository = ActionRepository(session)
        made = await repository.create_proposal(proposal())
        hops = Hops(monkeypatch)

        await repository.create_proposal(proposal())
        assert hops.count == 1
        assert await repository.get_proposal(made.id) == made
        assert hops.count == 2


async def test_a_short_result_comes_with_its_statement(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    async with engine.connect() as connection:
        await connection.execute(sa.text("SELECT 1"))
        hops = Hops(monkeypatch)

        rows = (await connection.execute(sa.text("SELECT 1 UNION SELECT 2"))).scalars().all()

        assert (rows, hops.count) == ([1, 2], 1)


async def test_a_long_result_is_whole(engine: AsyncEngine, noted: list[int]) -> None:
    async with engine.connect() as connection:
        rows = (await connection.execute(_NUMBERS)).scalars().all()

    assert rows == noted == list(range(1, 2001))


async def test_a_stream_is_read_in_parts(engine: AsyncEngine, noted: list[int]) -> None:
    async with engine.connect() as connection:
        stream = await connection.stream_scalars(_NUMBERS)
        first = [await anext(stream) for _ in range(3)]
        read_so_far = len(noted)
        rest = [number async for number in stream]

    assert first == [1, 2, 3]
    assert read_so_far < 1_000
    assert rest == list(range(4, 2001))


async def test_a_stream_that_is_left_holds_nothing_open(engine: AsyncEngine, noted: list[int]) -> None:
    async with engine.connect() as connection:
        stream = await connection.stream_scalars(_NUMBERS)
        assert await anext(stream) == 1
        await stream.close()
        await connection.execute(sa.text("CREATE TABLE of_host (id INTEGER)"))
        await connection.commit()
        await connection.execute(sa.text("DROP TABLE of_host"))  # SQLite refuses while a SELECT is open
        await connection.commit()

    assert len(noted) < 1_000


async def test_a_driver_cursor_iterates(engine: AsyncEngine, noted: list[int]) -> None:
    async with engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        async with driver.cursor() as cursor:
            await cursor.execute(str(_NUMBERS))
            assert [number async for (number,) in cursor] == noted


async def test_many_sets_of_values_are_one_hop(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    async with engine.connect() as connection:
        await connection.execute(sa.text("CREATE TEMP TABLE few (id INTEGER)"))
        hops = Hops(monkeypatch)

        inserted = await connection.execute(sa.text("INSERT INTO few VALUES (:id)"), [{"id": 1}, {"id": 2}])

        assert (inserted.rowcount, hops.count) == (2, 1)


async def test_a_host_that_connects_by_itself_goes_on_to(tmp_path: Path) -> None:
    connected: list[aiosqlite.Connection] = []

    async def connect() -> aiosqlite.Connection:
        connected.append(aiosqlite.connect(tmp_path / "host.db"))
        return await connected[0]

    engine = configure_engine(create_async_engine("sqlite+aiosqlite:///host.db", async_creator=connect))
    async with engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert (await connection.execute(sa.text("PRAGMA synchronous"))).scalar_one() == 2
    await engine.dispose()

    assert [driver] == connected


async def test_arguments_of_the_host_reach_the_driver(tmp_path: Path) -> None:
    class Mine(sqlite3.Connection):
        pass

    url = f"sqlite+aiosqlite:///{tmp_path / 'host.db'}"
    engine = configure_engine(create_async_engine(url, connect_args={"factory": Mine, "iter_chunk_size": 7}))
    async with engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        found = driver._conn
    await engine.dispose()

    assert isinstance(found, Mine)
