"""The schema's revisions: where their scripts are, which one a database is at, and how to move it.

The scripts are Alembic's and travel with the package. They keep their own version table, so that they live beside the
Alembic of a host in the same database. Alembic is imported when something is migrated, not before.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from operator_core.actions.errors import (
    ConstraintError,
    DatabaseLockedError,
    GuardMissingError,
    SchemaOutOfDateError,
    SchemaTooNewError,
)
from operator_core.db.engine import create_engine, is_sqlite
from operator_core.db.engine.urls import URL_VARIABLE, file_of, shown, target_url
from operator_core.db.faults import translate
from operator_core.db.guards import missing_guards
from operator_core.db.schema import Base, kill_switch

if TYPE_CHECKING:
    from alembic.config import Config

REVISIONS = ("0001", "0002")
"""Every revision, oldest first; the last is the one that this code was written for."""
HEAD = REVISIONS[-1]
VERSION_TABLE = "operator_core_version"

_ONE_AT_A_TIME = threading.Lock()  # Alembic keeps the migration that runs in a global of the process
_MIGRATION_LOCK = 0x6F70_636F_7265_6D67  # of PostgreSQL, for the session that migrates
_LOCK_WAIT_SECONDS = 120.0
_DDL_LOCK_TIMEOUT = "5s"  # an upgrade that waits for a lock makes all traffic wait behind it


def scripts() -> Path:
    """Return the folder of the scripts: inside the package when it was installed, in the checkout else."""
    packaged = Path(__file__).parents[1] / "_alembic"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "alembic"


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


def upgrade(target: Path | str | URL | None = None, revision: str = "head") -> None:
    """Bring a database to a revision, one process at a time; nothing is kept of an upgrade that fails.

    Blocks; within a running event loop use `await ActionDB(...).migrate()`.

    Raises:
        DatabaseError: It cannot be reached or worked with.
    """
    _command("upgrade", {"url": target_url(target)}, revision)


def downgrade(target: Path | str | URL | None, revision: str) -> None:
    """Take a database back to a revision; what only later revisions can hold is lost."""
    _command("downgrade", {"url": target_url(target)}, revision)


def upgrade_on(connection: sa.Connection, revision: str = "head") -> None:
    """Upgrade through a connection that has begun nothing: the only way into a database in memory."""
    _command("upgrade", {"connection": connection}, revision)


def _command(name: str, attributes: dict[str, Any], revision: str) -> None:
    from alembic import command

    config = _config()
    config.attributes.update(attributes)
    with _ONE_AT_A_TIME:
        getattr(command, name)(config, revision)


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


# -- called by alembic/env.py ------------------------------------------------------------------------------------------


def run_env() -> None:
    """Do what an `env.py` does, for `alembic` on the command line and for the functions above."""
    from alembic import context

    attributes = context.config.attributes
    if "connection" in attributes:
        _run_on(attributes["connection"])
        return
    url = attributes.get("url") or target_url(context.get_x_argument(as_dictionary=True).get("url"))
    if context.is_offline_mode():
        context.configure(url=url, literal_binds=True, **_options())
        with context.begin_transaction():
            context.run_migrations()
    else:
        _in_thread(lambda: asyncio.run(_connect_and(url, _run_on)))


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    return kind != "table" or name in Base.metadata.tables


def _options() -> dict[str, Any]:
    return {
        "target_metadata": Base.metadata,
        "version_table": VERSION_TABLE,
        "include_name": _is_ours,
        "transactional_ddl": True,
        "transaction_per_migration": False,
    }


def _in_thread(call: Callable[[], None]) -> None:
    """Run `call` in a thread of its own, where no event loop is running whatever the caller does."""
    with ThreadPoolExecutor(1) as executor:
        executor.submit(call).result()


async def _connect_and(url: URL, act: Callable[[sa.Connection], None]) -> None:
    engine = create_engine(url, lock_timeout=_LOCK_WAIT_SECONDS, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(act)
    except Exception as error:
        known = translate(error, shown(url))
        if known is None:
            raise
        raise known from error
    finally:
        await engine.dispose()


def _run_on(connection: sa.Connection) -> None:
    from alembic import context

    alone = _alone_on_sqlite if is_sqlite(connection) else _alone_on_postgresql
    with alone(connection) as options:
        context.configure(connection=connection, **_options(), **options)
        with context.begin_transaction():
            context.run_migrations()
            if is_sqlite(connection):
                _check_foreign_keys(connection)


@contextmanager
def _alone_on_postgresql(connection: sa.Connection) -> Generator[dict[str, Any]]:
    """Hold the migration lock; a blocking wait for it would hold back CREATE INDEX CONCURRENTLY of whoever has it."""
    give_up = time.monotonic() + _LOCK_WAIT_SECONDS
    while not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(_MIGRATION_LOCK))):
        connection.rollback()
        if time.monotonic() > give_up:
            raise DatabaseLockedError(url=shown(connection.engine.url), detail="another process is migrating it")
        time.sleep(0.1)
    connection.exec_driver_sql(f"SET lock_timeout = '{_DDL_LOCK_TIMEOUT}'")
    connection.exec_driver_sql("SET statement_timeout = 0")
    connection.commit()
    try:
        yield {}
    finally:
        connection.rollback()
        connection.scalar(sa.select(sa.func.pg_advisory_unlock(_MIGRATION_LOCK)))
        connection.commit()


@contextmanager
def _alone_on_sqlite(connection: sa.Connection) -> Generator[dict[str, Any]]:
    """Begin IMMEDIATE (the engine does), with foreign keys off: a rebuilt parent table would delete its children."""
    _pragma(connection, "foreign_keys = OFF")
    _pragma(connection, "legacy_alter_table = ON")  # else no table is renamed that a trigger of another one names
    keeper = _TriggerKeeper(connection)
    try:
        yield {"on_version_apply": keeper.restore}
    finally:
        keeper.close()
        connection.rollback()
        _pragma(connection, "legacy_alter_table = OFF")
        _pragma(connection, "foreign_keys = ON")


def _pragma(connection: sa.Connection, pragma: str) -> None:
    cursor = connection.connection.cursor()  # beside any transaction: the pragma has no effect within one
    cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _check_foreign_keys(connection: sa.Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if broken:
        raise ConstraintError(code="SQLITE_CONSTRAINT_FOREIGNKEY", detail=f"rows without their parents: {broken[:10]}")


class _TriggerKeeper:
    """Puts back what a rebuilt SQLite table has lost: triggers that the revision did not drop, and the last id."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._before: dict[str, str] | None = None
        self._ids: dict[str, int] = {}
        event.listen(connection, "before_cursor_execute", self._look)
        event.listen(connection, "after_cursor_execute", self._forget_dropped)

    def _look(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        if self._before is None and statement.split()[:1] not in (["BEGIN"], ["PRAGMA"]):
            self._before = {}
            self._remember()

    def _forget_dropped(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        if self._before and [word.upper() for word in statement.split()[:2]] == ["DROP", "TRIGGER"]:
            now = self._triggers()
            named = statement.rstrip("; \n").replace('"', " ").replace(".", " ").split()[-1]
            if named not in now:
                self._before.pop(named, None)

    def _remember(self) -> None:
        self._before, self._ids = self._triggers(), self._last_ids()

    def _triggers(self) -> dict[str, str]:
        found = self._connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        return {row.name: row.sql for row in found}

    def _last_ids(self) -> dict[str, int]:
        has = "SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'"
        if not self._connection.exec_driver_sql(has).scalar():
            return {}
        return {row.name: row.seq for row in self._connection.exec_driver_sql("SELECT name, seq FROM sqlite_sequence")}

    def _is_table(self, name: str) -> bool:
        found = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
        return bool(self._connection.exec_driver_sql(found, (name,)).scalar())

    def restore(self, **_: object) -> None:
        """Compare with the state before the revision that was just applied."""
        now, ids = self._triggers(), self._last_ids()
        for name, sql in (self._before or {}).items():
            if name not in now:
                self._connection.exec_driver_sql(sql)
        for name, seq in self._ids.items():
            if ids.get(name, 0) < seq and self._is_table(name):
                self._connection.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
                self._connection.exec_driver_sql("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (name, seq))
        self._remember()

    def close(self) -> None:
        """Stop watching."""
        event.remove(self._connection, "before_cursor_execute", self._look)
        event.remove(self._connection, "after_cursor_execute", self._forget_dropped)
