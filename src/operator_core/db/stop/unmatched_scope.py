"""Warn about a scope that has never matched a proposal, in a search that follows the stop and never delays it."""

import asyncio
from contextlib import suppress
from functools import partial

from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from operator_core.actions.kill_switch import Scope, StopReceipt
from operator_core.db.engine.capabilities import is_sqlite
from operator_core.db.engine.sqlite import BEGIN_OPTION
from operator_core.db.stop.bounded_connection import BoundedConnection
from operator_core.db.stores import scope_values

_SEARCH_TIMEOUT_SECONDS = 1.0


async def with_scope_warning(engine: AsyncEngine, url: URL, receipt: StopReceipt) -> StopReceipt:
    """Return the receipt, with a warning if no proposal has ever matched its scope.

    The search runs only if the stop met no proposal, and for at most two seconds. If it fails, the receipt is returned
    unchanged: the stop is engaged, and a failed search must not suggest otherwise.
    """
    if receipt.scope.field is None or receipt.cancelled or receipt.still_executing or receipt.not_yet_cancelled:
        return receipt
    with suppress(Exception):
        async with asyncio.timeout(2 * _SEARCH_TIMEOUT_SECONDS):
            unmatched = await _search(engine, url, receipt.scope)
        if unmatched is not None:
            return receipt.model_copy(update={"scope_warning": unmatched.warning, "similar_values": unmatched.similar})
    return receipt


async def _search(engine: AsyncEngine, url: URL, scope: Scope) -> scope_values.UnmatchedScope | None:
    if is_sqlite(engine):
        async with engine.connect() as connection:
            await connection.execution_options(**{BEGIN_OPTION: "NONE"})
            return await connection.run_sync(scope_values.unmatched_values, scope)
    server = BoundedConnection(engine, url)
    try:
        return await server.run(partial(scope_values.unmatched_values, scope=scope), _SEARCH_TIMEOUT_SECONDS)
    finally:
        await server.close()
