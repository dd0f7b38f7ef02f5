"""A stop while many workers are busy: nothing is claimed after the receipt, and every running action hears of it."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from operator_core.actions import ActionProposal, ActionStatus, StopResponse
from operator_core.actions.kill_switch import Answer
from operator_core.db import ActionDB
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.race_rounds import engine_of, rounds, seed
from tests.support.soak_actions import let_go, lines
from tests.support.soak_claimers import ClaimCrew
from tests.support.soak_crew import Crew, until
from tests.support.stop_race import Race

STOPS = rounds(short=2, long=20)
PROCESSES, CONCURRENCY = 3, 4
BUSY = PROCESSES * CONCURRENCY
DEAF = 2


async def busy(db: ActionDB, members: Crew, action: str, count: int) -> None:
    """Wait until so many more actions run."""
    before = (await db.count_proposals())[ActionStatus.EXECUTING]
    await db.create_proposals([ActionProposal(action_name=action, reason="soak") for _ in range(count)])
    await until(db, lambda counts: counts[ActionStatus.EXECUTING] == before + count, members)


async def stopped(db: ActionDB, members: Crew) -> list[StopResponse]:
    """Stop everything, wait until all but the deaf have answered, release, and return what the status says."""
    receipt = await db.engage_kill_switch(by="ann", reason="soak", timeout=60.0)
    await until(db, lambda counts: counts[ActionStatus.EXECUTING] == DEAF, members)
    await db.release_kill_switch(by="ann", reason="go on", generation=receipt.generation)
    answers = (await db.kill_switch_status()).answers
    return [answer for answer in answers if answer.generation == receipt.generation]


def percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


async def test_every_running_action_hears_of_a_stop_and_every_silence_is_shown(
    db: ActionDB, ledger: Ledger, members: Crew, tmp_path: Path
) -> None:
    delays: list[float] = []
    members.hire(PROCESSES, concurrency=CONCURRENCY, actions=("obey",))
    members.hire(1, concurrency=DEAF, actions=("ignore",))
    await busy(db, members, "ignore", DEAF)

    for _ in range(STOPS):
        await busy(db, members, "obey", BUSY)
        answers = await stopped(db, members)
        delays += [answer.seconds for answer in answers if answer.answer is Answer.STOPPED]
        assert sorted(answer.answer for answer in answers) == [*[Answer.SILENT] * DEAF, *[Answer.STOPPED] * BUSY]

    shown = {f"p{percent}": f"{percentile(delays, percent):.2f} s" for percent in (50, 95)}
    print(
        f"soak {engine_of(ledger)}, stop: {STOPS} stops of {BUSY} running, {len(delays)} answers, {shown}, "
        f"max {max(delays):.2f} s by the database's clock [seed {members.seed}]"
    )
    assert len(lines(tmp_path, "heard")) == STOPS * BUSY
    assert check_history(ledger) == []


async def test_an_action_that_ignored_a_stop_is_shown_to_have_finished_anyway(
    db: ActionDB, members: Crew, tmp_path: Path
) -> None:
    members.hire(1, concurrency=DEAF)
    await busy(db, members, "ignore", DEAF)
    await stopped(db, members)

    let_go(tmp_path)
    await until(db, lambda counts: counts[ActionStatus.COMPLETED] == DEAF, members)

    answers = (await db.kill_switch_status()).answers
    assert [answer.answer for answer in answers] == [Answer.FINISHED_ANYWAY] * DEAF


@pytest.fixture
def claimers(ledger: Ledger) -> Iterator[ClaimCrew]:
    """A crew that claims what it starts."""
    hired = ClaimCrew(ledger, seed())
    try:
        hired.hire("claimer", 8 if ledger.is_sqlite else 12)
        hired.hire("proposer", 2)
        yield hired
        hired.dismiss()
    finally:
        hired.kill()


async def test_nothing_is_claimed_after_the_receipt_of_a_stop(
    db: ActionDB, ledger: Ledger, claimers: ClaimCrew
) -> None:
    with closing(Race(ledger, claimers, db)) as race:
        result = await race.run(rounds(5, 100))

    result.print(f"claimers on {engine_of(ledger)}", claimers.seed)
    assert (result.late, result.revived, result.pending) == ([], [], [])
    assert check_history(ledger, result.confirmed) == []
