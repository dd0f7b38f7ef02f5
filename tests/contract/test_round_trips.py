"""What a call costs, counted and not timed: hops to SQLite's thread, round trips to a server, statements compiled."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiosqlite
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from operator_core.actions import ActionStatus
from operator_core.db import ActionDB
from tests.support.factories import proposal, stored
from tests.support.ledger import Ledger

Call = Callable[[ActionDB], Awaitable[Callable[[], Awaitable[Any]]]]
"""Prepares a call, and returns it."""


def on(status: ActionStatus, act: Callable[[ActionDB, int], Awaitable[Any]]) -> Call:
    """Return a call about a proposal in this state."""

    async def prepare(db: ActionDB) -> Callable[[], Awaitable[Any]]:
        number = (await stored(db, status)).id
        return lambda: act(db, number)

    return prepare


async def _running(db: ActionDB) -> int:
    made = await stored(db, ActionStatus.VALIDATED)
    return (await db.start_execution(made.id)).id


async def _finish(db: ActionDB) -> Callable[[], Awaitable[Any]]:
    record = await _running(db)
    return lambda: db.finish_execution(record, success=True)


async def _claim(db: ActionDB) -> Callable[[], Awaitable[Any]]:
    await stored(db, ActionStatus.VALIDATED)
    return lambda: db.claim_next(worker="w1")


async def _beat(db: ActionDB) -> Callable[[], Awaitable[Any]]:
    await stored(db, ActionStatus.VALIDATED)
    execution = await db.claim_next(worker="w1")
    assert execution is not None
    return execution.heartbeat


async def _complete(db: ActionDB) -> Callable[[], Awaitable[Any]]:
    await stored(db, ActionStatus.VALIDATED)
    execution = await db.claim_next(worker="w1")
    assert execution is not None
    return execution.complete


async def _create(db: ActionDB) -> Callable[[], Awaitable[Any]]:
    return lambda: db.create_proposal(proposal())


CALLS: dict[str, Call] = {
    "create": _create,
    "get": on(ActionStatus.PROPOSED, lambda db, number: db.get_proposal(number)),
    "list": on(ActionStatus.PROPOSED, lambda db, _number: db.list_proposals(limit=50)),
    "count": on(ActionStatus.PROPOSED, lambda db, _number: db.count_proposals()),
    "validate": on(ActionStatus.PROPOSED, lambda db, number: db.update_proposal_status(number, ActionStatus.VALIDATED)),
    "start": on(ActionStatus.VALIDATED, lambda db, number: db.start_execution(number)),
    "finish": _finish,
    "claim": _claim,
    "heartbeat": _beat,
    "complete": _complete,
}


class Counter:
    """Counts."""

    def __init__(self) -> None:
        self.count = 0


@asynccontextmanager
async def counted(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[ActionDB, Counter]]:
    """Give an open ledger, and what counts its hops or its round trips."""
    counter = Counter()
    if ledger.is_sqlite:
        execute: Callable[..., Awaitable[Any]] = aiosqlite.Connection._execute

        async def hop(self: aiosqlite.Connection, *args: Any, **kwargs: Any) -> Any:
            counter.count += 1
            return await execute(self, *args, **kwargs)

        monkeypatch.setattr(aiosqlite.Connection, "_execute", hop)
        async with ActionDB(ledger.target) as db:
            yield db, counter
        return
    async with _counting_proxy(ledger, counter) as url, ActionDB(url) as db:
        yield db, counter


@asynccontextmanager
async def _counting_proxy(ledger: Ledger, counter: Counter) -> AsyncIterator[sa.URL]:
    """Stand between a client and the server, and count how often the client speaks after the server has."""
    real = make_url(str(ledger.target))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(real.host, real.port)
        answered = True

        async def ask() -> None:
            nonlocal answered
            while data := await reader.read(65536):
                if answered:
                    counter.count += 1
                answered = False
                to_server.write(data)
            to_server.close()

        async def answer() -> None:
            nonlocal answered
            while data := await from_server.read(65536):
                answered = True
                writer.write(data)
            writer.close()

        await asyncio.gather(ask(), answer())

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield real.set(host="127.0.0.1", port=port)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.usefixtures("no_announcements")
async def test_a_call_is_one_trip(ledger: Ledger, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = CALLS[name]
    async with counted(ledger, monkeypatch) as (db, counter):
        await (await prepare(db))()  # statements are prepared once on each connection
        call = await prepare(db)
        counter.count = 0

        await call()

        assert counter.count == 1


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_compiles_nothing_once_it_is_warm(
    ledger: Ledger, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = CALLS[name]
    compiled: list[str] = []
    async with ActionDB(ledger.target) as db:
        await (await prepare(db))()
        call = await prepare(db)
        init = sa.sql.compiler.SQLCompiler.__init__

        def noting(self: Any, dialect: Any, statement: Any, *args: Any, **kwargs: Any) -> None:
            compiled.append(str(statement))
            init(self, dialect, statement, *args, **kwargs)

        monkeypatch.setattr(sa.sql.compiler.SQLCompiler, "__init__", noting)

        await call()

    assert compiled == []
