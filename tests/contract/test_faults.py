"""What can be wrong with a database while it is opened or used becomes one clear error, and nothing half done."""

import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import create_async_engine

from operator_core.actions import ActionProposal, ActionStatus
from operator_core.actions.errors import (
    ActionError,
    DatabaseAccessError,
    DatabaseCorruptError,
    DatabaseFullError,
    DatabaseLockedError,
    DatabaseNotFoundError,
    DatabaseReadOnlyError,
    DatabaseReplacedError,
    DatabaseUnavailableError,
    EngineVersionError,
    NotOpenError,
)
from operator_core.db import ActionDB, configure_engine
from operator_core.db.engine import capabilities
from tests.support.factories import proposal, stored
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.race_steps import connections_in_use
from tests.support.race_sweep import CALLS

NOBODY = 65534


async def created(target: Any, **given: Any) -> object:
    """Open a ledger, create one proposal, and close it."""
    async with ActionDB(target, **given) as db:
        return await db.create_proposal(proposal())


@contextmanager
def locked(ledger: Ledger) -> Iterator[None]:
    """Hold SQLite's one write lock, or a lock on a table of PostgreSQL that lets only readers pass."""
    with closing(ledger.connect()) as other:
        other.execute("BEGIN IMMEDIATE" if ledger.is_sqlite else "BEGIN")
        if not ledger.is_sqlite:
            other.execute("LOCK TABLE action_proposals IN SHARE ROW EXCLUSIVE MODE")
        yield
        other.execute("ROLLBACK")


# -- on both engines ---------------------------------------------------------------------------------------------------

WRITES: dict[str, Callable[[ActionDB, int], Awaitable[object]]] = {
    "create_proposal": lambda db, _: db.create_proposal(proposal()),
    "create_proposals": lambda db, _: db.create_proposals([proposal()]),
    "update_proposal_status": lambda db, number: db.update_proposal_status(number, ActionStatus.CANCELLED),
    "start_execution": lambda db, number: db.start_execution(number),
    "cancel_all_pending": lambda db, _: db.cancel_all_pending(),
}


@pytest.mark.parametrize("name", WRITES)
async def test_a_lock_that_is_held_for_too_long_is_an_error_and_changes_nothing(ledger: Ledger, name: str) -> None:
    async with ActionDB(ledger.target, lock_timeout=0.05) as db:
        made = await stored(db, ActionStatus.VALIDATED)

        with locked(ledger), pytest.raises(DatabaseLockedError):
            await WRITES[name](db, made.id)

        assert await db.list_proposals() == [made]
        assert check_history(ledger) == []


async def test_readers_do_not_wait_for_a_writer(ledger: Ledger, db: ActionDB) -> None:
    made = await stored(db)

    with locked(ledger):
        found = await db.list_proposals()

    assert found == [made]


async def test_a_writer_goes_on_once_the_lock_is_gone(ledger: Ledger, db: ActionDB) -> None:
    with locked(ledger):
        waiting = asyncio.create_task(db.create_proposal(proposal()))
        await asyncio.sleep(0.05)

    made = await waiting

    assert await db.list_proposals() == [made]


async def test_no_call_works_before_the_ledger_is_opened_or_after_it_is_closed(ledger: Ledger) -> None:
    never_opened, closed = ActionDB(ledger.target), ActionDB(ledger.target)
    async with closed:
        pass

    for db, (name, (_, act)) in product((never_opened, closed), CALLS.items()):
        given = {"engage_kill_switch": None, "iter_proposals": "drain_store"}.get(name, 1)
        with pytest.raises(NotOpenError):
            await act(db, given)


async def test_opening_and_closing_twice_is_harmless(ledger: Ledger) -> None:
    db = ActionDB(ledger.target)
    await db.close()

    assert await db.open() is await db.open()
    made = await db.create_proposal(proposal())
    await db.close()
    await db.close()

    async with db:
        assert await db.list_proposals() == [made]


@pytest.mark.usefixtures("no_announcements")
async def test_what_a_transaction_gave_is_of_no_use_after_its_block(db: ActionDB) -> None:
    async with db.transaction() as tx:
        made = await tx.create_proposal(proposal())

    try:
        with pytest.raises(ActionError):
            await tx.create_proposal(proposal())

        assert connections_in_use(db) == 0
        assert await db.list_proposals() == [made]
    finally:
        await tx._session.close()


async def test_an_engine_that_is_too_old_is_refused(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "MIN_SQLITE_VERSION" if ledger.is_sqlite else "MIN_POSTGRESQL_VERSION"
    monkeypatch.setattr(capabilities, name, (99, 1))

    with pytest.raises(EngineVersionError, match=r"is too old: operator-core needs 99\.1 or newer"):
        await created(ledger.target)


# -- a file ------------------------------------------------------------------------------------------------------------


async def test_a_file_in_no_folder_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(DatabaseNotFoundError, match="there is no folder"):
        await created(tmp_path / "missing" / "ops.db")

    assert os.listdir(tmp_path) == []  # noqa: PTH208 - one look, no path


async def test_a_file_that_is_only_checked_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(DatabaseNotFoundError, match="there is no such file"):
        await created(tmp_path / "ops.db", migrate="check")

    assert os.listdir(tmp_path) == []  # noqa: PTH208 - one look, no path


async def test_a_folder_is_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailableError):
        await created(tmp_path)


