"""Whole units in the thread of a SQLite connection: one hop for an entire call.

In SQLAlchemy's greenlet each statement would make its own hop and pay for asyncio: a short call took three times as
long.
"""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from operator_core.actions.errors import ActionError
from operator_core.db.engine.aiosqlite_connection import OneHopConnection, WatchedConnection
from operator_core.db.engine.sqlite import sync_connector
from operator_core.db.errors import GuardRefusal
from operator_core.db.modes import READING, TransactionMode
from operator_core.db.transactions.in_flight import UnitCall
from operator_core.db.transactions.shield import shielded

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


@contextmanager
def _transaction(dbapi_connection: WatchedConnection, mode: TransactionMode) -> Generator[None]:
    begin = _BEGIN.get(mode)
    # SQLAlchemy's own begin does not reach SQLite, so it is never ended.
    try:
        if begin is not None:
            dbapi_connection.execute(begin).close()
        elif mode not in READING:
            dbapi_connection.require_same_file()  # the statement commits by itself
        yield
        if begin is not None:
            dbapi_connection.commit()  # checks the files before and after
        else:
            dbapi_connection.require_same_file()
    except BaseException:
        dbapi_connection.rollback()
        dbapi_connection.require_same_file()  # if they were replaced, that is the true cause
        raise


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

    async def run(self, call: UnitCall[Any]) -> None:
        """Run a call in its own transaction, and set its result once it is committed.

        A cancellation is delivered once the thread is done with the call; a call that has not begun is skipped.
        """
        reads = call.mode in READING
        checkout = await (self._check_out() if reads else self._check_out_writer())
        checkout.users += 1
        try:
            await checkout.driver.run_in_thread(partial(self._run_unit, checkout, call))
        except asyncio.CancelledError:
            call.is_awaited = False
            with suppress(ValueError):  # it was closed, after its earlier work
                await shielded(checkout.driver.run_in_thread(lambda _dbapi: None))  # a thread works in order
            raise
        except BaseException as error:
            if reads or not isinstance(error, ActionError):  # a refused write is normal
                self._give_up(checkout)
            raise
        finally:
            checkout.users -= 1
            if not checkout.failed:
                if reads:
                    self._idle.append(checkout)
            elif not checkout.users:  # a thread that ends does nothing more of what is queued in it
                await shielded(self._close(checkout))

    def _run_unit(self, checkout: _Checkout, call: UnitCall[Any], dbapi_connection: Any) -> None:
        if not call.is_awaited:
            return
        if checkout.sync_connection is None:
            checkout.sync_connection = self._connect_in_thread(dbapi_connection)
        connection = checkout.sync_connection
        try:
            with _transaction(dbapi_connection, call.mode):
                result = call.unit(connection, *call.args, **call.kwargs)
        except GuardRefusal as refusal:
            with _transaction(dbapi_connection, call.mode):
                reason = refusal.diagnose(connection)
            raise reason from refusal.__cause__
        call.set_result(result)

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
        if self._writer is not None and not self._writer.users:
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
