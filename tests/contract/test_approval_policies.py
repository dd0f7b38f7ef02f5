"""What a policy asks for, and what a change of it does to what is proposed, validated and approved, on each engine."""

from datetime import timedelta
from typing import Any

import pytest

from operator_core.actions import (
    ActionStatus,
    ApprovalPolicy,
    ApprovalRule,
    FourEyes,
    InvalidArgumentError,
    NotApprovedError,
    PolicyUnconfirmedError,
    Scope,
    ValueNotStorableError,
)
from operator_core.db import ActionDB
from tests.support.approvals import OF_NAME, approved, policy
from tests.support.factories import stored
from tests.support.ledger import Ledger
from tests.support.plain_sql import Plain, contents, on_postgresql, on_sqlite, rows, step

EVERY_RULE = (
    ApprovalRule(approvals=2, expires_in=0.5, humans_only=False),
    ApprovalRule(approvals=1, role="security", four_eyes=FourEyes.PRINCIPAL),
    ApprovalRule(approvals=99, role="sre", four_eyes=FourEyes.NO, expires_in=31_622_400),
)


pytestmark = pytest.mark.usefixtures("sound_history")


async def can_start(calls: Any, number: int) -> bool:
    """Tell whether a validated proposal can be started, and start it if so."""
    try:
        await calls.start_execution(number)
    except NotApprovedError:
        return False
    return True


# -- without one -------------------------------------------------------------------------------------------------------


async def test_without_a_policy_anybody_validates_and_starts(calls: Any, plain: Plain) -> None:
    made = await stored(calls, ActionStatus.EXECUTING)

    assert (made.validated_at, made.executing_at) != (None, None)
    assert [event.data for event in await calls.get_events(made.id)][1:] == [None, None]
    assert rows(plain, "SELECT 1 FROM action_approvals") == []


async def test_without_a_policy_the_whole_lifecycle_is_as_before(calls: Any) -> None:
    for status in ActionStatus:
        assert (await stored(calls, status)).status is status
    assert await calls.approval_policies() == []


async def test_a_policy_for_another_name_asks_nothing(calls: Any) -> None:
    await policy(calls, ApprovalRule(), scope="action_name=fill_store")

    assert (await stored(calls, ActionStatus.EXECUTING)).status is ActionStatus.EXECUTING


# -- stating one -------------------------------------------------------------------------------------------------------


async def test_a_policy_comes_back_as_it_was_stated(calls: Any) -> None:
    stated = await calls.set_approval_policy(OF_NAME, EVERY_RULE, by="ops", reason="by the book")

    assert isinstance(stated, ApprovalPolicy)
    assert (stated.scope, stated.by, stated.reason, stated.version) == (OF_NAME, "ops", "by the book", 3)
    assert sorted(stated.rules, key=str) == sorted(EVERY_RULE, key=str)
    assert await calls.approval_policies() == [stated]


async def test_a_scope_is_named_as_a_text_or_as_a_scope(calls: Any) -> None:
    for scope in (Scope(action_name="drain_store"), "action_name=drain_store", Scope(), "everything"):
        assert (await policy(calls, ApprovalRule(), scope=scope)).scope == str(Scope.coerce(scope))

    assert [one.scope for one in await calls.approval_policies()] == [OF_NAME, "everything"]


async def test_each_change_of_any_policy_has_a_higher_version(calls: Any) -> None:
    versions = [
        (await policy(calls, *rules, scope=scope)).version
        for scope, rules in (
            ("everything", [ApprovalRule()]),
            (OF_NAME, [ApprovalRule(), ApprovalRule(role="sre")]),
            ("everything", [ApprovalRule(approvals=2)]),
            (OF_NAME, []),
            (OF_NAME, [ApprovalRule(role="sre")]),
        )
    ]

    assert versions == [1, 3, 4, 6, 7]


async def test_a_new_policy_replaces_the_rules_of_the_one_before(calls: Any) -> None:
    await policy(calls, *EVERY_RULE)

    stated = await policy(calls, ApprovalRule(role="sre", approvals=2))

    assert stated.rules == (ApprovalRule(role="sre", approvals=2),)
    assert await calls.approval_policies() == [stated]


async def test_the_history_keeps_each_change_with_who_made_it_and_why(calls: Any, plain: Plain) -> None:
    await policy(calls, ApprovalRule(approvals=2))
    await calls.set_approval_policy(OF_NAME, [], by="bob", reason="in a hurry")

    told = rows(plain, 'SELECT version, scope, role, approvals, in_force, "by", reason FROM approval_policy_events')

    assert told == [(1, OF_NAME, "", 2, True, "ops", "by the book"), (2, OF_NAME, "", 2, False, "bob", "in a hurry")]


async def test_a_rule_that_is_taken_away_stays_as_a_row_that_is_not_in_force(calls: Any, plain: Plain) -> None:
    await policy(calls, ApprovalRule(), ApprovalRule(role="sre"))

    await policy(calls, ApprovalRule())

    assert rows(plain, "SELECT role, in_force FROM approval_policies ORDER BY role") == [("", True), ("sre", False)]


