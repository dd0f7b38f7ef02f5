"""What a listener leaves behind when its waiters are gone, and that a cancelled wait always ends."""

import asyncio
import gc

import pytest

from operator_core.db import ActionDB
from operator_core.db.engine import notifier
from tests.support.ledger import DRIVER, Ledger
from tests.support.patience import PATIENCE


@pytest.mark.parametrize("turns", range(6))
async def test_a_wait_that_is_cancelled_beside_a_notification_ends(db: ActionDB, turns: int) -> None:
    """The turns of the event loop between the two decide which of them the wait sees first."""
    begun = asyncio.Event()

    async def wait_again_and_again() -> None:
        async with db.notifications() as wait:
            begun.set()
            while True:
                await wait(PATIENCE)

    waiting = asyncio.create_task(wait_again_and_again())
    await begun.wait()
    await asyncio.sleep(0)
    assert db._notifier is not None
    db._notifier._wake_waiters()
    for _ in range(turns):
        await asyncio.sleep(0)
    waiting.cancel()

    await asyncio.wait({waiting}, timeout=PATIENCE)
    assert waiting.cancelled()


@pytest.mark.skipif(DRIVER != "asyncpg", reason=f"{DRIVER} does not listen: there, polling is all")
@pytest.mark.parametrize("ledger", ["postgresql"], indirect=True)
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
async def test_a_listener_that_is_still_connecting_comes_to_its_end(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected: list[bool] = []
    connect = notifier.Notifier._connect

    async def noting(self: notifier.Notifier, engine: notifier.AsyncEngine) -> None:
        await connect(self, engine)
        connected.append(True)

    monkeypatch.setattr(notifier.Notifier, "_connect", noting)
    async with ActionDB(ledger.target) as db:
        for _ in range(5):
            async with db.notifications() as hint:
                await hint(0)
                await asyncio.sleep(0.002)  # it is connecting now
            gc.collect()

    assert connected == [True] * 5
