"""Settings of SQLite: of a file, of an engine of ours, of a host's connections. Each is pinned, refused or harmless."""

import asyncio
import re
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from operator_core.actions import ActionStatus, KillSwitchEngagedError
from operator_core.actions.errors import (
    ActionError,
    DatabaseAccessError,
    DatabaseReadOnlyError,
    DatabaseUnavailableError,
    DatabaseUrlError,
    EngineNotConfiguredError,
    EngineVersionError,
)
from operator_core.db import ActionDB, ActionRepository, configure_engine, metadata, upgrade
from operator_core.db.engine.sqlite_settings import DECLARED_TYPES, FUNCTIONS, SETTINGS
from operator_core.db.guards import statements
from tests.support.factories import proposal, running, stored
from tests.support.history import check_history
from tests.support.ledger import Ledger

SQLITE_FUNCTION = 31
"""The action code of a function call; the module has a name for it from Python 3.14 on."""

Change = Callable[[AsyncEngine], None]


async def work_out(db: ActionDB) -> None:
    """Do what guards, history and the kill switch have to do with: every promise that a setting could touch."""
    completed = await stored(db, ActionStatus.COMPLETED)
    record = await running(db)
    waiting = await stored(db, ActionStatus.VALIDATED)
    parameters = {"text": "Ünï\u20ac 😀", "n": [1, 2.5, None, True]}
    made = await db.create_proposal(proposal(parameters=parameters))
    receipt = await db.engage_kill_switch(by="ann", reason="smoke", timeout=60)
    with pytest.raises((KillSwitchEngagedError, ActionError)):
        await db.start_execution(waiting.id)
    await db.release_kill_switch(by="ann", reason="all clear", generation=receipt.generation)

    assert receipt.cancelled == (waiting.id, made.id)
    assert [one.record_id for one in receipt.still_executing] == [record.id]
    found = await db.get_proposal(made.id)
    assert found is not None
    assert (found.parameters, found.status) == (parameters, ActionStatus.CANCELLED)
    assert [one.id for one in await db.list_proposals(ActionStatus.COMPLETED)] == [completed.id]
    assert [event.to_status for event in await db.get_events(completed.id)][-1] is ActionStatus.COMPLETED
    assert await db.verify() == []


@asynccontextmanager
async def host(file: Path, change: Change | None = None, **given: Any) -> AsyncGenerator[AsyncEngine]:
    """Give a host's engine after `configure_engine`, with something that the host changed afterwards."""
    engine = configure_engine(create_async_engine(f"sqlite+aiosqlite:///{file}", **given))
    if change is not None:
        change(engine)
    try:
        yield engine
    finally:
        await engine.dispose()


def running_on_connect(statement: str, *, from_connection: int = 1) -> Change:
    """Return what has a host run a statement on its connections, from a certain one on."""

    def change(engine: AsyncEngine) -> None:
        connected: list[object] = []

        @event.listens_for(engine.sync_engine, "connect")
        def run(connection: Any, _record: object) -> None:
            connected.append(connection)
            if len(connected) >= from_connection:
                cursor = connection.cursor()
                cursor.execute(statement)
                cursor.close()

    return change


# -- of a connection ---------------------------------------------------------------------------------------------------

REFUSED = {
    "journal_mode": "PRAGMA journal_mode = MEMORY",
    "journal_mode off": "PRAGMA journal_mode = OFF",
    "journal_mode delete": "PRAGMA journal_mode = DELETE",
    "synchronous": "PRAGMA synchronous = OFF",
    "synchronous normal": "PRAGMA synchronous = NORMAL",
    "foreign_keys": "PRAGMA foreign_keys = OFF",
    "ignore_check_constraints": "PRAGMA ignore_check_constraints = ON",
    "writable_schema": "PRAGMA writable_schema = ON",
    "trusted_schema": "PRAGMA trusted_schema = OFF",
    "read_uncommitted": "PRAGMA read_uncommitted = ON",
    "locking_mode": "PRAGMA locking_mode = EXCLUSIVE",
    "count_changes": "PRAGMA count_changes = ON",
    "full_column_names": "PRAGMA full_column_names = ON",
    "empty_result_callbacks": "PRAGMA empty_result_callbacks = ON",
}
"""By the name that the error has; further words only tell them apart."""

