"""Forced schedules on PostgreSQL: of a start and a decision, or a policy, that meet, each sees the other or waits."""

import asyncio
from collections.abc import Iterator

import pytest

from operator_core.actions import (
    ActionStatus,
    ApprovalRefusedError,
    ApprovalRule,
    KillSwitchEngagedError,
    NotApprovedError,
    PolicyUnconfirmedError,
    TransitionNotAllowedError,
)
from operator_core.db import ActionDB
from operator_core.db.errors import guard_code
from operator_core.db.guards.codes import APPROVAL_REFUSED, NOT_APPROVED
from tests.support.factories import stored
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.patience import IN_VAIN
from tests.support.plain_sql import on_postgresql
from tests.support.stop_steps import (
    client,
    engaged,
    pid,
    record,
    start,
    started,
    status_of,
    stop,
    until,
    waits_at_barrier,
)

pytestmark = [on_postgresql, pytest.mark.usefixtures("unhurried_stops")]

WAITS_FOR_ROW = (
    "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple') "
    "AND pg_blocking_pids(pid) @> ARRAY[{}]"
)
DECISIONS = "SELECT decision FROM action_approvals ORDER BY id"


@pytest.fixture(autouse=True)
def _history(ledger: Ledger) -> Iterator[None]:
    yield
    assert check_history(ledger) == []


async def asks_for(db: ActionDB, approvals: int) -> None:
    await db.set_approval_policy(
        "everything", [ApprovalRule(approvals=approvals)], by="ann", reason=f"{approvals} people look"
    )


async def approved(db: ActionDB) -> tuple[int, int]:
    """Return the ids of a proposal and of the one approval that it needs and has."""
    await asks_for(db, 1)
    made = await stored(db)
    return made.id, (await db.approve(made.id, by="ann")).id


async def waits_behind(plain, holder) -> None:
    await until(lambda: plain.execute(WAITS_FOR_ROW.format(pid(holder))).fetchall(), "a wait for the proposal")


def decide(function: str, of_id: int, by: str) -> str:
    """Return the call of an approver's function in plain SQL."""
    more = {"approve": ", NULL, NULL", "reject": ", NULL, NULL", "revoke": ""}[function]
    return f"SELECT operator_core_{function}({of_id}, '{by}', 'human', NULL, 'looked'{more})"


# -- a start and a decision --------------------------------------------------------------------------------------------


async def test_a_revocation_waits_for_a_start_that_is_open_and_is_refused_when_it_commits(db, plain, ledger):
    number, approval = await approved(db)

    with client(ledger) as starter:
        starter.execute(start(number))
        starter.execute(record(number))
        revoking = asyncio.create_task(db.revoke(approval, by="rita", reason="wrong store"))
        await waits_behind(plain, starter)
        starter.execute("COMMIT")
        with pytest.raises(ApprovalRefusedError, match="request_cancel") as caught:
            await revoking

    assert guard_code(caught.value.__cause__) == APPROVAL_REFUSED
    assert (status_of(plain, number), plain.execute(DECISIONS).fetchall()) == ("executing", [("approved",)])


async def test_a_revocation_that_waited_for_a_start_counts_when_the_start_dies(db, plain, ledger):
    number, approval = await approved(db)

    with client(ledger) as starter:
        starter.execute(start(number))
        revoking = asyncio.create_task(db.revoke(approval, by="rita", reason="wrong store"))
        await waits_behind(plain, starter)
        starter.execute("ROLLBACK")
        await revoking

    with pytest.raises(NotApprovedError):
        await db.start_execution(number)
    assert started(plain) == []


@pytest.mark.parametrize("how", ["start_execution", "claim"])
async def test_a_start_waits_for_a_revocation_that_is_open_and_is_refused_when_it_commits(db, plain, ledger, how):
    number, approval = await approved(db)
    begin = {"start_execution": lambda: db.start_execution(number), "claim": lambda: db.claim(number, worker="w1")}

    with client(ledger) as revoker:
        revoker.execute(decide("revoke", approval, "rita"))
        starting = asyncio.create_task(begin[how]())
        await waits_behind(plain, revoker)
        revoker.execute("COMMIT")
        with pytest.raises(NotApprovedError) as caught:
            await starting

    assert guard_code(caught.value.__cause__) == NOT_APPROVED
    assert (caught.value.needed, caught.value.given) == (1, 0)
    assert (status_of(plain, number), started(plain)) == ("validated", [])


async def test_a_start_waits_for_a_rejection_that_is_open_and_never_comes(db, plain, ledger):
    number, _ = await approved(db)

    with client(ledger) as refuser:
        refuser.execute(decide("reject", number, "rita"))
        starting = asyncio.create_task(db.start_execution(number))
        await waits_behind(plain, refuser)
        refuser.execute("COMMIT")
        with pytest.raises(TransitionNotAllowedError, match="is cancelled"):
            await starting

    assert (status_of(plain, number), started(plain)) == ("cancelled", [])


