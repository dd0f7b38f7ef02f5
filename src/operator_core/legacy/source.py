"""The SQLite file of the predecessor, read as a stream of groups: a proposal with its records. It is never written."""

import sqlite3
import stat
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, groupby
from pathlib import Path
from typing import Any, Self

from operator_core.legacy.errors import LegacyFileError
from operator_core.legacy.report import PROPOSALS, RECORDS

LegacyRow = Mapping[str, Any]
"""A row of the file; in texts, bytes that are not UTF-8 become lone surrogates (PEP 383), and blobs stay bytes."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    PROPOSALS: (
        "id",
        "ticket_id",
        "action_name",
        "action_type",
        "parameters",
        "reason",
        "status",
        "proposed_at",
        "proposed_by",
        "validated_at",
        "cancelled_at",
        "created_at",
        "updated_at",
    ),
    RECORDS: (
        "id",
        "proposal_id",
        "started_at",
        "completed_at",
        "success",
        "error_message",
        "result_data",
        "created_at",
    ),
}
HIGHEST_ID = 2**52
"""The highest id that is imported: the ledger continues above it, and needs room for new ids."""

_KEYS = {PROPOSALS: "id", RECORDS: "proposal_id"}
_NEXT_TO_IT = ("-wal", "-journal")  # SQLite reads them if they are there
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_WAL = 2  # the version in the header of a file that may have a log next to it, sqlite.org/fileformat.html


@dataclass(frozen=True)
class ProposalGroup:
    """A proposal with its records; several proposals of one id if the file permits that; none if it is missing."""

    proposals: tuple[LegacyRow, ...] = ()
    records: tuple[LegacyRow, ...] = ()


@dataclass(eq=False)
class LegacyDatabase:
    """The file of the predecessor, open for reading; all is read from one snapshot.

    Attributes:
        total: The number of proposals in it.
        ignored: Additional columns, by table.
        duplicate_ids: The ids that more than one record has.
        highest: The highest importable id of each table, or 0.
    """

    path: Path
    total: int = 0
    ignored: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    duplicate_ids: frozenset[int] = frozenset()
    highest: Mapping[str, int] = field(default_factory=dict[str, int])

    def __enter__(self) -> Self:
        with self._readable():
            self._require_files()
            self._seen = self._stamp()
            self._connection = _open(self.path)
        try:
            with self._readable():
                self._connection.execute("BEGIN")
                self.ignored = {table: self._further(table) for table in COLUMNS}
                self._count()
        except BaseException:
            self._connection.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._connection.close()

    def _require_files(self) -> None:
        """Check that nothing is opened but files: a pipe, for example, would be waited for."""
        if kind := special_kind(self.path.stat().st_mode):
            raise self._wrong(f"it is {kind}, not a file; name the SQLite file of the predecessor")
        for path in (self.path.with_name(f"{self.path.name}{suffix}") for suffix in _NEXT_TO_IT):
            with suppress(FileNotFoundError):
                if kind := special_kind(path.stat().st_mode):
                    raise self._wrong(f"{path} is {kind}, where SQLite keeps a log of the file; remove it")

    def _stamp(self) -> tuple[int, int]:
        found = self.path.stat()
        return found.st_size, found.st_mtime_ns

    def require_unchanged(self) -> None:
        """Check that the file has not been written to since it was opened.

        Raises:
            LegacyFileError: It has been written to.
        """
        with self._readable():
            if self._stamp() != self._seen:
                raise self._wrong("it was written to while it was read: stop the predecessor first")

    def _further(self, table: str) -> tuple[str, ...]:
        schema = "SELECT type, rootpage FROM sqlite_master WHERE name = ? COLLATE NOCASE AND type IN ('table', 'view')"
        for kind, page in self._connection.execute(schema, (table,)):
            if kind == "view" or not page:  # a view may have no end; a virtual table has no page either
                named = "a view" if kind == "view" else "a virtual table"
                raise self._wrong(
                    f"{table} is {named}, and only tables are imported; name the database of the predecessor, or copy "
                    f"its rows into a table {table} in a file of its own"
                )
        found = [row[1] for row in self._connection.execute(f"PRAGMA table_info({table})")]
        if not found:
            raise self._wrong(f"it has no table {table}; name the database of the predecessor")
        missing = [name for name in COLUMNS[table] if name not in found]
        if missing:
            raise self._wrong(f"its table {table} lacks {', '.join(missing)}; name the database of the predecessor")
        return tuple(name for name in found if name not in COLUMNS[table])

    def _count(self) -> None:
        for table in COLUMNS:
            highest = f"SELECT max(id) FROM {table} WHERE typeof(id) = 'integer' AND id <= {HIGHEST_ID}"  # noqa: S608 - our own
            self.highest = {**self.highest, table: self._connection.execute(highest).fetchone()[0] or 0}
        self.total = self._connection.execute("SELECT count(*) FROM action_proposals").fetchone()[0]
        duplicate_ids = "SELECT id FROM action_records WHERE typeof(id) = 'integer' GROUP BY id HAVING count(*) > 1"
        self.duplicate_ids = frozenset(row[0] for row in self._connection.execute(duplicate_ids))

    def groups(self) -> Iterator[ProposalGroup]:
        """Iterate over all proposals by their ids, with the records that belong to none in between."""
        with self._readable():
            yield from _merged(self._groups(PROPOSALS), self._groups(RECORDS))
            yield from (ProposalGroup(proposals=(row,)) for row in self._rows(PROPOSALS, "<>"))
            yield from (ProposalGroup(records=(row,)) for row in self._rows(RECORDS, "<>"))

    def _groups(self, table: str) -> Iterator[tuple[int, tuple[LegacyRow, ...]]]:
        for key, rows in groupby(self._rows(table, "="), lambda row: int(row[_KEYS[table]])):
            yield key, tuple(rows)

    def _rows(self, table: str, sign: str) -> Iterator[LegacyRow]:
        key = _KEYS[table]
        query = f"SELECT * FROM {table} WHERE typeof({key}) {sign} 'integer' ORDER BY {key}, id"  # noqa: S608 - our own
        with closing(self._connection.execute(query)) as cursor:
            names = [column[0] for column in cursor.description]
            for row in cursor:
                yield dict(zip(names, row, strict=True))

    @contextmanager
    def _readable(self) -> Generator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise self._wrong(f"{error}; see that it may be read, and that it was closed properly") from error
        except (sqlite3.Error, OSError) as error:
            raise self._wrong(str(error)) from error

    def _wrong(self, problem: str) -> LegacyFileError:
        return LegacyFileError(path=str(self.path), problem=problem)


def _open(path: Path) -> sqlite3.Connection:
    """Open a file read only; immutable if it has no log, because SQLite would create one and leave it there."""
    with path.open("rb") as stream:
        header = stream.read(20)
    has_log = path.with_name(path.name + "-wal").exists()
    alone = header[18:20] == bytes([_WAL, _WAL]) and not has_log
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)  # one after the other
    connection.text_factory = _text
    return connection


def special_kind(mode: int) -> str | None:
    """Return what a path leads to if that is not a regular file."""
    return None if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "a special file")


def _text(given: bytes) -> str:
    return given.decode("utf-8", "surrogateescape")


def _merged(
    proposals: Iterator[tuple[int, tuple[LegacyRow, ...]]], records: Iterator[tuple[int, tuple[LegacyRow, ...]]]
) -> Iterator[ProposalGroup]:
    """Combine proposals with their records; both come in the order of the proposals' ids."""
    waiting = next(records, None)
    for number, rows in chain(proposals, [(None, ())]):
        while waiting is not None and (number is None or waiting[0] < number):
            yield from (ProposalGroup(records=(row,)) for row in waiting[1])
            waiting = next(records, None)
        if number is None:
            return
        own: tuple[LegacyRow, ...] = ()
        if waiting is not None and waiting[0] == number:
            own, waiting = waiting[1], next(records, None)
        yield ProposalGroup(rows, own)
