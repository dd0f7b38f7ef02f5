"""Waiting tasks learn of what other clients do, soon and with few notifications."""

import asyncio
from collections import Counter
from contextlib import closing
from typing import Any

import pytest

from operator_core.actions import ActionStatus, ProposalNotFoundError
from operator_core.db import ActionDB
from operator_core.db.engine import notifier
from tests.support.factories import proposal, stored
from tests.support.ledger import DRIVER, Ledger
from tests.support.patience import PATIENCE
from tests.support.plain_sql import step

WAITERS = 200
HEARS = pytest.mark.skipif(DRIVER != "asyncpg", reason=f"{DRIVER} does not listen: there, polling is all")


class CountingDB(ActionDB):
    """Counts its units by their names."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger.target)
        self.units: Counter[str] = Counter()

    async def open(self) -> "CountingDB":
        await super().open()
        assert self._transactions is not None
        run = self._transactions.run

        async def counted(unit: Any, *args: Any, **kwargs: Any) -> Any:
            self.units[unit.__name__] += 1
            return await run(unit, *args, **kwargs)

        self._transactions.run = counted  # type: ignore[method-assign, assignment]
        return self


async def both_wait(db: ActionDB) -> None:
    """Wait until two tasks wait for proposals."""
    while db._status_watch is None or len(db._status_watch._waiters) < 2:
        await asyncio.sleep(0.01)


@HEARS
async def test_a_step_of_another_client_ends_a_wait(db: ActionDB, ledger: Ledger) -> None:
    async with ActionDB(ledger.target) as other, db.notifications() as hint:
        await hint(0)
        async with asyncio.timeout(PATIENCE):
            while db._notifier is None or db._notifier._listener is None or not db._notifier._listener.is_listening:
                await asyncio.sleep(0.01)
            await hint(0.1)  # for what happened while it connected

            await other.create_proposal(proposal())
            await hint(2 * PATIENCE)


@pytest.mark.parametrize("ledger", ["postgresql"], indirect=True)
async def test_many_steps_are_one_notification(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "NOTIFY_INTERVAL_SECONDS", PATIENCE)

    async with CountingDB(ledger) as db:
        for _ in range(20):
            await db.create_proposal(proposal())
        assert db.units["announce"] <= 1
        units = db.units

    assert units["announce"] == 2  # the first step, and all others when it closes


@pytest.mark.parametrize("ledger", ["sqlite"], indirect=True)
async def test_on_a_file_nothing_is_sent(ledger: Ledger) -> None:
    async with CountingDB(ledger) as db:
        await db.create_proposal(proposal())
        units = db.units

    assert units["announce"] == 0


@HEARS
@pytest.mark.parametrize("ledger", ["postgresql"], indirect=True)
async def test_nobody_is_woken_twice_by_a_step_of_its_own(ledger: Ledger) -> None:
    async with ActionDB(ledger.target) as db, db.notifications() as hint:
        await hint(0)
        assert db._notifier is not None
        woken: list[str] = []
        db._notifier._wake_waiters = lambda: woken.append("woken")  # type: ignore[method-assign]
        db._notifier._heard(db._notifier._id)
        assert woken == []
        db._notifier._heard("another")
        assert woken == ["woken"]


async def test_all_who_wait_share_a_look(ledger: Ledger) -> None:
    async with CountingDB(ledger) as db:
        made = await db.create_proposals([proposal() for _ in range(WAITERS)])
        waiting = [asyncio.create_task(db.wait_for(one.id, poll_interval=0.05)) for one in made]
        while db.units["get"] < WAITERS or db.units["statuses"] < 5:
            await asyncio.sleep(0.01)
        db.units.clear()
        while db.units["statuses"] < 5:
            await asyncio.sleep(0.01)
        assert set(db.units) <= {"statuses", "announce"}

        async with ActionDB(ledger.target) as other:
            await other.cancel_all_pending()
        async with asyncio.timeout(PATIENCE):
            found = await asyncio.gather(*waiting)

    assert {one.status for one in found} == {ActionStatus.CANCELLED}


async def test_one_who_is_impatient_does_not_wait_for_one_who_is_not(db: ActionDB, ledger: Ledger) -> None:
    patient, impatient = await stored(db), await stored(db)
    waits = [asyncio.create_task(db.wait_for(patient.id, poll_interval=2 * PATIENCE))]
    await asyncio.sleep(0.05)
    waits.append(asyncio.create_task(db.wait_for(impatient.id, poll_interval=0.02)))
    await asyncio.sleep(0.05)
    with closing(ledger.connect()) as plain:  # which notifies nobody
        plain.execute(step(impatient.id, ActionStatus.CANCELLED))

    async with asyncio.timeout(PATIENCE):
        assert (await waits[1]).status is ActionStatus.CANCELLED
    waits[0].cancel()
    await asyncio.wait(waits)


async def test_one_who_is_gone_does_not_disturb_the_others(db: ActionDB) -> None:
    first, second = await stored(db), await stored(db)
    waits = [asyncio.create_task(db.wait_for(one.id, poll_interval=0.02)) for one in (first, second)]
    await both_wait(db)

    waits[0].cancel()
    await asyncio.wait({waits[0]})
    await db.cancel_all_pending()

    assert (await waits[1]).status is ActionStatus.CANCELLED


async def test_what_is_pruned_meanwhile_is_said_to_who_waits_for_it(
    db: ActionDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, other = await stored(db), await stored(db)
    get = db.get_proposal
    waits = [asyncio.create_task(db.wait_for(one.id, poll_interval=0.02)) for one in (made, other)]
    await both_wait(db)

    async def gone(number: int) -> Any:
        return None if number == made.id else await get(number)

    monkeypatch.setattr(db, "get_proposal", gone)
    await db.update_proposal_status(made.id, ActionStatus.VALIDATED)

    with pytest.raises(ProposalNotFoundError):
        await waits[0]
    await db.cancel_all_pending()
    assert (await waits[1]).status is ActionStatus.CANCELLED
