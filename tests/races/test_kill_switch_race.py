"""Many processes start actions while one stops and releases them: nothing starts late, and nothing is revived."""

import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from operator_core.db import ActionDB
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE
from tests.support.race_rounds import LONG, rounds, seed
from tests.support.stop_race import (
    Crew,
    FlagRace,
    HungClientRace,
    HungStartRace,
    Race,
    Result,
    UnguardedRace,
    crew,
)

CREWS = {
    "postgresql": {"by_library": 10, "by_claim": 6, "proposer": 2},
    "postgresql with plain SQL": {"by_library": 8, "by_claim": 4, "by_sql": 4, "proposer": 2},
    "sqlite": {"by_library": 5, "by_claim": 3, "proposer": 2},
}
BUSY = 16 if LONG else 6  # processes take longer to start than a short race to run
BESIDE = {
    "postgresql beside one hung client": {"by_library": BUSY // 2, "by_claim": BUSY // 2, "proposer": 2},
    "sqlite beside one hung reader": {"by_library": BUSY // 4, "by_claim": BUSY // 4, "proposer": 2},
}


@asynccontextmanager
async def racing(
    ledger: Ledger, number: int, roles: dict[str, int], kind: type[Race] = Race
) -> AsyncIterator[tuple[Crew, Race]]:
    async with ActionDB(ledger.target, lock_timeout=PATIENCE) as db:
        with crew(ledger, number, **roles) as members, closing(kind(ledger, members, db)) as race:
            yield members, race


async def raced(
    ledger: Ledger, title: str, roles: dict[str, int], times: int, kind: type[Race] = Race
) -> tuple[Result, Crew]:
    """Race a ledger with a crew, and print what came out."""
    number = seed()
    async with racing(ledger, number, roles, kind) as (members, race):
        result = await race.run(times)
    result.print(title, number)
    return result, members


def ledger_for(request, title: str) -> Ledger:
    return Ledger(request.getfixturevalue("sqlite_path" if title.startswith("sqlite") else "postgres_url"))


@pytest.mark.parametrize("title", CREWS)
async def test_no_start_is_late_none_is_revived_and_nothing_stopped_stays_pending(request, title: str) -> None:
    ledger = ledger_for(request, title)

    result, members = await raced(ledger, title, CREWS[title], rounds(10, 200))

    assert (result.late, result.revived, result.pending) == ([], [], [])
    assert {role for role, counts in members.counts.items() if counts["starts"]} == {*CREWS[title]} - {"proposer"}
    assert check_history(ledger, result.confirmed) == []


@pytest.mark.parametrize("title", BESIDE)
async def test_a_client_that_hangs_in_a_transaction_is_not_in_the_way_of_a_stop(request, title: str) -> None:
    ledger = ledger_for(request, title)

    result, _ = await raced(ledger, title, BESIDE[title], rounds(5, 200), HungClientRace)

    assert (result.late, result.revived, result.pending) == ([], [], [])
    assert check_history(ledger, result.confirmed) == []


async def test_a_stop_names_who_hangs_inside_a_start_and_is_confirmed_once_it_may_end_it(postgres_url: str) -> None:
    ledger, title = Ledger(postgres_url), "postgresql beside one hung start, ended"

    result, _ = await raced(ledger, title, {"terminable": BUSY, "proposer": 2}, rounds(2, 40), HungStartRace)

    assert (result.late, result.revived, result.pending) == ([], [], [])
    assert check_history(ledger, result.confirmed) == []


def unguarded(race: Race) -> None:
    race._plain.execute("ALTER TABLE action_proposals DISABLE TRIGGER operator_core_proposals_update")


async def test_the_same_race_finds_the_late_starts_of_a_naive_start(postgres_url: str) -> None:
    ledger, number, wanted = Ledger(postgres_url), seed(), 10 if LONG else 1

    async with racing(ledger, number, {"naive": 16}, UnguardedRace) as (_, race):
        unguarded(race)
        result = await race.run(rounds(2, 50))
        while result.leaking_rounds < wanted and result.rounds < 50:
            await race.run(1)

    result.print("naive start", number)
    print(f"kill switch, naive start: rounds with a leak {result.leaking_rounds} (seed {number})")
    assert result.leaking_rounds >= wanted


async def test_the_same_race_finds_what_a_mere_flag_leaves_pending_and_revives(postgres_url: str) -> None:
    ledger, number = Ledger(postgres_url), seed()

    async with racing(ledger, number, {"naive": 8}, FlagRace) as (_, race):
        unguarded(race)
        result = await race.run(rounds(3, 50))
        while not (result.pending and result.revived) and result.rounds < 50:
            await race.run(1)

    result.print("mere flag", number)
    assert result.pending
    assert result.revived


def test_how_long_the_command_takes_to_stop_is_printed(sqlite_path: Path) -> None:
    command = [sys.executable, "-m", "operator_core", "stop", "--reason", "race", "--url", str(sqlite_path)]
    times = sorted(_seconds_of(command) for _ in range(rounds(2, 20)))

    print(
        f"kill switch, the command on sqlite: start to exit p50 {times[len(times) // 2]:.2f} s, worst {times[-1]:.2f} s"
    )


def _seconds_of(command: list[str]) -> float:
    begun = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begun
