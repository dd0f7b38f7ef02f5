"""A row that cannot be read, in the middle of a result: whoever looks again must not see an old snapshot."""

import asyncio
from typing import Any

import pytest

from operator_core.actions import StoredProposal
from operator_core.db import ActionDB
from operator_core.db.stores import proposals
from tests.support.factories import proposal
from tests.support.ledger import Ledger


class UnreadableError(Exception):
    """Stands for whatever may be wrong with a row."""


def refuse_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the second row of a result raise."""
    read: list[Any] = []

    def to_proposal(row: Any) -> StoredProposal:
        read.append(row)
        if len(read) == 2:
            raise UnreadableError
        return real(row)

    real = proposals.to_proposal
    monkeypatch.setattr(proposals, "to_proposal", to_proposal)


async def test_a_reader_sees_what_came_after_the_error(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ActionDB(ledger.target) as db, ActionDB(ledger.target) as other:
        for _ in range(4):
            await db.create_proposal(proposal())
        await db.list_proposals()

        with monkeypatch.context() as patched, pytest.raises(UnreadableError) as kept:
            refuse_the_second(patched)
            await db.list_proposals()
        await other.create_proposal(proposal())

        assert len(await db.list_proposals()) == 5
    del kept  # with it what was left half read


async def test_a_writer_works_after_the_error(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ActionDB(ledger.target) as db, ActionDB(ledger.target) as other:
        await db.create_proposals([proposal() for _ in range(4)])

        with monkeypatch.context() as patched, pytest.raises(UnreadableError) as kept:
            refuse_the_second(patched)
            await db._run(proposals.lock_proposed, ["drain_store"], 4)
        await other.create_proposal(proposal())

        stored = await asyncio.gather(*(db.create_proposal(proposal()) for _ in range(3)))
        assert len({each.id for each in stored}) == 3
        assert len(await db.list_proposals()) == 8
    del kept
