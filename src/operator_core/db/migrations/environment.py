"""The runner of our revisions: one process at a time, one transaction for the whole chain, only our own tables.

Alembic's `context` and `op` are globals of the process, and a host's migration may be running in another thread, or
around ours. So only `run_env` uses them here, which `alembic` on the command line calls in its own process. Each
migration loads the scripts for itself and gives them their own `op`.
"""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, Literal, Protocol, TextIO, cast

import alembic  # noqa: F401  # pyright: ignore[reportUnusedImport] - first: see ADR 0013
import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from operator_core.actions.errors import ConstraintError, DatabaseUrlError
from operator_core.db.engine.advisory_lock import AdvisoryLock
from operator_core.db.engine.capabilities import check_version, is_sqlite
from operator_core.db.engine.factory import require_configured
from operator_core.db.engine.urls import display_url, resolve_url
from operator_core.db.migrations import revisions
from operator_core.db.migrations.blocking import run_blocking
from operator_core.db.migrations.revisions import DDL_LOCK_TIMEOUT, VERSION_TABLE
from operator_core.db.migrations.sqlite_triggers import TriggerRestorer
from operator_core.db.migrations.status import require_chain
from operator_core.db.schema import Base

LOCK_WAIT_SECONDS = 120.0
MIGRATION_LOCK = AdvisoryLock(0x6F70_636F_7265_6D67, "another process is migrating it", LOCK_WAIT_SECONDS)
"""How long an upgrade waits for another one."""

__all__ = [
    "LOCK_WAIT_SECONDS",
    "MIGRATION_LOCK",
    "OPTIONS",
    "CommandError",
    "Direction",
    "Plan",
    "check_foreign_keys",
    "history",
    "keeping_triggers",
    "plan",
    "require_schema",
    "run_env",
    "run_on",
    "write_sql",
]

Direction = Literal["upgrade", "downgrade"]
Plan = Callable[[tuple[str, ...], MigrationContext], Iterable[RevisionStep]]


def plan(direction: Direction, revision: str) -> Plan:
    """Return what chooses the steps to a revision; it has loaded the scripts anew, and gives them their own `op`."""
    directory = ScriptDirectory(str(revisions.scripts()))

    def choose(heads: tuple[str, ...], context: MigrationContext) -> Iterable[RevisionStep]:
        op: Any = Operations(context)
        for script in directory.walk_revisions():
            vars(script.module)["op"] = op  # instead of `alembic.op`, which acts on the migration that began last
        choices: Any = (directory._upgrade_revs, directory._downgrade_revs)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - Alembic's documentation of `fn` uses them
        return cast("Iterable[RevisionStep]", choices[direction == "downgrade"](revision, heads))

    return choose


def history() -> list[tuple[str, str]]:
    """Return every revision with what it brings, oldest first."""
    found = ScriptDirectory(str(revisions.scripts())).walk_revisions()
    return [(script.revision, script.doc) for script in found][::-1]


def run_on(connection: sa.Connection, steps: Plan, *, lock_timeout: float = DDL_LOCK_TIMEOUT) -> None:
    """Migrate through a connection that has begun nothing; it may be a host's, so its settings are restored."""

    def configure(**options: Any) -> MigrationContext:
        return MigrationContext.configure(connection, opts={**options, "fn": steps})

    _run_alone_on(connection, configure, lock_timeout)


def write_sql(url: URL, steps: Plan, start: str | None, output: TextIO) -> None:
    """Write the statements of a migration from the revision `start`, None for an empty database."""
    options = {**OPTIONS, "fn": steps, "as_sql": True, "literal_binds": True, "starting_rev": start}
    _write_on(MigrationContext.configure(url=url, opts={**options, "output_buffer": output}), url)


def run_env() -> None:
    """Do the work of an `env.py`, for `alembic` on the command line."""
    from alembic import context

    url = resolve_url(context.get_x_argument(as_dictionary=True).get("url"))
    if context.is_offline_mode():
        context.configure(url=url, literal_binds=True, **OPTIONS)
        _write_on(context, url)
        return

    def act(connection: sa.Connection) -> None:
        def configure(**options: Any) -> _Migration:
            context.configure(connection=connection, **options)
            return context

        _run_alone_on(connection, configure, DDL_LOCK_TIMEOUT)

    run_blocking(url, act, lock_timeout=LOCK_WAIT_SECONDS)


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    return kind != "table" or name in Base.metadata.tables


OPTIONS: dict[str, Any] = {
    "target_metadata": Base.metadata,
    "version_table": VERSION_TABLE,
    "include_name": _is_ours,
    "transactional_ddl": True,
    "transaction_per_migration": False,
}


class _Migration(Protocol):
    """The common part of `MigrationContext` and the module `alembic.context`."""

    def begin_transaction(self) -> Any: ...
    def run_migrations(self) -> None: ...


def _write_on(context: Any, url: URL) -> None:
    with context.begin_transaction():
        if url.get_backend_name() == "postgresql":
            context.execute(f"SET LOCAL lock_timeout = {round(DDL_LOCK_TIMEOUT * 1000)}")
            context.execute("SET LOCAL statement_timeout = 0")
        context.run_migrations()


