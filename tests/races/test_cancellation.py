"""A call that is cancelled, at whichever of its await points, leaves no lock, no lost connection, nothing half done."""

import gc
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from operator_core.db import ActionDB
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE
from tests.support.race_rounds import LONG
from tests.support.race_steps import HOWS
from tests.support.race_sweep import CALLS, Circumstance, sweep

ROOT = Path(__file__).parents[2]
WITHOUT_A_UNIT = {"open", "close", "migrate", "notifications"}  # test_opening.py


pytestmark = pytest.mark.usefixtures("no_announcements")


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    """Keep the garbage collector from clearing up what a cancelled call forgot."""
    gc.disable()
    yield
    gc.enable()


def test_every_public_call_is_swept() -> None:
    public = {name for name, member in inspect.getmembers(ActionDB, callable) if not name.startswith("_")}

    assert public - WITHOUT_A_UNIT == set(CALLS)


@pytest.mark.parametrize("how", HOWS if LONG else ["twice"])
@pytest.mark.parametrize("name", CALLS)
async def test_a_cancelled_call_is_settled(ledger: Ledger, db: ActionDB, name: str, how: str) -> None:
    tried, damage = await sweep(ledger, db, name, how)

    print(f"cancel {how} {name}: {tried} moments, {len(damage)} damaged")
    assert (tried > 1, damage) == (True, [])
    assert check_history(ledger) == []


@pytest.mark.parametrize("how", [how for how in HOWS if how != "twice"])
@pytest.mark.parametrize("name", ["update_proposal_status", "transaction"])
async def test_a_call_is_settled_however_it_is_cancelled(ledger: Ledger, db: ActionDB, name: str, how: str) -> None:
    tried, damage = await sweep(ledger, db, name, how)

    print(f"cancel {how} {name}: {tried} moments, {len(damage)} damaged")
    assert (tried > 1, damage) == (True, [])


@pytest.mark.parametrize("name", ["create_proposal", "start_execution"])
async def test_a_call_that_is_cancelled_while_it_connects_is_settled(ledger: Ledger, db: ActionDB, name: str) -> None:
    tried, damage = await sweep(ledger, db, name, "twice", Circumstance.COLD)

    print(f"cancel connecting {name}: {tried} moments, {len(damage)} damaged")
    assert (tried > 1, damage) == (True, [])


@pytest.mark.parametrize("name", ["create_proposal", "start_execution", "transaction"])
async def test_a_call_that_is_cancelled_while_it_waits_for_a_lock_is_settled(
    ledger: Ledger, db: ActionDB, name: str
) -> None:
    tried, damage = await sweep(ledger, db, name, "twice", Circumstance.CONTENDED)

    print(f"cancel waiting {name}: {tried} moments, {len(damage)} damaged")
    assert (tried > 1, damage) == (True, [])


def test_without_settling_the_same_sweep_finds_damage(ledger: Ledger) -> None:
    command = [sys.executable, "-m", "tests.support.race_unsettled", str(ledger.target)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=5 * PATIENCE, check=False)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(f"cancel unsettled: {found['tried']} moments, then {found['damage'][:1]}")
    assert found["damage"]
