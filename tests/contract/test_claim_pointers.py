"""Claims behind a long row of proposals that may not start: it costs them nothing, and nothing is left behind."""

from collections.abc import Callable

import pytest

from operator_core.actions import ActionProposal, ActionStatus, ApprovalRule
from operator_core.db import ActionDB
from operator_core.db.repository import claim_pointers
from operator_core.db.stores import claims

IN_FRONT = 40


async def validated(db: ActionDB, number: int, name: str = "drain_store") -> list[int]:
    stored = await db.create_proposals([ActionProposal(action_name=name, reason="hot")] * number)
    for proposal in stored:
        await db.update_proposal_status(proposal.id, ActionStatus.VALIDATED)
    return [proposal.id for proposal in stored]


async def approved(db: ActionDB) -> int:
    proposal = await db.create_proposal(ActionProposal(action_name="drain_store", reason="hot"))
    await db.approve(proposal.id, by="anna")
    return proposal.id


@pytest.fixture
async def short(db: ActionDB) -> list[int]:
    """Many validated proposals that a policy keeps from starting since."""
    ids = await validated(db, IN_FRONT)
    await db.set_approval_policy("everything", [ApprovalRule()], by="ops", reason="ask somebody")
    return ids


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Behind which id each claim that looks for approvals looked; None where it looked at all."""
    seen: list[int | None] = []
    real: Callable[..., object] = claims.claim_next

    def claim_next(*arguments: object) -> object:
        search = arguments[3]
        assert isinstance(search, claims.Search)
        if search.approved:
            seen.append(search.after_id)
        return real(*arguments)

    claim_next.mode = claims.claim_next.mode  # type: ignore[attr-defined]
    monkeypatch.setattr(claims, "claim_next", claim_next)
    return seen


async def test_after_one_claim_the_others_look_behind_what_may_not_start(
    db: ActionDB, short: list[int], places: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_pointers, "POINTER_SECONDS", 3600.0)
    wanted = [await approved(db) for _ in range(3)]

    claimed = [await db.claim_next(worker="w1") for _ in wanted]

    assert [claim.proposal.id for claim in claimed if claim] == wanted
    assert places == [None, wanted[0] - 1, wanted[0] - 1]


async def test_what_gets_its_approval_in_front_is_claimed_once_nothing_is_left_behind_it(
    db: ActionDB, short: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_pointers, "POINTER_SECONDS", 3600.0)
    last = await approved(db)
    assert (await db.claim_next(worker="w1")).proposal.id == last  # type: ignore[union-attr]

    await db.approve(short[0], by="anna")

    assert (await db.claim_next(worker="w1")).proposal.id == short[0]  # type: ignore[union-attr]


async def test_the_place_is_forgotten_after_a_moment(
    db: ActionDB, short: list[int], places: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_pointers, "POINTER_SECONDS", 0.0)
    await approved(db)
    second = await approved(db)
    await db.claim_next(worker="w1")
    await db.approve(short[0], by="anna")

    assert (await db.claim_next(worker="w1")).proposal.id == short[0]  # type: ignore[union-attr]
    assert (await db.claim_next(worker="w1")).proposal.id == second  # type: ignore[union-attr]
    assert places == [None] * 2


async def test_each_filter_has_a_place_of_its_own(
    db: ActionDB, short: list[int], places: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_pointers, "POINTER_SECONDS", 3600.0)
    await approved(db)
    await db.claim_next(worker="w1")
    other = await db.create_proposal(ActionProposal(action_name="add_peer", reason="two"))
    await db.approve(other.id, by="anna")

    claimed = await db.claim_next(worker="w1", action_names=["add_peer"])

    assert claimed is not None
    assert claimed.proposal.id == other.id
    assert places == [None]


async def test_a_claim_looks_for_approvals_only_once_the_guard_has_missed_one(
    db: ActionDB, places: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    await db.set_approval_policy("everything", [ApprovalRule()], by="ops", reason="ask somebody")
    first, second, third, last = [await approved(db) for _ in range(4)]
    (revoked,) = (await db.approval_status(second)).decisions

    assert await claimed_id(db) == first
    assert places == []
    await db.revoke(revoked.id, by="anna", reason="not before the backup")
    monkeypatch.setattr(claim_pointers, "POINTER_SECONDS", 0.0)
    assert await claimed_id(db) == third
    assert places == [None]
    monkeypatch.setattr(claim_pointers, "POINTER_SECONDS", 3600.0)
    assert await claimed_id(db) == last
    assert await claimed_id(db) is None
    assert places == [None] * 3


async def claimed_id(db: ActionDB) -> int | None:
    execution = await db.claim_next(worker="w1")
    return None if execution is None else execution.proposal.id
