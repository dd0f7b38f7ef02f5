"""Which approvals count for a rule: distinct people, roles, kinds, four eyes, and until when, on each engine."""

import asyncio
from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from operator_core.actions import (
    ActionStatus,
    ApprovalRule,
    ApproverKind,
    FourEyes,
    NotApprovedError,
    SelfApprovalError,
    StoredProposal,
)
from operator_core.db import ActionDB
from tests.support.approvals import OF_NAME, approved, pass_time, policy
from tests.support.factories import proposal, stored
from tests.support.ledger import Ledger

pytestmark = pytest.mark.usefixtures("sound_history")


async def given(calls: Any, made: StoredProposal) -> list[int]:
    """Return how many approvals each rule has, having seen that the guard decides as the status says."""
    status = await calls.approval_status(made.id)
    assert (status.status is ActionStatus.VALIDATED) == status.is_approved
    if status.status is ActionStatus.PROPOSED:
        with pytest.raises(NotApprovedError) as caught:
            await calls.update_proposal_status(made.id, ActionStatus.VALIDATED)
        assert caught.value.missing == tuple(map(str, status.missing))
    return [need.given for need in status.needs]


# -- how many, and in which capacity -----------------------------------------------------------------------------------


async def test_who_approves_twice_counts_once(calls: Any) -> None:
    await policy(calls, ApprovalRule(approvals=2))
    made = await stored(calls)

    await approved(calls, made, "anna", "anna", "anna")
    assert await given(calls, made) == [1]
    await approved(calls, made, "bob")
    assert await given(calls, made) == [2]


async def test_two_spellings_are_two_names(calls: Any) -> None:
    await policy(calls, ApprovalRule(approvals=3))
    made = await stored(calls)

    await approved(calls, made, "Anna", "anna", "ann\N{CYRILLIC SMALL LETTER A}")

    assert await given(calls, made) == [3]


async def test_all_rules_must_hold(calls: Any) -> None:
    await policy(calls, ApprovalRule(approvals=2), ApprovalRule(role="security"))
    made, other = await stored(calls), await stored(calls)

    await approved(calls, made, "anna", "bob", role="sre")
    assert await given(calls, made) == [2, 0]
    await approved(calls, made, "carl", role="security")
    assert await given(calls, made) == [3, 1]

    await approved(calls, other, "anna", role="security")
    assert await given(calls, other) == [1, 1]
    await approved(calls, other, "bob")
    assert await given(calls, other) == [2, 1]


async def test_one_person_in_two_roles_is_one_person(calls: Any) -> None:
    await policy(calls, ApprovalRule(approvals=2), ApprovalRule(role="sre"), ApprovalRule(role="security"))
    made = await stored(calls)

    await approved(calls, made, "anna", role="sre")
    await approved(calls, made, "anna", role="security")
    assert await given(calls, made) == [1, 1, 1]
    await approved(calls, made, "bob")
    assert await given(calls, made) == [2, 1, 1]


@pytest.mark.parametrize("role", [None, "sre", "Security", "security-2", "secur"])
async def test_only_approvals_in_the_role_count_for_its_rule(calls: Any, role: str | None) -> None:
    await policy(calls, ApprovalRule(role="security"))
    made = await stored(calls)

    await approved(calls, made, "anna", role=role)
    assert await given(calls, made) == [0]
    await approved(calls, made, "anna", role="security")
    assert await given(calls, made) == [1]


# -- kinds -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "humans_only"), [*product(ApproverKind, (True, False))])
async def test_models_and_programs_count_only_where_the_rule_counts_them(
    calls: Any, kind: ApproverKind, *, humans_only: bool
) -> None:
    await policy(calls, ApprovalRule(humans_only=humans_only))
    made = await stored(calls)

    await approved(calls, made, "anna", kind=kind)

    assert await given(calls, made) == [int(kind is ApproverKind.HUMAN or not humans_only)]


async def test_a_model_and_a_human_are_two_where_both_count(calls: Any) -> None:
    await policy(calls, ApprovalRule(approvals=2, humans_only=False), ApprovalRule(role="sre"))
    made = await stored(calls)

    await approved(calls, made, "model", kind=ApproverKind.AGENT)
    await approved(calls, made, "anna", role="sre")

    assert await given(calls, made) == [2, 1]


# -- four eyes ---------------------------------------------------------------------------------------------------------

