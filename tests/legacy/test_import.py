"""What an import leaves in a ledger: rows that were walked through every step, with their old ids and times."""

import random
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from operator_core.actions import (
    ActionOutcome,
    ActionStatus,
    ApprovalRule,
    NotApprovedError,
    Resolution,
    StoredRecord,
)
from operator_core.db import ActionDB
from operator_core.legacy import ImportNote, ImportRefusedError, store
from operator_core.legacy.conversion import BY
from tests.legacy.conftest import Import
from tests.legacy.predecessor import ENDED, STEPS, Predecessor, read_rejects
from tests.support.factories import stored
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.plain_sql import Plain, rows

OPEN: dict[str, Any] = {"completed_at": None, "success": None, "result_data": None}


def at(minute: int) -> datetime:
    return datetime(2024, 5, 1, 8, minute, tzinfo=UTC)


async def record_of(db: ActionDB, number: int) -> StoredRecord:
    (record,) = await db.get_records_for_proposal(number)
    return record


# -- rows and history --------------------------------------------------------------------------------------------------


async def test_every_state_is_imported_and_the_ledger_agrees_with_itself(
    old: Predecessor, take_over: Import, db: ActionDB, ledger: Ledger
) -> None:
    ids = old.one_of_each()

    report = await take_over()

    assert (report.proposals, report.records, report.rejected) == (len(ids), 3, 0)
    assert [found.id for found in reversed(await db.list_proposals())] == ids
    assert (await db.verify(), check_history(ledger)) == ([], [])


async def test_the_history_has_the_old_times_and_says_who(old: Predecessor, take_over: Import, db: ActionDB) -> None:
    number = old.run("completed")

    await take_over()

    steps = [(event.to_status.value, event.at, event.by) for event in await db.get_events(number)]
    assert steps == [
        ("proposed", at(0), "agent"),
        ("validated", at(1), BY),
        ("executing", at(2), BY),
        ("completed", at(3), BY),
    ]


async def test_the_rows_are_those_of_the_old_ones(old: Predecessor, take_over: Import, db: ActionDB) -> None:
    number = old.run("failed", id=41, ticket_id=0, record={"id": 17, "error_message": "boom"})

    await take_over()

    found, record = await db.get_proposal(number), await record_of(db, number)
    assert found is not None
    assert (found.ticket_id, found.action_name, found.parameters) == (0, "drain_store", {"store": 4})
    assert (found.status, found.failed_at, found.status_by) == (ActionStatus.FAILED, at(3), BY)
    assert (record.id, record.error_message, record.result_data) == (17, "boom", {"moved": 212})
    assert (record.outcome, record.started_at, record.completed_at) == (ActionOutcome.FAILED, at(2), at(3))


async def test_what_was_executing_can_be_settled(old: Predecessor, take_over: Import, db: ActionDB) -> None:
    old.run("executing", record=OPEN)

    report = await take_over()

    (record,) = await db.list_unresolved()
    settled = await db.resolve_unknown(record.id, resolution=Resolution.HAPPENED, by="ann", reason="I looked")
    assert (report.unknown, settled.resolution) == (1, Resolution.HAPPENED)


async def test_what_is_pending_can_be_started(old: Predecessor, take_over: Import, db: ActionDB) -> None:
    number = old.proposal("validated", **STEPS)

    report = await take_over()

    assert report.pending == 1
    assert (await db.start_execution(number)).proposal_id == number


async def test_new_ids_come_behind_the_old_ones(old: Predecessor, take_over: Import, db: ActionDB) -> None:
    old.run("completed", id=1_000, record={"id": 2_000})
    old.proposal("lost", id=1_500)

    await take_over()

    made = await stored(db, ActionStatus.COMPLETED)
    assert (made.id, (await record_of(db, made.id)).id) == (1_501, 2_001)


async def test_a_record_that_is_made_takes_no_id_of_an_old_one(
    old: Predecessor, take_over: Import, db: ActionDB
) -> None:
    number = old.proposal("executing", **STEPS)
    old.record(99, id=7)

    await take_over()

    assert (await record_of(db, number)).id == 8


