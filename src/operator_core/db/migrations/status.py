"""The revision of a database, and whether this code can work with it."""

import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

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
)
from operator_core.db.engine.capabilities import check_version
from operator_core.db.engine.file_watch import require_safe_to_open
from operator_core.db.engine.urls import URL_VARIABLE, display_url, require_ledger_file, resolve_url, sqlite_path
from operator_core.db.guards import inspect, names
from operator_core.db.migrations import revisions
from operator_core.db.migrations.blocking import run_blocking
from operator_core.db.migrations.revisions import VERSION_TABLE
from operator_core.db.schema import kill_switch
from operator_core.db.stores import kill_switch_verification

if TYPE_CHECKING:
    pass


def current_revision(connection: sa.Connection) -> str | None:
    """Return the revision of a database, or None if it holds no ledger.

    A host made a ledger without our version table from our metadata: it is at the revision of the code that made it,
    and the texts of the guards show whether that is ours.

    Raises:
        NameTakenError: There is no ledger, and an object of a host has a name that a ledger needs.
        RevisionUnknownError: There is a ledger, but the version table is empty.
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
        raise RevisionUnknownError(url=display_url(connection.engine.url), expected=revisions.HEAD)
    return revisions.HEAD


def require_chain(connection: sa.Connection) -> None:
    """Check that our migrations may change a database: they have made its tables, or its names are free.

    Raises:
        NameTakenError: An object of a host has one of our names.
        RevisionUnknownError: Only a host knows the revision of its tables.
    """
    if current_revision(connection) is not None and not names.has_version(connection):
        raise RevisionUnknownError(url=display_url(connection.engine.url), expected=revisions.HEAD)


def require_free_names(connection: sa.Connection) -> None:
    """Check that no object of a host has a name that a ledger needs.

    Raises:
        NameTakenError: An object has such a name.
    """
    taken = names.taken_names(connection)
    if taken:
        raise NameTakenError(url=display_url(connection.engine.url), names=taken)


def require_free_file(url: URL) -> None:
    """Check that no table of a host in a SQLite file has one of our names, without touching the file.

    Opening it with our settings would turn it into a WAL file.

    Raises:
        NameTakenError: A table has such a name.
    """
    file = sqlite_path(url)
    if file is None:
        return
    require_safe_to_open(file, display_url(url))

    def connect() -> sqlite3.Connection:
        # Even a reader leaves a -wal and a -shm next to a file that has none, unless the file is declared immutable.
        options = "mode=ro" if Path(f"{file}-wal").exists() else "mode=ro&immutable=1"
        return sqlite3.connect(f"{file.absolute().as_uri()}?{options}", uri=True, timeout=0)

    with suppress(OSError, sqlite3.Error, DatabaseError):  # opening it later reports why it cannot be read
        if not file.is_file():
            return
        with closing(connect()) as plain:
            if plain.execute(str(names.VERSION_ON_SQLITE)).fetchone():
                return
        engine = sa.create_engine(url.set(drivername="sqlite"), creator=connect, poolclass=sa.NullPool)
        with engine.connect() as connection:
            require_free_names(connection)


def require_compatible(connection: sa.Connection, url: URL) -> None:
    """Check that this code can work with a database: its revision or the next one, and every guard.

    Raises:
        SchemaOutOfDateError: The schema is behind, or missing; the error names the command.
        SchemaTooNewError: The schema is more than one revision ahead.
        GuardMissingError: A guard, or another object that a guarantee depends on, is missing, disabled or altered.
        NameTakenError: There is no ledger, and an object of a host has a name that a ledger needs.
    """
    found = require_revision(connection, url, f"{int(revisions.HEAD) + 1:04d}")
    missing = _wrong_guards(connection, exactly=found == revisions.HEAD)
    if missing:
        raise GuardMissingError(url=display_url(url), guards=missing)


def wrong_guards(connection: sa.Connection) -> tuple[str, ...]:
    """Return what is wrong with the guards and the tables, as far as this version knows their revision."""
    return _wrong_guards(connection, exactly=current_revision(connection) == revisions.HEAD)


def require_revision(connection: sa.Connection, url: URL, *others: str) -> str:
    """Return the revision of a database: that of this version, or one of the `others`.

    Raises:
        SchemaOutOfDateError: The schema is behind, or missing; the error names the command.
        SchemaTooNewError: The schema is ahead.
    """
    found = current_revision(connection)
    if found is None or (found in revisions.REVISIONS and found != revisions.HEAD):
        command = _upgrade_command(url)
        raise SchemaOutOfDateError(url=display_url(url), current=found, expected=revisions.HEAD, command=command)
    if found not in (revisions.HEAD, *others):
        raise SchemaTooNewError(url=display_url(url), current=found, expected=revisions.HEAD)
    return found


def _wrong_guards(connection: sa.Connection, *, exactly: bool) -> tuple[str, ...]:
    missing = inspect(connection, exactly=exactly)
    with suppress(DBAPIError):  # reading a missing table has aborted the transaction
        if missing and not names.has_version(connection):
            return (*missing, _BY_A_HOST)
    return missing


_BY_A_HOST = (
    f"or these are of another revision: without {VERSION_TABLE} a host's own migrations have made the tables, and the "
    'next revision is taken there (docs/deploy.md, "One database for both")'
)


def _upgrade_command(url: URL) -> str:
    """Return the command to type; a URL with a password comes from the environment instead."""
    if sqlite_path(url) is not None:
        return f"operator-core db upgrade --url '{display_url(url)}'"
    if display_url(url) != url.set(drivername=url.get_backend_name()).render_as_string(hide_password=False):
        return f"{URL_VARIABLE}=... operator-core db upgrade"
    return f"operator-core db upgrade --url '{display_url(url)}'"


class SchemaState(StrEnum):
    """The state of a database, compared with this version of the library."""

    UP_TO_DATE = "up to date"
    BEHIND = "behind"
    GUARD_MISSING = "a guard is missing"
    AHEAD = "ahead"
    UNKNOWN = "at a revision that nobody knows"


@dataclass(frozen=True)
class SchemaStatus:
    """The result of `schema_status`: the revision (None without a ledger), the state, and the problems."""

    revision: str | None
    state: SchemaState
    guards: tuple[str, ...] = ()


def schema_status(target: Path | str | URL | None = None) -> SchemaStatus:
    """Return the status of a database's schema, and create nothing; blocks, also inside a running event loop.

    Raises:
        DatabaseError: The database cannot be reached or used.
    """
    url = resolve_url(target)
    require_free_file(url)
    try:
        require_ledger_file(url)
    except DatabaseNotFoundError:
        return SchemaStatus(None, SchemaState.BEHIND)
    return run_blocking(url, schema_status_on)


def schema_status_on(connection: sa.Connection) -> SchemaStatus:
    """Return the status of a database's schema, including its guards, tables, latch and id counters."""
    check_version(connection)
    found = current_revision(connection)
    if found is None or (found in revisions.REVISIONS and found != revisions.HEAD):
        return SchemaStatus(found, SchemaState.BEHIND)
    missing = wrong_guards(connection)
    if found != revisions.HEAD:
        later = found.isdecimal() and found > revisions.HEAD
        return SchemaStatus(found, SchemaState.AHEAD if later else SchemaState.UNKNOWN, missing)
    if not missing:
        different = [
            *kill_switch_verification.compare_latch(connection),
            *kill_switch_verification.lagging_ids(connection),
        ]
        missing = tuple(str(difference) for difference in different)
    return SchemaStatus(found, SchemaState.GUARD_MISSING if missing else SchemaState.UP_TO_DATE, missing)
