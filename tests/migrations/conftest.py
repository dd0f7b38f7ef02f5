"""Fixtures of an empty database on each engine."""

from pathlib import Path

import pytest

from tests.migrations.host_project import Host, project
from tests.support.ledger import Ledger


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    """A database without a ledger on each engine in turn; on SQLite the file does not exist yet."""
    if request.param == "sqlite":
        return Ledger(tmp_path / "empty.db")
    server = request.getfixturevalue("postgres")
    return Ledger(server.url(server.create_database()))


@pytest.fixture
def other_empty(request: pytest.FixtureRequest, empty: Ledger, tmp_path: Path) -> Ledger:
    """A second database without a ledger, on the engine of `empty`."""
    if empty.is_sqlite:
        return Ledger(tmp_path / "other.db")
    server = request.getfixturevalue("postgres")
    return Ledger(server.url(server.create_database()))


@pytest.fixture
def migrated(request: pytest.FixtureRequest, empty: Ledger) -> Ledger:
    """A migrated, empty ledger, on the engine of `empty`."""
    return Ledger(request.getfixturevalue("sqlite_path" if empty.is_sqlite else "postgres_url"))


@pytest.fixture
def host(empty: Ledger, tmp_path: Path) -> Host:
    """A host's project on an empty database."""
    return project(empty, tmp_path / "host")
