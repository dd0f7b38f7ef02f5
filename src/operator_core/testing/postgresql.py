"""A fresh PostgreSQL ledger for a test, cloned from a template that is migrated once per server and revision."""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import cycle
from typing import Self

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from operator_core.actions.errors import DatabaseAccessError, DatabaseUrlError
from operator_core.db import upgrade
from operator_core.db.engine.advisory_lock import AdvisoryLock
from operator_core.db.engine.urls import display_url, resolve_url
from operator_core.db.errors import error_code
from operator_core.db.migrations.blocking import run_blocking
from operator_core.db.migrations.revisions import HEAD, scripts
from operator_core.db.transactions.shield import shielded

_NO_SUCH_DATABASE = "3D000"  # SQLSTATE, PostgreSQL documentation, appendix A
_OBJECT_IN_USE = "55006"
_INSUFFICIENT_PRIVILEGE = "42501"
_LOCK_WAIT_SECONDS = 120.0
_UNUSED_WAIT_SECONDS = 60.0
_RETRY_INTERVAL_SECONDS = 0.02


class FreshPostgresql:
    """A migrated, empty database inside the block, `with` or `async with`, which is dropped at its end."""

    def __init__(self, server: URL) -> None:
        self._server = server
        self._database: str | None = None

    def __enter__(self) -> URL:
        create = partial(_create, self._server)
        self._database = run_blocking(self._server, create, lock_timeout=_LOCK_WAIT_SECONDS)
        return self._server.set(database=self._database)

    def __exit__(self, *exc_info: object) -> None:
        name, self._database = self._database, None
        if name is not None:
            run_blocking(self._server, partial(_drop, name), lock_timeout=_LOCK_WAIT_SECONDS)

    async def __aenter__(self) -> URL:
        try:
            return await shielded(asyncio.to_thread(self.__enter__))
        except asyncio.CancelledError:
            await self.__aexit__()  # it was created all the same, and `__aexit__` will not run
            raise

    async def __aexit__(self, *exc_info: object) -> None:
        await shielded(asyncio.to_thread(self.__exit__))


def fresh_postgresql(url: str | URL) -> FreshPostgresql:
    """Return a context manager for the URL of a new, empty, migrated ledger, on the server of `url`.

    Use it with `with` or `async with`: at the end the database is dropped, and all connections to it are closed. It is
    cloned from a template database, which stays on the server for the next run; a template of another revision is
    replaced. Any number of processes may do so at once.

    Args:
        url: The URL of an existing database to connect to, such as `postgresql://user:password@host/postgres`; it is
            not changed. The user needs CREATEDB.

    Raises:
        DatabaseUrlError: The URL is not one of PostgreSQL.
        DatabaseAccessError: On entering the block: the user may not connect, or may not create databases. On leaving
            it: a client that the user may not disconnect is connected to the database.
        DatabaseUnavailableError: On entering the block: the server cannot be reached, or has no such database.
    """
    server = resolve_url(url)
    if server.get_backend_name() != "postgresql":
        raise DatabaseUrlError(f"{display_url(server)} is no PostgreSQL server; for SQLite call fresh_sqlite(folder)")
    return FreshPostgresql(server)


@dataclass(frozen=True)
class _Template:
    """The names of a template; its place is one role in one database, because advisory locks are per database."""

    place: str
    name: str

    @classmethod
    def of(cls, connection: sa.Connection) -> Self:
        role, database = connection.execute(sa.text("SELECT current_user, current_database()")).one()
        place = f"operator_core_template_{_digest(f'{role} {database}'.encode())}_"
        return cls(place, f"{place}{_version()}")

    @property
    def building(self) -> str:
        return f"{self.name}_building"

    @property
    def lock(self) -> AdvisoryLock:
        """The lock of the place: its number is the eight digits of the place, as 64 bits."""
        number = int.from_bytes(self.place.encode()[-9:-1], signed=True)
        return AdvisoryLock(number, "another process is making the template database", _LOCK_WAIT_SECONDS)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


@cache
def _version() -> str:
    """Return the revision with a digest of its scripts, which change while a revision is being written."""
    files = sorted(path for path in scripts().rglob("*") if path.suffix in (".py", ".sql"))
    return f"{HEAD}_{_digest(b''.join(path.read_bytes() for path in files))}"