def _run_alone_on(connection: sa.Connection, configure: Callable[..., _Migration], lock_timeout: float) -> None:
    on_sqlite = is_sqlite(connection)
    alone = _alone_on_sqlite(connection) if on_sqlite else _alone_on_postgresql(connection)
    with alone as options:
        context = configure(**OPTIONS, **options)
        with context.begin_transaction():
            if not on_sqlite:
                connection.execute(_BOUNDS, {"lock_timeout": str(round(lock_timeout * 1000))})
                require_schema(connection)
            require_chain(connection)
            context.run_migrations()
            if on_sqlite:
                check_foreign_keys(connection)


# For this transaction alone, so that a host's session is unchanged; some settings are newer than the oldest server.
_BOUNDS = sa.text(
    "SELECT set_config(s.name, v.value, true) FROM pg_catalog.pg_settings AS s JOIN (VALUES "
    "('lock_timeout', CAST(:lock_timeout AS text)), ('statement_timeout', '0'), ('transaction_timeout', '0'), "
    "('idle_in_transaction_session_timeout', '0'), ('standard_conforming_strings', 'on'), "
    "('quote_all_identifiers', 'off')) AS v (name, value) "
    "ON v.name = s.name"
)


_SCHEMAS = sa.text(
    "SELECT quote_ident(current_user) AS role, quote_ident(current_database()) AS database, "  # noqa: S608
    "current_schema() AS first, quote_ident(n.nspname) AS ledger, n.nspname = current_schema() AS same "
    "FROM (SELECT 1) AS one "
    f"LEFT JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass('{VERSION_TABLE}') "
    "LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
)


def require_schema(connection: sa.Connection) -> None:
    """Check that new objects go to the ledger's schema: the first one of the search path."""
    found = connection.execute(_SCHEMAS).one()
    if found.first is None:
        problem, schema = "no schema that exists", "<schema>"
    elif found.ledger is not None and not found.same:
        problem, schema = f"{found.first}, and the ledger is in {found.ledger}", found.ledger
    else:
        return
    raise DatabaseUrlError(
        f"the search_path of {found.role} in {display_url(connection.engine.url)} begins with {problem}. "
        f"Run: ALTER ROLE {found.role} IN DATABASE {found.database} SET search_path = {schema}; then connect anew"
    )


@contextmanager
def _alone_on_postgresql(connection: sa.Connection) -> Generator[dict[str, Any]]:
    """Hold the migration lock."""
    connection.execution_options(isolation_level="READ COMMITTED")  # a host's engine may autocommit
    check_version(connection)
    MIGRATION_LOCK.acquire(connection)
    connection.commit()
    try:
        yield {}
    finally:
        try:
            connection.rollback()
            MIGRATION_LOCK.release(connection)
            connection.commit()
        except SQLAlchemyError:  # the connection and its lock are lost, and the caller gets the error that broke it
            connection.invalidate()


@contextmanager
def _alone_on_sqlite(connection: sa.Connection) -> Generator[dict[str, Any]]:
    """Begin IMMEDIATE (the engine does), with foreign keys off: rebuilding a parent table would delete its children."""
    require_configured(connection)
    connection.rollback()
    before = {name: _pragma(connection, name) for name in _PRAGMAS}
    for name, value in _PRAGMAS.items():
        _pragma(connection, f"{name} = {value}")
    try:
        with keeping_triggers(connection) as options:
            yield options
    finally:
        connection.rollback()
        for name, value in before.items():
            _pragma(connection, f"{name} = {value}")


@contextmanager
def keeping_triggers(connection: sa.Connection) -> Generator[dict[str, Any]]:
    """Yield the Alembic option that restores triggers after a table was rebuilt on SQLite."""
    keeper = TriggerRestorer(connection)
    try:
        yield {"on_version_apply": (keeper.restore,)}
    finally:
        keeper.close()


_PRAGMAS = {
    "busy_timeout": round(LOCK_WAIT_SECONDS * 1000),
    "foreign_keys": 0,
    "legacy_alter_table": 1,  # else a table cannot be renamed while another table's trigger names it
}


def _pragma(connection: sa.Connection, pragma: str) -> Any:
    cursor = connection.connection.cursor()  # outside any transaction: the pragma has no effect inside one
    try:
        cursor.execute(f"PRAGMA {pragma}")
        row = cursor.fetchone()
    finally:
        cursor.close()
    return row and row[0]


def check_foreign_keys(connection: sa.Connection) -> None:
    """Check that none of our rows on SQLite has lost its parent; references of a host's rows are the host's matter."""
    tables = [name for name in Base.metadata.tables if sa.inspect(connection).has_table(name)]
    checks = (f"PRAGMA foreign_key_check({name})" for name in tables)
    broken = [row for check in checks for row in connection.exec_driver_sql(check)]
    if broken:
        raise ConstraintError(code="SQLITE_CONSTRAINT_FOREIGNKEY", detail=f"rows without their parents: {broken[:10]}")
