"""Workers are killed at any moment: what they did is never done again, and what nobody knows is listed as unknown."""

import asyncio
import random
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from operator_core.actions import ActionProposal, ActionStatus
from operator_core.db import ActionDB
from operator_core.testing import advance_time
from tests.support.history import check_history, drop_guards
from tests.support.ledger import Ledger
from tests.support.race_rounds import LONG, engine_of, rounds
from tests.support.soak_actions import done
from tests.support.soak_crew import Crew, is_finished, propose, standing, until

KILLS = rounds(short=4, long=100)
PROCESSES = 8 if LONG else 3
LEASE = 1.0
HOUR = timedelta(hours=1)
SETTINGS = {"concurrency": 2, "lease_seconds": LEASE}
ENOUGH = 60  # pending proposals, so that a kill hits somebody at work
LONGEST_LIFE = 0.4  # seconds between two kills


def pauses(dice: random.Random) -> dict[str, float]:
    """Return how long an action takes, so that a kill comes before or after the moment in which it is done."""
    return {"before": dice.uniform(0, 0.05), "after": dice.uniform(0, 0.05)}


async def kill_one(members: Crew, dice: random.Random) -> None:
    """Kill somebody at some moment."""
    await asyncio.sleep(dice.uniform(0.05, LONGEST_LIFE))
    members.must_live()
    members.kill(dice.choice(members.members))


async def unknown(db: ActionDB) -> set[int]:
    """Return the proposals that nobody knows the outcome of."""
    return {record.proposal_id for record in await db.list_unresolved()}


async def completed(db: ActionDB) -> set[int]:
    return {found.id async for found in db.iter_proposals(ActionStatus.COMPLETED)}


async def test_of_killed_workers_nothing_is_done_twice_and_nothing_is_lost(
    db: ActionDB, ledger: Ledger, members: Crew
) -> None:
    dice, begun = random.Random(members.seed), time.monotonic()

    members.hire(PROCESSES, **SETTINGS)
    for _ in range(KILLS):
        if (await standing(db))[ActionStatus.PROPOSED] < ENOUGH:
            await propose(db, ENOUGH, lambda: pauses(dice))
        await kill_one(members, dice)
        members.hire(1, **SETTINGS)
    await until(db, is_finished, members)  # the workers recover what the killed ones have lost
    members.dismiss()

    counts, ended, lost = done(members.folder), await completed(db), await unknown(db)
    total = sum((await standing(db)).values())
    print(
        f"soak {engine_of(ledger)}, kills: {KILLS} of {PROCESSES} workers, {total} proposals, {len(ended)} completed, "
        f"{len(lost)} unknown ({len(lost - set(counts))} of them not done), {max(counts.values())} times at most, "
        f"{time.monotonic() - begun:.0f} s [seed {members.seed}]"
    )
    assert max(counts.values()) == 1
    assert ended | lost == set(range(1, total + 1))
    assert set(range(1, total + 1)) - set(counts) <= lost
    assert check_history(ledger) == []
    assert await db.verify() == []


async def test_what_lost_workers_left_is_recovered_by_one_call(db: ActionDB, ledger: Ledger, members: Crew) -> None:
    await db.create_proposal(ActionProposal(action_name="ignore", reason="soak"))
    (doomed,) = members.hire(1, lease_seconds=HOUR.total_seconds())
    await until(db, lambda counts: counts[ActionStatus.EXECUTING] == 1, members)
    members.kill(doomed)

    await advance_time(db, HOUR)
    recovered = await db.recover_expired_leases()

    assert [(record.proposal_id, record.worker) for record in recovered] == [(1, "worker 0")]
    assert (await standing(db))[ActionStatus.EXECUTING] == 0
    assert check_history(ledger) == []


async def test_a_recovery_that_validates_again_does_an_action_twice(
    db: ActionDB, ledger: Ledger, members: Crew, tmp_path: Path
) -> None:
    dice, kills = random.Random(members.seed), 0
    await propose(db, 10 * ENOUGH)
    drop_guards(ledger)
    with closing(ledger.connect()) as plain:
        plain.execute("UPDATE action_proposals SET status = 'validated', validated_at = status_at")

    members.hire(PROCESSES, "validates again")
    while max(done(tmp_path).values(), default=0) < 2 and kills < 100:
        await kill_one(members, dice)
        members.hire(1, "validates again")
        kills += 1

    print(
        f"soak {engine_of(ledger)}, recovery that validates again: done twice after {kills} kills [seed {members.seed}]"
    )
    assert max(done(tmp_path).values()) > 1
