"""The schema's revisions: where their scripts are, which one a database is at, and how to move it.

The scripts are Alembic's and travel with the package. They keep their own version table, so that they live beside the
Alembic of a host in the same database. Alembic is imported when something is migrated, not before.
"""

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError, DBAPIError

from operator_core.actions.errors import (
    DatabaseNotFoundError,
    GuardMissingError,
    NameTakenError,
    RevisionUnknownError,
    SchemaOutOfDateError,
    SchemaTooNewError,
    ValueNotStorableError,
)
from operator_core.actions.values import check_seconds
from operator_core.db import latch_verification
from operator_core.db.engine import check_version
from operator_core.db.engine.file_watch import require_safe_to_open
from operator_core.db.engine.urls import URL_VARIABLE, file_of, require_ledger_file, shown, target_url
from operator_core.db.guards import inspect, names
from operator_core.db.migrate.alone import run_alone
from operator_core.db.schema import kill_switch

if TYPE_CHECKING:
    from operator_core.db.migrate.environment import Direction

REVISIONS = ("0001", "0002", "0003")
"""Every revision, oldest first; the last is the one that this code was written for."""
HEAD = REVISIONS[-1]
VERSION_TABLE = names.VERSION_TABLE

DDL_LOCK_TIMEOUT = 5.0  # seconds: an upgrade that waits for a lock makes all traffic wait behind it


def scripts() -> Path:
    """Return the folder of the scripts: inside the package when it was installed, in the checkout else."""
    packaged = Path(__file__).parents[2] / "_alembic"
    return packaged if packaged.is_dir() else Path(__file__).parents[4] / "alembic"


def current(connection: sa.Connection) -> str | None:
    """Return the revision that a database is at, or None where it holds no ledger.

    A ledger without our version table was made by a host from our metadata: it is at the revision of the code that made
    it, and the texts of the guards tell whether that is ours.

    Raises:
        NameTakenError: It holds no ledger, and something of a host's has a name that one needs.
        RevisionUnknownError: It holds one, and the version table is empty.
    """
    versioned = names.has_version(connection)
    if versioned:
        version: str | None = connection.scalar(sa.text(f"SELECT max(version_num) FROM {VERSION_TABLE}"))  # noqa: S608
        if version is not None:
            return version
    require_free_names(connection)
    if not sa.inspect(connection).has_table(kill_switch.name):
        return None
    if versioned:
        raise RevisionUnknownError(url=shown(connection.engine.url), expected=HEAD)
    return HEAD


def require_chain(connection: sa.Connection) -> None:
    """See that our migrations may change a database: that no others have made its tables, and its names are free.

    Raises:
        NameTakenError: Something of a host's has a name of ours.
        RevisionUnknownError: Only a host knows the revision of its tables.
    """
    if current(connection) is not None and not names.has_version(connection):
        raise RevisionUnknownError(url=shown(connection.engine.url), expected=HEAD)


def require_free_names(connection: sa.Connection) -> None:
    """See that nothing of a host's has a name that a ledger needs.

    Raises:
        NameTakenError: Something has.
    """
    taken = names.taken_names(connection)
    if taken:
        raise NameTakenError(url=shown(connection.engine.url), names=taken)


def require_free_file(url: URL) -> None:
    """See that no table of a host's in a SQLite file has a name of ours, without touching the file.

    Opening it with our settings would turn it into a WAL one.

    Raises:
        NameTakenError: One has.
    """
    file = file_of(url)
    if file is None:
        return
    require_safe_to_open(file, shown(url))

    def connect() -> sqlite3.Connection:
        # Even a reader leaves a -wal and a -shm beside a file that has none, unless it is told that nobody writes.
        options = "mode=ro" if Path(f"{file}-wal").exists() else "mode=ro&immutable=1"
        return sqlite3.connect(f"{file.absolute().as_uri()}?{options}", uri=True, timeout=0)

    with suppress(OSError, sqlite3.Error, DatabaseError):  # whoever opens it hears why it cannot be read
        if not file.is_file():
            return
        with closing(connect()) as plain:
            if plain.execute(str(names.VERSION_ON_SQLITE)).fetchone():
                return
        engine = sa.create_engine(url.set(drivername="sqlite"), creator=connect, poolclass=sa.NullPool)
        with engine.connect() as connection:
            require_free_names(connection)


def check(connection: sa.Connection, url: URL) -> None:
    """See that this code can work with a database: its revision or the next one, and every guard.

    Raises:
        SchemaOutOfDateError: The schema is behind, or there is none; the error names the command.
        SchemaTooNewError: It is more than one revision ahead.
        GuardMissingError: A guard is missing, disabled or altered, or something else that a promise rests on.
        NameTakenError: There is no ledger, and something of a host's has a name that one needs.
    """
    found = check_revision(connection, url, f"{int(HEAD) + 1:04d}")
    missing = _wrong_guards(connection, exactly=found == HEAD)
    if missing:
        raise GuardMissingError(url=shown(url), guards=missing)


def altered(connection: sa.Connection) -> tuple[str, ...]:
    """Return what is wrong with the guards and the tables, as far as this version knows their revision."""
    return _wrong_guards(connection, exactly=current(connection) == HEAD)


