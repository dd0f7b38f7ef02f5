"""Gives the races a process that forks their children."""

from collections.abc import Iterator

import pytest

from tests.support.race_nursery import Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Is a process that has imported everything already."""
    with Nursery() as started:
        yield started
