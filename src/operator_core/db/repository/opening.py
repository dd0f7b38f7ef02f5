"""Check a ledger on open, and migrate an outdated one on SQLite."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from operator_core.actions.errors import SchemaOutOfDateError
from operator_core.db.engine.capabilities import autocommits_safely, check_version, is_sqlite
from operator_core.db.engine.factory import require_configured
from operator_core.db.engine.sqlite import BEGIN_OPTION
from operator_core.db.engine.urls import sqlite_path
from operator_core.db.migrations import commands
from operator_core.db.migrations.status import require_compatible
from operator_core.db.transactions.in_flight import InFlight

T = TypeVar("T")


async def prepare(engine: AsyncEngine, url: URL, limit: InFlight, *, is_host: bool, may_migrate: bool) -> bool:
    """Check an engine's ledger, migrate an outdated one on SQLite, and return whether autocommit is safe.

    Args:
        engine: The engine of the ledger.
        url: The URL that it connects to.
        limit: The bound on how long a cancelled caller waits.
        is_host: Whether the engine is a host's, so that its settings are checked too.
        may_migrate: Whether an outdated ledger on SQLite is upgraded.

    Raises:
        EngineVersionError, EngineNotConfiguredError: The engine cannot be used.
        SchemaError: The schema cannot be used.
    """

    def check(connection: sa.Connection) -> bool:
        limit.attach(connection)
        check_version(connection)
        if is_host:
            require_configured(connection)
        require_compatible(connection, url)
        return not is_host or autocommits_safely(connection)

    try:
        return await _run_as_reader(engine, check)
    except SchemaOutOfDateError:
        if not may_migrate or not is_sqlite(engine):
            raise
    if not is_host and sqlite_path(url) is not None:
        await asyncio.to_thread(commands.upgrade, url)
    else:
        await upgrade_on(engine)
    return await _run_as_reader(engine, check)


async def upgrade_on(engine: AsyncEngine) -> None:
    """Migrate through an engine: for an in-memory database, or a host's engine, whose URL may not say all."""
    async with engine.connect() as connection:
        await connection.run_sync(commands.upgrade_on)


async def _run_as_reader(engine: AsyncEngine, unit: Callable[[sa.Connection], T]) -> T:
    """Run a unit in a read-only transaction, so that a ledger can be opened while another process writes."""
    async with engine.connect() as connection:
        await connection.execution_options(**{BEGIN_OPTION: "DEFERRED"})
        return await connection.run_sync(unit)