async def test_of_two_approvers_at_once_the_second_waits_and_takes_the_step(db, plain, ledger):
    await asks_for(db, 2)
    made = await stored(db)

    with client(ledger) as first:
        first.execute(decide("approve", made.id, "ann"))
        second = asyncio.create_task(db.approve(made.id, by="bob"))
        await waits_behind(plain, first)
        alone = first.execute(f"SELECT status FROM action_proposals WHERE id = {made.id}").fetchone()[0]
        first.execute("COMMIT")
        await second

    assert alone == "proposed"
    assert (await db.get_proposal(made.id)).status is ActionStatus.VALIDATED
    (step,) = [event for event in await db.get_events(made.id) if event.to_status is ActionStatus.VALIDATED]
    assert (step.by, (await db.approval_status(made.id)).given) == ("bob", 2)


# -- a policy ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ending", "status"), [("COMMIT", "executing"), ("ROLLBACK", "validated")])
async def test_a_policy_is_in_force_at_once_and_returns_when_the_start_that_was_open_has_ended(
    db, plain, ledger, ending, status
):
    number, _ = await approved(db)
    other, _ = await approved(db)

    with client(ledger) as starter:
        starter.execute(start(number))
        starter.execute(record(number))
        tightening = asyncio.create_task(asks_for(db, 2))
        await waits_at_barrier(plain)
        asked = plain.execute("SELECT approvals FROM approval_policies").fetchall()
        was_done = tightening.done()
        starter.execute(ending)
        await tightening

    assert (asked, was_done) == ([(2,)], False)
    assert status_of(plain, number) == status
    for late in (other,) if status == "executing" else (other, number):
        with pytest.raises(NotApprovedError):
            await db.start_execution(late)


async def test_a_policy_whose_wait_is_in_vain_says_that_it_is_in_force(db, plain, ledger):
    number, _ = await approved(db)
    other = await stored(db)
    await db.approve(other.id, by="ann")

    async with ActionDB(ledger.target, lock_timeout=0.2) as hasty:
        with client(ledger) as starter:
            starter.execute(start(number))
            with pytest.raises(PolicyUnconfirmedError, match="is in force") as caught:
                await asks_for(hasty, 2)
            with pytest.raises(NotApprovedError):
                await db.start_execution(other.id)
            starter.execute("ROLLBACK")

    assert caught.value.scope == "everything"
    assert plain.execute("SELECT approvals FROM approval_policies").fetchall() == [(2,)]


# -- a stop ------------------------------------------------------------------------------------------------------------


async def test_an_approval_in_a_hosts_open_transaction_does_not_keep_a_stop_from_being_published_or_confirmed(
    db, plain, ledger
):
    await asks_for(db, 1)
    made, free = await stored(db), await stored(db)

    with client(ledger) as host:
        host.execute(decide("approve", made.id, "ann"))
        held = plain.execute(
            "SELECT count(*) FROM pg_locks WHERE pid = %s AND (locktype = 'advisory' OR relation IN "
            "('kill_switch_barrier'::regclass, 'kill_switch_events'::regclass) OR relation = 'kill_switch'::regclass "
            "AND mode <> 'AccessShareLock')",
            [pid(host)],
        ).fetchall()
        receipt = await stop(db, timeout=IN_VAIN)  # the sweep tries the row again until then
        is_engaged = engaged(plain)
        host.execute("COMMIT")
    left = status_of(plain, made.id)
    with pytest.raises(KillSwitchEngagedError) as caught:
        await db.start_execution(made.id)
    after = await db.kill_switch_status()

    assert held == [(0,)]
    assert is_engaged == [("everything", receipt.generation)]
    assert (receipt.cancelled, receipt.not_yet_cancelled) == ((free.id,), (made.id,))
    assert (left, caught.value.generation) == ("validated", receipt.generation)
    assert (after.not_yet_cancelled, status_of(plain, made.id), started(plain)) == ((), "cancelled", [])


async def test_what_a_host_approves_in_a_transaction_that_outlasts_a_stop_and_its_release_never_starts(
    db, plain, ledger
):
    await asks_for(db, 1)
    made = await stored(db)

    with client(ledger) as host:
        host.execute(decide("approve", made.id, "ann"))
        receipt = await stop(db, timeout=IN_VAIN)
        await db.release_kill_switch(by="bob", reason="over", generation=receipt.generation)
        host.execute("COMMIT")

    with pytest.raises(KillSwitchEngagedError, match="revives nothing"):
        await db.start_execution(made.id)
    assert started(plain) == []