HARMLESS = (
    "PRAGMA synchronous = EXTRA",
    "PRAGMA busy_timeout = 0",
    "PRAGMA recursive_triggers = ON",
    "PRAGMA recursive_triggers = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA legacy_alter_table = ON",
    "PRAGMA secure_delete = OFF",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA temp_store = FILE",
    "PRAGMA case_sensitive_like = ON",
    "PRAGMA reverse_unordered_selects = ON",
    "PRAGMA automatic_index = OFF",
    "PRAGMA journal_size_limit = 0",
    "PRAGMA wal_autocheckpoint = 0",
    "PRAGMA wal_autocheckpoint = 1",
    "PRAGMA mmap_size = 268435456",
    "PRAGMA threads = 4",
    "PRAGMA short_column_names = OFF",
    "PRAGMA cache_size = 1",
    "PRAGMA cache_spill = OFF",
    "PRAGMA checkpoint_fullfsync = ON",
    "PRAGMA analysis_limit = 1",
)


@pytest.mark.parametrize("name", REFUSED)
async def test_a_setting_of_a_host_that_a_promise_rests_on_is_refused_by_its_name(sqlite_path: Path, name: str) -> None:
    async with host(sqlite_path, running_on_connect(REFUSED[name])) as engine:
        with pytest.raises(EngineNotConfiguredError, match=rf"\({name.split(maxsplit=1)[0]} is "):
            await ActionDB(engine).open()
        async with AsyncSession(engine) as session:
            with pytest.raises(EngineNotConfiguredError, match=rf"\({name.split(maxsplit=1)[0]} is "):
                await ActionRepository(session).create_proposal(proposal())


async def test_a_setting_of_a_later_connection_is_refused_too(sqlite_path: Path) -> None:
    change = running_on_connect("PRAGMA foreign_keys = OFF", from_connection=2)
    async with host(sqlite_path, change) as engine, ActionDB(engine) as db:
        made = await db.create_proposal(proposal())
        async with AsyncSession(engine) as session:
            await session.connection()

            with pytest.raises(EngineNotConfiguredError, match="foreign_keys is 0"):
                await db.get_proposal(made.id)


@pytest.mark.parametrize("statement", HARMLESS)
async def test_another_setting_of_a_host_is_harmless(sqlite_path: Path, statement: str) -> None:
    async with host(sqlite_path, running_on_connect(statement)) as engine, ActionDB(engine) as db:
        await work_out(db)

    assert check_history(Ledger(sqlite_path)) == []


async def test_a_host_that_only_reads_can_look_and_is_told_that_it_only_reads(sqlite_path: Path) -> None:
    async with host(sqlite_path, running_on_connect("PRAGMA query_only = ON")) as engine, ActionDB(engine) as db:
        assert await db.list_proposals() == []
        with pytest.raises(DatabaseReadOnlyError):
            await db.create_proposal(proposal())


async def test_a_check_of_foreign_keys_at_the_end_is_harmless(sqlite_path: Path) -> None:
    async with host(sqlite_path) as engine, AsyncSession(engine) as session:
        await session.execute(sa.text("PRAGMA defer_foreign_keys = ON"))
        record = await running(ActionRepository(session))
        await session.commit()
    async with ActionDB(sqlite_path) as db:
        assert await db.get_record(record.id) == record


async def test_an_engine_of_ours_has_every_setting(sqlite_path: Path) -> None:
    async with ActionDB(sqlite_path) as db:
        assert db._transactions is not None
        async with db._transactions.engine.connect() as connection:
            for setting in SETTINGS:
                found = (await connection.exec_driver_sql(f"PRAGMA {setting.name}")).scalar()
                assert found in setting.allowed, setting.name


# -- of a file ---------------------------------------------------------------------------------------------------------

