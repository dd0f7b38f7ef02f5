"""Calls for many at once, on each engine: each does what as many single calls would, and all or nothing."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from operator_core.actions import (
    ActionOutcome,
    ActionStatus,
    ApprovalRefusedError,
    ApprovalRule,
    ApproverKind,
    ExecutionResult,
    FourEyes,
    InvalidArgumentError,
    KillSwitchEngagedError,
    NotApprovedError,
    ProposalNotFoundError,
    RecordNotFoundError,
    SelfApprovalError,
    TransitionNotAllowedError,
    ValueNotStorableError,
)
from operator_core.db import ActionDB, ActionRepository, Execution
from operator_core.db.stores import claims
from tests.support.approvals import policy
from tests.support.factories import proposal, stored
from tests.support.history import check_history
from tests.support.host import hosted
from tests.support.ledger import DRIVER, Ledger
from tests.support.workbench import found, ready

VALIDATED, NOBODY = ActionStatus.VALIDATED, 999


@pytest.fixture(autouse=True)
def _history(ledger: Ledger) -> Iterator[None]:
    yield
    assert check_history(ledger) == []


def ids_of(executions: Sequence[Execution]) -> list[int]:
    """Return the ids of what was claimed."""
    return [execution.proposal.id for execution in executions]


async def running(db: ActionDB, count: int) -> list[int]:
    """Start so many proposals, and return the ids of their records."""
    return [(await db.start_execution(number)).id for number in await ready(db, count)]


async def statuses(db: ActionDB, ids: Sequence[int]) -> list[ActionStatus]:
    """Return the states of some proposals."""
    return [(await found(db, number)).status for number in ids]


# -- claims ------------------------------------------------------------------------------------------------------------


async def test_many_are_claimed_oldest_first_and_each_under_a_fence_of_its_own(db: ActionDB) -> None:
    made = await ready(db, 5)

    first, rest = await db.claim_many(3, worker="w1"), await db.claim_many(3, worker="w1")

    assert (ids_of(first), ids_of(rest)) == (made[:3], made[3:])
    assert len({execution.record.id for execution in first + rest}) == 5
    await first[0].complete({"n": 1})
    assert await statuses(db, made[:2]) == [ActionStatus.COMPLETED, ActionStatus.EXECUTING]


async def test_nothing_is_claimed_where_there_is_nothing(db: ActionDB) -> None:
    assert await db.claim_many(3, worker="w1") == []


async def test_only_what_matches_is_claimed(db: ActionDB) -> None:
    await ready(db, 2)
    wanted = await ready(db, 2, action_name="fill_store")

    assert ids_of(await db.claim_many(5, worker="w1", action_names=["fill_store"])) == wanted


async def test_concurrent_calls_claim_different_ones(db: ActionDB, ledger: Ledger) -> None:
    made = await ready(db, 40)
    async with ActionDB(ledger.target) as other:
        taken = await asyncio.gather(
            *(one.claim_many(7, worker=f"w{n}") for n, one in enumerate([db, other] * 4)),
        )

    ids = [number for executions in taken for number in ids_of(executions)]
    assert len(ids) == len(set(ids))
    assert set(ids) <= set(made)


async def test_a_repeated_call_returns_what_the_first_has_claimed(db: ActionDB) -> None:
    made = await ready(db, 6)

    first = await db.claim_many(3, worker="w1", idempotency_key="k")
    again = await db.claim_many(3, worker="w1", idempotency_key="k")

    assert ids_of(first) == ids_of(again) == made[:3]
    assert [execution.record.id for execution in first] == [execution.record.id for execution in again]


async def test_a_repeated_call_returns_what_still_runs(db: ActionDB) -> None:
    made = await ready(db, 3)
    first = await db.claim_many(3, worker="w1", idempotency_key="k")
    await first[1].complete()

    assert ids_of(await db.claim_many(3, worker="w1", idempotency_key="k")) == [made[0], made[2]]


async def test_what_lacks_its_approvals_is_passed_over(db: ActionDB) -> None:
    made = await ready(db, 4)
    await policy(db, ApprovalRule())
    for number in made[2:]:
        await db.approve(number, by="ann")

    assert ids_of(await db.claim_many(4, worker="w1")) == made[2:]


async def test_nothing_that_a_stop_covers_is_claimed(db: ActionDB) -> None:
    await ready(db, 2)
    other = await ready(db, 1, action_name="fill_store")
    await db.engage_kill_switch(by="ann", reason="smoke", scope="action_name=drain_store")

    assert ids_of(await db.claim_many(5, worker="w1")) == other


async def test_a_claim_of_a_host_is_the_hosts_to_commit(db: ActionDB, ledger: Ledger) -> None:
    made = await ready(db, 2)
    async with hosted(ledger, DRIVER) as host, AsyncSession(host.engine) as session:
        assert ids_of(await ActionRepository(session).claim_many(2, worker="w1")) == made
        await session.rollback()

    assert await statuses(db, made) == [VALIDATED, VALIDATED]


async def test_what_a_cancelled_call_has_claimed_is_failed_because_it_never_began(
    db: ActionDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await ready(db, 2)
    assert db._transactions is not None
    done, run_to_its_end = asyncio.Event(), db._transactions._run_to_its_end

    async def answer_late(call: Any) -> None:
        await run_to_its_end(call)
        if call.unit is claims.claim_many:
            done.set()
            await asyncio.sleep(0.05)

    monkeypatch.setattr(db._transactions, "_run_to_its_end", answer_late)
    claiming = asyncio.create_task(db.claim_many(2, worker="w1"))
    await done.wait()
    claiming.cancel()
    await asyncio.wait({claiming})

    for number in made:
        (record,) = await db.get_records_for_proposal(number)
        assert (record.outcome, "never began" in str(record.error_message)) == (ActionOutcome.FAILED, True)


@pytest.mark.parametrize("limit", [0, -1, 1.5, "2", True])
async def test_a_limit_that_is_none_is_refused(db: ActionDB, limit: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="limit"):
        await db.claim_many(limit, worker="w1")


async def test_a_key_must_leave_room_for_the_number_of_a_claim(db: ActionDB) -> None:
    with pytest.raises(ValueNotStorableError, match="idempotency_key"):
        await db.claim_many(2, worker="w1", idempotency_key="k" * 255)


# -- ends --------------------------------------------------------------------------------------------------------------


async def test_many_are_finished_each_with_its_own_outcome(db: ActionDB) -> None:
    first, second, third = await running(db, 3)

    finished = await db.finish_many(
        [
            ExecutionResult(record_id=third, success=True, result_data={"n": [1, None, "é"]}),
            ExecutionResult(record_id=first, success=False, error_message="too hot"),
            ExecutionResult(record_id=second, success=True),
        ],
        by="ann",
    )

    assert [(one.id, one.outcome, one.error_message, one.result_data) for one in finished] == [
        (third, ActionOutcome.SUCCEEDED, None, {"n": [1, None, "é"]}),
        (first, ActionOutcome.FAILED, "too hot", None),
        (second, ActionOutcome.SUCCEEDED, None, None),
    ]
    assert [await db.get_record(one.id) for one in finished] == finished
    ended = [await found(db, one.proposal_id) for one in finished]
    assert [(one.status.value, one.status_by, one.status_reason) for one in ended] == [
        ("completed", "ann", None),
        ("failed", "ann", "too hot"),
        ("completed", "ann", None),
    ]


@pytest.mark.parametrize("success", [True, False])
async def test_where_one_has_ended_before_none_is_finished(db: ActionDB, success: bool) -> None:
    first, second = await running(db, 2)
    await db.finish_execution(second, success=success)

    with pytest.raises(TransitionNotAllowedError, match=f"record {second}"):
        await db.finish_many([ExecutionResult(record_id=number, success=True) for number in (first, second)])

    record = await db.get_record(first)
    assert record is not None
    assert record.outcome is None


async def test_where_one_does_not_exist_none_is_finished(db: ActionDB) -> None:
    (first,) = await running(db, 1)

    with pytest.raises(RecordNotFoundError):
        await db.finish_many([ExecutionResult(record_id=number, success=True) for number in (first, NOBODY)])

    assert (await db.get_records_for_proposal(1))[0].outcome is None


async def test_where_one_result_cannot_be_stored_none_is_finished(db: ActionDB) -> None:
    first, second = await running(db, 2)
    results = [
        ExecutionResult(record_id=first, success=True),
        ExecutionResult(record_id=second, success=True, result_data={"x": float("nan")}),
    ]

    with pytest.raises(ValueNotStorableError):
        await db.finish_many(results)

    assert (await db.get_records_for_proposal(1))[0].outcome is None


async def test_a_record_that_is_named_twice_is_refused(db: ActionDB) -> None:
    (first,) = await running(db, 1)

    with pytest.raises(InvalidArgumentError, match=f"{first} twice"):
        await db.finish_many([ExecutionResult(record_id=first, success=True)] * 2)


async def test_nothing_is_finished_where_nothing_is_given(db: ActionDB) -> None:
    assert await db.finish_many([]) == []


async def test_ends_join_the_transaction_of_a_host(db: ActionDB, ledger: Ledger) -> None:
    records = await running(db, 2)
    async with hosted(ledger, DRIVER) as host, AsyncSession(host.engine) as session:
        repository = ActionRepository(session)
        await repository.finish_many([ExecutionResult(record_id=number, success=True) for number in records])
        await session.rollback()

    assert [(await db.get_records_for_proposal(number))[0].outcome for number in (1, 2)] == [None, None]


# -- approvals and validations -----------------------------------------------------------------------------------------


async def test_many_are_approved_in_the_order_in_which_they_were_given(db: ActionDB) -> None:
    made = [await db.create_proposal(proposal()) for _ in range(3)]

    approvals = await db.approve_many(made[::-1], by="ann", reason="seen", kind=ApproverKind.HUMAN)

    assert [one.proposal_id for one in approvals] == [one.id for one in made[::-1]]
    assert {(one.by, one.reason, one.digest) for one in approvals} == {("ann", "seen", made[0].digest)}
    assert await statuses(db, [one.id for one in made]) == [VALIDATED] * 3


async def test_ids_are_approved_as_the_ledger_holds_them(db: ActionDB) -> None:
    made = [await db.create_proposal(proposal()) for _ in range(2)]

    approvals = await db.approve_many([one.id for one in made], by="ann")

    assert [one.digest for one in approvals] == [one.digest for one in made]


async def test_what_needs_more_approvals_waits_on(db: ActionDB) -> None:
    await policy(db, ApprovalRule(approvals=2))
    made = [await db.create_proposal(proposal()) for _ in range(2)]

    await db.approve_many(made, by="ann")
    assert await statuses(db, [one.id for one in made]) == [ActionStatus.PROPOSED] * 2
    await db.approve_many(made, by="bob")
    assert await statuses(db, [one.id for one in made]) == [VALIDATED] * 2


async def _cancelled(db: ActionDB, number: int) -> None:
    await db.update_proposal_status(number, ActionStatus.CANCELLED)


async def _stopped(db: ActionDB, number: int) -> None:
    await db.engage_kill_switch(by="ann", reason="smoke")


@pytest.mark.parametrize("by_id", [True, False])
@pytest.mark.parametrize(
    ("spoil", "error"), [(_cancelled, ApprovalRefusedError), (_stopped, KillSwitchEngagedError | ApprovalRefusedError)]
)
async def test_where_one_cannot_be_approved_none_is(
    db: ActionDB,
    spoil: Any,
    error: Any,
    by_id: bool,
) -> None:
    made = [await db.create_proposal(proposal()) for _ in range(3)]
    await spoil(db, made[1].id)
    errors = error.__args__ if hasattr(error, "__args__") else error

    with pytest.raises(errors):
        await db.approve_many([one.id for one in made] if by_id else made, by="ann")

    assert [(await db.approval_status(one.id)).decisions for one in made] == [(), (), ()]


async def test_where_one_is_the_approvers_own_none_is_approved(db: ActionDB) -> None:
    await policy(db, ApprovalRule(four_eyes=FourEyes.PROPOSER))
    made = [await db.create_proposal(proposal(proposed_by=name)) for name in ("bob", "ann")]

    with pytest.raises(SelfApprovalError, match=f"{made[1].id}"):
        await db.approve_many(made, by="ann")

    assert [(await db.approval_status(one.id)).decisions for one in made] == [(), ()]


async def test_where_one_is_not_there_none_is_approved(db: ActionDB) -> None:
    made = await db.create_proposal(proposal())

    with pytest.raises(ProposalNotFoundError):
        await db.approve_many([made.id, NOBODY], by="ann")

    assert (await db.approval_status(made.id)).decisions == ()


async def test_many_are_validated(db: ActionDB) -> None:
    made = [(await db.create_proposal(proposal())).id for _ in range(3)]

    await db.validate_many(made, by="ann", reason="seen")

    assert await statuses(db, made) == [VALIDATED] * 3
    assert {((await found(db, number)).status_by, (await found(db, number)).status_reason) for number in made} == {
        ("ann", "seen")
    }


async def test_where_one_cannot_be_validated_none_is(db: ActionDB) -> None:
    made = [(await db.create_proposal(proposal())).id for _ in range(2)]
    await _cancelled(db, made[1])

    with pytest.raises(TransitionNotAllowedError, match=f"{made[1]}"):
        await db.validate_many(made)

    assert await statuses(db, made) == [ActionStatus.PROPOSED, ActionStatus.CANCELLED]


async def test_where_one_lacks_its_approvals_none_is_validated(db: ActionDB) -> None:
    await policy(db, ApprovalRule())
    free = await db.create_proposal(proposal(action_name="fill_store"))
    short = await db.create_proposal(proposal())

    with pytest.raises(NotApprovedError):
        await db.validate_many([free.id, short.id])

    assert await statuses(db, [free.id]) == [ActionStatus.PROPOSED]


@pytest.mark.parametrize("call", ["approve_many", "validate_many"])
async def test_a_proposal_that_is_named_twice_is_refused(db: ActionDB, call: str) -> None:
    made = await stored(db)

    with pytest.raises(InvalidArgumentError, match=f"{made.id} twice"):
        await getattr(db, call)([made.id, made.id], by="ann")


@pytest.mark.parametrize("call", ["approve_many", "validate_many"])
async def test_nothing_is_done_where_nothing_is_given(db: ActionDB, call: str) -> None:
    assert not await getattr(db, call)([], by="ann")
