"""The five calls by hand on aiosqlite: well written, as most people write them, and as the predecessor did."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosqlite
from pydantic_core import from_json

from baselines import BY, Baseline, Row, Sql
from operator_core.actions import StoredProposal, StoredRecord

PRAGMAS = (
    "PRAGMA busy_timeout = 10000",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)
_JSON = ("parameters", "result_data")


class Sqlite(Baseline):
    """A baseline on one open connection with the settings of the library."""

    _isolation: str | None = None
    _pragmas: tuple[str, ...] = PRAGMAS
    _connection: aiosqlite.Connection

    def __init__(self, path: Path, sql: Sql) -> None:
        super().__init__(sql)
        self._path = path

    async def open(self) -> None:
        """Connect."""
        self._connection = await aiosqlite.connect(self._path, isolation_level=self._isolation)  # type: ignore[arg-type]
        for pragma in self._pragmas:
            await self._connection.execute_fetchall(pragma)

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    def time(self, moment: datetime | None) -> str | None:
        """Return a time as the tables hold it."""
        return None if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S.%f")

    def values(self, names: Sequence[str], row: Row) -> dict[str, Any]:
        """Return the values of a row, its times aware and its JSON read."""
        values = dict(zip(names, row, strict=True))
        for name, value in values.items():
            if value is None:
                continue
            if name in _JSON:
                values[name] = from_json(value)
            elif name.endswith(("_at", "_until")):
                values[name] = datetime.fromisoformat(value + "+00:00")
        return values

    async def page(self, limit: int) -> list[StoredProposal]:
        """Return the newest proposals."""
        return [self.proposal(row) for row in await self.read(self.sql["page"][0], (limit, 0))]


class Good(Sqlite):
    """Makes one hop for each statement, and leaves BEGIN and COMMIT out where one statement is all."""

    async def _run(self, sql: str, values: Row = ()) -> Sequence[Row]:
        rows: Iterable[Any] = await self._connection.execute_fetchall(sql, values)
        return list(rows)

    async def begin(self) -> None:
        """Begin a transaction, for `write` and `read` to join."""
        await self._run("BEGIN IMMEDIATE")

    async def rollback(self) -> None:
        """Undo it."""
        await self._run("ROLLBACK")

    async def write(self, sql: str, values: Row) -> Row:
        """Run one statement that writes, and return its one row."""
        return (await self._run(sql, values))[0]

    async def read(self, sql: str, values: Row) -> Sequence[Row]:
        """Run one statement that reads, and return its rows."""
        return await self._run(sql, values)

    async def start(self, number: int) -> StoredRecord:
        """Take the step to `executing`, and open the record."""
        step, opening = self.sql["start"]
        await self._run("BEGIN IMMEDIATE")
        await self._run(step, (BY, None, number))
        rows = await self._run(opening, (None, None, None, None, None, number))
        await self._run("COMMIT")
        return self.record(rows[0])

    async def finish(self, number: int) -> StoredRecord:
        """Close the record as succeeded, and take the step to `completed`."""
        closing, step = self.sql["finish"]
        await self._run("BEGIN IMMEDIATE")
        record = self.record((await self._run(closing, (1, None, None, "succeeded", number)))[0])
        await self._run(step, (BY, None, record.proposal_id))
        await self._run("COMMIT")
        return record

    async def many(self, proposals: Sequence[StoredProposal]) -> None:
        """Store many proposals, without asking for their ids."""
        await self._run("BEGIN IMMEDIATE")
        statement = self.sql["create"][0].partition(" RETURNING ")[0]
        await self._connection.executemany(statement, [self.new(proposal) for proposal in proposals])
        await self._run("COMMIT")

    async def cancel(self) -> int:
        """Cancel all that is pending with the one raw UPDATE, and return how many."""
        cursor = await self._connection.execute(self.sql["cancel"][0], (BY, None))
        return cursor.rowcount


class Usual(Sqlite):
    """Executes, fetches, closes and commits, as most people do; sqlite3 begins by itself."""

    _isolation = "DEFERRED"

    async def _run(self, sql: str, values: Row) -> Sequence[Row]:
        cursor = await self._connection.execute(sql, values)
        rows = list(await cursor.fetchall())
        await cursor.close()
        return rows

    async def write(self, sql: str, values: Row) -> Row:
        """Run one statement that writes, and return its one row."""
        rows = await self._run(sql, values)
        await self._connection.commit()
        return rows[0]

    async def read(self, sql: str, values: Row) -> Sequence[Row]:
        """Run one statement that reads, and return its rows."""
        return await self._run(sql, values)

    async def start(self, number: int) -> StoredRecord:
        """Take the step to `executing`, and open the record."""
        step, opening = self.sql["start"]
        await self._run(step, (BY, None, number))
        rows = await self._run(opening, (None, None, None, None, None, number))
        await self._connection.commit()
        return self.record(rows[0])

    async def finish(self, number: int) -> StoredRecord:
        """Close the record as succeeded, and take the step to `completed`."""
        closing, step = self.sql["finish"]
        record = self.record((await self._run(closing, (1, None, None, "succeeded", number)))[0])
        await self._run(step, (BY, None, record.proposal_id))
        await self._connection.commit()
        return record


class Predecessor(Usual):
    """Creates as the predecessor did: a rollback journal; insert, commit, and read it back."""

    _pragmas = ("PRAGMA journal_mode = DELETE",)

    async def create(self, proposal: StoredProposal) -> StoredProposal:
        """Store a proposal, and read it back."""
        statement = self.sql["create"][0].partition(" RETURNING ")[0]
        cursor = await self._connection.execute(statement, self.new(proposal))
        await self._connection.commit()
        return await self.get(cursor.lastrowid or 0)