KEPT_IN_A_FILE = (
    *("PRAGMA journal_mode = DELETE", "PRAGMA journal_mode = TRUNCATE", "PRAGMA journal_mode = WAL"),
    *("PRAGMA auto_vacuum = FULL", "PRAGMA auto_vacuum = INCREMENTAL", "PRAGMA page_size = 512"),
    *("PRAGMA page_size = 65536", "PRAGMA user_version = 7", "PRAGMA application_id = 7", "PRAGMA encoding = 'UTF-8'"),
)


def file_with(folder: Path, statement: str) -> Path:
    """Make a file of a host, in which a setting is kept."""
    file = folder / "host.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute(statement)
        connection.execute("CREATE TABLE host_notes (id INTEGER)")
    return file


@pytest.mark.parametrize("statement", KEPT_IN_A_FILE)
@pytest.mark.parametrize("by", ["us", "host"])
async def test_what_is_kept_in_a_file_is_harmless(tmp_path: Path, statement: str, by: str) -> None:
    file = file_with(tmp_path, statement)

    async with host(file) as engine, ActionDB(file if by == "us" else engine) as db:
        await work_out(db)

    assert check_history(Ledger(file)) == []


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
async def test_a_file_with_another_encoding_is_refused_by_whatever_opens_it(tmp_path: Path, encoding: str) -> None:
    file = file_with(tmp_path, f"PRAGMA encoding = '{encoding}'")

    with pytest.raises(EngineVersionError, match=encoding):
        await asyncio.to_thread(upgrade, file)
    with pytest.raises(EngineVersionError, match=encoding):
        await ActionDB(file).open()
    async with host(file) as engine:
        with pytest.raises(EngineVersionError, match=encoding):
            await ActionDB(engine).open()


# -- of a driver -------------------------------------------------------------------------------------------------------


def connecting(act: Callable[[Any], object]) -> Change:
    """Return what has a host do something with each connection of the driver."""

    def change(engine: AsyncEngine) -> None:
        @event.listens_for(engine.sync_engine, "connect")
        def connect(connection: Any, _record: object) -> None:
            act(connection.driver_connection)

    return change


def defining(name: str, count: int) -> Change:
    def change(engine: AsyncEngine) -> None:
        @event.listens_for(engine.sync_engine, "connect")
        def connect(connection: Any, _record: object) -> None:
            connection.create_function(name, count, lambda *_: 1)

    return change


def _set(name: str, value: object) -> Change:
    return connecting(lambda driver: setattr(driver, name, value))


DRIVER_REFUSED: dict[str, tuple[Change, str]] = {
    "strftime": (defining("strftime", -1), "redefined: strftime"),
    "json_valid": (defining("json_valid", 1), "redefined: json_valid"),
    "coalesce": (defining("coalesce", -1), "redefined: coalesce"),
    "glob": (defining("glob", 2), "redefined: glob"),
    "like": (defining("like", 2), "redefined: like"),
    "text_factory": (_set("text_factory", bytes), "text_factory of the driver is set"),
    "row_factory": (_set("row_factory", lambda cursor, row: list(row)), "row_factory or"),
    "BINARY": (
        connecting(lambda driver: driver._conn.create_collation("BINARY", lambda a, b: 0)),
        "the collation BINARY is redefined",
    ),
}


@pytest.mark.parametrize("name", DRIVER_REFUSED)
async def test_what_a_host_changes_below_the_guards_is_refused_by_its_name(sqlite_path: Path, name: str) -> None:
    change, said = DRIVER_REFUSED[name]
    async with host(sqlite_path, change, connect_args={"check_same_thread": False}) as engine:
        with pytest.raises(EngineNotConfiguredError, match=said):
            await ActionDB(engine).open()


