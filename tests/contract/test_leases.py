"""How long a claim holds on each engine: heartbeats, the recovery of what was lost, and reports that come late."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from operator_core.actions import (
    ActionOutcome,
    ActionStatus,
    EventKind,
    InvalidArgumentError,
    LeaseLostError,
    TransitionNotAllowedError,
)
from operator_core.actions.lifecycle import OUTCOMES
from operator_core.db import ActionDB
from tests.support import latch
from tests.support.claims import claimed, let_expire, recovered
from tests.support.factories import proposal, running, stored
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.stop_steps import stop

DAY = 86_400
REPORTS = {
    "complete": ({"result_data": {"n": 1}}, ActionOutcome.SUCCEEDED, None, {"n": 1}),
    "fail": ({"error": "no such store"}, ActionOutcome.FAILED, "no such store", None),
    "abandon": ({"error": "cut off"}, ActionOutcome.UNKNOWN, "cut off", None),
}


@pytest.fixture(autouse=True)
def _history(ledger: Ledger) -> Iterator[None]:
    yield
    assert check_history(ledger) == []


async def executing(db: ActionDB) -> dict[int, tuple[object, object]]:
    """Return when what still runs was last seen, and until when its lease is, by record."""
    return {
        one.record_id: (one.last_seen_at, one.lease_expires_at)
        for one in (await db.kill_switch_status()).still_executing
    }


# -- a lease -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lease", [0.5, 60, DAY])
async def test_a_lease_runs_for_its_seconds_from_the_claim(db, lease):
    record = (await claimed(db, lease_seconds=lease)).record

    assert record.lease_expires_at - record.last_seen_at == timedelta(seconds=lease)


async def test_a_lease_counts_by_the_clock_of_the_database(db):
    before = await stored(db)
    record = (await claimed(db)).record
    after = await stored(db)

    assert before.status_at <= record.last_seen_at <= after.status_at


async def test_the_status_shows_the_lease_of_what_runs(db):
    record = (await claimed(db)).record
    await stop(db)

    assert await executing(db) == {record.id: (record.last_seen_at, record.lease_expires_at)}


async def test_what_is_started_without_a_claim_has_no_lease(db):
    record = await running(db)
    await stop(db)

    assert await executing(db) == {record.id: (None, None)}


async def test_what_is_started_without_a_claim_is_never_recovered(db):
    record = await running(db)

    assert await db.recover_expired_leases() == []
    assert await db.get_record(record.id) == record


# -- heartbeats --------------------------------------------------------------------------------------------------------


async def test_a_heartbeat_extends_the_lease(db):
    execution = await claimed(db, lease_seconds=90)
    before = execution.record

    await execution.heartbeat()

    after = await db.get_record(before.id)
    assert after.last_seen_at >= before.last_seen_at
    assert after.lease_expires_at - after.last_seen_at == timedelta(seconds=90)
    assert execution.record == after


async def test_a_heartbeat_that_comes_late_but_before_the_recovery_renews_the_lease(db, plain):
    execution = await claimed(db)
    let_expire(plain, execution.record.id)

    await execution.heartbeat()

    assert await db.recover_expired_leases() == []


async def test_a_heartbeat_of_what_nobody_stops_asks_for_nothing(db):
    execution = await claimed(db)

    assert await execution.heartbeat() is None


async def test_a_heartbeat_brings_the_stop_that_covers_the_action(db):
    execution = await claimed(db)
    receipt = await stop(db, by="ann", reason="flood")

    asked = await execution.heartbeat()

    assert (asked.generation, asked.by, asked.reason) == (receipt.generation, "ann", "flood")
    assert execution.stop_requested == asked


async def test_a_heartbeat_brings_the_person_who_cancels_the_action(db):
    execution = await claimed(db)
    await db.request_cancel(execution.proposal.id, by="ann", reason="wrong store")

    asked = await execution.heartbeat()

    assert (asked.generation, asked.by, asked.reason) == (None, "ann", "wrong store")


async def test_a_heartbeat_after_the_recovery_says_who_has_ended_it_and_when(db, plain):
    execution = await claimed(db, worker="w1")
    record = await recovered(db, plain, execution)

    with pytest.raises(LeaseLostError) as caught:
        await execution.heartbeat()

    lost = caught.value
    assert (lost.record_id, lost.worker, lost.outcome, lost.by, lost.at) == (
        record.id,
        "w1",
        ActionOutcome.UNKNOWN,
        "ward",
        record.completed_at,
    )


# -- the recovery ------------------------------------------------------------------------------------------------------


async def test_what_holds_its_lease_is_not_recovered(db):
    execution = await claimed(db)

    assert await db.recover_expired_leases() == []
    assert await db.get_record(execution.record.id) == execution.record


async def test_what_ran_out_is_not_recovered_within_the_grace(db, plain):
    execution = await claimed(db)
    let_expire(plain, execution.record.id)

    assert await db.recover_expired_leases(grace_period=DAY) == []
    assert (await db.get_record(execution.record.id)).outcome is None


async def test_what_ran_out_is_recovered_after_the_grace(db, plain):
    execution = await claimed(db)
    let_expire(plain, execution.record.id)

    found = await db.recover_expired_leases(grace_period=60)

    assert [record.id for record in found] == [execution.record.id]


@pytest.mark.parametrize("grace_period", [-1, DAY + 1, float("nan"), "1", True])
async def test_a_grace_period_is_a_number_of_seconds_up_to_a_day(db, grace_period):
    with pytest.raises(InvalidArgumentError) as caught:
        await db.recover_expired_leases(grace_period=grace_period)

    assert caught.value.path == "grace_period"


async def test_all_that_were_lost_are_recovered_oldest_first(db, plain):
    lost = [(await claimed(db)).record.id for _ in range(3)]
    for number in lost:
        let_expire(plain, number)

    assert [record.id for record in await db.recover_expired_leases()] == lost


async def test_what_was_recovered_is_not_recovered_again(db, plain):
    await recovered(db, plain, await claimed(db))

    assert await db.recover_expired_leases() == []


async def test_the_outcome_of_what_was_lost_is_unknown(db, plain):
    execution = await claimed(db)

    record = await recovered(db, plain, execution)

    assert (record.outcome, record.success) == (ActionOutcome.UNKNOWN, False)
    assert record == await db.get_record(execution.record.id)


async def test_a_lost_record_says_whose_it_was_and_when_it_was_last_seen(db, plain):
    execution = await claimed(db, worker="w1")

    record = await recovered(db, plain, execution)

    assert (record.worker, record.last_seen_at) == ("w1", execution.record.last_seen_at)


async def test_the_proposal_of_what_was_lost_fails_in_the_name_of_who_recovered_it(db, plain):
    execution = await claimed(db)

    record = await recovered(db, plain, execution)

    found = await db.get_proposal(execution.proposal.id)
    assert (found.status, found.status_by) == (ActionStatus.FAILED, "ward")
    assert found.status_reason == record.error_message


@pytest.mark.parametrize("target", ActionStatus)
async def test_what_was_lost_takes_no_further_step(db, plain, target):
    execution = await claimed(db)
    await recovered(db, plain, execution)

    with pytest.raises(TransitionNotAllowedError):
        await db.update_proposal_status(execution.proposal.id, target)

    assert (await db.get_proposal(execution.proposal.id)).status is ActionStatus.FAILED


async def test_what_was_lost_under_a_stop_names_the_stop(db, plain):
    execution = await claimed(db)
    receipt = await stop(db)

    record = await recovered(db, plain, execution)

    assert record.stop_generation == receipt.generation


async def test_a_recovery_cancels_what_a_stop_has_left(db, plain):
    made = await stored(db, ActionStatus.VALIDATED)
    latch.engage(plain, by="ann")

    await db.recover_expired_leases()

    found = await db.get_proposal(made.id)
    assert (found.status, found.status_by) == (ActionStatus.CANCELLED, "ann")


# -- reports that come late --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", REPORTS)
async def test_a_late_report_raises_and_changes_nothing(db, plain, call):
    execution = await claimed(db)
    record = await recovered(db, plain, execution)

    with pytest.raises(LeaseLostError) as caught:
        await getattr(execution, call)(**REPORTS[call][0])

    assert (caught.value.record_id, caught.value.by) == (record.id, "ward")
    assert await db.get_record(record.id) == record


@pytest.mark.parametrize("call", [call for call in REPORTS if call != "abandon"])
async def test_a_late_report_is_kept_in_the_history(db, plain, call):
    given, outcome, message, result = REPORTS[call]
    execution = await claimed(db, worker="w1")
    record = await recovered(db, plain, execution)
    with pytest.raises(LeaseLostError):
        await getattr(execution, call)(**given)

    last = (await db.get_events(record.proposal_id))[-1]

    assert (last.kind, last.by, last.record_id) == (EventKind.REPORTED_LATE, "w1", record.id)
    assert last.data == {"outcome": outcome, "error_message": message, "result_data": result}


async def test_a_late_report_stands_in_the_history_with_the_state_in_which_it_came(db, plain):
    execution = await claimed(db)
    record = await recovered(db, plain, execution)
    with pytest.raises(LeaseLostError):
        await execution.complete()

    last = (await db.get_events(record.proposal_id))[-1]

    assert (last.from_status, last.to_status) == (ActionStatus.FAILED, ActionStatus.FAILED)


async def test_each_late_report_is_kept(db, plain):
    execution = await claimed(db)
    record = await recovered(db, plain, execution)

    for call in ("complete", "fail"):
        with pytest.raises(LeaseLostError):
            await getattr(execution, call)(**REPORTS[call][0])

    kinds = [event.kind for event in await db.get_events(record.proposal_id)]
    assert kinds.count(EventKind.REPORTED_LATE) == 2


async def test_a_stop_that_is_answered_late_is_kept_in_the_history(db, plain):
    execution = await claimed(db)
    await stop(db)
    record = await recovered(db, plain, execution)

    with pytest.raises(LeaseLostError):
        await execution.acknowledge_stop()

    last = (await db.get_events(record.proposal_id))[-1]
    assert (last.kind, last.data["outcome"]) == (EventKind.REPORTED_LATE, ActionOutcome.STOPPED)


@pytest.mark.parametrize("outcome", [outcome for outcomes in OUTCOMES.values() for outcome in outcomes])
async def test_who_is_ended_by_somebody_else_has_lost_the_lease_whatever_the_outcome(db, outcome):
    execution = await claimed(db)
    await stop(db)
    await db.acknowledge_stop(execution.record.id, outcome=outcome, by="supervisor")

    with pytest.raises(LeaseLostError) as caught:
        await execution.complete()

    assert (caught.value.by, caught.value.outcome) == ("supervisor", outcome)


async def test_a_late_report_after_the_finding_stands_after_it(db, plain):
    execution = await claimed(db)
    record = await recovered(db, plain, execution)
    await db.resolve_unknown(record.id, resolution="partly", by="ann", reason="half full")
    with pytest.raises(LeaseLostError):
        await execution.complete()

    kinds = [event.kind for event in await db.get_events(record.proposal_id)]

    assert kinds[-2:] == [EventKind.RESOLVED, EventKind.REPORTED_LATE]


async def test_what_is_proposed_again_after_a_loss_can_be_claimed(db, plain):
    record = await recovered(db, plain, await claimed(db))
    again = await db.create_proposal(proposal(retry_of=record.proposal_id, proposed_by="ann"))
    await db.update_proposal_status(again.id, ActionStatus.VALIDATED)

    execution = await db.claim_next(worker="w2")

    assert execution.proposal.id == again.id
