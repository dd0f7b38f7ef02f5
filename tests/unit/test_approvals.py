"""The model of approvals without a ledger: the limits of rules and scopes, and what `evaluate` says of a moment."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from operator_core.actions import (
    ActionStatus,
    Approval,
    ApprovalNeed,
    ApprovalPolicy,
    ApprovalRefusedError,
    ApprovalRule,
    ApproverKind,
    Decision,
    FourEyes,
    InvalidArgumentError,
    NotApprovedError,
    Scope,
    SelfApprovalError,
    StoredProposal,
    TransitionNotAllowedError,
)
from operator_core.actions.approval_evaluation import covering_policy, evaluate
from operator_core.actions.approvals import (
    MAX_APPROVAL_SECONDS,
    check_approval_seconds,
    check_policy_scope,
    check_rules,
)

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def proposal(**given: Any) -> StoredProposal:
    """Return a stored proposal."""
    fields = {"id": 7, "action_name": "drain_store", "reason": "hot", "proposed_by": "agent-7", "on_behalf_of": "carl"}
    step = {"generation": 0, "status_at": AT, "status_by": "agent-7"}
    return StoredProposal.model_validate({**fields, **step, **given})


def approval(number: int, by: str = "anna", **given: Any) -> Approval:
    """Return a decision."""
    fields: dict[str, Any] = {
        **dict.fromkeys(("role", "login", "reason", "expires_at", "digest", "revokes", "replaced_by")),
        "id": number,
        "proposal_id": 7,
        "decision": Decision.APPROVED,
        "status": ActionStatus.PROPOSED,
        "by": by,
        "kind": ApproverKind.HUMAN,
        "at": AT,
        "generation": 0,
    }
    return Approval.model_validate({**fields, **given})


def policy(*rules: ApprovalRule, scope: str = "everything") -> ApprovalPolicy:
    """Return a policy."""
    return ApprovalPolicy(scope=scope, rules=rules, version=3, at=AT, by="ops", reason="by the book")


# -- limits ------------------------------------------------------------------------------------------------------------


def test_a_rule_that_says_little_asks_for_one_other_human() -> None:
    rule = ApprovalRule()

    assert (rule.approvals, rule.role, rule.four_eyes) == (1, None, FourEyes.PROPOSER)
    assert (rule.humans_only, rule.expires_in) == (True, None)


@pytest.mark.parametrize(
    "given",
    [
        *({"approvals": value} for value in (-1, 100, 1.0, "1", True, None)),
        *({"role": value} for value in ("", " ", "x" * 256, 7, "a\0b")),
        *({"four_eyes": value} for value in ("", "everybody", None)),
        *({"expires_in": value} for value in (0, -1, MAX_APPROVAL_SECONDS + 1, float("nan"), float("inf"))),
        {"approval": 2},
    ],
    ids=str,
)
def test_a_rule_outside_its_limits_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ApprovalRule(**given)


@pytest.mark.parametrize(
    "given",
    [
        {"approvals": 0},
        {"approvals": 99},
        {"role": "x" * 255},
        {"expires_in": MAX_APPROVAL_SECONDS},
        {"expires_in": 1e-9},
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_rule_at_its_limits_is_one(given: dict[str, Any]) -> None:
    rule = ApprovalRule(**given)

    assert {name: getattr(rule, name) for name in given} == given


@pytest.mark.parametrize("value", [0, -1, MAX_APPROVAL_SECONDS + 1, float("nan"), float("inf"), True, "60", None])
def test_seconds_of_no_meaning_are_refused_with_their_path(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^expires_in is .*31,622,400"):
        check_approval_seconds(value, "expires_in")


def test_whole_seconds_are_seconds_too() -> None:
    assert check_approval_seconds(60, "expires_in") == 60.0


@pytest.mark.parametrize("scope", ["everything", "action_name=drain_store", Scope(), Scope(action_name="x"), None])
def test_a_policy_is_for_everything_or_for_a_name(scope: Any) -> None:
    assert check_policy_scope(scope) == str(Scope.coerce(scope))


@pytest.mark.parametrize("scope", ["action_type=tool", "proposed_by=agent-7", "ticket_id=7", Scope(ticket_id=7)])
def test_a_policy_is_for_nothing_that_its_proposer_chose(scope: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="its proposer chose"):
        check_policy_scope(scope)


def test_rules_are_a_list_with_one_for_each_role() -> None:
    rules = [ApprovalRule(), ApprovalRule(role="sre")]

    assert check_rules(iter(rules)) == tuple(rules)
    assert check_rules([]) == ()
    for wrong, why in (
        (ApprovalRule(), "is a ApprovalRule"),
        (2, "is a int"),
        ([2], "holds a int"),
        ([ApprovalRule(), ApprovalRule()], "two rules for no role"),
        ([*rules, ApprovalRule(role="sre", approvals=2)], "two rules for the role 'sre'"),
    ):
        with pytest.raises(InvalidArgumentError, match=why):
            check_rules(wrong)  # type: ignore[arg-type]


def test_the_policy_of_the_name_covers_else_that_for_everything_else_none() -> None:
    everything, named = policy(), policy(scope="action_name=drain_store")

    assert covering_policy([everything, named], "drain_store") is named
    assert covering_policy([everything, named], "fill_store") is everything
    assert covering_policy([named], "fill_store") is None


# -- what counts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "given", "counts"),
    [
        (ApprovalRule(), {}, True),
        (ApprovalRule(role="sre"), {}, False),
        (ApprovalRule(role="sre"), {"role": "sre"}, True),
        (ApprovalRule(), {"kind": ApproverKind.AGENT}, False),
        (ApprovalRule(humans_only=False), {"kind": ApproverKind.SYSTEM}, True),
        (ApprovalRule(), {"by": "agent-7"}, False),
        (ApprovalRule(), {"by": "carl"}, True),
        (ApprovalRule(four_eyes=FourEyes.NO), {"by": "agent-7"}, True),
        (ApprovalRule(four_eyes=FourEyes.PRINCIPAL), {"by": "carl"}, False),
        (ApprovalRule(four_eyes=FourEyes.PRINCIPAL), {"by": "agent-7"}, False),
        (ApprovalRule(four_eyes=FourEyes.PRINCIPAL), {"by": "anna"}, True),
        (ApprovalRule(), {"expires_at": AT}, False),
        (ApprovalRule(), {"expires_at": AT + timedelta(microseconds=1)}, True),
        (ApprovalRule(expires_in=60), {"at": AT - MINUTE}, False),
        (ApprovalRule(expires_in=60), {"at": AT - MINUTE + timedelta(microseconds=1)}, True),
    ],
)
def test_an_approval_counts_where_role_kind_person_and_time_fit(
    rule: ApprovalRule, given: dict[str, Any], *, counts: bool
) -> None:
    found = evaluate(proposal(), policy(rule), [approval(1, **given)], AT)

    assert (found.given, found.is_approved) == (int(counts), counts)


def test_without_a_principal_no_approval_is_known_to_be_another_persons() -> None:
    rule = ApprovalRule(four_eyes=FourEyes.PRINCIPAL)

    assert not evaluate(proposal(on_behalf_of=None), policy(rule), [approval(1)], AT).is_approved


def test_what_was_revoked_does_not_count_and_a_rejection_ends_it() -> None:
    revocation = approval(2, "bob", decision=Decision.REVOKED, revokes=1)
    rejection = approval(3, "carl", decision=Decision.REJECTED)

    revoked = evaluate(proposal(), policy(ApprovalRule()), [approval(1), revocation], AT)
    rejected = evaluate(proposal(), None, [approval(1), rejection], AT)

    assert (revoked.given, revoked.lapsed, revoked.is_approved) == (0, 0, False)
    assert (rejected.rejected_by, rejected.is_approved, rejected.policy) == ("carl", False, None)


def test_needed_given_and_missing_are_those_of_the_rules() -> None:
    rules = (ApprovalRule(approvals=3), ApprovalRule(role="sre"), ApprovalRule(role="security", approvals=2))

    found = evaluate(proposal(), policy(*rules), [approval(1, role="sre"), approval(2, "bob"), approval(3, "bob")], AT)

    assert (found.needed, found.given, found.version, found.policy) == (3, 2, 3, "everything")
    assert found.missing == (
        ApprovalNeed(role=None, approvals=3, given=2),
        ApprovalNeed(role="security", approvals=2, given=0),
    )
    assert [(need.missing, str(need)) for need in found.needs] == [
        (1, "2 of 3"),
        (0, "1 of 1 as sre"),
        (2, "0 of 2 as security"),
    ]


def test_a_rule_that_asks_for_none_is_satisfied_and_more_than_enough_is_enough() -> None:
    nobody = evaluate(proposal(), policy(ApprovalRule(approvals=0)), [], AT)
    more = evaluate(proposal(), policy(ApprovalRule()), [approval(1), approval(2, "bob")], AT)

    assert (nobody.needed, nobody.is_approved, nobody.until) == (0, True, None)
    assert (more.given, more.needs[0].missing, more.is_approved) == (2, 0, True)


# -- until when --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("approvals", "ends", "until"),
    [
        (1, [None], None),
        (1, [1], 1),
        (1, [1, 5], 5),
        (1, [1, None], None),
        (2, [1, 5], 1),
        (2, [1, 5, 9], 5),
        (2, [1, None], 1),
        (2, [1, 5, None], 5),
        (2, [None, None, 1], None),
        (2, [1], None),
        (0, [1], None),
        (3, [9, 5, 1], 1),
    ],
)
def test_it_holds_until_too_few_are_left(approvals: int, ends: list[int | None], until: int | None) -> None:
    decisions = [
        approval(number, f"person {number}", expires_at=None if end is None else AT + end * MINUTE)
        for number, end in enumerate(ends, 1)
    ]

    found = evaluate(proposal(), policy(ApprovalRule(approvals=approvals)), decisions, AT)

    assert found.until == (None if until is None else AT + until * MINUTE)
    if found.until is not None:
        before, after = (
            evaluate(proposal(), policy(ApprovalRule(approvals=approvals)), decisions, moment)
            for moment in (found.until - timedelta(microseconds=1), found.until)
        )
        assert (before.is_approved, after.is_approved) == (True, False)


def test_of_two_approvals_of_a_person_the_longer_one_counts() -> None:
    for ends in ([1, 5], [5, 1]):
        decisions = [approval(number, expires_at=AT + end * MINUTE) for number, end in enumerate(ends, 1)]
        assert evaluate(proposal(), policy(ApprovalRule()), decisions, AT).until == AT + 5 * MINUTE
    lasting = [approval(1), approval(2, expires_at=AT + MINUTE)]
    assert evaluate(proposal(), policy(ApprovalRule()), lasting, AT).until is None


def test_the_rule_ends_an_approval_sooner_than_the_approval_itself() -> None:
    decisions = [approval(1, expires_at=AT + 5 * MINUTE)]
    rules = (ApprovalRule(), ApprovalRule(role=None, expires_in=60))

    assert evaluate(proposal(), policy(rules[0]), decisions, AT).until == AT + 5 * MINUTE
    assert evaluate(proposal(), policy(rules[1]), decisions, AT).until == AT + MINUTE


def test_what_has_expired_by_itself_or_for_every_rule_is_lapsed() -> None:
    old = approval(1, at=AT - MINUTE)
    over = approval(2, "bob", expires_at=AT)
    short, endless = ApprovalRule(expires_in=60), ApprovalRule(role="sre")

    for rules, lapsed in (((), 1), ((short,), 2), ((endless,), 1), ((short, endless), 1)):
        assert evaluate(proposal(), policy(*rules), [old, over], AT).lapsed == lapsed


def test_an_approval_that_was_revoked_is_not_lapsed() -> None:
    decisions = [approval(1, expires_at=AT), approval(2, "bob", decision=Decision.REVOKED, revokes=1)]

    assert evaluate(proposal(), None, decisions, AT).lapsed == 0


# -- errors ------------------------------------------------------------------------------------------------------------


def refused(**given: Any) -> NotApprovedError:
    """Return the error of a step that lacks approvals."""
    return NotApprovedError(id=7, current=ActionStatus.PROPOSED, target=ActionStatus.VALIDATED, **given)


def test_what_lacks_approvals_says_which_and_how_to_get_them() -> None:
    error = refused(policy="everything", needed=2, given=1, missing=("1 of 2", "0 of 1 as sre"), lapsed=1)

    assert isinstance(error, TransitionNotAllowedError)
    assert "is not approved yet: 1 of 2, 0 of 1 as sre (policy for everything; 1 expired)" in str(error)
    assert "operator-core approve 7" in str(error)


def test_what_was_rejected_says_by_whom() -> None:
    assert "proposal 7 was rejected by carl" in str(refused(rejected_by="carl", policy="everything"))


def test_what_a_policy_that_is_gone_refused_says_to_try_again() -> None:
    assert "its policy has changed since: try again" in str(refused())


def test_an_own_approval_is_a_refused_decision_that_is_forbidden() -> None:
    assert issubclass(SelfApprovalError, ApprovalRefusedError)
    assert (SelfApprovalError.http_status, ApprovalRefusedError.http_status) == (403, 409)
