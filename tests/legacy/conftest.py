"""Fixtures of a legacy file, and of its import into the ledger under test."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from operator_core.legacy import ImportNote, ImportReport, import_legacy
from tests.legacy.predecessor import ZONE, Predecessor
from tests.support.ledger import Ledger

Import = Callable[..., Awaitable[ImportReport]]


@pytest.fixture
def old(tmp_path: Path) -> Predecessor:
    """An empty database of the predecessor."""
    return Predecessor(tmp_path / "old.db")


@pytest.fixture
def notes() -> list[ImportNote]:
    """The notes of an import."""
    return []


@pytest.fixture
def take_over(old: Predecessor, ledger: Ledger, notes: list[ImportNote]) -> Import:
    """The import of the old database into the ledger under test."""

    async def run(**given: Any) -> ImportReport:
        return await import_legacy(old.path, ledger.target, **{"timezone": ZONE, "on_note": notes.append, **given})

    return run
