"""The contract: it passes with right settings, and each test of it fails where its setting is wrong."""

import json
import os
import subprocess
import sys
import unittest
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from operator_core.actions import (
    DatabaseError,
    DatabaseLockedError,
    DatabaseUrlError,
    EngineNotConfiguredError,
    IsolationLevelError,
    RetryTransactionError,
    UnreadableRowError,
)
from operator_core.db import configure_engine
from operator_core.testing import LedgerContract
from tests.support.postgres import PrivatePostgres

ALL = sorted(name for name in dir(LedgerContract) if name.startswith("test_"))
STARTS = {
    "test_an_action_goes_from_proposal_to_completion",
    "test_of_racing_starts_one_wins",
    "test_what_is_claimed_is_claimed_once",
    "test_a_stop_cancels_what_is_pending",
    "test_nothing_starts_after_a_stop_and_a_release_revives_nothing",
    "test_nothing_starts_without_the_approvals_that_its_policy_asks_for",
    "test_a_start_names_the_approvals_that_it_used",
    "test_a_revoked_approval_lets_nothing_start",
    "test_an_expired_approval_lets_nothing_start",
    "test_of_a_start_and_a_revocation_one_wins",
}
JOINED = {
    *STARTS - {"test_what_is_claimed_is_claimed_once"},
    "test_a_forbidden_step_is_refused",
    "test_a_commit_keeps_both",
    "test_a_rollback_drops_both",
    "test_the_transaction_goes_on_after_a_refusal",
    "test_what_is_proposed_under_a_stop_is_kept_cancelled",
    "test_parameters_come_back_equal",
    "test_times_are_aware_and_come_back",
}

# -- right settings ----------------------------------------------------------------------------------------------------


class TestConfiguredSqlite(LedgerContract):
    def engine(self, url: URL) -> AsyncEngine:
        return configure_engine(create_async_engine(url))


class TestSqliteWithOneConnection(LedgerContract):
    def engine(self, url: URL) -> AsyncEngine:
        return configure_engine(create_async_engine(url, pool_size=1, max_overflow=0))


class _OnServer(LedgerContract):
    @pytest.fixture(autouse=True)
    def _server(self, postgres: PrivatePostgres) -> None:
        self.server = postgres.dsn()


class TestAsyncpg(_OnServer):
    def engine(self, url: URL) -> AsyncEngine:
        return create_async_engine(url)


class TestPsycopg(_OnServer):
    def engine(self, url: URL) -> AsyncEngine:
        return create_async_engine(url.set(drivername="postgresql+psycopg"))


class TestNumbersOfAnotherType(_OnServer):
    def engine(self, url: URL) -> AsyncEngine:
        """Return an engine that reads JSON with the host's own types; ours is not read by it."""
        return create_async_engine(
            url.set(drivername="postgresql+psycopg"),
            json_deserializer=lambda text: json.loads(text, parse_float=Decimal),
        )


class TestWithUnittest(LedgerContract, unittest.TestCase):
    def engine(self, url: URL) -> AsyncEngine:
        return configure_engine(create_async_engine(url))


# -- wrong settings ----------------------------------------------------------------------------------------------------