async def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    file, content = tmp_path / "ops.db", b"my diary, not a database; " * 200
    _write(file, content)

    with pytest.raises(DatabaseCorruptError):
        await created(file)

    assert _read(file) == content


async def test_a_damaged_page_is_found_when_it_is_used(sqlite_path: Path) -> None:
    async with ActionDB(sqlite_path) as db:
        made = await stored(db)
    _damage(sqlite_path, "action_proposals")

    async with ActionDB(sqlite_path) as db:
        with pytest.raises(DatabaseCorruptError, match="restore a backup"):
            await db.get_proposal(made.id)
        with pytest.raises(DatabaseCorruptError):
            await db.create_proposal(proposal())


async def test_a_full_disk_is_an_error_that_changes_nothing(sqlite_path: Path) -> None:
    host = configure_engine(create_async_engine(f"sqlite+aiosqlite:///{sqlite_path}"))
    event.listen(host.sync_engine, "connect", _leave_no_room)
    large = proposal(parameters={"text": "x" * 100_000})
    async with ActionDB(host) as db:
        made = await stored(db)

        with pytest.raises(DatabaseFullError, match="make room"):
            await db.create_proposal(large)
        with pytest.raises(DatabaseFullError):
            await _validate_and_create(db, made.id, large)

        assert await db.list_proposals() == [made]
    await host.dispose()
    assert check_history(Ledger(sqlite_path)) == []


async def _validate_and_create(db: ActionDB, number: int, other: ActionProposal) -> None:
    async with db.transaction() as tx:
        await tx.update_proposal_status(number, ActionStatus.VALIDATED)
        await tx.create_proposal(other)


@pytest.fixture
def open_folder(sqlite_path: Path) -> Iterator[Path]:
    """A folder that any account may enter, with a ledger in it."""
    folder = Path(tempfile.mkdtemp())
    shutil.copy(sqlite_path, folder / "ledger.db")
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Be nobody for a moment: permissions do not bind root."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o444, 0o777), (0o444, 0o555), (0o644, 0o555)])
async def test_a_file_that_cannot_be_written_is_an_error(open_folder: Path, file_mode: int, folder_mode: int) -> None:
    await created("sqlite://")  # what is imported late is imported as root
    _permit(open_folder, file_mode, folder_mode)

    with unprivileged(), pytest.raises(DatabaseReadOnlyError):
        await created(open_folder / "ledger.db")


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o000, 0o777), (0o644, 0o000)])
async def test_a_file_that_may_not_be_read_is_not_said_to_be_missing(
    open_folder: Path, file_mode: int, folder_mode: int
) -> None:
    await created("sqlite://")  # what is imported late is imported as root
    _permit(open_folder, file_mode, folder_mode)

    with unprivileged(), pytest.raises((DatabaseAccessError, DatabaseReadOnlyError)):
        await created(open_folder / "ledger.db")


async def test_a_url_that_asks_for_reading_only_is_obeyed(sqlite_path: Path) -> None:
    async with ActionDB(f"sqlite:///file:{sqlite_path}?mode=ro&uri=true") as db:
        with pytest.raises(DatabaseReadOnlyError):
            await db.create_proposal(proposal())

        assert await db.list_proposals() == []


async def test_nothing_is_written_to_a_file_that_was_deleted_and_no_other_is_made(sqlite_path: Path) -> None:
    async with ActionDB(sqlite_path) as db:
        await stored(db)
        os.remove(sqlite_path)  # noqa: PTH107 - one step, no path

        for write in (*WRITES.values(), *WRITES.values()):
            with pytest.raises(DatabaseReplacedError):
                await write(db, 1)

    assert sqlite_path.name not in os.listdir(sqlite_path.parent)  # noqa: PTH208 - one look, no path


async def test_nothing_is_written_to_a_file_that_was_put_in_the_place_of_another(
    sqlite_path: Path, sqlite_template: Path
) -> None:
    async with ActionDB(sqlite_path) as db:
        await stored(db)
        _checkpoint(sqlite_path)  # a log that is left behind would be read into the newer file
        newer = shutil.copy(sqlite_template, sqlite_path.with_name("newer.db"))
        os.replace(newer, sqlite_path)  # noqa: PTH105 - one step, no path

        for write in (*WRITES.values(), *WRITES.values()):
            with pytest.raises(DatabaseReplacedError):
                await write(db, 1)

    async with ActionDB(sqlite_path) as db:
        assert await db.list_proposals() == []


def _checkpoint(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)


def _permit(folder: Path, file_mode: int, folder_mode: int) -> None:
    (folder / "ledger.db").chmod(file_mode)
    folder.chmod(folder_mode)


def _write(file: Path, content: bytes) -> None:
    file.write_bytes(content)


def _read(file: Path) -> bytes:
    return file.read_bytes()


def _damage(file: Path, table: str) -> None:
    """Overwrite the first page of a table."""
    _checkpoint(file)
    with closing(sqlite3.connect(file)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    with file.open("r+b") as opened:
        opened.seek((page - 1) * size)
        opened.write(b"\xaa" * size)


def _leave_no_room(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA max_page_count = 1")  # SQLite takes the present size for it
    cursor.close()