def check_revision(connection: sa.Connection, url: URL, *others: str) -> str:
    """Return the revision of a database: that of this version, or one of the `others`.

    Raises:
        SchemaOutOfDateError: The schema is behind, or there is none; the error names the command.
        SchemaTooNewError: It is ahead.
    """
    found = current(connection)
    if found is None or (found in REVISIONS and found != HEAD):
        raise SchemaOutOfDateError(url=shown(url), current=found, expected=HEAD, command=_upgrade_command(url))
    if found not in (HEAD, *others):
        raise SchemaTooNewError(url=shown(url), current=found, expected=HEAD)
    return found


def _wrong_guards(connection: sa.Connection, *, exactly: bool) -> tuple[str, ...]:
    missing = inspect(connection, exactly=exactly)
    with suppress(DBAPIError):  # a look at a table that is missing has ended the transaction
        if missing and not names.has_version(connection):
            return (*missing, _BY_A_HOST)
    return missing


_BY_A_HOST = (
    f"or these are of another revision: without {VERSION_TABLE} a host's own migrations have made the tables, and the "
    'next revision is taken there (docs/deploy.md, "One database for both")'
)


def _upgrade_command(url: URL) -> str:
    """Return what to type; a URL with a password in it is not shown, so it is taken from the environment."""
    if file_of(url) is not None:
        return f"operator-core db upgrade --url '{shown(url)}'"
    if shown(url) != url.set(drivername=url.get_backend_name()).render_as_string(hide_password=False):
        return f"{URL_VARIABLE}=... operator-core db upgrade"
    return f"operator-core db upgrade --url '{shown(url)}'"


class Standing(StrEnum):
    """How a database stands to this version of the library."""

    UP_TO_DATE = "up to date"
    BEHIND = "behind"
    GUARD_MISSING = "a guard is missing"
    AHEAD = "ahead"
    UNKNOWN = "at a revision that nobody knows"


@dataclass(frozen=True)
class Report:
    """What `report` found: the revision (None without a ledger), and what is wrong with it."""

    revision: str | None
    standing: Standing
    guards: tuple[str, ...] = ()


def report(target: Path | str | URL | None = None) -> Report:
    """Look how a database stands, and create nothing; blocks, and works within a running event loop too.

    Raises:
        DatabaseError: It cannot be reached or worked with.
    """
    url = target_url(target)
    require_free_file(url)
    try:
        require_ledger_file(url)
    except DatabaseNotFoundError:
        return Report(None, Standing.BEHIND)
    return run_alone(url, report_on)


def report_on(connection: sa.Connection) -> Report:
    """Look how a database stands, besides its guards and tables at its latch and its counters of ids."""
    check_version(connection)
    found = current(connection)
    if found is None or (found in REVISIONS and found != HEAD):
        return Report(found, Standing.BEHIND)
    missing = altered(connection)
    if found != HEAD:
        later = found.isdecimal() and found > HEAD
        return Report(found, Standing.AHEAD if later else Standing.UNKNOWN, missing)
    if not missing:
        different = [*latch_verification.compare_latch(connection), *latch_verification.lagging_ids(connection)]
        missing = tuple(str(difference) for difference in different)
    return Report(found, Standing.GUARD_MISSING if missing else Standing.UP_TO_DATE, missing)


def history() -> list[tuple[str, str]]:
    """Return every revision with what it brings, oldest first."""
    from operator_core.db.migrate import environment

    return environment.history()


def upgrade(
    target: Path | str | URL | None = None, revision: str = "head", *, lock_timeout: float = DDL_LOCK_TIMEOUT
) -> None:
    """Bring a database to a revision, one process at a time; nothing is kept of an upgrade that fails.

    Blocks; within a running event loop use `await ActionDB(...).migrate()`.

    Args:
        target: As for `ActionDB`.
        revision: Its number, or `head`.
        lock_timeout: Seconds that a statement waits for a lock on PostgreSQL: all traffic waits behind it meanwhile.

    Raises:
        DatabaseError: It cannot be reached or worked with.
    """
    url, seconds = target_url(target), check_seconds(lock_timeout, "lock_timeout")
    _migrate(url, "upgrade", revision, lock_timeout=seconds)


def upgrade_sql(target: Path | str | URL | None, revision: str, output: TextIO) -> None:
    """Write the statements of an upgrade instead of running them; `revision` may be a range, `0001:0002`."""
    from operator_core.db.migrate import environment

    start, _, end = revision.rpartition(":")
    with _refusing(revision):
        environment.write_sql(target_url(target), environment.plan("upgrade", end), start or None, output)


def downgrade(target: Path | str | URL | None, revision: str) -> None:
    """Take a database back to a revision; what only later revisions can hold is lost."""
    _migrate(target_url(target), "downgrade", revision)


def upgrade_on(connection: sa.Connection) -> None:
    """Upgrade through a connection that has begun nothing: a host's, and the only one into a database in memory."""
    from operator_core.db.migrate import environment

    environment.run_on(connection, environment.plan("upgrade", "head"))


def _migrate(url: URL, direction: "Direction", revision: str, *, lock_timeout: float = DDL_LOCK_TIMEOUT) -> None:
    from operator_core.db.migrate import environment

    require_free_file(url)
    with _refusing(revision):
        steps = environment.plan(direction, revision)
        act = partial(environment.run_on, steps=steps, lock_timeout=lock_timeout)
        run_alone(url, act, lock_timeout=environment.LOCK_WAIT_SECONDS)


@contextmanager
def _refusing(revision: str) -> Generator[None]:
    """Raise our own error for a revision that Alembic does not know."""
    from operator_core.db.migrate import environment

    try:
        yield
    except environment.CommandError as error:
        raise ValueNotStorableError(path="revision", why=f"is {revision!r}: {error}") from error