async def test_a_converter_of_a_host_for_our_columns_is_refused(
    sqlite_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {"detect_types": sqlite3.PARSE_DECLTYPES}
    async with host(sqlite_path, connect_args=arguments) as engine, ActionDB(engine) as db:
        await work_out(db)
    monkeypatch.setitem(sqlite3.converters, "DATETIME", bytes.decode)

    async with host(sqlite_path, connect_args=arguments) as engine:
        with pytest.raises(EngineNotConfiguredError, match="detect_types converts columns declared DATETIME"):
            await ActionDB(engine).open()


@pytest.mark.parametrize(
    "given",
    [{"connect_args": {"isolation_level": level}} for level in (None, "DEFERRED", "IMMEDIATE", "EXCLUSIVE")]
    + [{"isolation_level": level} for level in ("AUTOCOMMIT", "SERIALIZABLE")]
    + [{"connect_args": {"cached_statements": 0}}, {"connect_args": {"detect_types": sqlite3.PARSE_COLNAMES}}],
    ids=str,
)
async def test_how_a_host_has_its_driver_begin_is_harmless(sqlite_path: Path, given: dict[str, Any]) -> None:
    async with host(sqlite_path, **given) as engine, ActionDB(engine) as db:
        await work_out(db)

    assert check_history(Ledger(sqlite_path)) == []


async def test_a_shared_cache_is_refused_for_a_file_but_not_in_memory(sqlite_path: Path) -> None:
    async with host(Path(f"file:{sqlite_path}?cache=shared&uri=true")) as engine:
        with pytest.raises(EngineNotConfiguredError, match="cache is shared"):
            await ActionDB(engine).open()
    with pytest.raises(DatabaseUrlError, match="cache=shared in a SQLite URL needs mode=memory"):
        ActionDB(f"sqlite:///file:{sqlite_path}?cache=shared")

    assert ActionDB("sqlite:///file:shared?mode=memory&cache=shared")


async def test_an_isolation_level_that_reads_what_is_not_committed_is_refused(sqlite_path: Path) -> None:
    async with host(sqlite_path, isolation_level="READ UNCOMMITTED") as engine, ActionDB(engine) as db:
        assert await db.list_proposals() == []  # our settings come later


@pytest.mark.parametrize("end", ["authorizer", "progress"])
async def test_a_host_that_forbids_a_statement_gets_a_typed_error(sqlite_path: Path, end: str) -> None:
    def forbid(driver: Any) -> None:
        if end == "authorizer":
            denied = sqlite3.SQLITE_INSERT
            driver._conn.set_authorizer(
                lambda action, *_: sqlite3.SQLITE_DENY if action == denied else sqlite3.SQLITE_OK
            )
        else:
            driver._conn.set_progress_handler(lambda: 1, 50)

    kinds = (DatabaseAccessError, DatabaseUnavailableError)
    async with host(sqlite_path, connect_args={"check_same_thread": False}) as engine, ActionDB(engine) as db:
        await db.list_proposals()
        async with engine.connect() as connection:
            forbid((await connection.get_raw_connection()).driver_connection)
        with pytest.raises(kinds):
            await db.create_proposal(proposal())


# -- the lists are whole -----------------------------------------------------------------------------------------------


def test_every_function_that_a_guard_or_a_check_calls_is_looked_at() -> None:
    tables = [str(sa.schema.CreateTable(table).compile(dialect=sqlite.dialect())) for table in metadata.sorted_tables]
    called = set(re.findall(r"\b([a-z_0-9]+)\(", "\n".join([*statements("sqlite"), *tables])))
    with closing(sqlite3.connect(":memory:")) as connection:
        known = {name for (name,) in connection.execute("SELECT DISTINCT name FROM pragma_function_list")}

    assert called & known <= set(FUNCTIONS)


async def test_every_function_that_a_call_makes_sqlite_run_is_looked_at(sqlite_path: Path) -> None:
    called = set[str]()

    def note(action: int, _: str | None, name: str | None, *_rest: object) -> int:
        if action == SQLITE_FUNCTION and name is not None:
            called.add(name)
        return sqlite3.SQLITE_OK

    change = connecting(lambda driver: driver._conn.set_authorizer(note))
    async with host(sqlite_path, change, connect_args={"check_same_thread": False}) as engine, ActionDB(engine) as db:
        await work_out(db)

    assert called - {"like"} <= set(FUNCTIONS)  # that one is tried, see `QUERY`


def test_every_type_that_a_column_is_declared_with_is_looked_at() -> None:
    columns = [column for table in metadata.sorted_tables for column in table.columns]

    assert {str(column.type.compile(dialect=sqlite.dialect())) for column in columns} <= set(DECLARED_TYPES)
