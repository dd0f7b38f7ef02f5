"""Calls at the same moment on one transaction or one session lose nothing that was returned, on each driver."""

import random
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.engine import make_url

from operator_core.db.transactions import block, joined
from tests.support.host import DRIVERS, Host, hosted
from tests.support.ledger import Ledger
from tests.support.race_rounds import rounds, seed
from tests.support.race_turns import WAYS, NoTurns, lost_in_a_round, nobody_waits

SHORT, LONG = 6, 200


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def ledger(driver: str, request: pytest.FixtureRequest) -> Ledger:
    if driver == "sqlite":
        return Ledger(request.getfixturevalue("sqlite_path"))
    url = make_url(request.getfixturevalue("postgres_url")).set(drivername=DRIVERS[driver])
    return Ledger(url.render_as_string(hide_password=False))


@pytest.fixture
async def host(driver: str, ledger: Ledger) -> AsyncIterator[Host]:
    async with hosted(ledger, driver) as host:
        yield host


@pytest.mark.parametrize("way", WAYS)
async def test_nothing_is_lost_that_was_returned_at_the_same_moment(host: Host, driver: str, way: str) -> None:
    number, dice = rounds(SHORT, LONG), random.Random(drawn := seed())
    found = [await lost_in_a_round(host, WAYS[way], dice) for _ in range(number)]

    refused, lost = sum(one[0] for one in found), [each for one in found for each in one[1]]
    print(f"turns {driver} {way}: {number} rounds, {refused} refused, {len(lost)} lost (seed {drawn})")
    assert (refused >= 2 * number, lost) == (True, [])


@pytest.mark.parametrize("way", WAYS)
async def test_without_turns_the_same_race_loses_work(
    host: Host, driver: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joined, "turns_of", lambda _session: NoTurns())
    monkeypatch.setattr(joined, "alone_on", nobody_waits)
    monkeypatch.setattr(joined, "alone_in", nobody_waits)
    monkeypatch.setattr(block, "Turns", NoTurns)
    dice, lost, number = random.Random(drawn := seed()), list[str](), 0

    while not any(each.startswith("lost") for each in lost) and number < 100 * SHORT:
        number += 1
        lost += (await lost_in_a_round(host, WAYS[way], dice))[1]

    print(f"turns {driver} {way}, control: lost in round {number} (seed {drawn})")
    assert any(each.startswith("lost") for each in lost)
