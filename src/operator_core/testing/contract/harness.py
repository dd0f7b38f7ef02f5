"""The setting of a contract test: a fresh ledger, the host's engine, and the view of other clients."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from operator_core.actions.errors import DatabaseUrlError
from operator_core.actions.lifecycle import ActionStatus
from operator_core.db import ActionDB, ActionRepository
from operator_core.db.engine.urls import display_url, resolve_url
from operator_core.testing.postgresql import fresh_postgresql
from operator_core.testing.sqlite import fresh_sqlite

_CONNECTIONS = 3
_TIMEOUT_SECONDS = 10.0
_HOST_TABLE = "CREATE TABLE host_notes (proposal_id BIGINT NOT NULL REFERENCES action_proposals (id))"
INSERT_NOTE = "INSERT INTO host_notes VALUES ({})"


@dataclass(frozen=True)
class Stage:
    """The parts of a contract test.

    Attributes:
        engine: The host's engine, which is tested.
        db: An `ActionDB` on that engine.
        observer: An `ActionDB` on its own engine: the view of other clients.
    """

    engine: AsyncEngine
    db: ActionDB
    observer: ActionDB

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[tuple[AsyncSession, ActionRepository]]:
        """Yield a session of the host with a repository that joins it; uncommitted changes are rolled back."""
        async with AsyncSession(self.engine, expire_on_commit=False) as session:
            yield session, ActionRepository(session)

    @asynccontextmanager
    async def connections(self) -> AsyncGenerator[list[AsyncConnection]]:
        """Yield several connections of the engine at once: as many as it lends."""
        async with AsyncExitStack() as stack:
            lent: list[AsyncConnection] = []
            for _ in range(_CONNECTIONS):
                try:
                    async with asyncio.timeout(_TIMEOUT_SECONDS):
                        connection = await self.engine.connect()
                except (TimeoutError, PoolTimeoutError):
                    break  # that is the whole pool
                lent.append(await stack.enter_async_context(_closing(connection)))
            yield lent

    async def notes(self) -> int:
        """Return how many rows the host's table has, outside any open transaction."""
        async with self.engine.connect() as connection:
            return (await connection.scalar(sa.text("SELECT count(*) FROM host_notes"))) or 0

    async def status_of(self, proposal_id: int | None) -> ActionStatus | None:
        """Return the state of a proposal as other clients see it."""
        found = await self.observer.get_proposal(proposal_id or 0)
        return None if found is None else found.status


@asynccontextmanager
async def _closing(connection: AsyncConnection) -> AsyncGenerator[AsyncConnection]:
    try:
        yield connection
    finally:
        await connection.close()


class Contract(ABC):
    """The base of the contract: each test gets a fresh ledger and the host's engine on it."""

    server: str | URL | None = None
    """A PostgreSQL server, as in `fresh_postgresql`; None means a fresh SQLite file for each test."""

    @abstractmethod
    def engine(self, url: URL) -> AsyncEngine:
        """Return a new engine with the host's settings, on the database of `url`; the test disposes of it."""

    @contextmanager
    def _database(self) -> Generator[URL]:
        if self.server is not None:
            with fresh_postgresql(self.server) as url:
                yield url
            return
        with TemporaryDirectory(prefix="operator-core-") as folder:
            yield resolve_url(fresh_sqlite(Path(folder)))


C = TypeVar("C", bound=Contract)
T = TypeVar("T")


def as_sync_test(body: Callable[[C, Stage], Awaitable[None]]) -> Callable[[C], None]:
    """Turn a coroutine function into a plain test, which runs in its own event loop."""

    def test(self: C) -> None:
        with self._database() as url:  # pyright: ignore[reportPrivateUsage] - the other half of the same thing
            asyncio.run(_staged(self, url, body))

    # Not with functools.wraps: pytest would take the wrapped function's arguments for fixtures.
    test.__name__, test.__qualname__, test.__doc__ = body.__name__, body.__qualname__, body.__doc__
    return test


async def _staged(test: C, url: URL, body: Callable[[C, Stage], Awaitable[None]]) -> None:
    engine = test.engine(url)
    if not isinstance(engine, AsyncEngine):  # pyright: ignore[reportUnnecessaryIsInstance] - a host may be untyped
        raise TypeError(f"engine(url) must return an AsyncEngine, not a {type(engine).__name__}")
    try:
        if engine.url.database != url.database:
            raise DatabaseUrlError(
                f"engine(url) has returned an engine for {display_url(engine.url)}, not for {display_url(url)}"
            )
        async with engine.begin() as connection:
            await connection.execute(sa.text(_HOST_TABLE))
        async with ActionDB(engine) as db, ActionDB(url, lock_timeout=_TIMEOUT_SECONDS) as observer:
            await body(test, Stage(engine, db, observer))
    finally:
        await engine.dispose()


async def gather_all(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all to their end, and only then raise an error of one: none is interrupted while it has a connection."""
    ends = await asyncio.gather(*works, return_exceptions=True)
    return [_result(end) for end in ends]


def _result(end: T | BaseException) -> T:
    if isinstance(end, BaseException):
        raise end
    return end