# Whose approvals count: the proposer's, the principal's, and somebody else's.
COUNT = {
    FourEyes.NO: {"agent-7", "carl", "anna"},
    FourEyes.PROPOSER: {"carl", "anna"},
    FourEyes.PRINCIPAL: {"anna"},
}


@pytest.mark.parametrize(("four_eyes", "by"), [*product(FourEyes, ("agent-7", "carl", "anna"))])
async def test_four_eyes_keep_the_proposer_and_the_principal_from_approving(
    calls: Any, four_eyes: FourEyes, by: str
) -> None:
    await policy(calls, ApprovalRule(four_eyes=four_eyes))
    made = await stored(calls, proposed_by="agent-7", on_behalf_of="carl")

    if by in COUNT[four_eyes]:
        await approved(calls, made, by)
        assert await given(calls, made) == [1]
        return
    with pytest.raises(SelfApprovalError, match="proposed it" if by == "agent-7" else "for whom it was proposed"):
        await calls.approve(made.id, by=by)

    assert await given(calls, made) == [0]
    assert (await calls.approval_status(made.id)).decisions == ()


@pytest.mark.parametrize("four_eyes", FourEyes)
async def test_where_nobody_is_named_no_approval_is_known_to_be_another_persons(
    calls: Any, four_eyes: FourEyes
) -> None:
    await policy(calls, ApprovalRule(four_eyes=four_eyes))
    made = await stored(calls)

    if four_eyes is FourEyes.PRINCIPAL:
        await approved(calls, made, "anna", "bob")
        assert await given(calls, made) == [0]
    else:
        await approved(calls, made, "anna")
        assert await given(calls, made) == [1]


async def test_the_proposer_may_approve_where_one_rule_counts_it(calls: Any) -> None:
    await policy(calls, ApprovalRule(), ApprovalRule(role="author", four_eyes=FourEyes.NO))
    made = await stored(calls)

    await approved(calls, made, made.proposed_by, role="author")
    assert await given(calls, made) == [0, 1]
    await approved(calls, made, "anna")
    assert await given(calls, made) == [1, 1]


async def test_without_a_policy_the_proposer_may_approve(calls: Any) -> None:
    made = await stored(calls)

    await approved(calls, made, made.proposed_by)

    assert (await calls.get_proposal(made.id)).status is ActionStatus.VALIDATED


async def test_for_whom_it_was_proposed_is_stored_and_told_by_the_first_event(calls: Any) -> None:
    made = await stored(calls, on_behalf_of="carl")

    assert made.on_behalf_of == "carl"
    assert await calls.get_proposal(made.id) == made
    (first,) = await calls.get_events(made.id)
    assert first.data is not None
    assert first.data["on_behalf_of"] == "carl"


async def test_many_are_proposed_for_somebody_too(calls: Any) -> None:
    names = ["carl", None, "dora"]

    made = await calls.create_proposals([proposal(on_behalf_of=name) for name in names])

    assert [one.on_behalf_of for one in made] == names


# -- until when --------------------------------------------------------------------------------------------------------


async def test_an_approval_that_has_expired_lets_nothing_start(calls: Any, ledger: Ledger) -> None:
    await policy(calls, ApprovalRule())
    made = await stored(calls)
    await approved(calls, made, "anna", expires_in=3600)

    pass_time(ledger, 3601)

    with pytest.raises(NotApprovedError, match="1 expired") as caught:
        await calls.start_execution(made.id)
    assert (caught.value.needed, caught.value.given, caught.value.lapsed) == (1, 0, 1)
    await approved(calls, made, "anna")
    await calls.start_execution(made.id)


async def test_an_approval_that_has_expired_lets_nothing_be_validated(calls: Any, ledger: Ledger) -> None:
    await policy(calls, ApprovalRule(approvals=2))
    made = await stored(calls)
    await approved(calls, made, "anna", expires_in=3600)
    pass_time(ledger, 3601)

    await approved(calls, made, "bob")
    assert await given(calls, made) == [1]
    await approved(calls, made, "anna")
    assert await given(calls, made) == [2]


async def test_an_approval_expires_by_itself_with_the_clock_of_the_database(calls: Any) -> None:
    await policy(calls, ApprovalRule(approvals=2))
    made = await stored(calls)
    await approved(calls, made, "anna", expires_in=0.05)

    await asyncio.sleep(0.1)

    await approved(calls, made, "bob")
    assert await given(calls, made) == [1]
    assert (await calls.approval_status(made.id)).lapsed == 1


