"""Opening and closing, also when they fail, meet or are cancelled, leave no thread and no connection behind."""

import asyncio
import gc
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from operator_core.actions import ActionError
from operator_core.db import ActionDB
from tests.support.factories import proposal
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE
from tests.support.race_nursery import ROOT
from tests.support.race_rounds import LONG
from tests.support.race_steps import HOWS, Moment, cancelled_at, moments

SOME_HOWS = HOWS if LONG else HOWS[:2]


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    """Keep the garbage collector from clearing up what was forgotten."""
    gc.disable()
    yield
    gc.enable()


class Witness:
    """Counts the threads and the server's connections of this library, beside those that were there before."""

    def __init__(self, ledger: Ledger) -> None:
        self._client = ledger.connect()
        self._threads = self._worker_threads()

    def close(self) -> None:
        self._client.close()

    @staticmethod
    def _worker_threads() -> set[threading.Thread]:
        # asyncio keeps the threads of `to_thread` for itself.
        return {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")}

    def _backends(self) -> int:
        if isinstance(self._client, sqlite3.Connection):
            return 0
        count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        return int(self._client.execute(count).fetchall()[0][0])

    def left(self) -> int:
        """Return how many are left, once none is left or patience has ended: both end a moment after `close`."""
        give_up = time.monotonic() + PATIENCE
        while (found := len(self._worker_threads() - self._threads) + self._backends()) and time.monotonic() < give_up:
            time.sleep(0.005)
        return found


@pytest.fixture
def witness(ledger: Ledger) -> Iterator[Witness]:
    with closing(Witness(ledger)) as made:
        yield made


async def _broken(ledger: Ledger) -> None:
    """Make a ledger that cannot be opened."""
    with closing(ledger.connect()) as plain:
        plain.execute("UPDATE operator_core_version SET version_num = '0999'")


async def test_an_open_that_fails_leaves_nothing_behind(ledger: Ledger, witness: Witness) -> None:
    await _broken(ledger)
    db = ActionDB(ledger.target)

    for _ in range(3):
        with pytest.raises(ActionError):
            await db.open()

    assert witness.left() == 0


async def test_opening_many_times_at_once_opens_once(ledger: Ledger, witness: Witness) -> None:
    db = ActionDB(ledger.target)

    await asyncio.gather(*(db.open() for _ in range(5)))
    await db.create_proposal(proposal())
    await db.close()

    assert witness.left() == 0


async def test_closing_many_times_at_once_closes(ledger: Ledger, witness: Witness) -> None:
    db = await ActionDB(ledger.target).open()
    await asyncio.gather(*(db.create_proposal(proposal()) for _ in range(5)))

    await asyncio.gather(*(db.close() for _ in range(5)))

    assert witness.left() == 0


async def _block(db: ActionDB) -> None:
    async with db:
        await db.create_proposal(proposal())


@pytest.mark.parametrize("how", SOME_HOWS)
async def test_a_cancelled_block_leaves_nothing_behind(ledger: Ledger, witness: Witness, how: str) -> None:
    left: list[str] = []

    async def trial(moment: Moment) -> bool:
        db = ActionDB(ledger.target)
        tried = await cancelled_at(moment, lambda: _block(db), how)
        if found := witness.left():
            left.append(f"{found} at {moment}")
            await db.close()
        return tried.tripped and not left

    tried = await moments(trial)

    print(f"cancel {how} `async with`: {tried} moments, left behind: {left}")
    assert left == []


@pytest.mark.parametrize("how", SOME_HOWS)
async def test_after_a_cancelled_open_a_close_leaves_nothing_behind(ledger: Ledger, witness: Witness, how: str) -> None:
    left: list[str] = []

    async def trial(moment: Moment) -> bool:
        db = ActionDB(ledger.target)
        tried = await cancelled_at(moment, db.open, how)
        await db.close()
        if found := witness.left():
            left.append(f"{found} at {moment}")
        return tried.tripped and not left

    tried = await moments(trial)

    print(f"cancel {how} open: {tried} moments, left behind: {left}")
    assert (tried > 1, left) == (True, [])


async def test_a_cancelled_close_closes(ledger: Ledger, witness: Witness) -> None:
    left: list[str] = []

    async def trial(moment: Moment) -> bool:
        db = await ActionDB(ledger.target).open()
        tried = await cancelled_at(moment, db.close, "twice")
        if found := witness.left():
            left.append(f"{found} at {moment}")
        return tried.tripped and not left

    tried = await moments(trial)

    assert (tried > 1, left) == (True, [])


# -- the end of the interpreter ----------------------------------------------------------------------------------------

ENDINGS = {
    "a forgotten close": "asyncio.run(forget())",
    "a failed open": "asyncio.run(fail())",
    "a failed block": "asyncio.run(fail_within())",
    "an abandoned transaction": "asyncio.run(abandon())",
    "a loop that is never closed": "asyncio.new_event_loop().run_until_complete(forget())",
}
PROGRAM = """
import asyncio, sys
from pathlib import Path
from operator_core.actions import ActionError
from operator_core.db import ActionDB
from tests.support.factories import proposal

target = sys.argv[1] if "://" in sys.argv[1] else Path(sys.argv[1])

async def forget():
    db = await ActionDB(target).open()
    await db.create_proposal(proposal())
    print("done", flush=True)

async def fail():
    try:
        await ActionDB(target.replace("/test_", "/no_") if isinstance(target, str) else target.parent).open()
    except ActionError:
        print("done", flush=True)

async def fail_within():
    try:
        async with ActionDB(target) as db:
            await db.create_proposal(proposal())
            raise ValueError
    except ValueError:
        print("done", flush=True)

async def abandon():
    db = await ActionDB(target).open()
    open_one = db.transaction()
    tx = await open_one.__aenter__()
    await tx.create_proposal(proposal())
    print("done", flush=True)
"""


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_interpreter_ends_in_spite_of(ledger: Ledger, ending: str) -> None:
    command = [sys.executable, "-c", f"{PROGRAM}\n{ENDINGS[ending]}", str(ledger.target)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)

    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    with closing(ledger.connect()) as other:
        other.execute("BEGIN IMMEDIATE" if isinstance(other, sqlite3.Connection) else "BEGIN")
        other.execute("UPDATE action_proposals SET status_reason = status_reason WHERE false")
        other.execute("ROLLBACK")
