"""What the contract tests of approvals share."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.support.approvals import CALLERS, calls_of
from tests.support.history import check_history
from tests.support.ledger import Ledger


@pytest.fixture(params=CALLERS)
async def calls(request: pytest.FixtureRequest, ledger: Ledger) -> AsyncIterator[Any]:
    """The calls of the ledger, by `ActionDB` and in the sessions of a host."""
    async with calls_of(request.param, ledger) as opened:
        yield opened


@pytest.fixture
def sound_history(ledger: Ledger) -> Iterator[None]:
    """Find the history of the ledger sound after the test."""
    yield
    assert check_history(ledger) == []