async def test_ids_of_the_ledger_itself_are_no_obstacle(old: Predecessor, take_over: Import, db: ActionDB) -> None:
    mine = await stored(db, ActionStatus.COMPLETED)
    old.run("completed", id=50, record={"id": 60})

    await take_over()

    assert [found.id for found in await db.list_proposals()] == [50, mine.id]


async def test_more_than_a_batch_is_imported(
    old: Predecessor, take_over: Import, db: ActionDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "ROWS", 3)
    for _ in range(3):
        old.one_of_each()
    seen: list[tuple[int, int]] = []

    report = await take_over(progress=lambda done, total: seen.append((done, total)))

    assert (report.proposals, await db.verify()) == (21, [])
    assert seen[-1] == (21, 21)


# -- rows that are rejected -------------------------------------------------------------------------------------------


async def test_what_cannot_be_true_is_reported_and_rejected_to_the_letter(
    old: Predecessor, take_over: Import, notes: list[ImportNote]
) -> None:
    old.proposal("lost", parameters='{"a": 1.0}', proposed_by=b"\x00\xff")
    old.execute("UPDATE action_proposals SET reason = CAST(X'61FF62' AS TEXT), ticket_id = 1e999")
    (row,) = old.rows("action_proposals")

    report = await take_over()

    (line,) = read_rejects(old.path.with_name("old.db.rejects.jsonl"))
    assert (report.rejected, report.rejects_file) == (1, f"{old.path}.rejects.jsonl")
    assert line["table"] == "action_proposals"
    assert [note.text for note in notes] == [line["reason"]]
    assert line["row"] == {**row, "proposed_by": {"blob": "00ff"}, "ticket_id": {"real": "inf"}}
    assert line["row"]["reason"].encode("utf-8", "surrogateescape") == b"a\xffb"


async def test_further_columns_are_named_and_kept_with_what_is_rejected(old: Predecessor, take_over: Import) -> None:
    old.execute("ALTER TABLE action_proposals ADD COLUMN priority INTEGER DEFAULT 3")
    old.proposal("lost")

    report = await take_over()

    assert report.ignored == {"action_proposals": ("priority",), "action_records": ()}
    assert read_rejects(old.path.with_name("old.db.rejects.jsonl"))[0]["row"]["priority"] == 3


async def test_where_everything_can_be_true_there_is_no_file(old: Predecessor, take_over: Import) -> None:
    old.one_of_each()

    report = await take_over()

    assert (report.rejects_file, list(old.path.parent.glob("*rejects*"))) == (None, [])


async def test_another_file_that_is_there_is_not_written_over(
    old: Predecessor, take_over: Import, plain: Plain
) -> None:
    old.proposal("lost")
    old.proposal()
    mine = old.path.with_name("mine.jsonl")
    mine.write_text("mine")

    with pytest.raises(ImportRefusedError, match="is there already with other rows"):
        await take_over(rejects=mine)

    assert (mine.read_text(), rows(plain, "SELECT id FROM action_proposals")) == ("mine", [])
    assert list(mine.parent.glob(".mine*")) == []


async def test_a_folder_that_is_not_there_is_one_clear_error(old: Predecessor, take_over: Import) -> None:
    old.proposal("lost")

    with pytest.raises(ImportRefusedError, match="cannot be written"):
        await take_over(rejects=old.path.with_name("nowhere") / "rejects.jsonl")


@pytest.mark.parametrize("seed", range(3))
async def test_every_row_is_imported_or_rejected(
    old: Predecessor, take_over: Import, db: ActionDB, ledger: Ledger, seed: int
) -> None:
    chance = random.Random(seed)
    spoil_rows(old, chance)
    kept_rows = {table: old.rows(table) for table in ("action_proposals", "action_records")}

    report = await take_over()

    lines = read_rejects(old.path.with_name("old.db.rejects.jsonl"))
    for table, old_rows in kept_rows.items():
        rejected = [line["row"] for line in lines if line["table"] == table]
        assert all(row in old_rows for row in rejected)
        there = await ids_in(db, table)
        assert sorted([row["id"] for row in rejected] + sorted(there & {row["id"] for row in old_rows})) == sorted(
            row["id"] for row in old_rows
        )
    assert report.rejected == len(lines) > 0
    assert (await db.verify(), check_history(ledger)) == ([], [])


