"""What `approve` does, by `ActionDB` and in sessions of a host, and what all decisions share, on each engine."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from operator_core.actions import (
    ActionStatus,
    ActionType,
    ApprovalRefusedError,
    ApprovalRule,
    ApproverKind,
    Decision,
    DigestMismatchError,
    EventKind,
    InvalidArgumentError,
    KillSwitchEngagedError,
    ProposalExpiredError,
    ProposalNotFoundError,
    ValueNotStorableError,
)
from operator_core.actions.lifecycle import PENDING, TRANSITIONS
from operator_core.worker import ActionRegistry, NotRegisteredError, ParametersNotValidError
from tests.support.approvals import approved, policy
from tests.support.factories import stored
from tests.support.ledger import Ledger
from tests.support.plain_sql import Plain, contents, engage, release, rows

NOT_PENDING = [status for status in TRANSITIONS if status not in PENDING]
SOON = datetime.now(UTC) + timedelta(days=1)


pytestmark = pytest.mark.usefixtures("sound_history")


# -- approve -----------------------------------------------------------------------------------------------------------


async def test_an_approval_comes_back_as_it_is_stored(calls: Any, ledger: Ledger) -> None:
    made = await stored(calls)

    found = await calls.approve(
        made.id, by="anna", kind="agent", role="security", reason="I looked", digest=made.digest, expires_in=3600
    )

    assert found == (await calls.approval_status(made.id)).decisions[0]
    assert (found.id, found.proposal_id, found.decision, found.status) == (1, made.id, Decision.APPROVED, made.status)
    assert (found.by, found.kind, found.role, found.reason) == ("anna", ApproverKind.AGENT, "security", "I looked")
    assert (found.digest, found.revokes, found.replaced_by, found.generation) == (made.digest, None, None, 0)
    assert (found.login is None) == ledger.is_sqlite
    assert found.expires_at is not None
    assert abs(found.expires_at - found.at - timedelta(hours=1)) < timedelta(seconds=5)


async def test_an_approval_is_dated_by_the_database(calls: Any, plain: Plain, ledger: Ledger) -> None:
    made = await stored(calls)
    clock = "strftime('%Y-%m-%d %H:%M:%f000', 'now')" if ledger.is_sqlite else "clock_timestamp()"
    ((before,),) = rows(plain, f"SELECT {clock}")

    await calls.approve(made.id, by="anna")

    ((is_between,),) = rows(plain, f"SELECT at BETWEEN '{before}' AND {clock} FROM action_approvals")
    assert is_between


async def test_an_approval_without_a_policy_validates(calls: Any) -> None:
    made = await stored(calls)

    await calls.approve(made.id, by="anna", reason="I looked")

    found = await calls.get_proposal(made.id)
    assert (found.status, found.status_by, found.status_reason) == (ActionStatus.VALIDATED, "anna", "I looked")


async def test_an_approval_that_names_little_is_a_humans_for_ever(calls: Any) -> None:
    made = await stored(calls)

    found = await calls.approve(made.id, by="anna")

    assert (found.kind, found.role, found.reason, found.expires_at) == (ApproverKind.HUMAN, None, None, None)
    assert found.digest == made.digest


async def test_only_the_last_approval_that_is_needed_validates(calls: Any) -> None:
    await policy(calls, ApprovalRule(approvals=3))
    made = await stored(calls)

    states = []
    for name in ("anna", "bob", "carl"):
        await calls.approve(made.id, by=name)
        states.append((await calls.get_proposal(made.id)).status)

    assert states == [ActionStatus.PROPOSED, ActionStatus.PROPOSED, ActionStatus.VALIDATED]
    assert (await calls.get_proposal(made.id)).status_by == "carl"


async def test_what_is_validated_already_is_approved_too(calls: Any) -> None:
    made = await stored(calls, ActionStatus.VALIDATED)

    found = await calls.approve(made.id, by="anna")

    assert found.status is ActionStatus.VALIDATED
    assert await calls.get_proposal(made.id) == made


@pytest.mark.parametrize("status", NOT_PENDING)
async def test_what_is_not_pending_is_not_approved(calls: Any, status: ActionStatus) -> None:
    made = await stored(calls, status)

    with pytest.raises(ApprovalRefusedError, match="it runs already" if status == "executing" else f"it is {status}"):
        await calls.approve(made.id, by="anna")

    assert (await calls.approval_status(made.id)).decisions == ()


async def test_a_proposal_that_is_not_there_is_decided_by_nobody(calls: Any) -> None:
    for call in (
        calls.approve(4711, by="anna"),
        calls.reject(4711, by="anna", reason="no"),
        calls.supersede(4711, parameters={}, by="anna", reason="no"),
        calls.approval_status(4711),
        calls.approve(4711, by="anna", registry=ActionRegistry()),
    ):
        with pytest.raises(ProposalNotFoundError):
            await call


@pytest.mark.parametrize("call", ["approve", "reject"])
async def test_who_saw_something_else_decides_nothing(calls: Any, call: str) -> None:
    made, other = await stored(calls), await stored(calls, parameters={"store": 5})

    with pytest.raises(DigestMismatchError) as caught:
        await getattr(calls, call)(made.id, by="anna", reason="I looked", digest=other.digest)

    assert (caught.value.given, caught.value.expected) == (other.digest, made.digest)
    assert await calls.get_proposal(made.id) == made
    assert (await calls.approval_status(made.id)).decisions == ()


async def test_the_digest_is_of_what_would_run_and_of_nothing_else(calls: Any) -> None:
    given = {"parameters": {"a": 1}, "ticket_id": 7, "action_type": ActionType.TOOL}
    made = await stored(calls, **given)
    alike = await stored(calls, **given, reason="another", proposed_by="bob", on_behalf_of="carl", valid_until=SOON)
    others = [
        await stored(calls, **{**given, **change})
        for change in (
            {"parameters": {"a": 2}},
            {"parameters": {}},
            {"ticket_id": 8},
            {"ticket_id": None},
            {"action_type": ActionType.WORKFLOW},
            {"action_name": "fill_store"},
        )
    ]

    assert alike.digest == made.digest
    assert len({made.digest, *(one.digest for one in others)}) == len(others) + 1


class Store(BaseModel):
    """What the action of these tests takes."""

    store: int


async def test_what_does_not_fit_its_model_is_not_approved(calls: Any) -> None:
    registry = ActionRegistry()
    registry.action("drain_store", Store)(_nothing)
    fits, misfit = await stored(calls, parameters={"store": 4}), await stored(calls, parameters={"store": "four"})
    strange = await stored(calls, action_name="fill_store")

    await calls.approve(fits.id, by="anna", registry=registry)
    with pytest.raises(ParametersNotValidError, match="store"):
        await calls.approve(misfit.id, by="anna", registry=registry)
    with pytest.raises(NotRegisteredError):
        await calls.approve(strange.id, by="anna", registry=registry)

    assert (await calls.get_proposal(fits.id)).status is ActionStatus.VALIDATED
    assert [(await calls.approval_status(one.id)).decisions for one in (misfit, strange)] == [(), ()]


async def _nothing(_parameters: Store, _execution: Any) -> None:
    """Do nothing."""


@pytest.mark.parametrize("scope", ["everything", "ticket_id=7"])
async def test_nobody_approves_under_a_stop_or_what_was_stopped(calls: Any, plain: Plain, scope: str) -> None:
    made = await stored(calls, ticket_id=7)

    for statement in (engage(scope), release(scope)):
        plain.execute(statement)
        with pytest.raises(KillSwitchEngagedError):
            await calls.approve(made.id, by="anna")

    assert (await calls.approval_status(made.id)).decisions == ()


async def test_a_stop_elsewhere_keeps_nobody_from_approving(calls: Any, plain: Plain) -> None:
    made = await stored(calls, ticket_id=7)
    plain.execute(engage("ticket_id=8"))

    assert (await calls.approve(made.id, by="anna")).generation == 1


async def test_nobody_approves_what_has_expired(calls: Any) -> None:
    made = await stored(calls, valid_until=datetime.now(UTC) - timedelta(hours=1))

    with pytest.raises(ProposalExpiredError):
        await calls.approve(made.id, by="anna")

    assert (await calls.approval_status(made.id)).decisions == ()


# -- what all of them share --------------------------------------------------------------------------------------------


async def test_decisions_are_events_of_the_history_after_the_step_that_they_follow(calls: Any) -> None:
    await policy(calls, ApprovalRule(approvals=2))
    made = await stored(calls)
    first, second = await approved(calls, made, "anna", "bob", role="sre")
    await calls.revoke(first.id, by="anna", reason="hm")
    await calls.reject(made.id, by="carl", reason="no")

    told = await calls.get_events(made.id)

    assert [(event.kind, event.from_status, event.to_status, event.by) for event in told] == [
        (EventKind.STEP, None, "proposed", "agent"),
        (EventKind.APPROVED, "proposed", "proposed", "anna"),
        (EventKind.APPROVED, "proposed", "proposed", "bob"),
        (EventKind.STEP, "proposed", "validated", "bob"),
        (EventKind.REVOKED, "validated", "validated", "anna"),
        (EventKind.REJECTED, "validated", "validated", "carl"),
        (EventKind.STEP, "validated", "cancelled", "carl"),
    ]
    assert told[2].data is not None
    assert told[2].data.items() >= {"role": "sre", "kind": "human", "digest": made.digest}.items()
    assert [told[position].id for position in (1, 2)] == [first.id, second.id]


REFUSED_ARGUMENTS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    *(("approve", (1,), {"by": by}) for by in ("", " ", "x" * 256, 7, "a\0b")),
    ("approve", ("1",), {"by": "anna"}),
    ("approve", (True,), {"by": "anna"}),
    ("approve", (1,), {"by": "anna", "kind": "person"}),
    ("approve", (1,), {"by": "anna", "role": ""}),
    ("approve", (1,), {"by": "anna", "role": "x" * 256}),
    ("approve", (1,), {"by": "anna", "digest": ""}),
    ("approve", (1,), {"by": "anna", "reason": "\ud800"}),
    *(
        ("approve", (1,), {"by": "anna", "expires_in": seconds})
        for seconds in (0, -1, 31_622_401, float("nan"), float("inf"), True, "1")
    ),
    ("reject", (1,), {"by": "anna", "reason": None}),
    ("reject", (1,), {"by": " ", "reason": "no"}),
    ("revoke", (1,), {"by": "anna", "reason": 7}),
    ("revoke", (2**63,), {"by": "anna", "reason": "no"}),
    ("supersede", (1,), {"parameters": [], "by": "anna", "reason": "no"}),
    ("supersede", (1,), {"parameters": {}, "by": "", "reason": "no"}),
    ("approval_status", ("1",), {}),
    ("list_pending_approvals", (" ",), {}),
    ("list_pending_approvals", (), {"limit": 0}),
    ("list_pending_approvals", (), {"before_id": "1"}),
]


@pytest.mark.parametrize(("call", "args", "given"), REFUSED_ARGUMENTS, ids=lambda value: ascii(value)[:40])
async def test_an_argument_that_nobody_can_mean_is_refused(
    calls: Any, plain: Plain, call: str, args: tuple[Any, ...], given: dict[str, Any]
) -> None:
    await stored(calls)
    before = contents(plain)

    with pytest.raises((InvalidArgumentError, ValueNotStorableError)):
        await getattr(calls, call)(*args, **given)

    assert contents(plain) == before
