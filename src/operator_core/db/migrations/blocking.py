"""A connection for one task, in a thread of its own: no event loop runs there, whatever the caller does."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from operator_core.db.engine.factory import create_engine
from operator_core.db.errors import translating_errors

T = TypeVar("T")


def run_blocking(url: URL, function: Callable[[sa.Connection], T], *, lock_timeout: float = 10.0) -> T:
    """Connect, call `function` with the connection, and return its result; driver errors become ours."""
    with (
        translating_errors(url),
        ThreadPoolExecutor(1) as executor,
    ):  # a loop needs file descriptors, so it may fail too
        return executor.submit(lambda: asyncio.run(_connect_and(url, function, lock_timeout))).result()


async def _connect_and(url: URL, act: Callable[[sa.Connection], T], lock_timeout: float) -> T:
    engine = create_engine(url, lock_timeout=lock_timeout, poolclass=NullPool)
    try:
        with translating_errors(url):
            async with engine.connect() as connection:
                return await connection.run_sync(act)
    finally:
        await engine.dispose()
