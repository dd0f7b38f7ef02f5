"""Whatever contradicts the approvals of a start, or the history of a policy, is found by `verify`, and nothing else."""

import asyncio
import json
from datetime import UTC, datetime

import pytest

from operator_core.actions import ActionStatus, ApprovalRule, Discrepancy, FourEyes
from operator_core.db import ActionDB
from tests.support.approvals import OF_NAME, approved, policy
from tests.support.factories import running, stored
from tests.support.history import tamper
from tests.support.ledger import Ledger

PAST = "2001-01-01 00:00:00.000000"
FORGED = (
    'INSERT INTO action_approvals (proposal_id, decision, status, "by", kind, reason, at, revokes, generation) '
    f"VALUES ({{}}, '{{}}', 'executing', 'mallory', 'human', 'hm', '{PAST}', {{}}, 0)"
)


async def started(db: ActionDB, scope: str = OF_NAME) -> int:
    """Return the id of a proposal that two people approved, one of them for security, and that is completed."""
    await policy(db, ApprovalRule(approvals=2, expires_in=3600), ApprovalRule(role="security"), scope=scope)
    made = await stored(db)
    await approved(db, made, "anna", role="security", expires_in=60)
    await approved(db, made, "bob")
    record = await db.start_execution(made.id)
    await db.finish_execution(record.id, success=True)
    return made.id


def fields(differences: list[Discrepancy]) -> set[tuple[int | None, str]]:
    return {(one.proposal_id, one.field) for one in differences}


# -- nothing to find ---------------------------------------------------------------------------------------------------


async def test_a_ledger_that_nobody_touched_has_no_differences(db: ActionDB) -> None:
    await running(db)
    await started(db)
    await started(db, "everything")
    await policy(db, ApprovalRule(approvals=0), scope="action_name=free")
    await running(db, action_name="free")
    rejected, superseded, revoked, waiting = [await stored(db) for _ in range(4)]
    await db.reject(rejected.id, by="anna", reason="no")
    await db.supersede(superseded.id, parameters={"store": 5}, by="anna", reason="no")
    (given,) = await approved(db, revoked, "anna")
    await db.revoke(given.id, by="anna", reason="hm")
    await approved(db, waiting, "anna")

    assert await db.verify() == []


async def test_what_a_policy_asked_later_contradicts_no_start(db: ActionDB) -> None:
    await started(db)
    await policy(db, ApprovalRule(approvals=9), ApprovalRule(role="sre", four_eyes=FourEyes.PRINCIPAL))
    await policy(db)
    await policy(db, ApprovalRule(approvals=7))

    assert await db.verify() == []


@pytest.mark.parametrize("keep_events", [True, False])
async def test_what_was_pruned_is_no_difference(db: ActionDB, *, keep_events: bool) -> None:
    await started(db)
    await db.reject((await stored(db)).id, by="anna", reason="no")
    await asyncio.sleep(0.005)
    await db.prune(datetime.now(UTC), keep_events=keep_events)

    assert await db.verify() == []


# -- starts ------------------------------------------------------------------------------------------------------------


def started_with(scope: str, version: int, approvals: list[int]) -> str:
    """Return the update that has the start name other evidence."""
    data = json.dumps({"policy": scope, "version": version, "approvals": approvals})
    return f"UPDATE action_events SET data = '{data}' WHERE to_status = 'executing'"


# What is done behind the guards; the field that `verify` names.
TAMPERED = {
    "an approval is gone": ("DELETE FROM action_approvals WHERE id = 1", "approvals"),
    "all approvals are gone": ("DELETE FROM action_approvals", "approvals"),
    "an approval was of another proposal": ("UPDATE action_approvals SET proposal_id = 4711 WHERE id = 1", "approvals"),
    "an approval was a rejection": (
        "UPDATE action_approvals SET decision = 'rejected', reason = 'no', expires_at = NULL WHERE id = 1",
        "approvals",
    ),
    "a rejection that did not cancel": (FORGED.format(1, "rejected", "NULL"), "status"),
    "an approval was revoked": (FORGED.format(1, "revoked", "1"), "approvals"),
    "the same person twice": ("UPDATE action_approvals SET \"by\" = 'bob'", "approvals"),
    "the proposer": ("UPDATE action_approvals SET \"by\" = 'agent' WHERE id = 2", "approvals"),
    "a program": ("UPDATE action_approvals SET kind = 'system' WHERE id = 2", "approvals"),
    "in another role": ("UPDATE action_approvals SET role = 'sre' WHERE id = 1", "approvals"),
    "an approval that had expired": (f"UPDATE action_approvals SET expires_at = '{PAST}' WHERE id = 1", "approvals"),
    "an approval that was too old for its rule": (f"UPDATE action_approvals SET at = '{PAST}'", "approvals"),
    "a policy that asked for more": ("UPDATE approval_policy_events SET approvals = 3 WHERE role = ''", "approvals"),
    "a policy without a history": ("DELETE FROM approval_policy_events", "policy"),
    "a version that never was": (started_with(OF_NAME, 0, []), "policy"),
    "a policy that never was": (started_with("action_name=none", 2, [1, 2]), "policy"),
    "a start that names none": (started_with(OF_NAME, 2, []), "approvals"),
    "a start that names what is not there": (started_with(OF_NAME, 2, [1, 2, 3]), "approvals"),
}


