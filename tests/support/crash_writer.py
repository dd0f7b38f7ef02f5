"""Writes to a ledger until it is killed, and says before each call what it will do and after it that it is done."""

import asyncio
import random
from collections.abc import Awaitable
from itertools import count
from pathlib import Path

from operator_core.actions import ActionRecord, ActionStatus
from operator_core.db import ActionDB
from tests.support.factories import proposal
from tests.support.patience import PATIENCE
from tests.support.race_nursery import Child

WRITERS = 3
"""Tasks of one child, so that a call is under way whenever it is killed."""

State = list[list[str | None]]
"""How the proposals of one ticket stand: status, and `none`, `open` or the outcome of the record."""


class _Ticket:
    """One story that a writer tells about the proposals of one ticket."""

    def __init__(self, child: Child, db: ActionDB, number: int, *, lies: bool) -> None:
        self.child, self.db, self.number, self._lies = child, db, number, lies

    async def make(self, call: Awaitable[object], *after: tuple[str, str]) -> object:
        """Announce what a call will lead to, make it, and acknowledge it: a liar does so too early."""
        state = [list(pair) for pair in after]
        self.child.say(ticket=self.number, begun=state)
        if self._lies:
            self.child.say(ticket=self.number, done=state)
        result = await call
        if not self._lies:
            self.child.say(ticket=self.number, done=state)
        return result

    async def create(self) -> int:
        made = await self.make(self.db.create_proposal(proposal(ticket_id=self.number)), ("proposed", "none"))
        return made.id  # type: ignore[attr-defined, no-any-return]

    async def validate(self) -> int:
        made = await self.create()
        await self.make(self.db.update_proposal_status(made, ActionStatus.VALIDATED), ("validated", "none"))
        return made


async def _execution(ticket: _Ticket) -> None:
    made = await ticket.validate()
    record = await ticket.make(ticket.db.start_execution(made), ("executing", "open"))
    ended = ticket.db.finish_execution(record.id, success=True)  # type: ignore[attr-defined]
    await ticket.make(ended, ("completed", "succeeded"))


async def _execution_step_by_step(ticket: _Ticket) -> None:
    made, db = await ticket.validate(), ticket.db
    await ticket.make(db.update_proposal_status(made, ActionStatus.EXECUTING), ("executing", "none"))
    record = await ticket.make(db.create_record(ActionRecord(proposal_id=made)), ("executing", "open"))
    closed = db.update_record(record.id, success=False, error_message="no")  # type: ignore[attr-defined]
    await ticket.make(closed, ("executing", "failed"))
    await ticket.make(db.update_proposal_status(made, ActionStatus.FAILED), ("failed", "failed"))


async def _change_of_mind(ticket: _Ticket) -> None:
    made = await ticket.validate()
    await ticket.make(ticket.db.update_proposal_status(made, ActionStatus.CANCELLED), ("cancelled", "none"))


async def _bulk(ticket: _Ticket) -> None:
    many = [proposal(ticket_id=ticket.number) for _ in range(20)]
    await ticket.make(ticket.db.create_proposals(many), *[("proposed", "none")] * len(many))


async def _whole_life(ticket: _Ticket) -> None:
    async def together() -> None:
        async with ticket.db.transaction() as tx:
            made = await tx.create_proposal(proposal(ticket_id=ticket.number))
            await tx.update_proposal_status(made.id, ActionStatus.VALIDATED)
            record = await tx.start_execution(made.id)
            await tx.finish_execution(record.id, success=True)

    await ticket.make(together(), ("completed", "succeeded"))


STORIES = (_execution, _execution_step_by_step, _change_of_mind, _bulk, _whole_life)


async def _tell_stories(child: Child, db: ActionDB, writer: int) -> None:
    dice = random.Random(f"{child.given['seed']} {writer}")
    for number in count(child.given["first_ticket"] + writer, WRITERS):
        await dice.choice(STORIES)(_Ticket(child, db, number, lies=child.given["lies"]))


async def write(child: Child) -> None:
    """Write for ever: several tasks, each with a story at a time."""
    target = child.given["target"]
    async with ActionDB(target if "://" in target else Path(target), lock_timeout=PATIENCE) as db:
        await asyncio.gather(*(_tell_stories(child, db, writer) for writer in range(WRITERS)))
