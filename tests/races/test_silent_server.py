"""A server that accepts connections and does not answer: every wait for it ends, with either driver.

A call is cancelled when the silent server has received something of it, not after a time. So nothing here depends on
how fast the machine is.
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from operator_core.actions import (
    ActionStatus,
    ConnectionLostError,
    DatabaseUnavailableError,
    NotOpenError,
    WaitTimeoutError,
)
from operator_core.db import ActionDB
from operator_core.db.engine import drivers, postgresql
from operator_core.db.repository import action_db, execution
from operator_core.db.transactions import block, in_flight, owned
from tests.support.factories import proposal, stored
from tests.support.frozen_proxy import FrozenProxy, frozen_proxy
from tests.support.patience import IN_VAIN, PATIENCE

DRIVERS = {"asyncpg": "postgresql+asyncpg", "psycopg": "postgresql+psycopg"}
SOON = 0.3


@pytest.fixture(params=DRIVERS)
def url(request: pytest.FixtureRequest, postgres_url: str) -> str:
    return make_url(postgres_url).set(drivername=DRIVERS[request.param]).render_as_string(hide_password=False)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the bounds that run only while the server is silent, and lengthen the one of a slow opening."""
    monkeypatch.setattr(action_db, "OPEN_TIMEOUT_SECONDS", PATIENCE)
    monkeypatch.setattr(owned, "WRITE_MARGIN_SECONDS", 0.5)
    monkeypatch.setattr(execution, "SETTLE_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(block, "ROLLBACK_TIMEOUT_SECONDS", 0.5)


@pytest.fixture
async def proxy(url: str) -> AsyncIterator[FrozenProxy]:
    async with frozen_proxy(url) as between:
        yield between


@pytest.fixture
async def db(proxy: FrozenProxy) -> AsyncIterator[ActionDB]:
    db = await ActionDB(proxy.url, lock_timeout=0.5).open()
    yield db
    proxy.thaw()
    await db.close()


@asynccontextmanager
async def generous() -> AsyncIterator[None]:
    async with asyncio.timeout(PATIENCE):  # before there were bounds, it took minutes, or for ever
        yield


async def _cancel_once_asked(proxy: FrozenProxy, work: Awaitable[Any]) -> None:
    """Run `work` until the silent server has received something, and cancel it then."""
    task, asked = asyncio.ensure_future(work), asyncio.ensure_future(proxy.asked())
    await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    task.cancel()
    await task


async def _sockets(proxy: FrozenProxy, expected: int) -> None:
    """Wait until so many connections are open at most."""
    async with generous():
        while proxy.open > expected:
            gc.collect()  # psycopg closes a socket that never connected when its error is forgotten
            await asyncio.sleep(0.01)


Call = Callable[[ActionDB], Awaitable[Any]]

READS: dict[str, Call] = {
    "list_proposals": lambda db: db.list_proposals(),
    "get_events": lambda db: db.get_events(1),
    "kill_switch_status": lambda db: db.kill_switch_status(),
    "verify": lambda db: db.verify(),
}
WRITES: dict[str, Call] = {
    "create_proposal": lambda db: db.create_proposal(proposal()),
    "create_proposals": lambda db: db.create_proposals([proposal(), proposal()]),
    "claim_next": lambda db: db.claim_next(worker="w"),
    "recover_expired_leases": lambda db: db.recover_expired_leases(),
}


@pytest.mark.parametrize("name", READS)
async def test_a_read_is_cancelled_at_once_and_its_connection_closed(
    db: ActionDB, proxy: FrozenProxy, name: str
) -> None:
    await READS[name](db)
    before = proxy.open
    proxy.freeze()

    async with generous():
        with pytest.raises(asyncio.CancelledError):
            await _cancel_once_asked(proxy, READS[name](db))

    await _sockets(proxy, before - 1)
    proxy.thaw()
    assert await db.list_proposals() == []


async def test_a_read_that_is_still_connecting_is_cancelled_at_once(db: ActionDB, proxy: FrozenProxy) -> None:
    async with generous():
        for _ in range(4):  # the first one has a connection
            proxy.freeze()
            with pytest.raises(asyncio.CancelledError):
                await _cancel_once_asked(proxy, db.list_proposals())

    proxy.thaw()
    assert await db.list_proposals() == []


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_that_is_cancelled_is_given_up_in_time(db: ActionDB, proxy: FrozenProxy, name: str) -> None:
    await WRITES[name](db)
    before = proxy.open
    proxy.freeze()

    async with generous():
        with pytest.raises(asyncio.CancelledError):
            await _cancel_once_asked(proxy, WRITES[name](db))

    await _sockets(proxy, before - 1)
    proxy.thaw()
    await db.create_proposal(proposal())


async def test_a_call_that_nobody_cancels_ends_with_a_typed_error(
    proxy: FrozenProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # asyncpg takes its timeout when the engine is made, so opening must come within it; psycopg reads it at each wait.
    monkeypatch.setattr(drivers, "COMMAND_TIMEOUT_SECONDS", 3 * IN_VAIN)
    async with ActionDB(proxy.url) as db:
        await db.list_proposals()
        monkeypatch.setattr(drivers, "COMMAND_TIMEOUT_SECONDS", IN_VAIN)
        proxy.freeze()

        async with generous():
            for call in (READS["list_proposals"], WRITES["create_proposal"]):
                with pytest.raises(DatabaseUnavailableError):
                    await call(db)
        proxy.thaw()


async def test_the_check_of_an_idle_connection_ends(
    db: ActionDB, proxy: FrozenProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    await db.list_proposals()
    monkeypatch.setattr(postgresql, "IDLE_SECONDS", 0.0)
    monkeypatch.setattr(postgresql, "PING_TIMEOUT_SECONDS", 0.3)
    proxy.freeze()

    async with generous():
        with pytest.raises(DatabaseUnavailableError):
            await db.list_proposals()


@pytest.mark.parametrize("calls", [0, 3])
async def test_a_close_ends(proxy: FrozenProxy, calls: int) -> None:
    db = await ActionDB(proxy.url, lock_timeout=0.5).open()
    await asyncio.gather(*(db.list_proposals() for _ in range(4)))
    proxy.freeze()
    under_way = [asyncio.ensure_future(db.create_proposal(proposal())) for _ in range(calls)]

    async with generous():
        await proxy.asked(calls)
        await db.close()
        ended = await asyncio.gather(*under_way, return_exceptions=True)

    assert {type(one) for one in ended} <= {ConnectionLostError, NotOpenError}
    await _sockets(proxy, 0)


async def test_a_block_with_a_ledger_ends_when_it_is_cancelled(proxy: FrozenProxy) -> None:
    async def block() -> None:
        async with ActionDB(proxy.url, lock_timeout=0.5) as db:
            proxy.freeze()
            await db.create_proposal(proposal())

    async with generous():
        with pytest.raises(asyncio.CancelledError):
            await _cancel_once_asked(proxy, block())

    await _sockets(proxy, 0)


@pytest.mark.parametrize("name", ["reads", "writes", "commits", "has connected to nothing"])
async def test_a_transaction_ends_when_it_is_cancelled(db: ActionDB, proxy: FrozenProxy, name: str) -> None:
    async def block() -> None:
        async with db.transaction() as tx:
            if name != "has connected to nothing":
                await tx.create_proposal(proposal())
            proxy.freeze()
            if name == "reads":
                await tx.list_proposals()
            elif name != "commits":
                await tx.create_proposal(proposal())

    async with generous():
        with pytest.raises(asyncio.CancelledError):
            await _cancel_once_asked(proxy, block())

    proxy.thaw()
    await db.create_proposal(proposal(action_name="after"))
    assert "after" in [one.action_name for one in await db.list_proposals()]


async def test_a_transaction_that_lost_its_connection_says_so(db: ActionDB, proxy: FrozenProxy) -> None:
    with pytest.raises(ConnectionLostError):
        async with generous(), db.transaction() as tx:
            await tx.create_proposal(proposal())
            proxy.freeze()
            with pytest.raises(asyncio.CancelledError):
                await _cancel_once_asked(proxy, tx.list_proposals())
            proxy.thaw()
            with pytest.raises(ConnectionLostError):
                await tx.create_proposal(proposal())

    assert await db.list_proposals() == []


@pytest.mark.parametrize("looks", [0, 1])
async def test_a_wait_for_a_proposal_ends_with_its_timeout(
    db: ActionDB, proxy: FrozenProxy, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, get_proposal = await stored(db), db.get_proposal

    async def get_and_freeze(proposal_id: int) -> object:
        found = await get_proposal(proposal_id)
        proxy.freeze()
        return found

    if looks:
        monkeypatch.setattr(db, "get_proposal", get_and_freeze)
    else:
        proxy.freeze()

    async with generous():
        with pytest.raises(WaitTimeoutError if looks else DatabaseUnavailableError):
            await db.wait_for(made.id, timeout=IN_VAIN if looks else SOON, poll_interval=0.05)


async def test_whoever_waits_for_a_hint_is_let_go(db: ActionDB, proxy: FrozenProxy) -> None:
    async with generous():
        async with db.notifications() as hint:
            await hint(SOON)  # it listens now, where the driver can
            proxy.freeze()
            await hint(0.01)
        async with db.notifications() as hint:
            await hint(0.01)


async def test_opening_ends(proxy: FrozenProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(action_db, "OPEN_TIMEOUT_SECONDS", 1.0)
    proxy.freeze()

    async with generous():
        with pytest.raises(DatabaseUnavailableError, match="no answer"):
            await ActionDB(proxy.url).open()

    await _sockets(proxy, 0)


async def test_an_opening_that_is_cancelled_ends_and_leaves_nothing_open(proxy: FrozenProxy) -> None:
    proxy.freeze()
    db = ActionDB(proxy.url)

    async with generous():
        with pytest.raises(asyncio.CancelledError):
            await _cancel_once_asked(proxy, db.open())
    proxy.thaw()

    await _sockets(proxy, 0)
    async with db:
        assert await db.list_proposals() == []


@pytest.mark.parametrize("how", ["cancelled", "ended"])
async def test_the_block_of_an_execution_ends_when_it_is_cancelled(db: ActionDB, proxy: FrozenProxy, how: str) -> None:
    await stored(db, ActionStatus.VALIDATED)

    async def block() -> None:
        execution = await db.claim_next(worker="w", lease_seconds=IN_VAIN)
        assert execution is not None
        async with execution:
            proxy.freeze()
            if how == "cancelled":
                await asyncio.Event().wait()

    async with generous():
        with pytest.raises(asyncio.CancelledError):  # the end cannot be recorded
            await _cancel_once_asked(proxy, block())


async def test_bounds_are_as_documented() -> None:
    text = (
        in_flight.READ_CANCEL_TIMEOUT_SECONDS,
        in_flight.HANG_UP_TIMEOUT_SECONDS,
        drivers.COMMAND_TIMEOUT_SECONDS,
    )

    assert text == (0.5, 2.0, 330.0)