REFUSED_POLICIES: dict[str, tuple[Any, Any]] = {
    **{
        scope: (scope, [ApprovalRule()])
        for scope in ("action_type=tool", "proposed_by=agent", "ticket_id=7", "everybody", "", "action_name=", None, 7)
        if scope is not None
    },
    "two rules for nobody": (OF_NAME, [ApprovalRule(), ApprovalRule(approvals=2)]),
    "two rules for a role": (OF_NAME, [ApprovalRule(role="sre"), ApprovalRule(role="sre", approvals=2)]),
    "one rule": (OF_NAME, ApprovalRule()),
    "a number": (OF_NAME, 2),
    "a list of numbers": (OF_NAME, [2]),
    "nothing to take away": (OF_NAME, []),
    "no approval in a role": (OF_NAME, [ApprovalRule(), ApprovalRule(role="sre", approvals=0)]),
    "a role with a blank": (OF_NAME, [ApprovalRule(role="sre ")]),
}


@pytest.mark.parametrize("what", REFUSED_POLICIES)
async def test_a_policy_that_nobody_can_mean_is_refused(calls: Any, plain: Plain, what: str) -> None:
    scope, rules = REFUSED_POLICIES[what]
    before = contents(plain)

    with pytest.raises(InvalidArgumentError):
        await calls.set_approval_policy(scope, rules, by="ops", reason="by the book")

    assert contents(plain) == before


@pytest.mark.parametrize(
    "given", [{"by": ""}, {"by": "ops "}, {"by": 7}, {"reason": None}, {"reason": " "}, {"reason": "a\0b"}]
)
async def test_a_policy_names_who_stated_it_and_why(calls: Any, given: dict[str, Any]) -> None:
    with pytest.raises((InvalidArgumentError, ValueNotStorableError)):
        await calls.set_approval_policy(OF_NAME, [ApprovalRule()], **{"by": "ops", "reason": "why", **given})


async def test_a_name_that_looks_mistyped_is_warned_about(calls: Any, caplog: pytest.LogCaptureFixture) -> None:
    await stored(calls, action_name="drain_store")

    for name in ("drain_stor", "drain_store", "reboot"):
        await calls.set_approval_policy(f"action_name={name}", [ApprovalRule()], by="ops", reason="by the book")

    said = [record.getMessage() for record in caplog.records if "did you mean" in record.getMessage()]
    unmatched = "no proposal has ever had action_name 'drain_stor'; did you mean 'drain_store'?"
    assert said == [f"the policy for action_name=drain_stor is in force, but {unmatched}"]


@pytest.mark.parametrize("scope", ["everybody", "ticket_id=7", 7])
async def test_a_scope_that_is_refused_offers_only_those_of_policies(calls: Any, scope: Any) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        await calls.set_approval_policy(scope, [ApprovalRule()], by="ops", reason="by the book")

    assert "proposed_by=..." not in str(refused.value)


# -- which one covers --------------------------------------------------------------------------------------------------


async def test_the_policy_of_a_name_wins_over_that_for_everything(calls: Any) -> None:
    await policy(calls, ApprovalRule(approvals=2, role="security"), scope="everything")
    await policy(calls, ApprovalRule())
    named, other = await stored(calls), await stored(calls, action_name="fill_store")

    for made in (named, other):
        await approved(calls, made, "anna")

    assert (await calls.get_proposal(named.id)).status is ActionStatus.VALIDATED
    assert (await calls.get_proposal(other.id)).status is ActionStatus.PROPOSED
    assert (await calls.approval_status(other.id)).policy == "everything"


async def test_a_policy_that_asks_for_none_lets_one_name_through(calls: Any) -> None:
    await policy(calls, ApprovalRule(), scope="everything")
    await policy(calls, ApprovalRule(approvals=0))
    other = await stored(calls, action_name="fill_store")

    made = await stored(calls, ActionStatus.EXECUTING)
    with pytest.raises(NotApprovedError):
        await calls.update_proposal_status(other.id, ActionStatus.VALIDATED)

    (start,) = [event for event in await calls.get_events(made.id) if event.to_status == "executing"]
    assert start.data == {"policy": OF_NAME, "version": 2, "approvals": []}


async def test_no_other_field_of_a_proposal_chooses_its_policy(calls: Any, plain: Plain) -> None:
    await policy(calls, ApprovalRule(), scope="everything")

    for given in ({"action_type": "workflow"}, {"ticket_id": 0}, {"proposed_by": "ops"}, {"on_behalf_of": "ops"}):
        made = await stored(calls, **given)
        with pytest.raises(NotApprovedError):
            await calls.update_proposal_status(made.id, ActionStatus.VALIDATED)

    assert rows(plain, "SELECT count(*) FROM action_proposals WHERE status <> 'proposed'") == [(0,)]


NAMES = ["everything", "action_name=drain_store", "%", "drain_store ", "DRAIN_STORE", "ü" * 255]


