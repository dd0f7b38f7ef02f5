"""An aiosqlite connection that runs a statement in one hop to its thread, where SQLAlchemy's adapter needs five.

The adapter asks for a cursor, executes, fetches, and closes, and each is a round trip between two threads. Here the
cursor does all of it in the one hop of `execute`, and a commit or rollback with nothing to do needs none.
"""

import sqlite3
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Self

import aiosqlite

from operator_core.db.engine.file_watch import FileView

_Parameters = Iterable[Any]


_PREFETCH_ROWS = 500  # rows that come along with a statement; the others are fetched on demand
_ALL = 2**31 - 1  # the most that sqlite3 can be asked for


class BufferedCursor:
    """The part of an aiosqlite cursor that SQLAlchemy's adapter needs; most results come with their statement's hop."""

    def __init__(self, connection: "OneHopConnection") -> None:
        self._connection = connection
        self._rows: deque[Any] = deque()
        self._open: sqlite3.Cursor | None = None  # it may have more rows
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1

    def __await__(self) -> Generator[Any, None, Self]:
        """Return at once: SQLAlchemy 2.0 awaits a new cursor, 2.1 enters it."""
        return self
        yield  # makes this function the generator that `await` wants

    async def __aenter__(self) -> Self:
        """Return at once."""
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the cursor."""
        await self.close()

    async def execute(self, sql: str, parameters: _Parameters = ()) -> Self:
        """Run one statement and keep its first rows."""
        await self._connection.run_in_thread(lambda connection: self._keep(connection.execute(sql, tuple(parameters))))
        return self

    async def executemany(self, sql: str, parameters: Iterable[_Parameters]) -> Self:
        """Run one statement for many sets of parameters."""
        await self._connection.run_in_thread(
            lambda connection: self._keep(connection.executemany(sql, map(tuple, parameters)))
        )
        return self

    def _keep(self, cursor: sqlite3.Cursor) -> None:
        self.description, self._open = cursor.description, cursor
        self._rows.clear()
        self._fetch(cursor, _PREFETCH_ROWS)
        self.rowcount, self.lastrowid = cursor.rowcount, cursor.lastrowid

    def _fetch(self, cursor: sqlite3.Cursor, size: int) -> None:
        rows = cursor.fetchmany(size)
        self._rows.extend(rows)
        if len(rows) < size:
            cursor.close()
            self._open = None

    async def _more(self, size: int) -> None:
        """Fetch until `size` rows are buffered, or all rows are."""
        cursor, missing = self._open, size - len(self._rows)
        if cursor is not None and missing > 0:
            await self._connection.run_in_thread(lambda _: self._fetch(cursor, max(missing, _PREFETCH_ROWS)))

    async def fetchone(self) -> Any:
        """Return the next row, or None."""
        await self._more(1)
        return self._rows.popleft() if self._rows else None

    async def fetchmany(self, size: int | None = None) -> Sequence[Any]:
        """Return the next `size` rows at most."""
        wanted = size or self.arraysize
        await self._more(wanted)
        return [self._rows.popleft() for _ in range(min(wanted, len(self._rows)))]

    async def fetchall(self) -> Sequence[Any]:
        """Return all remaining rows."""
        await self._more(_ALL)
        rows, self._rows = self._rows, deque()
        return rows

    def __aiter__(self) -> Self:
        """Iterate over the remaining rows."""
        return self

    async def __anext__(self) -> Any:
        """Return the next row."""
        row = await self.fetchone()
        if row is None:
            raise StopAsyncIteration
        return row

    async def close(self) -> None:
        """Close the cursor; that needs a hop only if rows are left."""
        cursor, self._open = self._open, None
        if cursor is not None:
            await self._connection.run_in_thread(lambda _: cursor.close())


class WatchedConnection(sqlite3.Connection):
    """A connection that checks, before and after each commit, that others see the same file and log."""

    view: FileView | None = None
    """The files that it has open; None in memory, and for a host's connection before its first use."""

    def require_same_file(self) -> None:
        """Check that the path still leads to the same file, with the same log.

        Raises:
            DatabaseReplacedError: The file or its log was deleted or replaced.
            DatabaseAliasError: The file has a second name.
        """
        if self.view is not None:
            self.view.require_unchanged()

    def commit(self) -> None:
        """Commit, and check the files before and after: if they are unchanged, a stop by another log comes later."""
        view = self.view
        if view is None:
            super().commit()
            return
        view.require_unchanged()
        super().commit()
        view.require_unchanged()

    def close(self) -> None:
        """Close the connection without touching files that have replaced its own."""
        if self.view is not None:
            self.view.close()
        super().close()


@cache
def _watched(factory: type[sqlite3.Connection]) -> type[sqlite3.Connection]:
    """Return a subclass of a host's connection class that checks its files."""
    return type(f"Watched{factory.__name__}", (WatchedConnection, factory), {})


class OneHopConnection(aiosqlite.Connection):
    """A connection that runs a statement, its fetch and its close in one hop."""

    def __init__(self, connector: Callable[[], sqlite3.Connection], *, iter_chunk_size: int = 64) -> None:
        super().__init__(connector, iter_chunk_size)
        self._thread.daemon = True  # a forgotten `close` must not keep the interpreter alive

    @property
    def view(self) -> FileView | None:
        """The files that it has open; None if they are not watched."""
        return getattr(self._conn, "view", None)

    async def _connect(self) -> Self:
        """Connect, or fail with the thread ended: its last answer must not reach a closed loop."""
        try:
            await super()._connect()
        except BaseException:
            self._thread.join()
            raise
        return self

    def run_in_thread(self, work: Callable[[sqlite3.Connection], None]) -> Coroutine[Any, Any, None]:
        """Return the coroutine that runs `work` in the thread of this connection.

        Raises:
            ValueError: It is closed.
        """
        run: Callable[..., Coroutine[Any, Any, None]] = self._execute  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - untyped in aiosqlite
        return run(work, self._conn)  # no other arguments: aiosqlite logs them, and they would be secrets

    def cursor(self) -> Any:
        """Return a cursor without a hop."""
        return BufferedCursor(self)

    async def commit(self) -> None:
        """Commit if a transaction is open; check the files either way, as a statement may have committed by itself."""
        if self.in_transaction:
            await super().commit()
        elif self.view is not None:
            self.view.require_unchanged()

    async def rollback(self) -> None:
        """Roll back if a transaction is open."""
        if self.in_transaction:
            await super().rollback()


def connection_of(database: Path | str, *, iter_chunk_size: int = 64, **options: Any) -> OneHopConnection:
    """Return a connection for a host, with the arguments of `aiosqlite.connect` and the host's settings."""
    options["factory"] = _watched(options.get("factory", sqlite3.Connection))
    return OneHopConnection(lambda: sqlite3.connect(database, **options), iter_chunk_size=iter_chunk_size)
