"""What a unit declares is enough for what it does: a reader writes nothing, and one write is one statement."""

import sqlite3
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine.default import DefaultDialect

from operator_core.actions import ActionRecord, ActionStatus, Resolution
from operator_core.db import ActionDB
from operator_core.db.modes import READING, TransactionMode, unit
from operator_core.db.transactions import sqlite_thread
from tests.support.claims import claimed
from tests.support.factories import proposal, running, stored

WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE")


async def propose(db: ActionDB) -> None:
    made = await db.create_proposal(proposal(), idempotency_key="k")
    await db.create_proposals([proposal(), proposal()])
    await db.update_proposal_status(made.id, ActionStatus.VALIDATED)
    await db.request_cancel(made.id, by="ann", reason="no")
    await db.cancel_all_pending()


async def execute(db: ActionDB) -> None:
    record = await running(db)
    await db.stop_requested(record.id)
    await db.finish_execution(record.id, success=True)
    old = await stored(db, ActionStatus.VALIDATED)
    await db.update_proposal_status(old.id, ActionStatus.EXECUTING)
    opened = await db.create_record(ActionRecord(proposal_id=old.id))
    await db.update_record(opened.id, success=False, error_message="no")


async def work(db: ActionDB) -> None:
    first = await claimed(db)
    await first.heartbeat()
    await first.abandon("nobody knows")
    await db.resolve_unknown(first.record.id, resolution=Resolution.PARTLY, by="ann", reason="seen")
    await db.list_unresolved()
    await db.recover_expired_leases()
    async with await claimed(db) as second:
        second.raise_if_stopped()


async def stop(db: ActionDB) -> None:
    record = await running(db)
    receipt = await db.engage_kill_switch(by="ann", reason="fire")
    await db.kill_switch_status()
    await db.acknowledge_stop(record.id, by="w1")
    await db.release_kill_switch(by="ann", reason="over", generation=receipt.generation)


async def look_back(db: ActionDB) -> None:
    made = await stored(db, ActionStatus.COMPLETED)
    await db.get_proposal(made.id)
    await db.get_events(made.id)
    await db.count_proposals()
    assert [event async for event in db.iter_events()]
    await db.get_records_for_proposal(made.id)
    assert await db.verify() == []
    await db.count_prunable(datetime.now(UTC))
    await db.prune(datetime.now(UTC), keep_events=False, by="ann", reason="old")


CALLS: dict[str, Callable[[ActionDB], Awaitable[None]]] = {
    function.__name__: function for function in (propose, execute, work, stop, look_back)
}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[TransactionMode, list[list[str]]]]:
    """The statements that write, of each unit that runs, by its mode; a unit that only reads is kept from writing."""
    transaction, execute = sqlite_thread._transaction, DefaultDialect.do_execute
    statements: dict[TransactionMode, list[list[str]]] = defaultdict(list)
    running = threading.local()

    @contextmanager
    def watched(raw: sqlite3.Connection, mode: TransactionMode) -> Iterator[None]:
        running.written = written = []
        statements[mode].append(written)
        raw.execute(f"PRAGMA query_only = {mode in READING}").close()
        try:
            with transaction(raw, mode):
                yield
        finally:
            del running.written
            raw.execute("PRAGMA query_only = 0").close()

    def note_and_execute(dialect: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.lstrip().startswith(WRITES) and hasattr(running, "written"):
            running.written.append(statement)
        execute(dialect, cursor, statement, *rest)

    monkeypatch.setattr(sqlite_thread, "_transaction", watched)
    monkeypatch.setattr(DefaultDialect, "do_execute", note_and_execute)
    return statements


@pytest.mark.parametrize("name", CALLS)
async def test_a_unit_does_no_more_than_its_mode_allows(sqlite_path: Path, seen: Any, name: str) -> None:
    async with ActionDB(sqlite_path) as db:
        await CALLS[name](db)

    assert seen
    for mode in READING:
        assert [written for written in seen[mode] if written] == []
    assert [written for written in seen[TransactionMode.WRITE] if len(written) != 1] == []


async def test_a_reader_that_writes_is_found(sqlite_path: Path, seen: Any) -> None:
    @unit(TransactionMode.READ)
    def write(connection: Any) -> None:
        connection.exec_driver_sql("UPDATE kill_switch SET reason = 'hm'")

    async with ActionDB(sqlite_path) as db:
        with pytest.raises(Exception, match="readonly"):
            await db._run(write)
