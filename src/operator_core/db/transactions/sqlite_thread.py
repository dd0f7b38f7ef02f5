"""Whole units in the thread of a connection to SQLite: one hop for all that a call does.

In SQLAlchemy's greenlet each statement would hop by itself and pay for asyncio: a short call took three times as long.
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
from operator_core.db.engine.sqlite import in_thread_of
from operator_core.db.errors import RefusedError
from operator_core.db.modes import READING, Kind
from operator_core.db.transactions.shield import settled

T = TypeVar("T")
_BEGIN = {Kind.SNAPSHOT: "BEGIN", Kind.STEPS: "BEGIN IMMEDIATE", Kind.TRANSACTION: "BEGIN IMMEDIATE"}
"""What a unit begins with; a single statement needs nothing."""


@dataclass(slots=True)
class _Lent:
    """A connection of the pool, and what units see of it in its thread."""

    connection: AsyncConnection
    driver: OneHopConnection
    inner: sa.Connection | None = None
    failed: bool = False


def _transact(raw: WatchedConnection, connection: sa.Connection, kind: Kind, unit: Callable[[sa.Connection], T]) -> T:
    begin = _BEGIN.get(kind)
    # What SQLAlchemy begins by itself is nothing to SQLite, so it is never ended.
    try:
        if begin is not None:
            raw.execute(begin).close()
        elif kind not in READING:
            raw.require_same_file()  # the statement commits by itself
        result = unit(connection)
        if begin is not None:
            raw.commit()  # checks the files before and after
        else:
            raw.require_same_file()
    except BaseException:
        raw.rollback()
        raw.require_same_file()  # if they were replaced, that is the true cause
        raise
    return result


class InThread:
    """Runs units in the threads of an engine of ours, and keeps its connections at hand.

    Whoever reads has a connection alone; all who write share one, and queue in its thread, which never waits for them.
    Whoever calls it sees to it that no more are in use than the pool has.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._connect_in_thread = in_thread_of(engine)
        self._idle: list[_Lent] = []
        self._writer: _Lent | None = None
        self._writing = 0

    async def run(self, kind: Kind, unit: Callable[[sa.Connection], T], results: list[T]) -> None:
        """Run a unit in a transaction of its own, and add its result to `results` once it is kept.

        A cancellation is delivered when the thread is through with it; if it has not begun, it does not begin.
        """
        if kind in READING:
            lent = await self._take()
            try:
                await self._run(lent, kind, unit, results)
            finally:
                if not lent.failed:
                    self._idle.append(lent)
            return
        self._writing += 1
        try:
            await self._run(await self._take_writer(), kind, unit, results)
        finally:
            self._writing -= 1

    async def _run(self, lent: _Lent, kind: Kind, unit: Callable[[sa.Connection], T], results: list[T]) -> None:
        wanted = True

        def whole(raw: Any) -> None:
            if not wanted:
                return
            connection = lent.inner = lent.inner or self._connect_in_thread(raw)
            try:
                results.append(_transact(raw, connection, kind, unit))
            except RefusedError as refused:
                raise _transact(raw, connection, kind, refused.explain) from refused.__cause__

        try:
            await lent.driver.hop(whole)
        except asyncio.CancelledError:
            wanted = False
            with suppress(ValueError):  # it was closed, after what was asked of it before
                await settled(lent.driver.hop(lambda _raw: None))  # a thread does one after the other
            raise
        except BaseException as error:
            if kind in READING or not isinstance(error, ActionError):  # who writes is refused every day
                await settled(self._give_up(lent))
            raise

    async def _give_up(self, lent: _Lent) -> None:
        """Close a connection on which something failed: a result that was left half read would keep its snapshot."""
        lent.failed = True
        if self._writer is lent:
            self._writer = None
        await lent.connection.invalidate()
        await lent.connection.close()

    async def _take(self) -> _Lent:
        while not self._idle:
            await settled(self._connect())
        return self._idle.pop()

    async def _take_writer(self) -> _Lent:
        if self._writer is None:
            lent = await self._take()
            if self._writer is None:
                self._writer = lent
            else:  # another one was first
                self._idle.append(lent)
        return self._writer

    async def _connect(self) -> None:
        connection = await self._engine.connect()
        driver: Any = (await connection.get_raw_connection()).driver_connection
        self._idle.append(_Lent(connection, driver))

    async def give_back(self) -> None:
        """Give all that is idle to the pool."""
        if self._writer is not None and not self._writing:
            self._idle.append(self._writer)
            self._writer = None
        while self._idle:
            await self._idle.pop().connection.close()

    def forget(self) -> None:
        """Let go of all, so that the pool hears no more of them."""
        for lent in (*self._idle, self._writer):
            if lent is not None and lent.connection.sync_connection is not None:
                with suppress(SQLAlchemyError):  # it was lost before
                    lent.connection.sync_connection.detach()
        self._idle.clear()
        self._writer = None
