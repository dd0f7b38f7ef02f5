"""What starts is what was approved, once, and its event says by which approvals and which policy, on each engine."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from operator_core.actions import (
    ActionOutcome,
    ActionStatus,
    ApprovalRefusedError,
    ApprovalRule,
    DigestMismatchError,
    EventKind,
    IdempotencyKeyError,
    KillSwitchEngagedError,
    NotApprovedError,
    ProposalExpiredError,
    StoredProposal,
)
from operator_core.db import ActionDB, ActionRepository
from tests.support.approvals import OF_NAME, approved, policy
from tests.support.factories import proposal, stored
from tests.support.history import tamper
from tests.support.host import hosted
from tests.support.ledger import DRIVER, Ledger
from tests.support.plain_sql import Plain, decide, engage, release
from tests.support.stop_steps import stop

sound = pytest.mark.usefixtures("sound_history")
"""A test that leaves a ledger without contradictions."""


async def started_by(calls: Any, number: int) -> dict[str, Any] | None:
    """Return what the event of the start says."""
    (start,) = [e for e in await calls.get_events(number) if e.kind is EventKind.STEP and e.to_status == "executing"]
    return start.data


# -- before the start --------------------------------------------------------------------------------------------------


@sound
async def test_nothing_is_validated_or_started_without_the_approvals(calls: Any) -> None:
    validated = await stored(calls, ActionStatus.VALIDATED)
    await policy(calls, ApprovalRule(approvals=2), ApprovalRule(role="security"))
    made = await stored(calls)
    await approved(calls, made, "anna")

    with pytest.raises(NotApprovedError) as caught:
        await calls.update_proposal_status(made.id, ActionStatus.VALIDATED)
    for start in (
        calls.start_execution(validated.id),
        calls.update_proposal_status(validated.id, ActionStatus.EXECUTING),
        calls.claim(validated.id, worker="w"),
    ):
        with pytest.raises(NotApprovedError):
            await start

    error = caught.value
    assert (error.policy, error.needed, error.given, error.missing) == (
        *(OF_NAME, 2, 1),
        ("1 of 2", "0 of 1 as security"),
    )
    assert (error.current, error.target) == (ActionStatus.PROPOSED, ActionStatus.VALIDATED)
    assert [await calls.get_proposal(one.id) for one in (made, validated)] == [made, validated]


@sound
async def test_a_claim_takes_the_next_that_has_its_approvals(calls: Any) -> None:
    waiting = await stored(calls, ActionStatus.VALIDATED)
    await policy(calls, ApprovalRule())
    other, free = await stored(calls), await stored(calls, ActionStatus.VALIDATED, action_name="fill_store")
    await approved(calls, other, "anna")

    taken = [await calls.claim_next(worker=f"w{number}") for number in range(3)]

    assert [one and one.proposal.id for one in taken] == [other.id, free.id, None]
    await approved(calls, waiting, "bob")
    assert (await calls.claim_next(worker="w4")).proposal.id == waiting.id


@sound
async def test_what_is_taken_to_be_validated_by_a_worker_needs_its_approvals(db: ActionDB) -> None:
    await policy(db, ApprovalRule())
    made = await stored(db)

    async with db.transaction() as tx:
        (taken,) = await tx.lock_proposed(["drain_store"])
        with pytest.raises(NotApprovedError):
            await tx.update_proposal_status(taken.id, ActionStatus.VALIDATED)

    assert await db.get_proposal(made.id) == made


@sound
async def test_an_approval_is_used_once(calls: Any) -> None:
    await policy(calls, ApprovalRule())
    made = await stored(calls)
    await approved(calls, made, "anna")
    record = await calls.start_execution(made.id)
    await calls.finish_execution(record.id, success=False)

    again = await stored(calls, retry_of=made.id, proposed_by="agent")

    with pytest.raises(NotApprovedError):
        await calls.update_proposal_status(again.id, ActionStatus.VALIDATED)


# -- stops and time ----------------------------------------------------------------------------------------------------


@sound
async def test_what_a_stop_passed_over_never_starts_whatever_was_approved(calls: Any, plain: Plain) -> None:
    await policy(calls, ApprovalRule())
    made = await stored(calls)
    await approved(calls, made, "anna")

    for statement in (engage(), release()):
        plain.execute(statement)
        with pytest.raises(KillSwitchEngagedError):
            await calls.start_execution(made.id)
        with pytest.raises(KillSwitchEngagedError):
            await calls.approve(made.id, by="bob")

    assert (await calls.get_records_for_proposal(made.id)) == []


@sound
async def test_a_stop_cancels_what_was_approved_and_its_release_revives_nothing(db: ActionDB) -> None:
    await policy(db, ApprovalRule())
    made = await stored(db)
    await approved(db, made, "anna")

    receipt = await stop(db)
    await db.release_kill_switch(by="ann", reason="out", generation=receipt.generation)

    assert receipt.cancelled == (made.id,)
    with pytest.raises(ApprovalRefusedError, match="it is cancelled"):
        await db.approve(made.id, by="bob")
    assert await db.claim_next(worker="w") is None


@sound
async def test_what_is_proposed_under_a_stop_is_approved_by_nobody(calls: Any, plain: Plain) -> None:
    plain.execute(engage())

    made = await stored(calls)

    assert made.status is ActionStatus.CANCELLED
    with pytest.raises(ApprovalRefusedError, match="it is cancelled"):
        await calls.approve(made.id, by="anna")


@sound
async def test_what_was_approved_and_has_expired_does_not_start(db: ActionDB, ledger: Ledger) -> None:
    await policy(db, ApprovalRule())
    made = await stored(db, valid_until=datetime.now(UTC) + timedelta(hours=1))
    await approved(db, made, "anna")
    past = "'2026-01-01 00:00:00.000000+00'" if not ledger.is_sqlite else "'2026-01-01 00:00:00.000000'"
    said = "2026-01-01 00:00:00.000000"
    document = (
        "json_set(data, '$.valid_until', '{}')"
        if ledger.is_sqlite
        else ("jsonb_set(data::jsonb, '{{valid_until}}', '\"{}\"')::json")
    )
    tamper(
        ledger,
        f"UPDATE action_proposals SET valid_until = {past}",
        f"UPDATE action_events SET data = {document.format(said)} WHERE from_status IS NULL",
    )

    with pytest.raises(ProposalExpiredError):
        await db.start_execution(made.id)


# -- evidence ----------------------------------------------------------------------------------------------------------


@sound
@pytest.mark.parametrize("start", ["start_execution", "claim", "claim_next", "update_proposal_status"])
async def test_the_event_of_the_start_names_the_policy_its_version_and_the_approvals_that_counted(
    calls: Any, start: str
) -> None:
    await policy(calls, ApprovalRule(), scope="everything")
    stated = await policy(calls, ApprovalRule(approvals=2), ApprovalRule(role="security"))
    made, other = await stored(calls), await stored(calls)
    (first,) = await approved(calls, made, "anna")
    await approved(calls, other, "anna", "bob")
    (program,) = await approved(calls, made, "model", kind="agent")
    (revoked,) = await approved(calls, made, "bob", role="security")
    await calls.revoke(revoked.id, by="bob", reason="hm")
    last, more = await approved(calls, made, "carl", "dora", role="security")

    given: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
        "start_execution": ((made.id,), {}),
        "claim": ((made.id,), {"worker": "w"}),
        "claim_next": ((), {"worker": "w"}),
        "update_proposal_status": ((made.id, ActionStatus.EXECUTING), {}),
    }
    args, names = given[start]
    await getattr(calls, start)(*args, **names)

    assert await started_by(calls, made.id) == {
        "policy": OF_NAME,
        "version": stated.version,
        "approvals": [first.id, last.id, more.id],
    }
    assert program.id not in (first.id, last.id, more.id)


@sound
async def test_the_event_of_a_start_without_a_policy_names_none(calls: Any) -> None:
    await policy(calls, ApprovalRule(), scope="action_name=fill_store")
    made = await stored(calls)
    await approved(calls, made, "anna")
    await calls.start_execution(made.id)

    assert await started_by(calls, made.id) is None


@sound
async def test_no_other_step_names_approvals(calls: Any) -> None:
    await policy(calls, ApprovalRule())
    made = await stored(calls)
    await approved(calls, made, "anna")
    record = await calls.start_execution(made.id)
    await calls.finish_execution(record.id, success=True)

    told = {event.to_status: event.data for event in await calls.get_events(made.id) if event.kind is EventKind.STEP}

    assert told[ActionStatus.VALIDATED] is None
    assert "policy" not in {**(told[ActionStatus.PROPOSED] or {}), **(told[ActionStatus.COMPLETED] or {})}


# -- what was approved is what runs ------------------------------------------------------------------------------------


async def changed(calls: Any, ledger: Ledger, count: int = 1) -> list[StoredProposal]:
    """Return proposals that were approved, and whose parameters were changed behind the guards."""
    made = [await stored(calls, parameters={"store": 4}) for _ in range(count)]
    for one in made:
        await approved(calls, one, "anna")
    tamper(ledger, "UPDATE action_proposals SET parameters = '{\"store\":99}'")
    return made


@pytest.mark.parametrize("has_policy", [True, False])
@pytest.mark.parametrize("call", ["claim", "start_execution"])
async def test_what_was_changed_since_its_approval_does_not_run(
    db: ActionDB, ledger: Ledger, call: str, *, has_policy: bool
) -> None:
    if has_policy:
        await policy(db, ApprovalRule())
    (made,) = await changed(db, ledger)

    with pytest.raises(DigestMismatchError) as caught:
        await getattr(db, call)(made.id, **({"worker": "w"} if call == "claim" else {}))

    found = await db.get_proposal(made.id)
    assert found is not None
    assert (caught.value.given, caught.value.expected) == (made.digest, found.digest)
    (record,) = await db.get_records_for_proposal(made.id)
    assert (record.outcome, found.status) == (ActionOutcome.FAILED, ActionStatus.FAILED)
    assert record.error_message == str(caught.value)


@pytest.mark.parametrize("has_policy", [True, False])
async def test_what_was_changed_since_its_approval_takes_no_step_to_executing(
    db: ActionDB, ledger: Ledger, *, has_policy: bool
) -> None:
    if has_policy:
        await policy(db, ApprovalRule())
    (made,) = await changed(db, ledger)

    with pytest.raises(DigestMismatchError):
        await db.update_proposal_status(made.id, ActionStatus.EXECUTING)

    found = await db.get_proposal(made.id)
    assert found is not None
    assert found.status is ActionStatus.VALIDATED


async def test_a_claim_goes_on_with_the_next_and_says_what_it_found(
    db: ActionDB, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    await policy(db, ApprovalRule())
    made = await changed(db, ledger, 3)
    sound_one = await stored(db)
    await approved(db, sound_one, "anna")

    with caplog.at_level(logging.ERROR, "operator_core"):
        execution = await db.claim_next(worker="w")

    assert execution is not None
    assert execution.proposal.id == sound_one.id
    assert [(await db.get_proposal(one.id)).status for one in made] == 3 * [ActionStatus.FAILED]  # type: ignore[union-attr]
    assert [record.proposal_id for record in caplog.records] == [one.id for one in made]  # type: ignore[attr-defined]


async def test_in_a_hosts_transaction_the_record_is_failed_with_its_commit(ledger: Ledger) -> None:
    async with hosted(ledger, "sqlite" if ledger.is_sqlite else DRIVER) as host:
        (made,) = await changed(host.db, ledger)
        async with AsyncSession(host.engine) as session:
            with pytest.raises(DigestMismatchError):
                await ActionRepository(session).claim(made.id, worker="w")
            await session.commit()

        (record,) = await host.db.get_records_for_proposal(made.id)
        assert record.outcome is ActionOutcome.FAILED


async def test_approvals_that_name_two_digests_let_nothing_run(db: ActionDB, plain: Plain) -> None:
    made = await stored(db)
    await approved(db, made, "anna")
    plain.execute(decide(plain, made.id, digest="'sha256:another'"))

    with pytest.raises(DigestMismatchError) as caught:
        await db.start_execution(made.id)

    assert set(caught.value.given.split(" and ")) == {made.digest, "sha256:another"}
    found = await db.get_proposal(made.id)
    assert found is not None
    assert found.status is ActionStatus.FAILED


async def test_approvals_that_name_no_digest_are_of_whatever_the_ledger_holds(db: ActionDB, plain: Plain) -> None:
    await policy(db, ApprovalRule())
    made = await stored(db, ActionStatus.PROPOSED)
    plain.execute(decide(plain, made.id))
    await db.update_proposal_status(made.id, ActionStatus.VALIDATED)

    assert (await db.claim(made.id, worker="w")).proposal.id == made.id


async def test_a_revoked_approval_says_nothing_about_what_may_run(db: ActionDB, ledger: Ledger) -> None:
    (made,) = await changed(db, ledger)
    await db.revoke(1, by="anna", reason="it was changed")
    await approved(db, made, "bob")

    execution = await db.claim(made.id, worker="w")

    assert execution.proposal.parameters == {"store": 99}


# -- beside approvals --------------------------------------------------------------------------------------------------


@sound
async def test_a_repeated_proposal_is_the_first_one_with_its_approvals(calls: Any) -> None:
    await policy(calls, ApprovalRule())
    made = await calls.create_proposal(proposal(on_behalf_of="carl"), idempotency_key="k")
    await approved(calls, made, "anna")

    again = await calls.create_proposal(proposal(on_behalf_of="carl"), idempotency_key="k")

    assert (again.id, again.repeated, again.status) == (made.id, True, ActionStatus.VALIDATED)
    assert (await calls.approval_status(again.id)).is_approved


@sound
@pytest.mark.parametrize("other", ["dora", None])
async def test_a_key_is_not_repeated_for_another_person(calls: Any, other: str | None) -> None:
    await calls.create_proposal(proposal(on_behalf_of="carl"), idempotency_key="k")

    with pytest.raises(IdempotencyKeyError, match="on_behalf_of"):
        await calls.create_proposal(proposal(on_behalf_of=other), idempotency_key="k")
