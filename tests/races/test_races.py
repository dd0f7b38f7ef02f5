"""Sixteen processes try one step at the same moment: one wins, and the others hear so."""

from collections import Counter, defaultdict
from contextlib import closing

import pytest

from operator_core.actions import ActionStatus
from operator_core.db import ActionDB
from tests.support.factories import running, stored
from tests.support.history import check_history, drop_guards
from tests.support.ledger import Ledger
from tests.support.race_jobs import WON, name_of
from tests.support.race_nursery import Nursery
from tests.support.race_rounds import engine_of, rounds

PROCESSES = 16
ROUNDS = rounds(short=10, long=300)
REFUSED = "TransitionNotAllowedError"

Outcomes = dict[int, dict[int, str]]
"""What each child got, by the number that it raced for."""


def race(nursery: Nursery, ledger: Ledger, step: str, numbers: list[int]) -> Outcomes:
    """Let all processes try a step of each number, one after the other; the processes are the same for all."""
    outcomes: Outcomes = defaultdict(dict)
    nursery.fork("race", PROCESSES, target=str(ledger.target), step=step, numbers=numbers)
    for message in nursery.messages():
        if "gone" in message:
            assert message["gone"] == [0] * PROCESSES
        else:
            outcomes[message["number"]][message["child"]] = message["outcome"]
    return outcomes


def figures(ledger: Ledger, step: str, outcomes: Outcomes) -> str:
    winners = sorted({list(by_child.values()).count(WON) for by_child in outcomes.values()})
    lost = Counter(outcome for by_child in outcomes.values() for outcome in by_child.values() if outcome != WON)
    return (
        f"race {engine_of(ledger)} {step}: {len(outcomes)} rounds, {PROCESSES} processes, winners/round "
        f"{winners[0] if len(winners) == 1 else f'{winners[0]} to {winners[-1]}'}, {dict(lost)}"
    )


async def prepare(ledger: Ledger, step: str) -> list[int]:
    """Return what the processes will race for: a proposal for each round, or the record of one."""
    async with ActionDB(ledger.target) as db:
        if step == "finish":
            return [(await running(db)).id or 0 for _ in range(ROUNDS)]
        status = ActionStatus.PROPOSED if step == "cancel" else ActionStatus.VALIDATED
        return [(await stored(db, status)).id or 0 for _ in range(ROUNDS)]


def takers(ledger: Ledger, step: str, number: int) -> list[str]:
    """Return who took the last step, by the events: one for each event."""
    of = (
        "proposal_id"
        if step != "finish"
        else "(SELECT r.id FROM action_records AS r WHERE r.proposal_id = e.proposal_id)"
    )
    with closing(ledger.connect()) as connection:
        rows = connection.execute(
            f'SELECT e."by" FROM action_events AS e WHERE {of} = {number} AND e."by" LIKE \'racer %\''
        ).fetchall()
    return [row[0] for row in rows]


@pytest.mark.parametrize("step", ["start", "cancel", "start or cancel", "finish"])
async def test_of_many_processes_exactly_one_takes_a_step(ledger: Ledger, nursery: Nursery, step: str) -> None:
    numbers = await prepare(ledger, step)

    outcomes = race(nursery, ledger, step, numbers)

    print(figures(ledger, step, outcomes))
    assert list(outcomes) == numbers
    for number, by_child in outcomes.items():
        winner = next(child for child, outcome in by_child.items() if outcome == WON)
        assert Counter(by_child.values()) == {WON: 1, REFUSED: PROCESSES - 1}
        assert takers(ledger, step, number) == [name_of(winner)]
    assert check_history(ledger) == []


async def test_a_race_of_those_who_read_before_they_write_has_many_winners(ledger: Ledger, nursery: Nursery) -> None:
    numbers = await prepare(ledger, "start")
    drop_guards(ledger)

    outcomes = race(nursery, ledger, "naive", numbers)

    print(figures(ledger, "naive", outcomes))
    assert max(list(by_child.values()).count(WON) for by_child in outcomes.values()) > 1
