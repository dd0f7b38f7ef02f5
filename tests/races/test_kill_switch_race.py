"""Many processes start actions while one stops and releases them: nothing starts late, and nothing is revived."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest

from operator_core.db import ActionDB
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.race_rounds import LONG, rounds, seed
from tests.support.stop_race import Crew, FlagRace, Race, Result, UnguardedRace, crew

CREWS = {
    "postgresql": {"by_library": 16, "proposer": 2},
    "postgresql with plain SQL": {"by_library": 12, "by_sql": 4, "proposer": 2},
    "sqlite": {"by_library": 8, "proposer": 2},
}


@asynccontextmanager
async def racing(
    ledger: Ledger, number: int, roles: dict[str, int], kind: type[Race] = Race
) -> AsyncIterator[tuple[Crew, Race]]:
    async with ActionDB(ledger.target) as db:
        with crew(ledger, number, **roles) as members, closing(kind(ledger, members, db)) as race:
            yield members, race


async def raced(ledger: Ledger, title: str, times: int) -> tuple[Result, Crew]:
    """Race a ledger with the crew of this title, and print what came out."""
    number = seed()
    async with racing(ledger, number, CREWS[title]) as (members, race):
        result = await race.run(times)
    result.print(title, number)
    return result, members


@pytest.mark.parametrize("title", CREWS)
async def test_no_start_is_late_none_is_revived_and_nothing_stopped_stays_pending(request, title: str) -> None:
    fixture = "sqlite_path" if title == "sqlite" else "postgres_url"
    ledger = Ledger(request.getfixturevalue(fixture))

    result, members = await raced(ledger, title, rounds(10, 200))

    assert (result.late, result.revived, result.pending) == ([], [], [])
    assert {role for role, counts in members.counts.items() if counts["starts"]} == {*CREWS[title]} - {"proposer"}
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
