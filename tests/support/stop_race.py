"""Races the kill switch against processes that start actions, and judges by snapshots what got through."""

import asyncio
import contextlib
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Any

import psycopg

from operator_core.actions import PENDING, Scope, StopReceipt, StopUnconfirmedError
from operator_core.db import ActionDB
from operator_core.db.schema import status_in
from tests.support import latch, stop_workers
from tests.support.ledger import Ledger
from tests.support.patience import IN_VAIN, PATIENCE

_FLOW = 12  # starts between two stops: nobody races where nothing moves
STARTED = "SELECT proposal_id FROM action_events WHERE to_status = 'executing'"


@dataclass
class Crew:
    """Processes that work on one ledger until they are stopped."""

    ledger: Ledger
    seed: int
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    _members: list[tuple[str, ForkServerProcess, Connection]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["__main__", stop_workers.__name__])
        self._ending = self._context.Event()

    def hire(self, role: str, number: int) -> None:
        """Start so many processes of one role, each with a seed of its own."""
        for _ in range(number):
            ours, theirs = self._context.Pipe(duplex=False)
            given = (role, self.ledger, self.seed + len(self._members), self._ending, theirs)
            process = self._context.Process(target=stop_workers.run, args=given, daemon=True)
            process.start()
            theirs.close()
            self._members.append((role, process, ours))

    def must_live(self) -> None:
        """See that nobody has died of an error."""
        dead = [role for role, process, _ in self._members if process.exitcode not in (None, 0)]
        assert not dead, f"these processes died, see their errors above: {dead}"

    def dismiss(self) -> None:
        """Have all of them end, and add up by role what they have counted."""
        self._ending.set()
        for role, process, told in self._members:
            if told.poll(PATIENCE):
                with contextlib.suppress(EOFError):
                    self.counts.setdefault(role, Counter()).update(told.recv())
            process.join(PATIENCE)
            told.close()
        self.must_live()

    def kill(self) -> None:
        """End by force what is left."""
        for _, process, _ in self._members:
            process.kill()
            process.join(PATIENCE)
            process.close()


@contextlib.contextmanager
def crew(ledger: Ledger, seed: int, **roles: int) -> Iterator[Crew]:
    """Hire so many processes of each role, and leave none behind."""
    hired = Crew(ledger, seed)
    try:
        for role, number in roles.items():
            hired.hire(role, number)
        yield hired
        hired.dismiss()
    finally:
        hired.kill()


@dataclass
class Result:
    """What a race has found, and how long its stops took."""

    rounds: int = 0
    starts: int = 0
    late: list[int] = field(default_factory=list)
    revived: list[int] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    leaking_rounds: int = 0
    publish_ms: list[float] = field(default_factory=list)
    stop_ms: list[float] = field(default_factory=list)
    confirmed: dict[int, Any] = field(default_factory=dict)

    def print(self, title: str, seed: int) -> None:
        """Print one figure a line."""
        figures: dict[str, object] = {
            "rounds": self.rounds,
            "starts": self.starts,
            "late starts": len(self.late),
            "revived by a release": len(self.revived),
            "still pending after the stop": len(self.pending),
        }
        for name, times in (("publish", self.publish_ms), ("receipt", self.stop_ms)):
            figures |= {f"{name} p{percent}": f"{_percentile(times, percent):.1f} ms" for percent in (50, 95)}
        for name, value in figures.items():
            print(f"kill switch, {title}: {name} {value} (seed {seed})")


def _percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