def spoil_rows(old: Predecessor, chance: random.Random) -> None:
    """Insert rows of which about half cannot be true."""
    times = [None, "2024-05-01T10:00:00", "2024-10-27T02:30:00", "2024-03-31T02:30:00", "never", ENDED]
    weights = [2, 8, 2, 1, 1, 4]
    for _ in range(150):
        validated, cancelled, proposed, started, ended = chance.choices(times, weights, k=5)
        status = chance.choice([*ActionStatus, "lost"])
        number = old.proposal(
            str(status),
            proposed_at=proposed,
            validated_at=None if status == "proposed" else validated,
            cancelled_at=cancelled if status == "cancelled" else None,
            parameters=chance.choice(['{"a":1}', '{"a":1}', "{", None]),
        )
        if status in ("executing", "completed", "failed") or chance.random() < 0.1:
            success = {"completed": 1, "failed": 0}.get(str(status), chance.choice([None, 0, 1]))
            old.record(number, started_at=started, completed_at=ended, success=success)


async def ids_in(db: ActionDB, table: str) -> set[int | None]:
    found = await db.list_proposals(limit=None)
    if table == "action_proposals":
        return {one.id for one in found}
    return {record.id for one in found for record in await db.get_records_for_proposal(one.id)}


# -- approvals ---------------------------------------------------------------------------------------------------------

STRICT = (ApprovalRule(approvals=2), ApprovalRule(role="security", expires_in=60.0))


async def test_under_a_policy_every_state_is_imported_and_the_policies_are_as_they_were(
    old: Predecessor, take_over: Import, db: ActionDB, ledger: Ledger
) -> None:
    ids = old.one_of_each()
    await db.set_approval_policy("everything", STRICT, by="ann", reason="a test")
    await db.set_approval_policy("action_name=page", [ApprovalRule(approvals=0)], by="ann", reason="a test")

    report = await take_over()

    policies = {policy.scope: policy.rules for policy in await db.approval_policies()}
    assert (report.proposals, report.pending) == (len(ids), 2)
    assert policies == {"everything": STRICT, "action_name=page": (ApprovalRule(approvals=0),)}
    assert (await db.verify(), check_history(ledger)) == ([], [])


async def test_under_a_policy_nothing_that_is_imported_as_validated_starts_without_its_approvals(
    old: Predecessor, take_over: Import, db: ActionDB
) -> None:
    number = old.proposal("validated", **STEPS)
    await db.set_approval_policy("everything", [ApprovalRule()], by="ann", reason="a test")

    await take_over()

    assert await db.claim_next(worker="w") is None
    with pytest.raises(NotApprovedError):
        await db.start_execution(number)
    assert [waiting.proposal.id for waiting in await db.list_pending_approvals()] == [number]
    await db.approve(number, by="ann")
    assert (await db.start_execution(number)).proposal_id == number


async def test_an_import_changes_policies_for_no_other_client_and_leaves_them_when_it_fails(
    old: Predecessor, take_over: Import, db: ActionDB, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    old.one_of_each()
    policy = await db.set_approval_policy("everything", [ApprovalRule()], by="ann", reason="a test")
    seen: list[tuple[str, bool]] = []

    def look_and_fail(*_: object) -> None:
        with closing(ledger.connect()) as other:
            found = other.execute("SELECT scope, in_force FROM approval_policies").fetchall()
        seen.extend((row[0], bool(row[1])) for row in found)
        raise ZeroDivisionError

    monkeypatch.setattr(store, "restore_policies", look_and_fail)
    with pytest.raises(ZeroDivisionError):
        await take_over()

    assert seen == [("everything", True)]
    assert await db.approval_policies() == [policy]
    assert await db.list_proposals() == []


async def test_an_import_that_finds_nothing_new_changes_no_policy(
    old: Predecessor, take_over: Import, db: ActionDB
) -> None:
    old.one_of_each()
    await take_over()
    policy = await db.set_approval_policy("everything", [ApprovalRule()], by="ann", reason="a test")

    assert (await take_over()).proposals == 0

    assert await db.approval_policies() == [policy]