async def test_an_approval_counts_no_longer_than_its_rule_allows(calls: Any, ledger: Ledger) -> None:
    await policy(calls, ApprovalRule(expires_in=60))
    made = await stored(calls)
    (found,) = await approved(calls, made, "anna", expires_in=3600)
    assert found.expires_at is not None
    assert abs(found.expires_at - found.at - timedelta(minutes=1)) < timedelta(seconds=5)

    pass_time(ledger, 61)

    with pytest.raises(NotApprovedError, match="1 expired"):
        await calls.start_execution(made.id)


async def test_an_approval_without_an_end_gets_that_of_its_rule(calls: Any) -> None:
    await policy(calls, ApprovalRule(expires_in=60))

    (found,) = await approved(calls, await stored(calls), "anna")

    assert found.expires_at is not None
    assert abs(found.expires_at - found.at - timedelta(minutes=1)) < timedelta(seconds=5)


async def test_a_shorter_end_than_that_of_the_rule_stays(calls: Any) -> None:
    await policy(calls, ApprovalRule(expires_in=3600))

    (found,) = await approved(calls, await stored(calls), "anna", expires_in=60)

    assert found.expires_at is not None
    assert abs(found.expires_at - found.at - timedelta(minutes=1)) < timedelta(seconds=5)


async def test_of_several_rules_the_longest_ends_the_approval_and_each_counts_it_for_its_own_time(
    calls: Any, ledger: Ledger
) -> None:
    await policy(calls, ApprovalRule(expires_in=3600), ApprovalRule(role="sre", expires_in=60))
    made = await stored(calls)
    (found,) = await approved(calls, made, "anna", role="sre")
    assert found.expires_at is not None
    assert abs(found.expires_at - found.at - timedelta(hours=1)) < timedelta(seconds=5)

    pass_time(ledger, 61)
    status = await calls.approval_status(made.id)

    assert [need.given for need in status.needs] == [1, 0]
    assert (status.lapsed, status.is_approved) == (0, False)
    with pytest.raises(NotApprovedError):
        await calls.start_execution(made.id)


async def test_a_shorter_time_that_comes_later_counts_from_the_approval_on(calls: Any, ledger: Ledger) -> None:
    await policy(calls, ApprovalRule())
    made = await stored(calls)
    await approved(calls, made, "anna")
    pass_time(ledger, 100)

    await policy(calls, ApprovalRule(expires_in=60))
    with pytest.raises(NotApprovedError):
        await calls.start_execution(made.id)
    await policy(calls, ApprovalRule(expires_in=3600))
    await calls.start_execution(made.id)


async def test_an_earlier_approval_of_the_same_person_that_lasts_still_counts(calls: Any, ledger: Ledger) -> None:
    await policy(calls, ApprovalRule())
    made = await stored(calls)
    await approved(calls, made, "anna")
    await approved(calls, made, "anna", expires_in=60)

    pass_time(ledger, 61)

    await calls.start_execution(made.id)


async def test_a_longer_time_that_comes_later_revives_nothing_that_was_cut(calls: Any, ledger: Ledger) -> None:
    await policy(calls, ApprovalRule(expires_in=60))
    made = await stored(calls)
    await approved(calls, made, "anna")
    pass_time(ledger, 61)

    await policy(calls, ApprovalRule(), scope=OF_NAME)

    with pytest.raises(NotApprovedError):
        await calls.start_execution(made.id)


async def test_until_when_it_holds_is_told_and_true(db: ActionDB, ledger: Ledger) -> None:
    await policy(db, ApprovalRule(approvals=2))
    made = await stored(db)
    await approved(db, made, "anna", expires_in=60)
    await approved(db, made, "bob", expires_in=3600)
    await approved(db, made, "carl", expires_in=7200)
    (_, second, _) = (await db.approval_status(made.id)).decisions

    assert (await db.approval_status(made.id)).until == second.expires_at
    pass_time(ledger, 61)
    assert (await db.approval_status(made.id)).is_approved
    pass_time(ledger, 3600)
    found = await db.approval_status(made.id)
    assert (found.is_approved, found.until, found.lapsed) == (False, None, 2)