class Race:
    """Stops and releases a ledger in use, round after round."""

    def __init__(self, ledger: Ledger, members: Crew, db: ActionDB) -> None:
        self._ledger, self._members, self._db = ledger, members, db
        self._plain = ledger.connect()
        self._stopped: set[int] = set()
        self._known: set[int] = set()
        self.result = Result()

    def close(self) -> None:
        self._plain.close()

    def _ids(self, query: str) -> set[int]:
        # Each is a snapshot of its own: this client has begun no transaction.
        return {row[0] for row in self._plain.execute(query).fetchall()}

    def _pending(self) -> set[int]:
        return self._ids(f"SELECT id FROM action_proposals WHERE {status_in(PENDING)}")

    async def run(self, rounds: int, hold: float = 0.03) -> Result:
        """Race so many rounds, and return what all rounds have found.

        Args:
            rounds: How often to stop and release.
            hold: Seconds between a stop and its release, while the starters go on trying.
        """
        for _ in range(rounds):
            before = await self._flow()
            revived, pending = before & self._stopped, self._pending()
            receipt = await self._engage()
            after, left = self._ids(STARTED), self._pending()
            self._confirm(receipt)
            await asyncio.sleep(hold)
            self._known = self._ids(STARTED)
            made_before = self._ids(f"SELECT id FROM action_proposals WHERE generation < {receipt.generation}")
            self._stopped = made_before - self._known
            await self._release(receipt.generation)
            self._note(receipt, self._known - after, revived, pending & left)
        self._note_end()
        return self.result

    async def _flow(self) -> set[int]:
        """Wait until actions start again, and return all that ever started."""
        give_up = time.monotonic() + PATIENCE
        while True:
            self._members.must_live()
            started = self._ids(STARTED)
            if len(started - self._known) >= _FLOW:
                return started
            assert time.monotonic() < give_up, "nothing starts: this race would prove nothing"
            await asyncio.sleep(0.01)

    async def _engage(self) -> StopReceipt:
        return await self._db.engage_kill_switch(by="ann", reason="race", timeout=PATIENCE)

    async def _release(self, generation: int) -> None:
        await self._db.release_kill_switch(by="bob", reason="go on", generation=generation)

    def _confirm(self, receipt: StopReceipt) -> None:
        if not self._ledger.is_sqlite:
            now = self._plain.execute("SELECT clock_timestamp()").fetchone()
            self.result.confirmed[receipt.generation] = now[0] if now else None

    def _note(self, receipt: StopReceipt, late: set[int], revived: set[int], pending: set[int]) -> None:
        result = self.result
        result.rounds += 1
        result.late += sorted(late)
        result.revived += sorted(revived)
        result.pending += sorted(pending)
        result.leaking_rounds += bool(late or revived or pending)
        result.publish_ms.append(receipt.publish_ms)
        result.stop_ms.append(receipt.stop_ms)

    def _note_end(self) -> None:
        started = self._ids(STARTED)
        self.result.starts = len(started)
        self.result.revived += sorted(started & self._stopped)


class HungClientRace(Race):
    """Stops beside a client that hangs in a transaction, in which it has proposed and validated something.

    On SQLite, whose one writer would be in everybody's way, it hangs while it reads. It goes on after the stop.
    """

    async def _engage(self) -> StopReceipt:
        with contextlib.closing(self._ledger.connect()) as hung:
            hung.execute("BEGIN")
            if self._ledger.is_sqlite:
                hung.execute(STARTED).fetchall()
            else:
                stop_workers.make_validated(hung)
            receipt = await super()._engage()
            hung.execute("COMMIT")
            return receipt


class HungStartRace(Race):
    """Stops beside a client that hangs inside a start: in vain while it must live, then with leave to end it."""

    async def _engage(self) -> StopReceipt:
        with contextlib.closing(psycopg.connect(self._ledger.dsn, autocommit=True)) as hung:
            hung.execute("BEGIN")
            stop_workers.step(hung, stop_workers.make_validated(hung), "executing")
            unconfirmed = await self._engage_in_vain()
            assert hung.info.backend_pid in unconfirmed.pids, unconfirmed
            receipt = await self._engage_and_end()
        self._confirm(unconfirmed.receipt)
        self.result.publish_ms.append(unconfirmed.receipt.publish_ms)
        return receipt

    async def _engage_in_vain(self) -> StopUnconfirmedError:
        try:
            await self._db.engage_kill_switch(by="ann", reason="race", timeout=IN_VAIN)
        except StopUnconfirmedError as unconfirmed:
            return unconfirmed
        raise AssertionError("the stop did not notice that a start hangs")

    async def _engage_and_end(self) -> StopReceipt:
        give_up = time.monotonic() + PATIENCE
        while True:
            try:
                return await self._db.engage_kill_switch(
                    by="ann", reason="race", timeout=IN_VAIN, terminate_blockers=True
                )
            except StopUnconfirmedError:  # on a slow machine: who hung was ended, and is not in the way again
                assert time.monotonic() < give_up, "the stop cannot end who hangs"


class UnguardedRace(Race):
    """Races a ledger whose guard on starts is disabled: its stops cannot be confirmed."""

    async def _engage(self) -> StopReceipt:
        try:
            await super()._engage()
        except StopUnconfirmedError as unconfirmed:
            receipt: StopReceipt = unconfirmed.receipt
            return receipt
        raise AssertionError("the stop did not notice that the guard is missing")


class FlagRace(Race):
    """Races a kill switch that is a mere flag: nothing waits for starts, and nothing is swept."""

    async def _engage(self) -> StopReceipt:
        begun, generation = time.monotonic(), latch.engage(self._plain)
        took = (time.monotonic() - begun) * 1000
        now = datetime.now(UTC)
        return StopReceipt(generation=generation, scope=Scope(), engaged_at=now, publish_ms=took, stop_ms=took)

    async def _release(self, _generation: int) -> None:
        latch.release(self._plain)
