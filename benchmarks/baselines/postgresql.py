"""The five calls by hand on asyncpg: well written, and as most people write them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg
from pydantic_core import from_json

from baselines import BY, Baseline, Row, Sql
from operator_core.actions import StoredProposal, StoredRecord
from operator_core.db.schema import proposals

_JSON = ("parameters", "result_data")
_WIDTH = len(proposals.columns)
"""The columns of a proposal, before those of its record."""

_OF_APPROVALS = 2
"""The columns behind those of the record."""

Pool = Any  # asyncpg has no types


class Postgresql(Baseline):
    """A baseline on a pool of the driver, with one statement a call."""

    _pool: Pool

    def __init__(self, dsn: str, sql: Sql) -> None:
        super().__init__(sql)
        self._dsn = dsn

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    def time(self, moment: datetime | None) -> datetime | None:
        """Return a time as the driver takes it: as it is."""
        return moment

    def values(self, names: Sequence[str], row: Row) -> dict[str, Any]:
        """Return the values of a row, its JSON read; asyncpg's times are aware and in UTC."""
        values = dict(zip(names, row, strict=True))
        for name in _JSON:
            if values.get(name) is not None:
                values[name] = from_json(values[name])
        return values

    async def start(self, number: int) -> StoredRecord:
        """Take the step to `executing`, and open the record."""
        row = await self.write(self.sql["start"][0], (BY, None, number, None, None, None))
        return self.record(tuple(row)[_WIDTH:-_OF_APPROVALS])

    async def finish(self, number: int) -> StoredRecord:
        """Close the record as succeeded, and take the step to `completed`."""
        return self.record(await self.write(self.sql["finish"][0], (True, None, None, "succeeded", number, BY, None)))

    async def page(self, limit: int) -> list[StoredProposal]:
        """Return the newest proposals."""
        return [self.proposal(row) for row in await self.read(self.sql["page"][0], (limit,))]


class Good(Postgresql):
    """Autocommits, and has the reset of its pool off: one round trip for each call."""

    async def open(self) -> None:
        """Connect."""

        async def leave(_connection: object) -> None:
            """Do not reset it: nothing is ever left behind in the session."""

        self._pool = await asyncpg.create_pool(self._dsn, min_size=10, max_size=10, reset=leave)

    async def write(self, sql: str, values: Row) -> Row:
        """Run one statement that writes, and return its one row."""
        async with self._pool.acquire() as connection:
            return await connection.fetchrow(sql, *values)

    async def read(self, sql: str, values: Row) -> Sequence[Row]:
        """Run one statement that reads, and return its rows."""
        async with self._pool.acquire() as connection:
            return await connection.fetch(sql, *values)

    async def many(self, proposals: Sequence[StoredProposal]) -> None:
        """Store many proposals in one transaction, without asking for their ids."""
        statement = self.sql["create"][0].partition(" RETURNING ")[0]
        async with self._pool.acquire() as connection:
            await connection.executemany(statement, [self.new(proposal) for proposal in proposals])

    async def cancel(self) -> int:
        """Cancel all that is pending with the one raw UPDATE, and return how many."""
        async with self._pool.acquire() as connection:
            tag = await connection.execute(self.sql["cancel"][0], BY, None, timeout=600)
        return int(tag.split()[-1])


class Usual(Postgresql):
    """Takes a connection of the pool as it comes, and opens a transaction for each call, as most people do."""

    async def open(self) -> None:
        """Connect."""
        self._pool = await asyncpg.create_pool(self._dsn)

    async def write(self, sql: str, values: Row) -> Row:
        """Run one statement that writes, and return its one row."""
        async with self._pool.acquire() as connection, connection.transaction():
            return await connection.fetchrow(sql, *values)

    async def read(self, sql: str, values: Row) -> Sequence[Row]:
        """Run one statement that reads, and return its rows."""
        async with self._pool.acquire() as connection, connection.transaction():
            return await connection.fetch(sql, *values)


class Joined(Postgresql):
    """Runs in one open transaction; a write has a savepoint, without which a refusal would abort the transaction."""

    _connection: Any
    _transaction: Any

    async def open(self) -> None:
        """Connect."""
        self._connection = await asyncpg.connect(self._dsn)

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def begin(self) -> None:
        """Begin a transaction, for `write` and `read` to join."""
        self._transaction = self._connection.transaction()
        await self._transaction.start()

    async def rollback(self) -> None:
        """Undo it."""
        await self._transaction.rollback()

    async def write(self, sql: str, values: Row) -> Row:
        """Run one statement that writes in a savepoint, and return its one row."""
        async with self._connection.transaction():
            return await self._connection.fetchrow(sql, *values)

    async def read(self, sql: str, values: Row) -> Sequence[Row]:
        """Run one statement that reads, and return its rows."""
        return await self._connection.fetch(sql, *values)
