"""What a listener leaves behind whose waiters are gone before it has connected."""

import asyncio
import gc

import pytest

from operator_core.db import ActionDB
from operator_core.db.engine import beside
from tests.support.ledger import DRIVER, Ledger


@pytest.mark.skipif(DRIVER != "asyncpg", reason=f"{DRIVER} does not listen: there, polling is all")
@pytest.mark.parametrize("ledger", ["postgresql"], indirect=True)
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
async def test_a_listener_that_is_still_connecting_comes_to_its_end(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected: list[bool] = []
    connect = beside.Bell._connect

    async def noting(self: beside.Bell, engine: beside.AsyncEngine) -> None:
        await connect(self, engine)
        connected.append(True)

    monkeypatch.setattr(beside.Bell, "_connect", noting)
    async with ActionDB(ledger.target) as db:
        for _ in range(5):
            async with db.notifications() as hint:
                await hint(0)
                await asyncio.sleep(0.002)  # it is connecting now
            gc.collect()

    assert connected == [True] * 5
