"""The file of the predecessor: it is read as it stands, it never changes, and a wrong one is named."""

import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from operator_core.legacy import ImportRefusedError, LegacyFileError, import_legacy
from operator_core.legacy.source import LegacyDatabase
from tests.legacy.conftest import Import
from tests.legacy.predecessor import ZONE, Predecessor


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.startswith("old.db")}


@pytest.fixture(params=["DELETE", "WAL"])
def journalled(request: pytest.FixtureRequest, old: Predecessor) -> Predecessor:
    """The old database with each kind of journal, closed properly."""
    with closing(sqlite3.connect(old.path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {request.param}")
    return old


@pytest.fixture
def running(old: Predecessor) -> Iterator[sqlite3.Connection]:
    """A predecessor that runs, with what it has written last in the log beside its file."""
    with closing(sqlite3.connect(old.path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        yield connection


async def test_it_stays_as_it_is_and_nothing_is_left_beside_it(journalled: Predecessor, take_over: Import) -> None:
    journalled.one_of_each()
    before = files(journalled.path.parent)

    report = await take_over()

    assert report.proposals == 7
    assert files(journalled.path.parent) == before


async def test_what_stands_in_its_log_is_read(old: Predecessor, running: sqlite3.Connection, take_over: Import) -> None:
    old.one_of_each()

    assert (await take_over()).proposals == 7


async def test_it_must_not_be_written_meanwhile(journalled: Predecessor) -> None:
    journalled.one_of_each()

    with LegacyDatabase(journalled.path) as file:
        journalled.path.write_bytes(journalled.path.read_bytes() + b"more")
        with pytest.raises(LegacyFileError, match="it was written to while it was read: stop the predecessor first"):
            file.require_unchanged()


async def test_a_file_that_is_not_there_is_not_made(tmp_path: Path, sqlite_path: Path) -> None:
    with pytest.raises(LegacyFileError, match="No such file"):
        await import_legacy(tmp_path / "mistyped.db", sqlite_path, timezone=ZONE)

    assert not (tmp_path / "mistyped.db").exists()


def socket_at(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as bound:
        bound.bind(str(path))


SPECIAL: dict[str, Callable[[Path], None]] = {"a folder": Path.mkdir, "a pipe": os.mkfifo, "a socket": socket_at}


@pytest.mark.parametrize("kind", SPECIAL)
async def test_what_is_not_a_file_is_refused_without_a_wait(tmp_path: Path, sqlite_path: Path, kind: str) -> None:
    SPECIAL[kind](tmp_path / "special.db")

    with pytest.raises(LegacyFileError, match=f"it is {kind}, not a file; name the SQLite file of the predecessor"):
        await import_legacy(tmp_path / "special.db", sqlite_path, timezone=ZONE)


async def test_a_device_is_no_file(sqlite_path: Path) -> None:
    with pytest.raises(LegacyFileError, match="it is a device, not a file"):
        await import_legacy(Path("/dev/zero"), sqlite_path, timezone=ZONE)


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
async def test_a_log_that_is_not_a_file_is_refused_without_a_wait(
    old: Predecessor, take_over: Import, kind: str, suffix: str
) -> None:
    SPECIAL[kind](Path(f"{old.path}{suffix}"))

    with pytest.raises(LegacyFileError, match=rf"old\.db{suffix} is {kind}, where SQLite keeps a log of the file"):
        await take_over()


ENDLESS = "WITH RECURSIVE endless(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM endless)"


@pytest.mark.parametrize("table", ["action_proposals", "action_records"])
async def test_a_view_is_not_read_because_it_may_have_no_end(old: Predecessor, take_over: Import, table: str) -> None:
    with closing(sqlite3.connect(old.path)) as connection:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        values = ", ".join(f"x AS {column}" for column in columns)
        connection.execute(f"DROP TABLE {table}")
        connection.execute(f"CREATE VIEW {table.upper()} AS {ENDLESS} SELECT {values} FROM endless")
        connection.commit()

    with pytest.raises(LegacyFileError, match=f"{table} is a view, and only tables are imported"):
        await take_over()


async def test_a_virtual_table_is_not_read(old: Predecessor, take_over: Import) -> None:
    with closing(sqlite3.connect(old.path)) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(action_records)")]
        connection.execute("DROP TABLE action_records")
        connection.execute(f"CREATE VIRTUAL TABLE action_records USING fts5({', '.join(columns)})")
        connection.commit()

    with pytest.raises(LegacyFileError, match="action_records is a virtual table, and only tables are imported"):
        await take_over()


@pytest.mark.parametrize("kind", SPECIAL)
async def test_rejected_rows_are_not_written_into_what_is_not_a_file(
    old: Predecessor, take_over: Import, tmp_path: Path, kind: str
) -> None:
    old.proposal("lost")
    SPECIAL[kind](tmp_path / "rejects")

    with pytest.raises(ImportRefusedError, match=f"rejects is {kind}, not a file; name a new file with --rejects"):
        await take_over(rejects=tmp_path / "rejects")


@pytest.mark.parametrize("content", [b"a,b,c\n1,2,3\n" * 100, b"SQLite format 3\x00" + b"\xff" * 4_000])
async def test_a_file_of_something_else_is_named(tmp_path: Path, sqlite_path: Path, content: bytes) -> None:
    wrong = tmp_path / "wrong.db"
    wrong.write_bytes(content)

    with pytest.raises(LegacyFileError, match=r"wrong\.db cannot be imported"):
        await import_legacy(wrong, sqlite_path, timezone=ZONE)


async def test_another_database_is_named(tmp_path: Path, sqlite_path: Path) -> None:
    other = Predecessor(tmp_path / "other.db", "CREATE TABLE tickets (id)")

    with pytest.raises(LegacyFileError, match="it has no table action_proposals"):
        await import_legacy(other.path, sqlite_path, timezone=ZONE)


async def test_a_ledger_is_no_database_of_the_predecessor(sqlite_path: Path) -> None:
    with pytest.raises(LegacyFileError, match="its table action_proposals lacks created_at, updated_at"):
        await import_legacy(sqlite_path, sqlite_path, timezone=ZONE)


async def test_a_file_that_is_damaged_in_the_middle_leaves_nothing(
    old: Predecessor, take_over: Import, tmp_path: Path
) -> None:
    for number in range(40):
        old.run("completed", reason=f"{number} " + "x" * 2_000)
    content = bytearray(old.path.read_bytes())
    content[20_480:28_672] = b"\xff" * 8_192
    old.path.write_bytes(content)

    with pytest.raises(LegacyFileError, match="malformed"):
        await take_over()


def test_records_stand_beside_their_proposals(old: Predecessor) -> None:
    numbers = [old.proposal() for _ in range(4)]
    for number in (3, 99, 1, 3, None, 2):
        old.record(number)

    with LegacyDatabase(old.path) as file:
        groups = list(file.groups())

    assert [[row["id"] for row in group.proposals] for group in groups] == [*([number] for number in numbers), [], []]
    assert [[row["id"] for row in group.records] for group in groups] == [[3], [6], [1, 4], [], [2], [5]]


def test_records_without_any_proposal_are_read(old: Predecessor) -> None:
    for number in (5, 4):
        old.record(number)

    with LegacyDatabase(old.path) as file:
        assert [group.records[0]["proposal_id"] for group in file.groups()] == [4, 5]
