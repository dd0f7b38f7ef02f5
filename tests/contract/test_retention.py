"""What is finished and old may go, in batches and with a trace; all else stays, whatever anybody asks."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from operator_core.actions import (
    TRANSITIONS,
    ActionStatus,
    ApprovalRule,
    InvalidArgumentError,
    Resolution,
    StoredRecord,
)
from operator_core.actions.lifecycle import TERMINAL
from operator_core.db import ActionDB
from operator_core.db.stores import retention
from tests.support.factories import proposal, stored
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.plain_sql import Plain, attack, rows

UNFINISHED = tuple(status for status in TRANSITIONS if status not in TERMINAL)
MANY = retention.ROWS + 20


async def now() -> datetime:
    """Return a moment that is later than all that was done, also by a clock that counts milliseconds."""
    await asyncio.sleep(0.005)
    return datetime.now(UTC)


async def unsettled(db: ActionDB) -> StoredRecord:
    """Return a record that nobody knows the outcome of."""
    made = await stored(db, ActionStatus.VALIDATED)
    execution = await db.claim(made.id, worker="w")
    return await execution.abandon("who knows")


async def many_cancelled(db: ActionDB) -> None:
    """Store more than one batch of what may go."""
    await db.create_proposals([proposal() for _ in range(MANY)])
    await db.cancel_all_pending(by="ann")


@pytest.mark.parametrize("status", TERMINAL)
async def test_what_is_finished_goes_with_its_record(db: ActionDB, plain: Plain, status: ActionStatus) -> None:
    made = await stored(db, status)

    report = await db.prune(await now())

    assert (report.proposals, await db.get_proposal(made.id)) == (1, None)
    assert rows(plain, "SELECT id FROM action_records") == []


@pytest.mark.parametrize("status", UNFINISHED)
async def test_what_is_not_finished_stays(db: ActionDB, status: ActionStatus) -> None:
    made = await stored(db, status)

    report = await db.prune(await now(), keep_events=False)

    assert (report.proposals, report.events) == (0, 0)
    assert await db.get_proposal(made.id) == made


async def test_what_nobody_has_settled_stays_and_is_counted(db: ActionDB) -> None:
    record = await unsettled(db)

    report = await db.prune(await now(), keep_events=False)

    assert (report.proposals, report.unresolved) == (0, 1)
    assert await db.list_unresolved() == [record]


async def test_what_was_settled_goes(db: ActionDB) -> None:
    record = await unsettled(db)
    await db.resolve_unknown(record.id, resolution=Resolution.HAPPENED, by="ann", reason="I looked")

    report = await db.prune(await now())

    assert (report.proposals, await db.get_proposal(record.proposal_id)) == (1, None)


async def test_what_was_finished_at_the_moment_or_later_stays(db: ActionDB) -> None:
    old = await stored(db, ActionStatus.COMPLETED)
    await asyncio.sleep(0.005)
    young = await stored(db, ActionStatus.COMPLETED)
    assert young.status_at is not None

    await db.prune(young.status_at)

    assert await db.list_proposals() == [young]
    assert old.id != young.id


async def test_the_history_of_what_is_gone_stays(db: ActionDB, ledger: Ledger) -> None:
    made = await stored(db, ActionStatus.COMPLETED)
    before = await db.get_events(made.id)

    await db.prune(await now())

    assert await db.get_events(made.id) == before
    assert check_history(ledger) == []


async def test_the_history_goes_too_where_somebody_says_so(db: ActionDB) -> None:
    made = await stored(db, ActionStatus.COMPLETED)

    report = await db.prune(await now(), keep_events=False)

    assert (report.events, await db.get_events(made.id)) == (4, [])


async def test_the_history_of_what_went_before_can_go_later(db: ActionDB) -> None:
    made = await stored(db, ActionStatus.COMPLETED)
    await db.prune(await now())

    report = await db.prune(await now(), keep_events=False)

    assert (report.proposals, report.events, await db.get_events(made.id)) == (0, 4, [])


async def test_the_history_of_what_stays_is_not_touched(db: ActionDB) -> None:
    pending, record = await stored(db), await unsettled(db)
    before = [await db.get_events(number) for number in (pending.id, record.proposal_id)]

    await db.prune(await now(), keep_events=False)

    assert [await db.get_events(number) for number in (pending.id, record.proposal_id)] == before


async def test_who_let_go_when_and_why_is_kept(db: ActionDB, plain: Plain) -> None:
    await stored(db, ActionStatus.COMPLETED)

    await db.prune(await now(), by="ann", reason="a year is enough")

    assert rows(plain, 'SELECT "by", reason FROM action_prunes') == [("ann", "a year is enough")]


async def test_ids_are_never_given_again(db: ActionDB) -> None:
    gone = await stored(db, ActionStatus.COMPLETED)
    await db.prune(await now(), keep_events=False)

    assert (await stored(db)).id == (gone.id) + 1


# -- decisions ---------------------------------------------------------------------------------------------------------


async def decided(db: ActionDB) -> list[int]:
    """Return the ids of proposals that were approved and completed, rejected, or approved and revoked."""
    done, rejected, revoked = [await stored(db) for _ in range(3)]
    await db.approve(done.id, by="ann")
    record = await db.start_execution(done.id)
    await db.finish_execution(record.id, success=True)
    await db.reject(rejected.id, by="ann", reason="no")
    await db.revoke((await db.approve(revoked.id, by="ann")).id, by="ann", reason="hm")
    await db.update_proposal_status(revoked.id, ActionStatus.CANCELLED)
    return [done.id, rejected.id, revoked.id]


async def test_decisions_stay_with_the_history_that_is_kept(db: ActionDB, ledger: Ledger, plain: Plain) -> None:
    numbers = await decided(db)
    before = [await db.get_events(number) for number in numbers]

    report = await db.prune(await now())

    assert (report.proposals, report.events) == (3, 0)
    assert [await db.get_events(number) for number in numbers] == before
    assert rows(plain, "SELECT count(*) FROM action_approvals") == [(4,)]
    assert check_history(ledger) == []


async def test_decisions_go_with_the_history(db: ActionDB, ledger: Ledger, plain: Plain) -> None:
    numbers = await decided(db)
    waiting = await stored(db)
    await db.approve(waiting.id, by="ann")
    moment = await now()
    counted = await db.count_prunable(moment, keep_events=False)

    report = await db.prune(moment, keep_events=False)

    assert report == counted
    assert (report.proposals, report.events) == (3, 9 + 4)
    assert [await db.get_events(number) for number in numbers] == 3 * [[]]
    assert rows(plain, "SELECT proposal_id FROM action_approvals") == [(waiting.id,)]
    assert check_history(ledger) == []


async def test_decisions_whose_history_was_kept_can_go_later(db: ActionDB, plain: Plain) -> None:
    await decided(db)
    await db.prune(await now())

    report = await db.prune(await now(), keep_events=False)

    assert (report.proposals, report.events) == (0, 9 + 4)
    assert rows(plain, "SELECT 1 FROM action_approvals") == []


async def test_policies_and_their_history_stay(db: ActionDB, plain: Plain) -> None:
    await db.set_approval_policy("everything", [ApprovalRule(approvals=0)], by="ops", reason="by the book")
    await decided(db)
    policies = await db.approval_policies()

    await db.prune(await now(), keep_events=False)

    assert await db.approval_policies() == policies
    assert rows(plain, "SELECT version FROM approval_policy_events") == [(1,)]


# -- counts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep_events", [True, False])
async def test_the_count_is_what_a_prune_then_deletes(db: ActionDB, *, keep_events: bool) -> None:
    for status in TRANSITIONS:
        await stored(db, status)
    await unsettled(db)
    moment = await now()

    counted = await db.count_prunable(moment, keep_events=keep_events)

    assert await db.prune(moment, keep_events=keep_events) == counted


async def test_the_count_leaves_out_a_history_that_went_on_after_the_moment(db: ActionDB) -> None:
    record = await unsettled(db)
    moment = await now()
    await asyncio.sleep(0.005)
    await db.resolve_unknown(record.id, resolution=Resolution.HAPPENED, by="ann", reason="I looked")

    counted = await db.count_prunable(moment, keep_events=False)

    assert await db.prune(moment, keep_events=False) == counted


async def test_a_count_touches_nothing(db: ActionDB, plain: Plain) -> None:
    made = await stored(db, ActionStatus.COMPLETED)

    await db.count_prunable(await now(), keep_events=False)

    assert await db.get_proposal(made.id) == made
    assert rows(plain, "SELECT id FROM action_prunes") == []


# -- batches -----------------------------------------------------------------------------------------------------------


async def test_more_than_a_batch_goes_and_each_batch_is_told(db: ActionDB) -> None:
    await many_cancelled(db)
    told: list[tuple[int, int]] = []

    report = await db.prune(await now(), progress=lambda done, total: told.append((done, total)))

    assert (report.proposals, await db.list_proposals()) == (MANY, [])
    assert told == [(retention.ROWS, MANY), (MANY, MANY)]


async def test_the_history_of_more_than_a_batch_goes(db: ActionDB, plain: Plain) -> None:
    await many_cancelled(db)

    report = await db.prune(await now(), keep_events=False)

    assert report.events == 2 * MANY
    assert rows(plain, "SELECT id FROM action_events") == []


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["prune", "count_prunable"])
@pytest.mark.parametrize(
    ("before", "why"),
    [
        (datetime(2026, 1, 31), "an aware datetime is wanted"),  # noqa: DTZ001 - that is what is refused
        ("2026-01-31", "an aware datetime is wanted"),
        (None, "an aware datetime is wanted"),
        (datetime.now(UTC) + timedelta(days=1), "which is in the future"),
    ],
    ids=["naive", "text", "nothing", "future"],
)
async def test_a_moment_that_nobody_can_mean_is_refused(db: ActionDB, call: str, before: Any, why: str) -> None:
    made = await stored(db, ActionStatus.COMPLETED)

    with pytest.raises(InvalidArgumentError, match=why):
        await getattr(db, call)(before)

    assert await db.get_proposal(made.id) == made


@pytest.mark.parametrize("table", ["action_proposals", "action_records", "action_events", "action_approvals"])
async def test_without_a_permission_plain_sql_deletes_nothing(db: ActionDB, plain: Plain, table: str) -> None:
    await decided(db)

    assert attack(plain, f"DELETE FROM {table}")


@pytest.mark.parametrize("status", UNFINISHED)
async def test_with_a_permission_plain_sql_does_not_delete_what_is_unfinished(
    db: ActionDB, plain: Plain, status: ActionStatus
) -> None:
    await stored(db, status)
    await db.prune(await now(), keep_events=False)

    assert attack(plain, "DELETE FROM action_proposals")


async def test_with_a_permission_plain_sql_does_not_delete_what_is_unsettled(db: ActionDB, plain: Plain) -> None:
    await unsettled(db)
    await db.prune(await now(), keep_events=False)

    assert attack(plain, "DELETE FROM action_records")


async def test_a_permission_that_keeps_the_history_deletes_no_event(db: ActionDB, plain: Plain) -> None:
    await stored(db, ActionStatus.COMPLETED)
    await db.prune(await now())

    assert attack(plain, "DELETE FROM action_events")
