"""Whole units in the thread of a connection to SQLite: one hop for all that a call does.

In SQLAlchemy's greenlet each statement would hop by itself and pay for asyncio: a short call took three times as long.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from operator_core.actions.errors import ActionError
from operator_core.db.actions.settled import settled
from operator_core.db.engine.sqlite import in_thread_of
from operator_core.db.engine.sqlite_connection import OneHopConnection
from operator_core.db.transitions import RefusedError
from operator_core.db.units import Kind

T = TypeVar("T")
_BEGIN = {Kind.SNAPSHOT: "BEGIN", Kind.STEPS: "BEGIN IMMEDIATE", Kind.TRANSACTION: "BEGIN IMMEDIATE"}
"""What a unit begins with; a single statement needs nothing."""


@dataclass(slots=True)
class _Lent:
    """A connection of the pool, and what units see of it in its thread."""

    connection: AsyncConnection
    driver: OneHopConnection
    inner: sa.Connection | None = None


def _transact(
    raw: sqlite3.Connection, connection: sa.Connection, begin: str | None, unit: Callable[[sa.Connection], T]
) -> T:
    # What SQLAlchemy begins by itself is nothing to SQLite, so it is never ended.
    try:
        if begin is not None:
            raw.execute(begin).close()
        result = unit(connection)
        if begin is not None:
            raw.commit()
    except BaseException:
        raw.rollback()
        raise
    return result


class InThread:
    """Runs units in the threads of an engine of ours, and keeps its connections at hand.

    Whoever calls it sees to it that no more are in use than the pool has.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._connect_in_thread = in_thread_of(engine)
        self._idle: list[_Lent] = []

    async def run(self, kind: Kind, unit: Callable[[sa.Connection], T], results: list[T]) -> None:
        """Run a unit in a transaction of its own, and add its result to `results` once it is kept.

        A cancellation is delivered when the thread is through with it.
        """
        lent, begin = await self._take(), _BEGIN.get(kind)

        def whole(raw: sqlite3.Connection) -> None:
            connection = lent.inner = lent.inner or self._connect_in_thread(raw)
            try:
                results.append(_transact(raw, connection, begin, unit))
            except RefusedError as refused:
                raise _transact(raw, connection, begin, refused.explain) from refused.__cause__

        try:
            await lent.driver.hop(whole)
        except asyncio.CancelledError:
            await settled(self._let_go(lent))  # asked again meanwhile, it says so once that is done
            raise
        except ActionError:
            self._idle.append(lent)
            raise
        except BaseException:
            await settled(self._let_go(lent))
            raise
        self._idle.append(lent)

    @staticmethod
    async def _let_go(lent: _Lent) -> None:
        """Give a connection to the pool once its thread, which does one thing after the other, has nothing to do."""
        try:
            await lent.driver.hop(lambda _raw: None)
        finally:
            await lent.connection.close()

    async def _take(self) -> _Lent:
        while not self._idle:
            await settled(self._connect())
        lent = self._idle.pop()
        try:
            lent.driver.require_same_file()
        except ActionError:
            self._idle.append(lent)
            raise
        return lent

    async def _connect(self) -> None:
        connection = await self._engine.connect()
        driver: Any = (await connection.get_raw_connection()).driver_connection
        self._idle.append(_Lent(connection, driver))

    async def give_back(self) -> None:
        """Give all that is idle to the pool."""
        while self._idle:
            await self._idle.pop().connection.close()