@pytest.mark.parametrize("name", NAMES)
async def test_a_policy_covers_exactly_the_name_that_it_states(calls: Any, name: str) -> None:
    await policy(calls, ApprovalRule(), scope=Scope(action_name=name))

    with pytest.raises(NotApprovedError):
        await stored(calls, ActionStatus.VALIDATED, action_name=name)
    assert (await stored(calls, ActionStatus.VALIDATED)).status is ActionStatus.VALIDATED


async def test_once_the_policy_of_a_name_is_taken_away_that_for_everything_covers(calls: Any) -> None:
    await policy(calls, ApprovalRule(approvals=2), scope="everything")
    await policy(calls, ApprovalRule())
    made = await stored(calls)
    await approved(calls, made, "anna")

    await policy(calls)

    assert not await can_start(calls, made.id)
    assert [one.scope for one in await calls.approval_policies()] == ["everything"]


# -- changes -----------------------------------------------------------------------------------------------------------


async def test_a_policy_that_comes_later_bites_what_is_validated(calls: Any) -> None:
    made = await stored(calls, ActionStatus.VALIDATED)
    await policy(calls, ApprovalRule())

    assert not await can_start(calls, made.id)
    await approved(calls, made, "anna")
    assert await can_start(calls, made.id)


TIGHTER = {
    "more": [ApprovalRule(approvals=2)],
    "a role": [ApprovalRule(), ApprovalRule(role="security")],
    "a shorter time": [ApprovalRule(expires_in=1e-6)],
    "humans": [ApprovalRule(humans_only=True)],
    "four eyes": [ApprovalRule(four_eyes=FourEyes.PROPOSER, humans_only=False)],
    "the principal": [ApprovalRule(four_eyes=FourEyes.PRINCIPAL, humans_only=False)],
}


@pytest.mark.parametrize("how", TIGHTER)
async def test_a_tighter_policy_bites_what_is_approved_and_validated(calls: Any, how: str) -> None:
    loose = ApprovalRule(four_eyes=FourEyes.NO, humans_only=False)
    await policy(calls, loose)
    made = await stored(calls)
    await approved(calls, made, made.proposed_by, kind="system")

    await policy(calls, *TIGHTER[how])
    assert not await can_start(calls, made.id)
    await policy(calls, loose)
    assert await can_start(calls, made.id)


async def test_a_looser_policy_lets_through_what_waited(calls: Any) -> None:
    await policy(calls, ApprovalRule(approvals=2))
    made = await stored(calls)
    await approved(calls, made, "anna")

    await policy(calls, ApprovalRule(approvals=1))

    await calls.update_proposal_status(made.id, ActionStatus.VALIDATED)
    assert await can_start(calls, made.id)


async def test_a_policy_that_is_taken_away_asks_nothing_any_more(calls: Any) -> None:
    await policy(calls, ApprovalRule(approvals=2))
    made = await stored(calls)

    gone = await policy(calls)

    assert (gone.rules, gone.version, await calls.approval_policies()) == ((), 2, [])
    await calls.update_proposal_status(made.id, ActionStatus.VALIDATED)
    assert await can_start(calls, made.id)
    assert (await calls.get_events(made.id))[-1].data is None


async def test_a_policy_leaves_what_runs_alone(calls: Any) -> None:
    made = await stored(calls, ActionStatus.EXECUTING)
    await policy(calls, ApprovalRule())

    (record,) = await calls.get_records_for_proposal(made.id)
    await calls.finish_execution(record.id, success=True)

    assert (await calls.get_proposal(made.id)).status is ActionStatus.COMPLETED


async def test_a_policy_of_a_host_holds_from_its_commit_on(db: ActionDB, ledger: Ledger) -> None:
    async with db.transaction() as tx:
        await tx.set_approval_policy(OF_NAME, [ApprovalRule()], by="ops", reason="by the book")
        made = await stored(tx)
        with pytest.raises(NotApprovedError):
            await tx.update_proposal_status(made.id, ActionStatus.VALIDATED)

    assert [one.scope for one in await db.approval_policies()] == [OF_NAME]


@on_postgresql
async def test_a_start_that_is_open_keeps_a_policy_from_being_confirmed(ledger: Ledger, plain: Plain) -> None:
    async with ActionDB(ledger.target, lock_timeout=1) as impatient:
        made = await stored(impatient, ActionStatus.VALIDATED)
        plain.execute("BEGIN")
        plain.execute(step(made.id, ActionStatus.EXECUTING))

        with pytest.raises(PolicyUnconfirmedError, match="is in force"):
            await policy(impatient, ApprovalRule())

        plain.execute("ROLLBACK")
        assert (await policy(impatient, ApprovalRule())).version == 2


@on_sqlite
async def test_a_policy_is_dated_by_the_clock_of_the_file(db: ActionDB, plain: Plain) -> None:
    stated = await policy(db, ApprovalRule())

    ((now,),) = rows(plain, "SELECT CAST(strftime('%s', 'now') AS INTEGER)")
    assert abs(stated.at.timestamp() - now) < timedelta(minutes=1).total_seconds()
