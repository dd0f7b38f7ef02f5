"""An aiosqlite connection that runs a statement in one hop to its thread, where SQLAlchemy's adapter would need five.

The adapter asks for a cursor, executes, fetches, and closes, and each is a round trip between two threads. Here the
cursor does all of it in the one hop of `execute`. A begin goes with the first statement, and a commit or rollback with
nothing to do needs no hop.
"""

import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import aiosqlite

_Parameters = Iterable[Any]


class BufferedCursor:
    """Is what SQLAlchemy's adapter needs of an aiosqlite cursor; all rows are fetched when a statement is executed."""

    def __init__(self, connection: "OneHopConnection") -> None:
        self._connection = connection
        self._rows: deque[Any] = deque()
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1

    def __await__(self) -> Generator[Any, None, Self]:
        """Be ready at once: SQLAlchemy 2.0 awaits a new cursor, 2.1 enters it."""
        return self
        yield  # makes this function the generator that `await` wants

    async def __aenter__(self) -> Self:
        """Be ready at once."""
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Do nothing: there is nothing to close."""

    async def execute(self, sql: str, parameters: _Parameters = ()) -> Self:
        """Run one statement and keep its rows."""
        await self._connection.hop(self._run, sql, parameters)
        return self

    async def executemany(self, sql: str, parameters: Iterable[_Parameters]) -> Self:
        """Run one statement for many sets of parameters."""
        await self._connection.hop(self._run_many, sql, parameters)
        return self

    def _run(self, connection: sqlite3.Connection, sql: str, parameters: _Parameters) -> None:
        self._keep(connection.execute(sql, tuple(parameters)))

    def _run_many(self, connection: sqlite3.Connection, sql: str, parameters: Iterable[_Parameters]) -> None:
        self._keep(connection.executemany(sql, map(tuple, parameters)))

    def _keep(self, cursor: sqlite3.Cursor) -> None:
        self.description = cursor.description
        self._rows = deque(cursor.fetchall() if cursor.description else ())
        self.rowcount, self.lastrowid = cursor.rowcount, cursor.lastrowid
        cursor.close()

    async def fetchone(self) -> Any:
        """Return the next row, or None."""
        return self._rows.popleft() if self._rows else None

    async def fetchmany(self, size: int | None = None) -> Sequence[Any]:
        """Return the next `size` rows at most."""
        return [self._rows.popleft() for _ in range(min(size or self.arraysize, len(self._rows)))]

    async def fetchall(self) -> Sequence[Any]:
        """Return all rows that are left."""
        rows, self._rows = self._rows, deque()
        return rows

    async def close(self) -> None:
        """Do nothing: the SQLite cursor was closed when its rows were fetched."""


class OneHopConnection(aiosqlite.Connection):
    """Runs a statement, its fetch and its close in one hop, and what begins a transaction along with the first one.

    Args:
        connector: Connects.
        require_same_file: Raises where the file is no longer the one that was opened.
    """

    def __init__(self, connector: Callable[[], sqlite3.Connection], require_same_file: Callable[[], None]) -> None:
        super().__init__(connector, iter_chunk_size=64)
        self.require_same_file = require_same_file
        self._first = ""
        self._thread.daemon = True  # a forgotten `close` must not keep the interpreter from ending

    async def _connect(self) -> Self:
        """Connect, or fail with the thread gone: its last answer must not come to a loop that is closed."""
        try:
            await super()._connect()
        except BaseException:
            self._thread.join()
            raise
        return self

    async def hop(self, function: Callable[..., None], *arguments: Any) -> None:
        """Run `function(sqlite3_connection, *arguments)` in the thread of this connection."""
        run: Callable[..., Awaitable[None]] = self._execute  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - untyped in aiosqlite
        first, self._first = self._first, ""

        def whole() -> None:
            if first:
                self._conn.execute(first).close()
            function(self._conn, *arguments)

        # Without arguments: aiosqlite writes those that it is given into its log, and they are secrets here.
        await run(whole)

    def begin_with_next(self, statement: str) -> None:
        """Run `statement`, a BEGIN, in the hop of the next one."""
        self._first = statement

    def cursor(self) -> Any:
        """Return a cursor without a hop."""
        return BufferedCursor(self)

    async def commit(self) -> None:
        """Commit, if anything is open."""
        self._first = ""
        if self.in_transaction:
            await super().commit()

    async def rollback(self) -> None:
        """Roll back, if anything is open."""
        self._first = ""
        if self.in_transaction:
            await super().rollback()


def open_connection(
    path: Path | str, pragmas: Sequence[str], require_same_file: Callable[[], None], *, uri: bool = False
) -> OneHopConnection:
    """Return a connection that, once awaited, has begun nothing and obeys `pragmas`; all in its first hop."""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, uri=uri)
        try:
            for pragma in pragmas:
                connection.execute(pragma).close()
        except BaseException:
            connection.close()
            raise
        return connection

    return OneHopConnection(connect, require_same_file)
