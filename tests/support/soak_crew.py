"""Hires, kills, freezes and dismisses the processes of the soak, and waits for what they do."""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from operator_core.actions import ActionProposal, ActionStatus, DatabaseUnavailableError
from operator_core.db import ActionDB
from tests.support import soak_workers
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE

_AT_ONCE = 1_000
_POLL = 0.05


@dataclass
class Member:
    """One process, and the pipe over which it is stopped and reports what it has done."""

    number: int
    process: ForkServerProcess
    line: Connection

    def send(self, number: int) -> None:
        """Send the process a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """End it by force, and return when nothing of it is left."""
        self.process.kill()
        self.process.join(PATIENCE)
        self.line.close()


@dataclass
class Crew:
    """Processes that work on one ledger until they are stopped."""

    ledger: Ledger
    folder: Path
    seed: int
    members: list[Member] = field(default_factory=list)
    _hired: int = 0

    def __post_init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["__main__", soak_workers.__name__])

    def hire(self, count: int = 1, role: str = "worker", **settings: Any) -> list[Member]:
        """Start so many processes of one role."""
        hired = [self._hire(role, settings) for _ in range(count)]
        self.members += hired
        return hired

    def _hire(self, role: str, settings: dict[str, Any]) -> Member:
        number, self._hired = self._hired, self._hired + 1
        ours, theirs = self._context.Pipe()
        order = soak_workers.Order(number, role, self.ledger, self.folder, self.seed + number, **settings)
        process = self._context.Process(target=soak_workers.run, args=(order, theirs), daemon=True)
        process.start()
        theirs.close()
        return Member(number, process, ours)

    def kill(self, member: Member) -> None:
        """Kill one of them, in the middle of whatever it does."""
        self.members.remove(member)
        member.send(signal.SIGKILL)
        member.kill()

    def must_live(self) -> None:
        """See that nobody has ended of itself."""
        dead = [member.number for member in self.members if not member.process.is_alive()]
        assert not dead, f"these processes have ended, see their errors above and {self.folder}: {dead}"

    def dismiss(self) -> list[dict[str, Any]]:
        """Have all of them end, and return what they report."""
        for member in self.members:
            member.line.send("end")
        return [self._last_words(self.members.pop(0)) for _ in list(self.members)]

    def _last_words(self, member: Member) -> dict[str, Any]:
        assert member.line.poll(PATIENCE), f"process {member.number} does not end, see {self.folder}"
        report: dict[str, Any] = member.line.recv()
        member.process.join(PATIENCE)
        member.kill()
        return report


@contextlib.contextmanager
def crew(ledger: Ledger, folder: Path, seed: int) -> Iterator[Crew]:
    """Give a crew, and leave none of it behind."""
    hired = Crew(ledger, folder, seed)
    try:
        yield hired
    finally:
        for member in hired.members:
            member.kill()


# -- what they work on -------------------------------------------------------------------------------------------------


async def propose(db: ActionDB, count: int, parameters: Callable[[], dict[str, Any]] = dict) -> None:
    """Propose the action `do` so many times."""
    for first in range(0, count, _AT_ONCE):
        many = range(first, min(first + _AT_ONCE, count))
        await db.create_proposals(
            [ActionProposal(action_name="do", reason="soak", parameters=parameters()) for _ in many]
        )


async def standing(db: ActionDB) -> dict[ActionStatus, int]:
    """Return how many proposals stand where, as soon as the database answers."""
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            return await db.count_proposals()
        except DatabaseUnavailableError:
            assert time.monotonic() < give_up, "the database does not come back"
            await asyncio.sleep(_POLL)


def is_finished(counts: dict[ActionStatus, int]) -> bool:
    """Tell whether nothing is pending, and nothing runs."""
    return not any(counts[status] for status in (ActionStatus.PROPOSED, ActionStatus.VALIDATED, ActionStatus.EXECUTING))


async def until(db: ActionDB, wanted: Callable[[dict[ActionStatus, int]], bool], members: Crew) -> None:
    """Wait until the proposals stand as wanted; fail when nothing moves, or a process has died."""
    before, give_up = await standing(db), time.monotonic() + PATIENCE
    while not wanted(before):
        await asyncio.sleep(_POLL)
        members.must_live()
        now = await standing(db)
        if now != before:
            before, give_up = now, time.monotonic() + PATIENCE
        assert time.monotonic() < give_up, f"nothing moves, see {members.folder}: {now}"
