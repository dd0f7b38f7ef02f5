"""Races starts against revocations, late approvals and stops, and judges by the rows alone what got through."""

import asyncio
import json
import random
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from operator_core.actions import ActionError, ApprovalRule, Scope
from operator_core.db import ActionDB
from tests.support.factories import proposal
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE
from tests.support.race_nursery import Child, Nursery

ROLES = ("start", "start slowly", "revoke", "approve late")
PROPOSALS = 25
"""How many proposals a round has, of one ticket."""
# At most, before an act: a start is one statement, a decision is several, and each is to be first sometimes.
_DELAY_SECONDS = {"start": 0.01, "start slowly": 0.01, "revoke": 0.003, "approve late": 0.01}
_SLOW_SECONDS = 0.02
_STOP_AFTER = PROPOSALS * len(ROLES) // 2  # outcomes


# -- a child -----------------------------------------------------------------------------------------------------------


async def race(child: Child) -> None:
    """Act in one role on each of the given proposals, each time together with all the others."""
    dice, role = random.Random(child.given["seed"] + child.index), ROLES[child.index]
    target = child.given["target"]
    ledger = Ledger(target if "://" in target else Path(target))
    async with ActionDB(ledger.target, lock_timeout=PATIENCE) as db:
        child.meet()
        if role == "start" and child.given["alter"]:
            with closing(ledger.connect()) as plain:
                plain.execute(child.given["alter"])  # now that all have opened the ledger, which looks at its guards
        for number, approval in child.given["numbers"]:
            child.meet()
            await asyncio.sleep(dice.random() * _DELAY_SECONDS[role])
            try:
                await _act(db, role, number, approval, dice)
                outcome = "done"
            except ActionError as error:
                outcome = type(error).__name__
            child.say(role=role, outcome=outcome)


async def _act(db: ActionDB, role: str, number: int, approval: int, dice: random.Random) -> None:
    if role == "start" and dice.random() < 0.5:
        await db.start_execution(number, by="starter")
    elif role == "start":
        await db.claim(number, worker="starter")
    elif role == "revoke":
        await db.revoke(approval, by="rita", reason="not that one")
    elif role == "approve late":
        await db.approve(number, by="late")
    else:
        async with db.transaction() as tx:
            await tx.start_execution(number, by="slow starter")
            await asyncio.sleep(dice.random() * _SLOW_SECONDS)


# -- the race ----------------------------------------------------------------------------------------------------------


@dataclass
class Findings:
    """What the rows of a ledger say about a race."""

    proposals: int = 0
    stops: int = 0
    late: list[int] = field(default_factory=list)
    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: {role: Counter() for role in ROLES})
    confirmed: dict[int, Any] = field(default_factory=dict)
    started: list[int] = field(default_factory=list)
    unapproved: list[int] = field(default_factory=list)
    twice: list[int] = field(default_factory=list)

    def line(self, title: str, seed: int) -> str:
        done = {role: counts["done"] for role, counts in self.outcomes.items()}
        return (
            f"race approvals {title}: {self.proposals} proposals, {len(ROLES)} processes, {len(self.started)} started, "
            f"{len(self.unapproved)} without their approvals, {len(self.twice)} twice, {len(self.late)} late after "
            f"{self.stops} stops; {done['revoke']} revoked, {done['approve late']} approved late (seed {seed})"
        )


class ApprovalRace:
    """Rounds on one ledger, under a policy that asks for one approval of anything."""

    def __init__(
        self, ledger: Ledger, nursery: Nursery, db: ActionDB, seed: int, alteration: tuple[str, str] = ("", "")
    ) -> None:
        self._ledger, self._nursery, self._db = ledger, nursery, db
        self._seed, self._rounds = seed, 0
        self._alter, self._restore = alteration
        self.findings = Findings()

    async def run(self, rounds: int, *, with_stops: bool = True) -> Findings:
        """Race so many rounds, with a stop of its ticket in every other one, and judge what the ledger holds."""
        for _ in range(rounds):
            if self._rounds == 0:
                await self._db.set_approval_policy("everything", [ApprovalRule()], by="ann", reason="a person looks")
            self._rounds += 1
            await self._round(self._rounds, stop=with_stops and self._rounds % 2 == 0)
        self._judge()
        return self.findings

    async def _round(self, ticket: int, *, stop: bool) -> None:
        numbers = await self._approved(ticket)
        given = {"seed": self._seed + ticket * len(ROLES), "alter": self._alter, "numbers": numbers}
        self._nursery.fork("approvals", len(ROLES), target=str(self._ledger.target), **given)
        before: set[int] | None = None
        for seen, message in enumerate(self._nursery.messages()):
            if "gone" in message:
                assert message["gone"] == [0] * len(ROLES)
                break
            self.findings.outcomes[message["role"]][message["outcome"]] += 1
            if stop and seen == _STOP_AFTER:
                before = await self._stop(ticket)
        if self._restore:
            with closing(self._ledger.connect()) as plain:
                plain.execute(self._restore)  # the children of the next round look at the guards as they open it
        self.findings.proposals += len(numbers)
        if before is not None:
            self.findings.late += sorted(self._started(ticket) - before)

    async def _approved(self, ticket: int) -> list[tuple[int, int]]:
        made = await self._db.create_proposals([proposal(ticket_id=ticket) for _ in range(PROPOSALS)])
        return [(one.id, (await self._db.approve(one.id, by="ann")).id) for one in made]

    async def _stop(self, ticket: int) -> set[int]:
        """Stop the ticket of a round for good, and return what had started when the receipt came."""
        receipt = await self._db.engage_kill_switch(
            by="ann", reason="race", scope=Scope(ticket_id=ticket), timeout=PATIENCE
        )
        started = self._started(ticket)
        self.findings.stops += 1
        if not self._ledger.is_sqlite:
            self.findings.confirmed[receipt.generation] = self._rows("SELECT clock_timestamp()")[0][0]
        return started

    def _rows(self, query: str) -> list[tuple]:
        with closing(self._ledger.connect()) as plain:
            return plain.execute(query).fetchall()

    def _started(self, ticket: int) -> set[int]:
        query = f"SELECT id FROM action_proposals WHERE ticket_id = {ticket} AND executing_at IS NOT NULL"
        return {row[0] for row in self._rows(query)}

    def _judge(self) -> None:
        """A start used what its event names; whoever revoked one of these did so before the start, or never."""
        events = self._rows("SELECT proposal_id, data FROM action_events WHERE to_status = 'executing' ORDER BY id")
        revoked = {row[0] for row in self._rows("SELECT revokes FROM action_approvals WHERE revokes IS NOT NULL")}
        given = {row[:2] for row in self._rows("SELECT proposal_id, id FROM action_approvals WHERE revokes IS NULL")}
        counts = Counter(number for number, _ in events)
        self.findings.started = sorted(counts)
        self.findings.twice = sorted(number for number, count in counts.items() if count > 1)
        self.findings.unapproved = sorted(
            number
            for number, data in events
            if not (used := _used(data)) or used & revoked or any((number, one) not in given for one in used)
        )


def _used(data: Any) -> set[int]:
    evidence = json.loads(data) if isinstance(data, str) else data or {}
    return set(evidence.get("approvals", ()))
