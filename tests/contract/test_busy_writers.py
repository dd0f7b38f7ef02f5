"""Writers that share SQLite's connection each get an answer, whatever happens to the one before them."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from operator_core.actions import DatabaseLockedError
from operator_core.db import ActionDB
from tests.support.factories import proposal
from tests.support.patience import PATIENCE


@pytest.mark.parametrize("count", [2, 3, 8])
async def test_every_writer_that_waits_for_another_program_is_told_that_the_file_is_locked(
    sqlite_path: Path, count: int
) -> None:
    async with ActionDB(sqlite_path, lock_timeout=0.2) as db, asyncio.timeout(PATIENCE):
        with closing(sqlite3.connect(sqlite_path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            calls = [db.create_proposal(proposal()) for _ in range(count)]
            ended = await asyncio.gather(*calls, return_exceptions=True)
            other.execute("ROLLBACK")

        assert [type(end) for end in ended] == [DatabaseLockedError] * count
        assert (await db.create_proposal(proposal())).id == 1
