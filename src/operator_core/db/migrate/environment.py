"""What Alembic's `env.py` does: one process at a time, one transaction for the whole chain, only our own tables."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from operator_core.actions.errors import ConstraintError, DatabaseLockedError
from operator_core.db.engine import is_sqlite
from operator_core.db.engine.urls import shown, target_url
from operator_core.db.migrate import DDL_LOCK_TIMEOUT, VERSION_TABLE
from operator_core.db.migrate.alone import run_alone
from operator_core.db.migrate.triggers import TriggerKeeper
from operator_core.db.schema import Base

_MIGRATION_LOCK = 0x6F70_636F_7265_6D67  # of PostgreSQL, for the session that migrates
_LOCK_WAIT_SECONDS = 120.0


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
            if url.get_backend_name() == "postgresql":
                context.execute(f"SET LOCAL lock_timeout = {round(DDL_LOCK_TIMEOUT * 1000)}")
                context.execute("SET LOCAL statement_timeout = 0")
            context.run_migrations()
    else:
        run_alone(url, _run_on, lock_timeout=_LOCK_WAIT_SECONDS)


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


def _run_on(connection: sa.Connection) -> None:
    from alembic import context

    lock_timeout: float = context.config.attributes.get("lock_timeout", DDL_LOCK_TIMEOUT)
    alone = _alone_on_sqlite(connection) if is_sqlite(connection) else _alone_on_postgresql(connection, lock_timeout)
    with alone as options:
        context.configure(connection=connection, **_options(), **options)
        with context.begin_transaction():
            context.run_migrations()
            if is_sqlite(connection):
                _check_foreign_keys(connection)


@contextmanager
def _alone_on_postgresql(connection: sa.Connection, lock_timeout: float) -> Generator[dict[str, Any]]:
    """Hold the migration lock; a blocking wait for it would hold back CREATE INDEX CONCURRENTLY of whoever has it."""
    give_up = time.monotonic() + _LOCK_WAIT_SECONDS
    while not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(_MIGRATION_LOCK))):
        connection.rollback()
        if time.monotonic() > give_up:
            raise DatabaseLockedError(url=shown(connection.engine.url), detail="another process is migrating it")
        time.sleep(0.1)
    connection.exec_driver_sql(f"SET lock_timeout = {round(lock_timeout * 1000)}")
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
    keeper = TriggerKeeper(connection)
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
