"""Forced schedules: a stop that another client releases before it has returned is not confirmed."""

import asyncio
from collections.abc import Iterator
from contextlib import closing

import pytest

from operator_core.actions import ActionStatus, StopUnconfirmedError
from operator_core.db import ActionDB
from operator_core.db.stop import command, postgresql, sqlite
from tests.support.factories import stored
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.plain_sql import engage, on_postgresql, release
from tests.support.stop_steps import client, start, stop, waits_at_barrier

pytestmark = pytest.mark.usefixtures("unhurried_stops")


@pytest.fixture(autouse=True)
def _history(ledger: Ledger) -> Iterator[None]:
    yield
    assert check_history(ledger) == []


@pytest.fixture
def before_look(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Statements that another client runs once, after the sweep and before the last look of a stop."""
    statements: list[str] = []

    def look(*arguments):
        with closing(ledger.connect()) as other:
            while statements:
                other.execute(statements.pop(0))
        return command.inspect_after_stop(*arguments)

    for module in (postgresql, sqlite):
        monkeypatch.setattr(module, "inspect_after_stop", look)
    return statements


async def test_a_stop_that_was_released_meanwhile_is_not_confirmed_and_says_by_whom(
    db: ActionDB, before_look: list[str]
) -> None:
    before_look.append(release())

    with pytest.raises(StopUnconfirmedError, match=r"stop 1 was released at .* by ann \(over\)") as caught:
        await stop(db)

    assert caught.value.start_possible
    assert (await db.kill_switch_status()).engaged == ()


async def test_a_newer_stop_of_the_same_scope_holds_for_both(db: ActionDB, before_look: list[str]) -> None:
    before_look.extend([release(), engage()])

    receipt = await stop(db)

    assert receipt.generation == 1
    assert [found.generation for found in (await db.kill_switch_status()).engaged] == [2]


@on_postgresql
async def test_a_release_while_the_stop_waits_at_its_barrier_is_noticed(db: ActionDB, plain, ledger: Ledger) -> None:
    made = await stored(db, ActionStatus.VALIDATED)
    with client(ledger) as starter:
        starter.execute(start(made.id))
        stopping = asyncio.create_task(stop(db))
        await waits_at_barrier(plain)
        plain.execute(release())
        starter.execute("COMMIT")

        with pytest.raises(StopUnconfirmedError, match="stop 1 was released"):
            await stopping
