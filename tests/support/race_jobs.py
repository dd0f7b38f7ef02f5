"""What the children of races do: many of them try the same step of the same proposal at the same moment."""

import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path

from operator_core.actions import ActionError, ActionStatus
from operator_core.db import ActionDB
from tests.support import approval_race
from tests.support.crash_writer import write
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE
from tests.support.race_nursery import Child, Job

WON = "won"
LOST = "read that somebody else was first"
Attempt = Callable[[int], Awaitable[str]]
THINK_SECONDS = 0.1  # between the read and the write of a naive step, longer than others take to be let run

Steps = dict[str, Callable[[ActionDB, int, Child], Awaitable[object]]]


def ledger_of(child: Child) -> Ledger:
    """Return the ledger that the test named."""
    target = child.given["target"]
    return Ledger(target if "://" in target else Path(target))


def name_of(index: int) -> str:
    """Return the name under which a child takes its steps."""
    return f"racer {index}"


def _start(db: ActionDB, number: int, child: Child) -> Awaitable[object]:
    return db.start_execution(number, by=name_of(child.index))


def _cancel(db: ActionDB, number: int, child: Child) -> Awaitable[object]:
    return db.update_proposal_status(number, ActionStatus.CANCELLED, by=name_of(child.index))


def _start_or_cancel(db: ActionDB, number: int, child: Child) -> Awaitable[object]:
    return (_start if child.index % 2 else _cancel)(db, number, child)


def _finish(db: ActionDB, number: int, child: Child) -> Awaitable[object]:
    return db.finish_execution(number, success=child.index % 2 == 0, by=name_of(child.index))


STEPS: Steps = {"start": _start, "cancel": _cancel, "start or cancel": _start_or_cancel, "finish": _finish}


@asynccontextmanager
async def _through_the_library(child: Child) -> AsyncIterator[Attempt]:
    step = STEPS[child.given["step"]]
    async with ActionDB(ledger_of(child).target, lock_timeout=PATIENCE) as db:

        async def attempt(number: int) -> str:
            try:
                await step(db, number, child)
            except ActionError as error:
                return type(error).__name__
            return WON

        yield attempt


@asynccontextmanager
async def _naively(child: Child) -> AsyncIterator[Attempt]:
    """Read, then decide, then write: what the library must not do, to see that the race would notice."""
    with closing(ledger_of(child).connect()) as connection:
        mark = "?" if isinstance(connection, sqlite3.Connection) else "%s"

        async def attempt(number: int) -> str:
            read = f"SELECT status FROM action_proposals WHERE id = {mark}"
            if connection.execute(read, (number,)).fetchall() != [("validated",)]:
                return LOST
            time.sleep(THINK_SECONDS)  # noqa: ASYNC251 - nothing else runs here
            now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
            connection.execute(
                "UPDATE action_proposals SET status = 'executing', "
                f"status_at = {mark}, executing_at = {mark} WHERE id = {mark}",
                (now, now, number),
            )
            return WON

        yield attempt


async def race(child: Child) -> None:
    """Try one step of each of the given proposals, each time together with all the others."""
    way = _naively if child.given["step"] == "naive" else _through_the_library
    async with way(child) as attempt:
        for number in child.given["numbers"]:
            child.meet()
            child.say(number=number, outcome=await attempt(number))


JOBS: dict[str, Job] = {"race": race, "write": write, "approvals": approval_race.race}
