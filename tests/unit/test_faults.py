"""Errors of drivers become errors of this library by their codes, and what is said never holds a password."""

import sqlite3
import sys
import traceback
from contextlib import closing

import pytest
import sqlalchemy.exc

from operator_core.actions.errors import (
    ActionError,
    ConnectionLostError,
    ConstraintError,
    DatabaseAccessError,
    DatabaseCorruptError,
    DatabaseFullError,
    DatabaseLockedError,
    DatabaseNotFoundError,
    DatabaseReadOnlyError,
    DatabaseUnavailableError,
    DatabaseUrlError,
    GuardMissingError,
    MissingDriverError,
    RetryTransactionError,
)
from operator_core.db import ActionDB
from operator_core.db.errors import error_code, guard_code, translate

URL = "postgresql+asyncpg://ann:***@db/ledger"
SECRET = "hunter2"  # noqa: S105 - it must not be seen

POSTGRESQL_CODES: dict[str, type[ActionError]] = {  # postgresql.org/docs/current/errcodes-appendix.html
    "53100": DatabaseFullError,  # disk_full
    "0A000": DatabaseUnavailableError,  # feature_not_supported
    "53200": DatabaseUnavailableError,  # out_of_memory
    "53300": DatabaseUnavailableError,  # too_many_connections
    "08006": ConnectionLostError,  # connection_failure
    "57P01": ConnectionLostError,  # admin_shutdown
    "57P03": DatabaseUnavailableError,  # cannot_connect_now
    "57014": DatabaseLockedError,  # query_canceled, by statement_timeout
    "55P03": DatabaseLockedError,  # lock_not_available, by lock_timeout
    "25006": DatabaseReadOnlyError,  # read_only_sql_transaction
    "28P01": DatabaseAccessError,  # invalid_password
    "28000": DatabaseAccessError,  # invalid_authorization_specification
    "42501": DatabaseAccessError,  # insufficient_privilege
    "3D000": DatabaseNotFoundError,  # invalid_catalog_name
    "XX001": DatabaseCorruptError,  # data_corrupted
    "40001": RetryTransactionError,  # serialization_failure
    "40P01": RetryTransactionError,  # deadlock_detected
    "23514": ConstraintError,  # check_violation
    "42P01": GuardMissingError,  # undefined_table
}
SQLITE_CODES: dict[str, type[ActionError]] = {  # sqlite.org/rescode.html
    "SQLITE_FULL": DatabaseFullError,
    "SQLITE_IOERR_WRITE": DatabaseUnavailableError,
    "SQLITE_IOERR_FSYNC": DatabaseUnavailableError,
    "SQLITE_BUSY": DatabaseLockedError,
    "SQLITE_BUSY_TIMEOUT": DatabaseLockedError,
    "SQLITE_BUSY_SNAPSHOT": RetryTransactionError,
    "SQLITE_LOCKED_SHAREDCACHE": DatabaseLockedError,
    "SQLITE_READONLY": DatabaseReadOnlyError,
    "SQLITE_READONLY_DIRECTORY": DatabaseReadOnlyError,
    "SQLITE_CANTOPEN_ISDIR": DatabaseNotFoundError,
    "SQLITE_CORRUPT_INDEX": DatabaseCorruptError,
    "SQLITE_NOTADB": DatabaseCorruptError,
    "SQLITE_PERM": DatabaseAccessError,
    "SQLITE_CONSTRAINT_CHECK": ConstraintError,
}


class DriverError(Exception):
    """Stands for what any driver raises: only its code counts, never its class."""


def from_driver(attribute: str, code: str) -> DriverError:
    error = DriverError("disk I/O\nsecond line")
    setattr(error, attribute, code)
    return error


