"""Whole units in the thread of a SQLite connection: one hop for an entire call.

In SQLAlchemy's greenlet each statement would make its own hop and pay for asyncio: a short call took three times as
long.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from operator_core.actions.errors import ActionError
from operator_core.db.engine.aiosqlite_connection import OneHopConnection, WatchedConnection
from operator_core.db.engine.sqlite import sync_connector
from operator_core.db.errors import GuardRefusal
from operator_core.db.modes import READING, TransactionMode
from operator_core.db.transactions.shield import Outcome, shielded

T = TypeVar("T")
_BEGIN = {
    TransactionMode.SNAPSHOT: "BEGIN",
    TransactionMode.MULTI_WRITE: "BEGIN IMMEDIATE",
    TransactionMode.TRANSACTION: "BEGIN IMMEDIATE",
}
"""The statement that begins a unit; a single statement needs none."""


@dataclass(slots=True)
class _Checkout:
    """A connection of the pool, and the view of it that units get in its thread."""

    connection: AsyncConnection
    driver: OneHopConnection
    sync_connection: sa.Connection | None = None
    failed: bool = False
    users: int = 0


def _transact(
    dbapi_connection: WatchedConnection,
    connection: sa.Connection,
    mode: TransactionMode,
    work: Callable[[sa.Connection], T],
) -> T:
    begin = _BEGIN.get(mode)
    # SQLAlchemy's own begin does not reach SQLite, so it is never ended.
    try:
        if begin is not None:
            dbapi_connection.execute(begin).close()
        elif mode not in READING:
            dbapi_connection.require_same_file()  # the statement commits by itself
        result = work(connection)
        if begin is not None:
            dbapi_connection.commit()  # checks the files before and after
        else:
            dbapi_connection.require_same_file()
    except BaseException:
        dbapi_connection.rollback()
        dbapi_connection.require_same_file()  # if they were replaced, that is the true cause
        raise
    return result


class SqliteThreadRunner:
    """A runner of units in the threads of an owned engine, which keeps its connections checked out.

    Each reader has its own connection; writers share one and queue in its thread. The caller must not use more
    connections than the pool has.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._connect_in_thread = sync_connector(engine)
        self._idle: list[_Checkout] = []
        self._writer: _Checkout | None = None
        self._writing = 0

    async def run(self, mode: TransactionMode, work: Callable[[sa.Connection], T], outcome: Outcome[T]) -> None:
        """Run a unit in its own transaction, and set its outcome once it is committed.

        A cancellation is delivered once the thread is done with the unit; a unit that has not begun is skipped.
        """
        if mode in READING:
            checkout = await self._check_out()
            try:
                await self._run(checkout, mode, work, outcome)
            finally:
                if not checkout.failed:
                    self._idle.append(checkout)
            return
        self._writing += 1
        try:
            await self._run(await self._check_out_writer(), mode, work, outcome)
        finally:
            self._writing -= 1

    async def _run(
        self, checkout: _Checkout, mode: TransactionMode, work: Callable[[sa.Connection], T], outcome: Outcome[T]
    ) -> None:
        cancelled = False

        def run_unit(dbapi_connection: Any) -> None:
            if cancelled:
                return
            connection = checkout.sync_connection = checkout.sync_connection or self._connect_in_thread(
                dbapi_connection
            )
            try:
                outcome.set(_transact(dbapi_connection, connection, mode, work))
            except GuardRefusal as refusal:
                raise _transact(dbapi_connection, connection, mode, refusal.diagnose) from refusal.__cause__

        checkout.users += 1
        try:
            await checkout.driver.run_in_thread(run_unit)
        except asyncio.CancelledError:
            cancelled = True
            with suppress(ValueError):  # it was closed, after its earlier work
                await shielded(checkout.driver.run_in_thread(lambda _dbapi: None))  # a thread works in order
            raise
        except BaseException as error:
            if mode in READING or not isinstance(error, ActionError):  # a refused write is normal
                self._give_up(checkout)
            raise
        finally:
            checkout.users -= 1
            if checkout.failed and not checkout.users:  # a thread that ends does nothing more of what is queued in it
                await shielded(self._close(checkout))

    def _give_up(self, checkout: _Checkout) -> None:
        """Use a connection no more after a failure: a half-read result would keep its snapshot."""
        checkout.failed = True
        if self._writer is checkout:
            self._writer = None

    @staticmethod
    async def _close(checkout: _Checkout) -> None:
        await checkout.connection.invalidate()
        await checkout.connection.close()

    async def _check_out(self) -> _Checkout:
        while not self._idle:
            await shielded(self._connect())
        return self._idle.pop()

    async def _check_out_writer(self) -> _Checkout:
        if self._writer is None:
            checkout = await self._check_out()
            if self._writer is None:
                self._writer = checkout
            else:  # another call was first
                self._idle.append(checkout)
        return self._writer

    async def _connect(self) -> None:
        connection = await self._engine.connect()
        driver: Any = (await connection.get_raw_connection()).driver_connection
        self._idle.append(_Checkout(connection, driver))

    async def release_idle(self) -> None:
        """Return all idle connections to the pool."""
        if self._writer is not None and not self._writing:
            self._idle.append(self._writer)
            self._writer = None
        while self._idle:
            await self._idle.pop().connection.close()

    def forget(self) -> None:
        """Detach all connections, so that the pool no longer tracks them."""
        for checkout in (*self._idle, self._writer):
            if checkout is not None and checkout.connection.sync_connection is not None:
                with suppress(SQLAlchemyError):  # it was lost before
                    checkout.connection.sync_connection.detach()
        self._idle.clear()
        self._writer = None