def _create(server: URL, connection: sa.Connection) -> str:
    """Clone the template into a new database, and return its name; make the template first if it is missing."""
    connection = connection.execution_options(isolation_level="AUTOCOMMIT")
    _require_permission(connection)
    template, name = _Template.of(connection), f"operator_core_test_{secrets.token_hex(8)}"
    try:
        _create_database(connection, name, template.name)
    except DBAPIError as error:
        if error_code(error) != _NO_SUCH_DATABASE:
            raise
    else:
        return name
    with _locked(connection, template):  # until it is cloned: a process that makes another template drops this one
        if template.name not in _databases(connection, template.place):
            _build(connection, server, template)
        _create_database(connection, name, template.name)
    return name


_MAY_CREATE = sa.text(
    "SELECT quote_ident(current_user), rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user"
)


def _require_permission(connection: sa.Connection) -> None:
    """Explain what PostgreSQL only calls "permission denied"."""
    role, permitted = connection.execute(_MAY_CREATE).one()
    if not permitted:
        detail = f"the role {role} may not create databases. As a superuser run: ALTER ROLE {role} CREATEDB"
        raise DatabaseAccessError(url=display_url(connection.engine.url), detail=detail)


def _create_database(connection: sa.Connection, name: str, template: str) -> None:
    _execute_when_unused(connection, f"CREATE DATABASE {name} TEMPLATE {template}")


def _execute_when_unused(connection: sa.Connection, statement: str) -> None:
    """Execute a statement that needs a database without connections.

    PostgreSQL itself ends autovacuum there, and waits for five seconds: a busy machine may need longer.
    """
    deadline = time.monotonic() + _UNUSED_WAIT_SECONDS
    while True:
        try:
            connection.exec_driver_sql(statement)
        except DBAPIError as error:
            if error_code(error) != _OBJECT_IN_USE or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_INTERVAL_SECONDS)
        else:
            return


@contextmanager
def _locked(connection: sa.Connection, template: _Template) -> Generator[None]:
    """Let one process at a time make the template."""
    template.lock.acquire(connection)
    try:
        yield
    finally:
        template.lock.release(connection)


def _build(connection: sa.Connection, server: URL, template: _Template) -> None:
    """Make the template under another name, so that its final name means it is complete, and drop older ones."""
    for left in _databases(connection, template.place):
        _drop_database(connection, left)
    _create_database(connection, template.building, "template0")
    upgrade(server.set(database=template.building))
    # Connections are forbidden: a database with a connection cannot be cloned.
    connection.exec_driver_sql(f"ALTER DATABASE {template.building} WITH ALLOW_CONNECTIONS false")
    _execute_when_unused(connection, f"ALTER DATABASE {template.building} RENAME TO {template.name}")


_NAMES = sa.text("SELECT datname FROM pg_database WHERE starts_with(datname, :prefix)")


def _databases(connection: sa.Connection, prefix: str) -> list[str]:
    return list(connection.scalars(_NAMES, {"prefix": prefix}))


def _drop(name: str, connection: sa.Connection) -> None:
    _drop_database(connection.execution_options(isolation_level="AUTOCOMMIT"), name)


_END_SESSIONS = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = :name AND pid <> pg_backend_pid() AND pg_has_role(usesysid, 'USAGE')"
)


def _drop_database(connection: sa.Connection, name: str) -> None:
    """Drop a database, although it has connections.

    PostgreSQL refuses FORCE to a role that is not a superuser while autovacuum is in that database. Without FORCE it
    ends autovacuum for any role, but no session: the role's own are ended first.
    """
    deadline = time.monotonic() + _UNUSED_WAIT_SECONDS
    for option in cycle(["WITH (FORCE)", ""]):
        try:
            if not option:
                connection.execute(_END_SESSIONS, {"name": name})
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} {option}")
        except DBAPIError as error:
            code = error_code(error)
            if code not in (_INSUFFICIENT_PRIVILEGE, _OBJECT_IN_USE):
                raise
            if option and time.monotonic() > deadline:
                detail = f"{name} stays: somebody whom this role may not disconnect is connected to it"
                raise DatabaseAccessError(url=display_url(connection.engine.url), detail=detail, code=code) from error
        else:
            return
