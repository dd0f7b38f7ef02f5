"""An import is made whole or not at all, again without harm, and never under a stop."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from operator_core.actions import (
    ActionOutcome,
    ActionStatus,
    InvalidArgumentError,
    Resolution,
    SchemaOutOfDateError,
    StoredRecord,
)
from operator_core.db import ActionDB
from operator_core.legacy import ImportRefusedError, import_legacy, store
from tests.legacy.conftest import Import
from tests.legacy.predecessor import STEPS, ZONE, Predecessor
from tests.support.factories import proposal, stored
from tests.support.ledger import Ledger
from tests.support.plain_sql import Plain, contents, engage, on_postgresql, release, rows

OPEN: dict[str, Any] = {"completed_at": None, "success": None, "result_data": None}


async def record_of(db: ActionDB, number: int) -> StoredRecord:
    (record,) = await db.get_records_for_proposal(number)
    return record


# -- all or nothing, and again -----------------------------------------------------------------------------------------


async def test_the_same_import_again_changes_nothing(old: Predecessor, take_over: Import, plain: Plain) -> None:
    ids = old.one_of_each()
    ids.append(old.proposal("executing", **STEPS))
    old.proposal("lost")
    first = await take_over()
    before = contents(plain)

    again = await take_over()

    assert (again.proposals, again.records, again.already) == (0, 0, len(ids))
    assert (again.rejects_file, again.rejected) == (first.rejects_file, 1)
    assert contents(plain) == before


async def test_what_somebody_has_settled_meanwhile_is_still_the_same(
    old: Predecessor, take_over: Import, db: ActionDB
) -> None:
    old.run("executing", record=OPEN)
    await take_over()
    (record,) = await db.list_unresolved()
    await db.resolve_unknown(record.id, resolution=Resolution.PARTLY, by="ann", reason="I looked")

    assert (await take_over()).already == 1


async def test_what_was_added_since_is_imported(old: Predecessor, take_over: Import, db: ActionDB) -> None:
    old.one_of_each()
    await take_over()
    added = old.run("completed")

    report = await take_over()

    assert (report.proposals, report.already) == (1, 7)
    assert (await record_of(db, added)).outcome is ActionOutcome.SUCCEEDED


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"parameters": '{"store":4.0}'}, "parameters"),
        ({"reason": "cold"}, "reason"),
        ({"ticket_id": None}, "ticket_id"),
    ],
)
async def test_an_id_of_other_content_refuses_the_whole_run_and_is_named(
    old: Predecessor, take_over: Import, plain: Plain, changed: dict[str, Any], named: str
) -> None:
    number = old.proposal()
    await take_over()
    old.execute(f"UPDATE action_proposals SET {next(iter(changed))} = ?", *changed.values())
    old.proposal(id=number + 1)
    old.proposal("lost")
    before = contents(plain)

    with pytest.raises(ImportRefusedError, match=f"proposal {number} is there with another {named}$"):
        await take_over()

    assert contents(plain) == before
    assert list(old.path.parent.glob("*rejects*")) == []


async def test_the_record_id_of_another_proposal_is_named(old: Predecessor, take_over: Import, db: ActionDB) -> None:
    mine = await stored(db, ActionStatus.COMPLETED)
    taken = (await record_of(db, mine.id)).id
    old.run("completed", id=50, record={"id": taken})

    with pytest.raises(ImportRefusedError, match=f"record {taken} is there, of proposal {mine.id}"):
        await take_over()


async def test_what_was_pruned_does_not_come_back(old: Predecessor, take_over: Import, db: ActionDB) -> None:
    number = old.run("completed")
    await take_over()
    await db.prune(datetime.now(UTC))

    with pytest.raises(ImportRefusedError, match=f"proposal {number} was there, and was pruned"):
        await take_over()


async def test_many_rows_in_the_way_are_counted(old: Predecessor, take_over: Import, db: ActionDB) -> None:
    await db.create_proposals([proposal() for _ in range(25)])
    for _ in range(25):
        old.proposal()

    with pytest.raises(ImportRefusedError, match="and 5 more") as caught:
        await take_over()

    assert len(caught.value.conflicts) == 21


async def test_an_error_in_the_middle_leaves_nothing(
    old: Predecessor, take_over: Import, plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "ROWS", 3)
    for _ in range(3):
        old.one_of_each()
    old.proposal("lost")
    before = contents(plain)

    def fail(done: int, total: int) -> None:
        if rows_are_written():
            raise RuntimeError("the power is gone")

    seen: list[int] = []

    def rows_are_written() -> bool:
        seen.append(1)
        return len(seen) > 10  # the look has come to its end, and the import is under way

    with pytest.raises(RuntimeError):
        await take_over(progress=fail)

    assert contents(plain) == before
    assert list(old.path.parent.glob("*rejects*")) == []


async def test_an_import_that_is_cancelled_leaves_nothing(
    old: Predecessor, take_over: Import, plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "ROWS", 3)
    for _ in range(5):
        old.one_of_each()
    before = contents(plain)
    steps: list[int] = []

    def cancel(done: int, total: int) -> None:
        steps.append(done)
        if len(steps) == 14:  # within the transaction
            task.cancel()

    task = asyncio.ensure_future(take_over(progress=cancel))
    with pytest.raises(asyncio.CancelledError):
        await task

    assert steps.count(3) == 2
    assert contents(plain) == before


async def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    old: Predecessor, take_over: Import, plain: Plain
) -> None:
    old.one_of_each()
    old.proposal("lost")
    before = contents(plain)

    report = await take_over(dry_run=True)

    assert (report.dry_run, report.proposals, report.rejected, report.rejects_file) == (True, 7, 1, None)
    assert contents(plain) == before
    assert list(old.path.parent.glob("*rejects*")) == []


async def test_a_dry_run_names_what_is_in_the_way(old: Predecessor, take_over: Import, db: ActionDB) -> None:
    await stored(db)
    old.proposal()

    with pytest.raises(ImportRefusedError, match="proposal 1 is there with another"):
        await take_over(dry_run=True)


# -- stops -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["everything", "ticket_id=4711"])
async def test_while_a_stop_is_engaged_nothing_is_imported(
    old: Predecessor, take_over: Import, db: ActionDB, plain: Plain, scope: str
) -> None:
    old.one_of_each()
    await db.engage_kill_switch(by="anna", reason="store 4 is on fire", scope=scope)
    before = contents(plain)

    with pytest.raises(ImportRefusedError, match=r"a stop is engaged; release it first.*store 4 is on fire"):
        await take_over()

    assert contents(plain) == before


async def test_after_the_release_everything_is_imported(old: Predecessor, take_over: Import, db: ActionDB) -> None:
    old.one_of_each()
    receipt = await db.engage_kill_switch(by="anna", reason="smoke")
    await db.release_kill_switch(by="anna", reason="over", generation=receipt.generation)

    assert ((await take_over()).proposals, await db.verify()) == (7, [])


@on_postgresql
@pytest.mark.parametrize("released", [False, True])
async def test_a_stop_that_comes_meanwhile_ends_the_import(
    old: Predecessor, take_over: Import, plain: Plain, monkeypatch: pytest.MonkeyPatch, *, released: bool
) -> None:
    monkeypatch.setattr(store, "ROWS", 3)
    for _ in range(5):
        old.one_of_each()
    steps: list[int] = []

    def stop(done: int, total: int) -> None:
        steps.append(done)
        if len(steps) == 14:
            plain.execute(engage())
            if released:
                plain.execute(release())

    with pytest.raises(ImportRefusedError, match="stop 1"):
        await take_over(progress=stop)

    assert rows(plain, "SELECT id FROM action_proposals") == []


@on_postgresql
async def test_what_is_proposed_meanwhile_takes_no_old_id(
    old: Predecessor, take_over: Import, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "ROWS", 3)
    for _ in range(5):
        old.one_of_each()
    made: list[int] = []
    steps: list[int] = []

    def propose(done: int, total: int) -> None:
        steps.append(done)
        if steps.count(3) < 2:
            return  # it only looks yet
        with_plain = ledger.connect()
        sql = (
            "INSERT INTO action_proposals (action_name, action_type, parameters, reason, generation) "
            "VALUES ('a', 'tool', '{}', 'r', 0) RETURNING id"
        )
        made.extend(row[0] for row in with_plain.execute(sql).fetchall())
        with_plain.close()

    report = await take_over(progress=propose)

    assert report.proposals == 35
    async with ActionDB(ledger.target) as db:
        assert {found.id for found in await db.list_proposals(limit=None)} == {*range(1, 36), *made}
        assert await db.verify() == []


# -- where it goes -----------------------------------------------------------------------------------------------------


async def test_a_ledger_is_never_made(old: Predecessor, tmp_path: Any) -> None:
    old.proposal()

    with pytest.raises(Exception, match="there is no such file"):
        await import_legacy(old.path, tmp_path / "mistyped.db", timezone=ZONE)

    assert not (tmp_path / "mistyped.db").exists()


async def test_a_ledger_that_is_behind_is_not_upgraded(old: Predecessor, postgres: Any) -> None:
    with pytest.raises(SchemaOutOfDateError):
        await import_legacy(old.path, postgres.url(postgres.create_database()), timezone=ZONE)


@pytest.mark.parametrize("name", ["Europe/Atlantis", "", "Europe", "../../etc/passwd", "/etc/passwd"])
async def test_a_zone_that_nobody_knows_is_refused(take_over: Import, name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="write one such as Europe/Berlin"):
        await take_over(timezone=name)
