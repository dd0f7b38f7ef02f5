"""A worker that was frozen beyond its lease learns that it was lost, and what it reports too late is only evidence."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from operator_core.actions import ActionProposal, ActionStatus, DatabaseLockedError, EventKind
from operator_core.db import ActionDB
from operator_core.testing import advance_time
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.race_rounds import engine_of
from tests.support.soak_actions import let_go, lines
from tests.support.soak_crew import Crew

LEASE = timedelta(minutes=10)  # no heartbeat is due meanwhile


async def recovered(db: ActionDB) -> bool:
    """Let the lease of a frozen worker run out, and recover it, unless it holds the lock."""
    with suppress(DatabaseLockedError):
        await advance_time(db, LEASE)
        return bool(await db.recover_expired_leases(by="ann"))
    return False


async def is_locked(db: ActionDB) -> bool:
    try:
        await db.cancel_all_pending()  # there is nothing pending
    except DatabaseLockedError:
        return True
    return False


@pytest.fixture
async def db(ledger: Ledger) -> AsyncIterator[ActionDB]:
    """An open `ActionDB` that does not wait long for a lock, which a frozen worker may hold."""
    async with ActionDB(ledger.target, lock_timeout=1.0) as opened:
        yield opened


async def frozen_and_thawed(db: ActionDB, members: Crew, action: str) -> dict[str, object]:
    """Freeze a worker in an action until it is recovered, let it go on, and return what it reports."""
    await db.create_proposal(ActionProposal(action_name=action, reason="soak"))
    (member,) = members.hire(1, lease_seconds=LEASE.total_seconds())
    while not lines(members.folder, "began"):
        await asyncio.sleep(0.02)
        members.must_live()
    member.send(signal.SIGSTOP)
    while not await recovered(db):
        await asyncio.sleep(0.05)
        if await is_locked(db):  # it was frozen in a heartbeat, and holds SQLite's one write lock
            member.send(signal.SIGCONT)
            await asyncio.sleep(0.05)
            member.send(signal.SIGSTOP)
    let_go(members.folder)
    member.send(signal.SIGCONT)
    await asyncio.sleep(0)
    (report,) = members.dismiss()
    return report


async def test_the_action_of_a_frozen_worker_is_cancelled_with_a_lost_lease(
    db: ActionDB, ledger: Ledger, members: Crew, tmp_path: Path
) -> None:
    report = await frozen_and_thawed(db, members, "notice")

    print(f"soak {engine_of(ledger)}, frozen: the action saw {lines(tmp_path, 'saw')} [seed {members.seed}]")
    assert lines(tmp_path, "saw") == [["1", "CancelledError", "LeaseLostError"]]
    assert report["lost"] == [1]


async def test_the_finish_of_a_frozen_worker_is_refused(db: ActionDB, members: Crew) -> None:
    report = await frozen_and_thawed(db, members, "cling")

    found = await db.get_proposal(1)
    assert found is not None
    assert (found.status, found.status_by) == (ActionStatus.FAILED, "ann")
    assert (report["succeeded"], report["lost"]) == (0, [1])


async def test_the_finish_of_a_frozen_worker_is_kept_as_evidence(db: ActionDB, ledger: Ledger, members: Crew) -> None:
    await frozen_and_thawed(db, members, "cling")

    told = [event for event in await db.get_events(1) if event.kind is EventKind.REPORTED_LATE]
    assert [(event.by, event.data) for event in told] == [
        ("worker 0", {"outcome": "succeeded", "error_message": None, "result_data": {"late": True}})
    ]
    assert check_history(ledger) == []
    assert await db.verify() == []
