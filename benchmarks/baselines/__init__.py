"""The same calls by hand on the bare drivers: what the library is measured against.

A baseline has the same tables, indexes, guards and durability, and sends the same texts: `statements` records them from
the library once, so that they cannot drift. The tuples of values, and what is made of a row, are written by hand.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from operator_core.actions import ActionProposal, StoredProposal, StoredRecord
from operator_core.actions.types import TRUSTED_CONTEXT
from operator_core.db.schema import proposals
from operator_core.db.stores.mapping import RECORD_FIELDS

Row = Sequence[Any]
Sql = Mapping[str, Sequence[str]]
"""The statements of each call."""

BY = "system"
_PROPOSAL = tuple(column.name for column in proposals.columns)
_RECORD = tuple(RECORD_FIELDS.values())


class Baseline(ABC):
    """A hand-written form of the five calls; each is one durable commit."""

    def __init__(self, sql: Sql) -> None:
        self.sql = sql

    @abstractmethod
    async def open(self) -> None:
        """Connect."""

    @abstractmethod
    async def close(self) -> None:
        """Close all connections."""

    @abstractmethod
    async def write(self, sql: str, values: Row) -> Row:
        """Run one statement that writes, and return its one row."""

    @abstractmethod
    async def read(self, sql: str, values: Row) -> Sequence[Row]:
        """Run one statement that reads, and return its rows."""

    @abstractmethod
    def time(self, moment: datetime | None) -> object:
        """Return a time as the driver takes it."""

    def new(self, proposal: ActionProposal) -> Row:
        """Return the values of a new proposal."""
        return (
            proposal.ticket_id,
            proposal.action_name,
            proposal.action_type.value,
            json_text(proposal.parameters),
            proposal.reason,
            self.time(proposal.proposed_at),
            proposal.proposed_by,
            self.time(proposal.valid_until),
            proposal.retry_of,
            proposal.idempotency_key,
            proposal.on_behalf_of,
        )

    @abstractmethod
    def values(self, names: Sequence[str], row: Row) -> dict[str, Any]:
        """Return the values of a row by their names, as the DTO takes them."""

    def proposal(self, row: Row) -> StoredProposal:
        """Return the DTO of a row."""
        return StoredProposal.model_validate(self.values(_PROPOSAL, row), context=TRUSTED_CONTEXT)

    def record(self, row: Row) -> StoredRecord:
        """Return the DTO of a row."""
        return StoredRecord.model_validate(self.values(_RECORD, row), context=TRUSTED_CONTEXT)

    async def create(self, proposal: ActionProposal) -> StoredProposal:
        """Store a proposal."""
        return self.proposal(await self.write(self.sql["create"][0], self.new(proposal)))

    async def validate(self, number: int) -> StoredProposal:
        """Take the step to `validated`: the guarded update."""
        return self.proposal(await self.write(self.sql["validate"][0], (BY, None, number)))

    @abstractmethod
    async def start(self, number: int) -> StoredRecord:
        """Take the step to `executing`, and open the record."""

    @abstractmethod
    async def finish(self, number: int) -> StoredRecord:
        """Close the record as succeeded, and take the step to `completed`."""

    async def get(self, number: int) -> StoredProposal:
        """Return one proposal."""
        return self.proposal((await self.read(self.sql["get"][0], (number,)))[0])

    @abstractmethod
    async def page(self, limit: int) -> list[StoredProposal]:
        """Return the newest proposals."""

    async def lifecycle(self, proposal: ActionProposal) -> StoredRecord:
        """Take a new proposal through its whole life: four calls."""
        made = await self.create(proposal)
        await self.validate(made.id)
        opened = await self.start(made.id)
        return await self.finish(opened.id)


def json_text(value: object) -> str:
    """Return the JSON text of a value, as the tables hold it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
