"""Fills a ledger of the first revision on PostgreSQL, and lets clients work on it in the words of its code."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg

from tests.support.ledger import Ledger

CYCLE = 4
EVENTS_A_CYCLE = 12
_FROZEN = Path(__file__).parents[1] / "migrations" / "frozen" / "0001_postgresql.jsonl"
LOOKS = 0.2  # a proposal
_TRIES = 5
_RETRIED = ("40001", "40P01", "55P03")  # as the code of that revision does, or its caller
_AGENT = "'restart', 'tool', '{{\"host\":1}}', 'it hangs', now(), 'agent', 0"
# Of four proposals one is completed, one has failed, one is cancelled and one is validated: twelve events.
_FILL = f"""
INSERT INTO action_proposals (action_name, action_type, parameters, reason, proposed_at, proposed_by, generation)
    SELECT {_AGENT} FROM generate_series(1, {{count}});
UPDATE action_proposals SET status = 'cancelled' WHERE id % 4 = 2;
UPDATE action_proposals SET status = 'validated' WHERE id % 4 <> 2;
UPDATE action_proposals SET status = 'executing' WHERE id % 4 < 2;
INSERT INTO action_records (proposal_id, started_at)
    SELECT id, executing_at FROM action_proposals WHERE status = 'executing';
UPDATE action_records SET completed_at = now(), success = proposal_id % 4 = 0,
    outcome = CASE proposal_id % 4 WHEN 0 THEN 'succeeded' ELSE 'failed' END;
UPDATE action_proposals SET status = CASE id % 4 WHEN 0 THEN 'completed' ELSE 'failed' END WHERE id % 4 < 2;
VACUUM ANALYZE
"""


async def fill(ledger: Ledger, proposals: int) -> None:
    """Store proposals and three times as many events, through the guards: what they write is what verify expects."""
    async with connected(ledger) as connection:
        for statement in _FILL.format(count=proposals).split(";"):
            await connection.execute(statement, timeout=3600)


@asynccontextmanager
async def connected(ledger: Ledger, **settings: str) -> AsyncIterator[Any]:
    """Connect as that revision's code does, with settings of the server's."""
    connection = await asyncpg.connect(ledger.dsn, server_settings=settings)
    try:
        yield connection
    finally:
        await connection.close()


@dataclass
class Words:
    """The statements that the code of the first revision says in a call, one after the other."""

    lines: list[dict[str, Any]]

    @classmethod
    def of(cls, call: str, start: int = 0, count: int | None = None) -> "Words":
        lines = [json.loads(line) for line in _FROZEN.read_text(encoding="utf-8").splitlines()]
        said = [line for line in lines if line["call"] == call][start:]
        return cls(said[:count])

    def about(self, *ids: int) -> list[tuple[str, list[Any]]]:
        """Return statements and values; the recorded id, which is 1, is in each statement another one."""
        return [
            (line["statement"], [another if _is_id(value) else _value(value) for value in line["parameters"]])
            for line, another in zip(self.lines, ids or [0] * len(self.lines), strict=True)
        ]


def _is_id(value: Any) -> bool:
    return value == 1 and isinstance(value, int) and not isinstance(value, bool)


def _value(kept: Any) -> Any:
    return datetime.fromisoformat(kept["at"]) if isinstance(kept, dict) else kept


CREATE = Words.of("create", count=1)
VALIDATE = Words.of("validate", count=1)
START = Words.of("start", count=2)
FINISH = Words.of("finish", count=2)
LIST, COUNT = Words.of("look", count=1), Words.of("look", 1, 1)


@dataclass
class Client:
    """A client that takes one proposal after the other from its creation to its end."""

    ledger: Ledger
    lock_timeout: float
    seed: int
    waits: list[tuple[float, float, str]] = field(default_factory=list)  # when it began, seconds, first words
    retried: list[str] = field(default_factory=list)
    done: int = 0

    async def work(self, enough: asyncio.Event) -> None:
        """Work until there is enough; what it has begun is brought to its end."""
        chance = random.Random(self.seed)
        settings = {"lock_timeout": str(round(self.lock_timeout * 1000)), "application_name": "revision 0001"}
        async with connected(self.ledger, **settings) as connection:
            while not enough.is_set():
                await self._take_one(connection)
                if chance.random() < LOOKS:
                    await self._call(connection, chance.choice((LIST, COUNT)).about())

    async def _take_one(self, connection: Any) -> None:
        proposal = (await self._call(connection, CREATE.about()))[0]
        await self._call(connection, VALIDATE.about(proposal))
        _, record = await self._call(connection, START.about(proposal, proposal))
        await self._call(connection, FINISH.about(record, proposal))
        self.done += 1

    async def _call(self, connection: Any, said: list[tuple[str, list[Any]]]) -> list[int]:
        """Say the statements of a call in one transaction, and again where they met somebody; return their ids."""
        for _ in range(_TRIES):
            try:
                async with connection.transaction():
                    return [await self._say(connection, *words) for words in said]
            except asyncpg.PostgresError as error:
                if error.sqlstate not in _RETRIED:
                    raise
                self.retried.append(str(error.sqlstate))
                problem = f"{error.sqlstate} {error}: {said[0][0][:60]}"
        raise AssertionError(f"failed for good: {problem}")

    async def _say(self, connection: Any, statement: str, values: list[Any]) -> int:
        begun = time.monotonic()
        try:
            rows = await connection.fetch(statement, *values)
            return rows[0].get("id", 0)
        finally:
            self.waits.append((begun, time.monotonic() - begun, statement[:40]))
