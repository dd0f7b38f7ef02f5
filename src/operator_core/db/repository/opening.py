"""Check a ledger when it is opened, and migrate one on SQLite that is behind."""

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
    """Check the ledger of an engine, and migrate one on SQLite that is behind; return whether it autocommits safely.

    Args:
        engine: The engine of the ledger.
        url: What it connects to.
        limit: How long a caller that is cancelled waits.
        is_host: Whether the engine is a host's, so that its settings are checked too.
        may_migrate: Whether a ledger on SQLite that is behind is upgraded.

    Raises:
        EngineVersionError, EngineNotConfiguredError: The engine cannot be used.
        SchemaError: The schema cannot be used.
    """

    def check(connection: sa.Connection) -> bool:
        limit.begin(connection)
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
    """Migrate what an engine connects to: memory, or for a host's engine more than its URL may say."""
    async with engine.connect() as connection:
        await connection.run_sync(commands.upgrade_on)


async def _run_as_reader(engine: AsyncEngine, unit: Callable[[sa.Connection], T]) -> T:
    """Run a unit in a transaction that only reads, so that a ledger can be opened while another process writes."""
    async with engine.connect() as connection:
        await connection.execution_options(**{BEGIN_OPTION: "DEFERRED"})
        return await connection.run_sync(unit)
