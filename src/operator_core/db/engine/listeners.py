"""The listeners of a notifier: how a process learns that others have changed the ledger."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from operator_core.db.engine.dedicated import dedicated_engine
from operator_core.db.engine.drivers import NotifyingDriver
from operator_core.db.engine.sockets import abort_connection
from operator_core.db.engine.sqlite import BEGIN_OPTION

STOP_CHANNEL, STEP_CHANNEL = "operator_core", "operator_core_steps"
"""PostgreSQL's channels: its guard announces a changed latch on the first, clients announce steps on the second."""

ANNOUNCE = sa.text(f"SELECT set_config('synchronous_commit', 'off', true), pg_notify('{STEP_CHANNEL}', :sender)")
"""The statement that notifies other processes. A NOTIFY holds its lock until its commit, which waits for no disk."""

FILE_LOOK_INTERVAL_SECONDS = 0.05

_DATA_VERSION = "PRAGMA data_version"  # https://sqlite.org/pragma.html#pragma_data_version


class Listener(ABC):
    """A connection outside the pool, open only while a task of this process waits."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._of = engine
        self._engine: AsyncEngine | None = None

    @property
    @abstractmethod
    def is_listening(self) -> bool:
        """Whether a change is heard."""

    @abstractmethod
    async def start(self) -> None:
        """Connect and listen; any exception means that it does not."""

    async def stop(self) -> None:
        """Close the connection, whatever state it is in."""
        own, self._engine = self._engine, None
        if own is not None and own is not self._of:
            await own.dispose()

    async def _connect(self) -> AsyncConnection:
        self._engine = self._engine or dedicated_engine(self._of)
        return await self._engine.connect()


class ServerListener(Listener):
    """Listens on the channels of a PostgreSQL server.

    Args:
        engine: The engine of the ledger.
        driver: Its driver.
        heard: Called with the text of a notification.
        changed: Called if the listener breaks, as everything may have changed.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        driver: NotifyingDriver,
        heard: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        super().__init__(engine)
        self._driver, self._heard, self._changed = driver, heard, changed
        self._connection: AsyncConnection | None = None
        self._pending: AsyncConnection | None = None

    @property
    def is_listening(self) -> bool:
        """Whether the connection is there."""
        return self._connection is not None

    async def start(self) -> None:
        """Connect and listen."""
        await self._abort()
        self._pending = await self._connect()  # as long as it does not listen
        connection = (await self._pending.get_raw_connection()).driver_connection
        await self._driver.listen(connection, (STOP_CHANNEL, STEP_CHANNEL), self._notified, self._broken)
        self._connection, self._pending = self._pending, None

    def _notified(self, *notification: Any) -> None:
        self._heard(str(notification[-1]))

    def _broken(self, *_: object) -> None:
        self._pending, self._connection = self._connection or self._pending, None
        self._changed()

    async def _abort(self) -> None:
        dead, self._connection, self._pending = self._connection or self._pending, None, None
        with suppress(Exception):  # it is broken, whatever else is wrong with it
            if dead is not None:
                abort_connection((await dead.get_raw_connection()).driver_connection)  # the server may not answer
                await dead.invalidate()
                await dead.close()

    async def stop(self) -> None:
        """Abort the connection."""
        await self._abort()
        await super().stop()


class FileListener(Listener):
    """Looks at the counter of a SQLite file, which every commit of another connection changes."""

    def __init__(self, engine: AsyncEngine, changed: Callable[[], None]) -> None:
        super().__init__(engine)
        self._changed = changed
        self._looking: asyncio.Task[None] | None = None

    @property
    def is_listening(self) -> bool:
        """Whether it still looks: a file that was replaced ends that."""
        return self._looking is not None and not self._looking.done()

    async def start(self) -> None:
        """Connect, and look from now on."""
        connection = await self._connect()
        try:
            await connection.execution_options(**{BEGIN_OPTION: "NONE"})
            version = await _version(connection)
        except BaseException:
            await connection.close()
            raise
        self._looking = asyncio.create_task(self._look(connection, version), name="changes of the file")

    async def _look(self, connection: AsyncConnection, version: object) -> None:
        try:
            with suppress(Exception):  # waiters go on without it
                while True:
                    await asyncio.sleep(FILE_LOOK_INTERVAL_SECONDS)
                    seen, version = version, await _version(connection)
                    if version != seen:
                        self._changed()
        finally:
            await connection.close()

    async def stop(self) -> None:
        """Look no more."""
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.wait({looking})
        await super().stop()


async def _version(connection: AsyncConnection) -> object:
    return (await connection.exec_driver_sql(_DATA_VERSION)).scalar()
