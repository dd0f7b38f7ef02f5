"""Fixtures of the processes of the soaks."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from operator_core.db import ActionDB
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE
from tests.support.race_rounds import seed
from tests.support.soak_crew import Crew, crew


@pytest.fixture
async def db(ledger: Ledger) -> AsyncIterator[ActionDB]:
    """An open `ActionDB` that waits for SQLite's lock as long as many busy processes may take to pass it on."""
    async with ActionDB(ledger.target, lock_timeout=PATIENCE) as opened:
        yield opened


@pytest.fixture
def members(ledger: Ledger, tmp_path: Path) -> Iterator[Crew]:
    """A crew on the ledger under test; nothing of it is left behind."""
    with crew(ledger, tmp_path, seed()) as hired:
        yield hired
