"""`cancel_all_pending` under load: the number that it returns equals the events that it wrote, always."""

import asyncio
from contextlib import closing

import pytest

from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.race_rounds import rounds, seed
from tests.support.stop_race import Crew, crew

CREW = {"broom": 3, "proposer": 2, "by_library": 2}
EVENTS = 'SELECT "by", count(*) FROM action_events WHERE to_status = \'cancelled\' GROUP BY "by"'


def brooms(members: Crew) -> dict[str, int]:
    """Return what each call has returned, by the name that was its own."""
    return {name: number for name, number in members.counts["broom"].items() if name.startswith("broom-")}


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_every_number_that_cancel_all_pending_returns_equals_the_events_it_wrote(request, engine):
    ledger = Ledger(request.getfixturevalue("sqlite_path" if engine == "sqlite" else "postgres_url"))
    number, seconds = seed(), rounds(1, 60)

    with crew(ledger, number, **CREW) as members, closing(ledger.connect()) as plain:
        while len(dict(plain.execute(EVENTS).fetchall())) < 5:
            members.must_live()
            await asyncio.sleep(0.05)
        await asyncio.sleep(seconds)
    with closing(ledger.connect()) as plain:
        written = dict(plain.execute(EVENTS).fetchall())

    returned = brooms(members)
    print(f"cancel_all_pending, {engine}: {len(returned)} calls, {sum(returned.values())} cancelled (seed {number})")
    assert {name: many for name, many in returned.items() if many} == written
    assert check_history(ledger) == []
