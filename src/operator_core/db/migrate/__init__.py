"""The schema's revisions: where their scripts are, which one a database is at, and how to move it.

The scripts are Alembic's and travel with the package. They keep their own version table, so that they live beside the
Alembic of a host in the same database. Alembic is imported when something is migrated, not before.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import sqlalchemy as sa
from sqlalchemy.engine import URL

from operator_core.actions.errors import (
    DatabaseNotFoundError,
    GuardMissingError,
    SchemaOutOfDateError,
    SchemaTooNewError,
    ValueNotStorableError,
)
from operator_core.actions.values import check_seconds
from operator_core.db.engine import check_version
from operator_core.db.engine.urls import URL_VARIABLE, file_of, require_ledger_file, shown, target_url
from operator_core.db.guards import missing_guards
from operator_core.db.migrate.alone import run_alone
from operator_core.db.schema import kill_switch

if TYPE_CHECKING:
    from operator_core.db.migrate.environment import Direction

REVISIONS = ("0001", "0002", "0003")
"""Every revision, oldest first; the last is the one that this code was written for."""
HEAD = REVISIONS[-1]
VERSION_TABLE = "operator_core_version"

DDL_LOCK_TIMEOUT = 5.0  # seconds: an upgrade that waits for a lock makes all traffic wait behind it


def scripts() -> Path:
    """Return the folder of the scripts: inside the package when it was installed, in the checkout else."""
    packaged = Path(__file__).parents[2] / "_alembic"
    return packaged if packaged.is_dir() else Path(__file__).parents[4] / "alembic"


def current(connection: sa.Connection) -> str | None:
    """Return the revision that a database is at, or None where it holds no ledger.

    A ledger without our version table was made by a host from our metadata: it is at the revision of the code that made
    it, and the texts of the guards tell whether that is ours.
    """
    inspector = sa.inspect(connection)
    if not inspector.has_table(VERSION_TABLE):
        return HEAD if inspector.has_table(kill_switch.name) else None
    version: str | None = connection.scalar(sa.text(f"SELECT max(version_num) FROM {VERSION_TABLE}"))  # noqa: S608
    return version


def check(connection: sa.Connection, url: URL) -> None:
    """See that this code can work with a database: its revision or the next one, and every guard.

    Raises:
        SchemaOutOfDateError: The schema is behind, or there is none; the error names the command.
        SchemaTooNewError: It is more than one revision ahead.
        GuardMissingError: A guard is missing, disabled or altered.
    """
    found = current(connection)
    if found is None or (found in REVISIONS and found != HEAD):
        raise SchemaOutOfDateError(url=shown(url), current=found, expected=HEAD, command=_upgrade_command(url))
    if found != HEAD and found != f"{int(HEAD) + 1:04d}":
        raise SchemaTooNewError(url=shown(url), current=found, expected=HEAD)
    missing = missing_guards(connection, exactly=found == HEAD)
    if missing:
        raise GuardMissingError(url=shown(url), guards=missing)


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
    """What `report` found: the revision (None without a ledger), and what is wrong with which guard."""

    revision: str | None
    standing: Standing
    guards: tuple[str, ...] = ()


def report(target: Path | str | URL | None = None) -> Report:
    """Look how a database stands, and create nothing; blocks, and works within a running event loop too.

    Raises:
        DatabaseError: It cannot be reached or worked with.
    """
    url = target_url(target)
    try:
        require_ledger_file(url)
    except DatabaseNotFoundError:
        return Report(None, Standing.BEHIND)
    return run_alone(url, _report)


def _report(connection: sa.Connection) -> Report:
    check_version(connection)
    found = current(connection)
    if found is None or (found in REVISIONS and found != HEAD):
        return Report(found, Standing.BEHIND)
    if found != HEAD:
        later = found.isdecimal() and found > HEAD
        return Report(found, Standing.AHEAD if later else Standing.UNKNOWN)
    missing = missing_guards(connection)
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