def of_sqlite(statement: str, after: str = "") -> sqlite3.Error:
    """Return the real error of a statement."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(f"CREATE TABLE t (a INTEGER PRIMARY KEY); {after}")
        with pytest.raises(sqlite3.Error) as raised:
            connection.execute(statement)
    return raised.value


@pytest.mark.parametrize("code", POSTGRESQL_CODES)
def test_a_state_of_postgresql_becomes_the_error_that_it_means(code: str) -> None:
    found = translate(from_driver("sqlstate", code), URL)

    assert type(found) is POSTGRESQL_CODES[code]


@pytest.mark.parametrize("code", SQLITE_CODES)
def test_a_result_code_of_sqlite_becomes_the_error_that_it_means(code: str) -> None:
    found = translate(from_driver("sqlite_errorname", code), URL)

    assert type(found) is SQLITE_CODES[code]


@pytest.mark.parametrize(
    ("statement", "kind"),
    [("INSERT INTO t VALUES (1), (1)", ConstraintError), ("SELECT * FROM gone", GuardMissingError)],
)
def test_what_sqlite_really_raises_is_known(statement: str, kind: type[ActionError]) -> None:
    found = translate(of_sqlite(statement), URL)

    assert type(found) is kind


@pytest.mark.parametrize("code", POSTGRESQL_CODES)
def test_a_wrapped_error_means_the_same(code: str) -> None:
    driver = from_driver("sqlstate", code)

    found = translate(sqlalchemy.exc.OperationalError("SELECT 1", {}, driver), URL)

    assert type(found) is POSTGRESQL_CODES[code]


def test_the_full_disk_of_a_server_says_what_to_do() -> None:
    found = translate(from_driver("sqlstate", "53100"), URL)

    assert str(found) == f"cannot work with {URL}: disk I/O (53100); make room on the disk and try again"


@pytest.mark.parametrize("error", [ValueError("no"), KeyError("id"), AssertionError(), RuntimeError("disk")])
def test_an_error_that_is_no_drivers_is_left_alone(error: Exception) -> None:
    assert translate(error, URL) is None


def test_the_refusal_of_a_guard_is_told_from_a_violated_constraint() -> None:
    guard = "CREATE TRIGGER g BEFORE INSERT ON t BEGIN SELECT RAISE(ABORT, 'OC001: no'); END"

    refused, violated = of_sqlite("INSERT INTO t VALUES (1)", guard), of_sqlite("INSERT INTO t VALUES (1), (1)")

    assert (guard_code(refused), guard_code(violated)) == ("OC001", None)


def test_an_error_that_causes_itself_is_followed_once() -> None:
    error, other = DriverError("one"), DriverError("two")
    error.__cause__, other.__cause__ = other, error

    assert error_code(error) is None


# -- targets -----------------------------------------------------------------------------------------------------------


def test_a_text_that_is_a_path_is_refused_with_the_right_way_to_write_it() -> None:
    with pytest.raises(DatabaseUrlError, match=r"Path\('ops\.db'\)"):
        ActionDB("ops.db")


@pytest.mark.parametrize("backend", ["mysql", "mysql+aiomysql", "oracle", "mssql+pyodbc", "mariadb"])
def test_another_database_is_refused_by_its_name(backend: str) -> None:
    with pytest.raises(DatabaseUrlError, match=f"not with '{backend.partition('+')[0]}'"):
        ActionDB(f"{backend}://ann@db/ledger")


async def test_a_driver_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)

    with pytest.raises(MissingDriverError) as raised:
        await ActionDB("postgresql://ann@127.0.0.1:1/ledger").open()

    assert str(raised.value) == "the driver asyncpg is not installed: pip install 'operator-core[postgres]'"


REFUSED_AT_ONCE = (
    f"mysql://ann:{SECRET}@db/ledger",
    f"mysql://ann@db/ledger?password={SECRET}",
    f"postgresql://ann:{SECRET}@db:port/ledger",
    f"postgresql://ann:{SECRET}@[::1/ledger",
    f"postgresql:/ann:{SECRET}@db/ledger",
    f"postgresql:ann:{SECRET}@db/ledger",
    f"ann:{SECRET}@db/ledger",
    f"postgresql://ann:{SECRET}@127.0.0.1:1/ledger?unknown=1",
)
REFUSED_LATER = (
    f"postgresql://ann:{SECRET}@127.0.0.1:1/ledger",
    f"postgresql+psycopg://ann:{SECRET}@127.0.0.1:1/ledger",
    f"postgresql://ann@127.0.0.1:1/ledger?password={SECRET}",
    f"postgresql+psycopg://ann@127.0.0.1:1/ledger?password={SECRET}",
    f"postgresql+psycopg://127.0.0.1:1/ledger?user=ann&sslpassword={SECRET}",
    f"postgresql://ann:p@{SECRET}@127.0.0.1:1/ledger",  # the @ should have been written %40
    f"postgresql://ann:{SECRET}#1@127.0.0.1:1/ledger",
    f"postgresql://ann:{SECRET}/1@127.0.0.1:1/ledger",
)


def everything_said(error: BaseException) -> str:
    """Return all that a program may print or log of an error and of those that it follows from."""
    said, cause = ["".join(traceback.format_exception(error))], error
    while cause is not None:
        said += [str(cause), repr(cause)]
        cause = cause.__cause__  # type: ignore[assignment]
    return "\n".join(said)


@pytest.mark.parametrize("target", REFUSED_AT_ONCE)
def test_the_refusal_of_a_target_does_not_repeat_its_password(target: str) -> None:
    with pytest.raises(DatabaseUrlError) as raised:
        ActionDB(target)

    assert SECRET not in everything_said(raised.value)


@pytest.mark.parametrize("target", REFUSED_LATER)
async def test_a_target_that_cannot_be_opened_fails_as_this_library_and_without_its_password(
    target: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")

    with pytest.raises(ActionError) as raised:
        await ActionDB(target).open()

    assert SECRET not in everything_said(raised.value)
    assert SECRET not in caplog.text


@pytest.mark.parametrize("target", [target for target in REFUSED_LATER if "p@" not in target])
def test_the_text_of_an_unopened_ledger_does_not_hold_its_password(target: str) -> None:
    assert SECRET not in repr(ActionDB(target))