@pytest.mark.parametrize("what", TAMPERED)
async def test_a_start_that_lacks_what_its_policy_asked_for_is_found(db: ActionDB, ledger: Ledger, what: str) -> None:
    number = await started(db)
    statement, field = TAMPERED[what]
    tamper(ledger, statement)

    assert (number, field) in fields(await db.verify())


async def test_a_difference_says_what_was_asked_for_and_what_there_is(db: ActionDB, ledger: Ledger) -> None:
    number = await started(db)
    tamper(ledger, TAMPERED["in another role"][0])

    (found,) = await db.verify()

    assert found == Discrepancy(
        proposal_id=number,
        field="approvals",
        expected=f"what version 2 of the policy for {OF_NAME} asks for",
        found="0 of 1 as security",
    )


async def test_a_start_that_was_rejected_is_found_without_a_policy_too(db: ActionDB, ledger: Ledger) -> None:
    record = await running(db)
    tamper(ledger, FORGED.format(record.proposal_id, "rejected", "NULL"))

    assert fields(await db.verify()) == {(record.proposal_id, "status")}


@pytest.mark.parametrize("status", [ActionStatus.PROPOSED, ActionStatus.VALIDATED])
async def test_a_rejected_proposal_that_still_waits_is_found(
    db: ActionDB, ledger: Ledger, status: ActionStatus
) -> None:
    made = await stored(db, status)
    tamper(ledger, FORGED.format(made.id, "rejected", "NULL"))

    assert fields(await db.verify()) == {(made.id, "status")}


# -- policies ----------------------------------------------------------------------------------------------------------

POLICY = f"policy for {OF_NAME}, rule without a role: "
TAMPERED_POLICIES = {
    "approvals": "UPDATE approval_policies SET approvals = 0 WHERE role = ''",
    "four_eyes": "UPDATE approval_policies SET four_eyes = 'no' WHERE role = ''",
    "humans_only": "UPDATE approval_policies SET humans_only = false WHERE role = ''",
    "expires_seconds": "UPDATE approval_policies SET expires_seconds = NULL WHERE role = ''",
    "in_force": "UPDATE approval_policies SET in_force = false WHERE role = ''",
    "version": "UPDATE approval_policies SET version = 99 WHERE role = ''",
    "at": f"UPDATE approval_policies SET at = '{PAST}' WHERE role = ''",
    "by": "UPDATE approval_policies SET \"by\" = 'mallory' WHERE role = ''",
    "reason": "UPDATE approval_policies SET reason = 'never mind' WHERE role = ''",
    "row": "DELETE FROM approval_policies WHERE role = ''",
}


@pytest.mark.parametrize("field", TAMPERED_POLICIES)
async def test_a_rule_that_differs_from_its_history_is_found(db: ActionDB, ledger: Ledger, field: str) -> None:
    await started(db)
    tamper(ledger, TAMPERED_POLICIES[field])

    assert fields(await db.verify()) == {(None, POLICY + field)}


async def test_a_rule_without_a_history_is_found(db: ActionDB, ledger: Ledger) -> None:
    await policy(db, ApprovalRule())
    tamper(ledger, "DELETE FROM approval_policy_events")

    assert fields(await db.verify()) == {(None, POLICY + "row")}


async def test_a_change_of_a_rule_that_is_gone_from_the_history_is_found(db: ActionDB, ledger: Ledger) -> None:
    await policy(db, ApprovalRule())
    await policy(db, ApprovalRule(approvals=2))
    tamper(ledger, "DELETE FROM approval_policy_events WHERE version = 2")

    assert {(None, POLICY + "approvals"), (None, POLICY + "version")} <= fields(await db.verify())


@pytest.mark.parametrize("table", ["approval_policies", "approval_policy_events"])
async def test_what_cannot_be_read_of_a_policy_is_a_difference_and_hides_no_other(
    db: ActionDB, ledger: Ledger, table: str
) -> None:
    number = await started(db)
    never = "'soon'" if ledger.is_sqlite else "'infinity'"
    tamper(
        ledger,
        f"UPDATE {table} SET at = {never} WHERE role = 'security'",
        "UPDATE action_proposals SET reason = 'never mind'",
    )

    found = await db.verify()

    assert (number, "reason") in fields(found)
    assert (None, f"{table} 2.at") in fields(found)