def by_hand(begin: str | None = None, *, everywhere: bool = True) -> Callable[[URL], AsyncEngine]:
    """Return what makes an engine as a host does who writes the settings by hand, and gets one wrong."""

    def make(url: URL) -> AsyncEngine:
        engine, connected = create_async_engine(url), []
        pragmas = ["busy_timeout = 500", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"]

        @event.listens_for(engine.sync_engine, "connect")
        def connect(connection: Any, record: object) -> None:
            connection.isolation_level = None
            cursor = connection.cursor()
            for pragma in pragmas if everywhere or not connected else pragmas[:-1]:
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()
            connected.append(record)

        @event.listens_for(engine.sync_engine, "begin")
        def begin_as_told(connection: Any) -> None:
            how = begin or connection.get_execution_options().get("operator_core_begin", "IMMEDIATE")
            if how != "NONE":
                connection.exec_driver_sql(f"BEGIN {how}")

        return engine

    return make


def naive(url: URL) -> AsyncEngine:
    """Return an engine whose driver gives times without their zone."""
    engine = create_async_engine(url)

    @event.listens_for(engine.sync_engine, "connect")
    def connect(connection: Any, record: object) -> None:
        codec = {"encoder": str, "decoder": lambda text: datetime.fromisoformat(text).replace(tzinfo=None)}
        connection.run_async(lambda raw: raw.set_type_codec("timestamptz", schema="pg_catalog", format="text", **codec))

    return engine


@dataclass(frozen=True)
class Wrong:
    """An engine with a wrong setting, the tests that must fail with it, and with what."""

    make: Callable[[URL], AsyncEngine]
    tests: set[str]
    errors: tuple[type[Exception], ...] = (AssertionError,)
    on_server: bool = False


def on_server(tests: set[str], *errors: type[Exception], driver: str = "asyncpg", **options: Any) -> Wrong:
    """Return a PostgreSQL engine with options."""

    def make(url: URL) -> AsyncEngine:
        return create_async_engine(url.set(drivername=f"postgresql+{driver}"), **options)

    return Wrong(make, tests, errors or (AssertionError,), on_server=True)


NO_LOCKS = ("test_a_rollback_drops_both", "test_a_cancelled_call_leaves_no_lock")
WRONG = {
    "SQLite, not configured": Wrong(create_async_engine, set(ALL), (EngineNotConfiguredError,)),
    "SQLite, foreign keys in the first connection only": Wrong(
        by_hand(everywhere=False), {"test_foreign_keys_hold_in_every_connection"}
    ),
    "SQLite, begins deferred": Wrong(by_hand("DEFERRED"), {"test_of_racing_starts_one_wins"}, (RetryTransactionError,)),
    "SQLite, readers begin as writers": Wrong(
        by_hand("IMMEDIATE"), {"test_a_look_does_not_wait_for_a_writer"}, (DatabaseLockedError,)
    ),
    "SQLite, waits for no lock": Wrong(
        lambda url: configure_engine(create_async_engine(url), lock_timeout=0),
        {"test_of_racing_starts_one_wins", "test_what_is_claimed_is_claimed_once"},
        (RetryTransactionError,),
    ),
    "SQLite, rollbacks left out": Wrong(
        lambda url: configure_engine(create_async_engine(url, skip_autocommit_rollback=True)),
        set(NO_LOCKS),
        (DatabaseError, Exception),
    ),
    "SERIALIZABLE": on_server(STARTS, IsolationLevelError, RetryTransactionError, isolation_level="SERIALIZABLE"),
    "REPEATABLE READ": on_server(STARTS, IsolationLevelError, RetryTransactionError, isolation_level="REPEATABLE READ"),
    "AUTOCOMMIT": on_server(JOINED, EngineNotConfiguredError, isolation_level="AUTOCOMMIT"),
    "psycopg, AUTOCOMMIT": on_server(
        {"test_a_rollback_drops_both"}, EngineNotConfiguredError, isolation_level="AUTOCOMMIT", driver="psycopg"
    ),
    "triggers switched off": on_server(
        {"test_guards_hold_in_every_connection", "test_foreign_keys_hold_in_every_connection"},
        EngineNotConfiguredError,
        connect_args={"server_settings": {"session_replication_role": "replica"}},
    ),
    "naive times": Wrong(naive, {"test_times_are_aware_and_come_back"}, (UnreadableRowError,), on_server=True),
}


def run(wrong: Wrong, test: str, server: str | None) -> None:
    """Run one test of the contract."""

    class Contract(LedgerContract):
        def engine(self, url: URL) -> AsyncEngine:
            return wrong.make(url)

    contract = Contract()
    contract.server = server
    getattr(contract, test)()


@pytest.mark.parametrize(
    ("setting", "test"), [(setting, test) for setting, wrong in WRONG.items() for test in sorted(wrong.tests)]
)
def test_a_wrong_setting_is_found(setting: str, test: str, request: pytest.FixtureRequest) -> None:
    wrong = WRONG[setting]
    server = request.getfixturevalue("postgres").dsn() if wrong.on_server else None

    with pytest.raises(wrong.errors):
        run(wrong, test, server)


def test_each_test_has_a_setting_of_sqlite_and_most_have_one_of_postgresql_with_which_it_fails() -> None:
    found = {
        on: {test for wrong in WRONG.values() if wrong.on_server is on for test in wrong.tests} for on in (False, True)
    }

    assert found[False] == set(ALL)
    assert set(ALL) - found[True] == {"test_a_look_does_not_wait_for_a_writer", "test_a_cancelled_call_leaves_no_lock"}


# -- mistakes, and other runners ---------------------------------------------------------------------------------------


def test_an_engine_for_another_database_is_noticed(tmp_path) -> None:
    other = Wrong(lambda _: create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'ops.db'}"), set())

    with pytest.raises(DatabaseUrlError, match=r"has returned an engine for .*ops\.db, not for"):
        run(other, ALL[0], None)

    assert list(tmp_path.iterdir()) == []


def test_without_an_engine_it_says_what_is_missing() -> None:
    with pytest.raises(TypeError, match="engine"):
        LedgerContract()


def test_what_is_no_engine_is_named() -> None:
    with pytest.raises(TypeError, match="must return an AsyncEngine, not a NoneType"):
        run(Wrong(lambda _: None, set()), ALL[0], None)


HOST = """
import unittest
from sqlalchemy.ext.asyncio import create_async_engine
from operator_core.db import configure_engine
from operator_core.testing import LedgerContract

class TestOurs(LedgerContract{bases}):
    def engine(self, url):
        return {engine}
"""
PLAIN, CONFIGURED = "create_async_engine(url)", "configure_engine(create_async_engine(url))"
RUNNERS = {
    "pytest without plugins": (["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_host.py"], ""),
    "unittest": (["-m", "unittest", "test_host"], ", unittest.TestCase"),
    "unittest without asserts": (["-O", "-m", "unittest", "test_host"], ", unittest.TestCase"),
}


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize(
    ("engine", "code", "told"),
    [(CONFIGURED, 0, ""), (PLAIN, 1, "EngineNotConfiguredError")],
    ids=["configured", "plain"],
)
def test_other_runners_run_it(tmp_path, runner: str, engine: str, code: int, told: str) -> None:
    arguments, bases = RUNNERS[runner]
    (tmp_path / "test_host.py").write_text(HOST.format(bases=bases, engine=engine))
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

    command = [sys.executable, "-W", "error", *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    said = done.stdout + done.stderr
    assert (done.returncode, told in said) == (code, True), said
    assert str(len(ALL)) in said


def test_a_broken_promise_is_found_without_asserts_too(tmp_path) -> None:
    program = (
        "from tests.testing.test_contract import WRONG, run\n"
        "run(WRONG['SQLite, foreign keys in the first connection only'], "
        "'test_foreign_keys_hold_in_every_connection', None)"
    )

    done = subprocess.run([sys.executable, "-O", "-c", program], capture_output=True, text=True, check=False)

    assert "AssertionError: foreign keys are on in every connection" in done.stderr
