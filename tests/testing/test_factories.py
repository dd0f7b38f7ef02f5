"""The public factories, on each engine: what they make is valid, and comes to its state by the public calls."""

import pytest
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from operator_core.actions import (
    ActionProposal,
    ActionStatus,
    ApprovalRule,
    FourEyes,
    NotApprovedError,
    TransitionNotAllowedError,
)
from operator_core.actions.lifecycle import PENDING, TRANSITIONS
from operator_core.db import ActionDB, ActionRepository, configure_engine
from operator_core.testing import (
    fresh_sqlite,
    make_proposal,
    store_approval_policy,
    store_approved_proposal,
    store_proposal,
)
from tests.support.history import check_history


def test_a_proposal_needs_nothing():
    assert isinstance(make_proposal(), ActionProposal)


def test_each_field_can_be_given():
    made = make_proposal(action_name="add_peer", parameters={"store": 4}, ticket_id=7, proposed_by="anna")

    assert (made.action_name, made.parameters, made.ticket_id, made.proposed_by) == (
        "add_peer",
        {"store": 4},
        7,
        "anna",
    )


def test_a_field_that_is_misspelt_is_named():
    with pytest.raises(ValidationError, match="tickt_id"):
        make_proposal(tickt_id=7)


@pytest.mark.parametrize("status", TRANSITIONS)
async def test_a_proposal_comes_to_each_state(db, ledger, status):
    made = await store_proposal(db, status, ticket_id=7)

    assert (made.status, made.ticket_id) == (status, 7)
    assert made == await db.get_proposal(made.id)
    assert check_history(ledger) == []


@pytest.mark.parametrize("status", TRANSITIONS)
async def test_it_has_a_record_exactly_when_it_was_started(db, status):
    made = await store_proposal(db, status)

    started = status not in PENDING and status is not ActionStatus.CANCELLED
    assert len(await db.get_records_for_proposal(made.id)) == started


async def test_it_works_within_a_transaction(db):
    async with db.transaction() as tx:
        made = await store_proposal(tx, ActionStatus.COMPLETED)

    assert await db.get_proposal(made.id) == made


async def test_it_works_in_a_session_of_the_host(tmp_path):
    file = fresh_sqlite(tmp_path)
    engine = configure_engine(create_async_engine(f"sqlite+aiosqlite:///{file}"))
    async with AsyncSession(engine) as session:
        await store_proposal(ActionRepository(session), ActionStatus.EXECUTING)
        await session.rollback()
    await engine.dispose()

    async with ActionDB(file) as db:
        assert await db.list_proposals() == []


async def test_a_state_may_be_given_as_text(db):
    assert (await store_proposal(db, "failed")).status is ActionStatus.FAILED


async def test_under_a_stop_it_says_that_nothing_starts(db):
    await db.engage_kill_switch(by="anna", reason="smoke")

    with pytest.raises(TransitionNotAllowedError):
        await store_proposal(db, ActionStatus.EXECUTING)


# -- approvals ---------------------------------------------------------------------------------------------------------


async def test_a_policy_asks_for_one_person_and_covers_everything_unless_it_is_given_otherwise(db):
    policy = await store_approval_policy(db)

    assert (policy.scope, policy.rules) == ("everything", (ApprovalRule(),))
    assert await db.approval_policies() == [policy]


async def test_a_policy_may_have_rules_and_a_scope_of_its_own(db):
    rules = (ApprovalRule(approvals=2), ApprovalRule(role="security"))

    policy = await store_approval_policy(db, *rules, scope="action_name=add_peer")

    assert (policy.scope, policy.rules) == ("action_name=add_peer", rules)


@pytest.mark.parametrize(
    "rules",
    [
        (),
        (ApprovalRule(),),
        (ApprovalRule(approvals=3),),
        (ApprovalRule(approvals=2), ApprovalRule(role="security"), ApprovalRule(approvals=2, role="legal")),
    ],
    ids=["no policy", "one", "three", "roles"],
)
async def test_an_approved_proposal_has_what_its_policy_asks_for_and_starts(db, rules):
    if rules:
        await store_approval_policy(db, *rules)

    made = await store_approved_proposal(db, ticket_id=7)

    status = await db.approval_status(made.id)
    assert (made.status, made.ticket_id, status.is_approved) == (ActionStatus.VALIDATED, 7, True)
    assert len({decision.by for decision in status.decisions}) == len(status.decisions)
    await db.start_execution(made.id)


async def test_an_approved_proposal_that_nobody_can_approve_is_an_error(db):
    await store_approval_policy(db, ApprovalRule(four_eyes=FourEyes.PRINCIPAL))

    with pytest.raises(NotApprovedError):
        await store_approved_proposal(db)

    assert (await store_approved_proposal(db, on_behalf_of="carl")).status is ActionStatus.VALIDATED


async def test_approvals_work_within_a_transaction(db):
    async with db.transaction() as tx:
        await store_approval_policy(tx)
        made = await store_approved_proposal(tx)

    assert await db.get_proposal(made.id) == made
