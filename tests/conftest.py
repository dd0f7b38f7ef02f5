"""Fixtures of a fresh ledger on each engine; without a PostgreSQL the tests fail, they never skip."""

import os
import shutil
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from operator_core.db import ActionDB, upgrade
from operator_core.db.engine.notifier import Notifier
from operator_core.db.stop import bounded_connection
from tests.support.environment import isolate, keep_files_in_memory
from tests.support.ledger import DRIVER, Ledger
from tests.support.patience import PATIENCE
from tests.support.postgres import ENVIRONMENT_URL, PrivatePostgres
from tests.support.postgres_pool import PostgresPool

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background: children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

isolate(os.environ)
keep_files_in_memory(os.environ)

ENGINES = ("sqlite", "postgresql")
_VERSION: list[str] = []


@pytest.fixture(scope="session")
def postgres() -> Iterator[PrivatePostgres]:
    """The real and private server of this test process."""
    # Only a crash of the whole machine could tell the difference; tests of durability start servers of their own.
    quick = None if ENVIRONMENT_URL in os.environ else {"fsync": "off", "full_page_writes": "off"}
    with PrivatePostgres.start(quick) as server:
        _VERSION.append(server.version)
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres: PrivatePostgres) -> str:
    """The name of a migrated database to clone."""
    name = postgres.create_database()
    upgrade(postgres.url(name))
    return name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file to copy."""
    file = tmp_path_factory.mktemp("template") / "ledger.db"
    upgrade(file)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file


@pytest.fixture
def sqlite_path(sqlite_template: Path, tmp_path: Path) -> Path:
    """A migrated, empty SQLite ledger."""
    return Path(shutil.copy(sqlite_template, tmp_path / "ledger.db"))


@pytest.fixture(scope="session")
def postgres_pool(postgres: PrivatePostgres, postgres_template: str) -> PostgresPool:
    """The migrated databases that tests use one after another."""
    return PostgresPool(postgres, postgres_template)


@pytest.fixture
def postgres_url(postgres_pool: PostgresPool) -> Iterator[str]:
    """The URL of a migrated, empty PostgreSQL ledger."""
    name = postgres_pool.take()
    yield postgres_pool.server.url(name)
    postgres_pool.give_back(name)


@pytest.fixture(params=ENGINES)
def ledger(request: pytest.FixtureRequest) -> Ledger:
    """A migrated, empty ledger on each engine in turn."""
    if request.param == "sqlite":
        return Ledger(request.getfixturevalue("sqlite_path"))
    url = make_url(request.getfixturevalue("postgres_url")).set(drivername=f"postgresql+{DRIVER}")
    return Ledger(url.render_as_string(hide_password=False))


@pytest.fixture
async def db(ledger: Ledger) -> AsyncIterator[ActionDB]:
    """An open `ActionDB` on each engine in turn."""
    async with ActionDB(ledger.target) as opened:
        yield opened


@pytest.fixture
def plain(ledger: Ledger) -> Iterator[sqlite3.Connection | psycopg.Connection]:
    """A client that speaks plain SQL to the ledger of `db`: on SQLite with foreign keys off."""
    with closing(ledger.connect()) as connection:
        yield connection


@pytest.fixture
def no_announcements(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent to other processes after a step, for tests that count what a call sends or holds."""
    monkeypatch.setattr(Notifier, "notify", Notifier._wake_waiters)


@pytest.fixture
def unhurried_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop that waits for the answers of a server that is slow, not silent."""
    monkeypatch.setattr(bounded_connection, "_GRACE", PATIENCE)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the version of the server to the process that prints."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None and _VERSION:
        output["postgres"] = _VERSION[0]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Take the version over from a worker."""
    _VERSION.extend(version for version in [getattr(node, "workeroutput", {}).get("postgres")] if version)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say on which engines the tests ran."""
    terminalreporter.write_line(f"engines: SQLite {sqlite3.sqlite_version}, {_VERSION[0] if _VERSION else 'no server'}")
