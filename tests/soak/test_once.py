"""Many worker processes share a ledger, and every action is done exactly once."""

import time
from contextlib import closing

from operator_core.db import ActionDB
from tests.support.history import check_history, drop_guards
from tests.support.ledger import Ledger
from tests.support.race_rounds import LONG, engine_of, rounds
from tests.support.soak_actions import done
from tests.support.soak_crew import Crew, is_finished, propose, until

PROPOSALS = rounds(short=150, long=20_000)
PROCESSES = 8 if LONG else 3
ENOUGH = 150  # to see that naive workers are found out


def figures(members: Crew, title: str, begun: float) -> str:
    took, counts = time.monotonic() - begun, done(members.folder)
    return (
        f"soak {engine_of(members.ledger)}, {title}: {len(counts)} done, "
        f"{sum(counts.values()) - len(counts)} done again, {took:.0f} s [seed {members.seed}]"
    )


async def test_of_many_workers_exactly_one_does_each_action(db: ActionDB, ledger: Ledger, members: Crew) -> None:
    begun = time.monotonic()
    await propose(db, PROPOSALS)

    members.hire(PROCESSES, concurrency=4)
    await until(db, is_finished, members)
    reports = members.dismiss()

    print(figures(members, f"{PROCESSES} workers", begun))
    assert done(members.folder) == dict.fromkeys(range(1, PROPOSALS + 1), 1)
    assert sum(report["succeeded"] for report in reports) == PROPOSALS
    assert check_history(ledger) == []
    assert await db.verify() == []


async def test_workers_that_read_before_they_write_do_an_action_twice(
    db: ActionDB, ledger: Ledger, members: Crew
) -> None:
    begun = time.monotonic()
    await propose(db, ENOUGH)
    drop_guards(ledger)
    with closing(ledger.connect()) as plain:
        plain.execute("UPDATE action_proposals SET status = 'validated', validated_at = status_at")

    members.hire(PROCESSES, "reads then writes")
    await until(db, is_finished, members)
    members.dismiss()

    print(figures(members, "naive workers", begun))
    assert max(done(members.folder).values()) > 1
