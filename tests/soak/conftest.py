"""Gives the soaks their processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ledger import Ledger
from tests.support.race_rounds import seed
from tests.support.soak_crew import Crew, crew


@pytest.fixture
def members(ledger: Ledger, tmp_path: Path) -> Iterator[Crew]:
    """Is a crew on the ledger under test; nothing of it is left behind."""
    with crew(ledger, tmp_path, seed()) as hired:
        yield hired
