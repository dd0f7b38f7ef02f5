"""Fixture of a process that forks the children of the races."""

from collections.abc import Iterator

import pytest

from tests.support.race_nursery import Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """A process that has imported everything already."""
    with Nursery() as started:
        yield started
