"""A stop on SQLite: one transaction, which polls until it has the write lock."""

import asyncio
from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from operator_core.actions.errors import (
    ActionError,
    DatabaseFullError,
    DatabaseLockedError,
    DatabaseReplacedError,
)
from operator_core.actions.kill_switch import Scope, Stop
from operator_core.db.engine.capabilities import require_same_file
from operator_core.db.engine.dedicated import disable_busy_timeout
from operator_core.db.engine.file_holders import holders_by_another_log, who_holds
from operator_core.db.engine.sqlite import BEGIN_OPTION, path_of
from operator_core.db.engine.urls import sqlite_path
from operator_core.db.errors import translating_errors
from operator_core.db.stop.command import RETRY_INTERVAL_SECONDS, StopCommand, StopProgress, failed, inspect_after_stop
from operator_core.db.stores import kill_switch

_POLL = 0.001  # seconds between two tries for SQLite's write lock: its own back-off cost a stop 3 s, polling 92 ms


async def engage_on_sqlite(engine: AsyncEngine, url: URL, order: StopCommand, progress: StopProgress) -> None:
    """Engage a stop; if the disk is full, without the sweep."""
    problem, unit = "the file stays locked", kill_switch.engage_and_sweep
    while True:
        try:
            with translating_errors(url):
                async with engine.connect() as connection:
                    await connection.execution_options(**{BEGIN_OPTION: "NONE"})
                    await connection.run_sync(disable_busy_timeout)
                    await _begin_by_polling(connection, url, order)
                    try:
                        await connection.run_sync(require_same_file)
                        await _stop_at_once(connection, url, order, progress, unit)
                    except DatabaseReplacedError:
                        await connection.invalidate()  # a new connection opens the files that others see
                        raise
                    await _see_who_has_other_files(connection, order, progress)
                    return
        except DatabaseFullError as error:
            problem, unit = str(error), kill_switch.engage_without_sweep
        except DatabaseLockedError:
            problem = f"{who_holds(sqlite_path(url))}; no other start can commit either; end that process"
        except ActionError as error:
            problem = str(error)
        if order.remaining <= 0:
            raise failed(url, order, problem)
        await asyncio.sleep(RETRY_INTERVAL_SECONDS)


async def _begin_by_polling(connection: AsyncConnection, url: URL, order: StopCommand) -> None:
    while True:
        try:
            with translating_errors(url):
                await connection.exec_driver_sql("BEGIN IMMEDIATE")
                return
        except DatabaseLockedError:
            if order.remaining <= 0:
                raise
            await asyncio.sleep(_POLL)


_Unit = Callable[[sa.Connection, Scope, str, str], tuple[Stop, list[int]]]


async def _stop_at_once(
    connection: AsyncConnection, url: URL, order: StopCommand, progress: StopProgress, unit: _Unit
) -> None:
    stop, progress.cancelled = await connection.run_sync(unit, order.scope, order.by, order.reason)
    await connection.commit()
    progress.published(stop, order)
    try:
        with translating_errors(url):
            seen = await connection.run_sync(inspect_after_stop, stop, order.scope)
    except ActionError as error:  # the stop is engaged all the same
        progress.problems.append(f"{error} (what still executes is not known)")
        progress.start_possible = True
    else:
        progress.executing, progress.not_yet_cancelled, problems = seen
        progress.problems += problems
        progress.start_possible = bool(problems)


async def _see_who_has_other_files(connection: AsyncConnection, order: StopCommand, progress: StopProgress) -> None:
    """Report the processes that have the file open with a removed log, because the stop is not in that log.

    A process that uses this library notices the removal at its next call, and starts nothing. Other programs do not.
    """
    path = await connection.run_sync(path_of)
    while pids := holders_by_another_log(path):
        if order.remaining <= 0:  # a process that is just opening the file is listed for a moment
            progress.problems += [
                f"process {pid} has the file open with a log that was removed, so it does not see this stop: end it"
                for pid in sorted(pids)
            ]
            return
        await asyncio.sleep(RETRY_INTERVAL_SECONDS)
