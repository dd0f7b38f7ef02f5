"""Gives the tests of the import an old file and the import of it into the ledger under test."""

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
    """Is an empty database of the predecessor."""
    return Predecessor(tmp_path / "old.db")


@pytest.fixture
def notes() -> list[ImportNote]:
    """Is where the notes of an import are."""
    return []


@pytest.fixture
def take_over(old: Predecessor, ledger: Ledger, notes: list[ImportNote]) -> Import:
    """Is the import of the old database into the ledger under test."""

    async def run(**given: Any) -> ImportReport:
        return await import_legacy(old.path, ledger.target, **{"timezone": ZONE, "on_note": notes.append, **given})

    return run
