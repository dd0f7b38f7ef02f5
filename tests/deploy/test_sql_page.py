"""docs/sql.md is what it says: its statements do a whole lifecycle, and the library finds nothing wrong with it."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import cast

import pytest

from operator_core.actions import (
    ActionOutcome,
    ActionProposal,
    ActionStatus,
    ActionType,
    KillSwitchEngagedError,
    StoredProposal,
    StoredRecord,
)
from operator_core.actions.lifecycle import OUTCOMES
from operator_core.db import ActionDB
from operator_core.db.guards.codes import (
    APPROVAL_REFUSED,
    CHANGE_REFUSED,
    CHECK_BROKEN,
    ISOLATION_REFUSED,
    MESSAGES,
    NOT_APPROVED,
    OWN_APPROVAL,
    POLICY_REFUSED,
    RECORD_DISAGREES,
    SCOPE_REFUSED,
    STEP_REFUSED,
    STOPPED,
)
from tests.conftest import ENGINES
from tests.support.factories import proposal as make_proposal
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.roles import APP, APPROVER, OPERATOR, OWNER, Deployed
from tests.support.sql_page import Reader, blocks, numbered, page, table

ASKED, REFUSED = "Ask whether to stop", "When a statement is refused"
DECISIONS = ("Approve", "Reject", REVOKE := "Revoke an approval")
CANCEL, HEARTBEAT = "Cancel one pending proposal", "Send a heartbeat"
SCOPES = ("everything", "action_type=tool", "action_name=drain_store", "proposed_by=agent-1")
CHECK_VIOLATION = "23514"

on_postgresql = pytest.mark.parametrize("ledger", ["postgresql"], indirect=True)


# -- a reader, and the library beside it -------------------------------------------------------------------------------


@pytest.fixture(params=ENGINES)
def ledger(request: pytest.FixtureRequest) -> Ledger:
    """A migrated, empty ledger on each engine in turn, on PostgreSQL with the roles of docs/deploy.md."""
    if request.param == "sqlite":
        return Ledger(cast("Path", request.getfixturevalue("sqlite_path")))
    return Ledger(cast("Deployed", request.getfixturevalue("deployed")).url(OWNER))


@pytest.fixture
def reader(ledger: Ledger, request: pytest.FixtureRequest) -> Iterator[Reader]:
    """A program that has connected as the page says."""
    with ExitStack() as opened:
        if ledger.is_sqlite:
            made = Reader("sqlite", {"": opened.enter_context(closing(ledger.connect()))})
        else:
            deployed = cast("Deployed", request.getfixturevalue("deployed"))
            roles = (APP, OPERATOR, APPROVER, OWNER)
            app, operator, approver, owner = (opened.enter_context(closing(deployed.connect(role))) for role in roles)
            own = {"Stop": operator, "Set a policy": owner, **dict.fromkeys(DECISIONS, approver)}
            made = Reader("postgresql", {"": app, **own})
        made.connect()
        yield made


@pytest.fixture
async def db(ledger: Ledger) -> AsyncIterator[ActionDB]:
    """The same ledger, open in the library, which finds nothing wrong with it at the end."""
    async with ActionDB(ledger.target) as opened:
        yield opened
        assert await opened.verify() == []
    assert check_history(ledger) == []


def proposed(reader: Reader, **values: object) -> int:
    """Propose by the page, and return the id."""
    given = {"action_name": "drain_store", "action_type": "tool", "parameters": '{"store":4}', "reason": "it is hot"}
    ((number, status),) = reader.follow("Propose", **{**given, "by": "agent-1", "key": None, **values})
    assert status == "proposed"
    return cast("int", number)


def validated(reader: Reader, **values: object) -> int:
    number = proposed(reader, **values)
    assert reader.follow("Validate", proposal_id=number, by="ann", reason="checked") == [(number,)]
    return number


def start(number: int, worker: str = "w1") -> dict[str, object]:
    """Return the parameters of a start."""
    return {"proposal_id": number, "worker": worker, "lease_seconds": 30.0}


def started(reader: Reader, **values: object) -> tuple[int, int]:
    """Return the ids of a proposal and of its record."""
    number = validated(reader, **values)
    ((record,),) = reader.follow("Start", **start(number))
    return number, cast("int", record)


def end(record: int, outcome: str = "succeeded", status: str = "completed", **values: object) -> dict[str, object]:
    """Return the parameters of a finish."""
    return {"record_id": record, "outcome": outcome, "status": status, "worker": "w1", "error": None} | {
        "result": None,
        **values,
    }


def stop(reader: Reader, scope: str = "everything", without: str | None = None) -> int:
    """Stop by the page, and return the generation."""
    rows = reader.follow("Stop", scope=scope, by="ann", reason="smoke in hall 3", without=without)
    return cast("int", rows[0][0])


def release(reader: Reader, generation: int) -> list[tuple[object, ...]]:
    return reader.follow("Release", generation=generation, by="bob", reason="over")


def a_tool(**values: object) -> ActionProposal:
    """Return for the library what `proposed` proposes."""
    return make_proposal(action_type="tool", reason="it is hot", proposed_by="agent-1", **values)


async def both(db: ActionDB, number: int) -> tuple[StoredProposal, StoredRecord]:
    proposal = await db.get_proposal(number)
    (record,) = await db.get_records_for_proposal(number)
    assert proposal is not None
    return proposal, record


async def status_of(db: ActionDB, number: int) -> ActionStatus:
    proposal = await db.get_proposal(number)
    assert proposal is not None
    return proposal.status


# -- the whole page ----------------------------------------------------------------------------------------------------


async def test_every_statement_of_the_page_is_executed_and_the_library_finds_nothing_wrong(reader, db):
    proposed(reader, key="alert-1")
    reader.follow("Propose", block=1, key="alert-1")
    finished, running = started(reader), started(reader)
    reader.follow(HEARTBEAT, record_id=finished[1])
    reader.follow("Finish", **end(finished[1]))
    reader.follow(CANCEL, proposal_id=validated(reader), by="ann", reason="not today")
    generation = stop(reader)
    reader.follow("Read the latch")
    reader.follow(ASKED, record_id=running[1])
    reader.follow("Finish", **end(running[1], "stopped", "cancelled"))
    release(reader, generation)
    last = started(reader)
    asking(reader)
    refused = proposed(reader, action_name="fill")
    approval = approved(reader, refused)
    reader.follow(REVOKE, approval_id=approval, by="ann", role=None, reason="not now")
    reader.follow("Reject", proposal_id=refused, by="bob", role=None, reason="never")

    assert reader.left() == []
    assert await db.count_proposals() == {
        **dict.fromkeys(ActionStatus, 0),
        ActionStatus.COMPLETED: 1,
        ActionStatus.CANCELLED: 4,
        ActionStatus.EXECUTING: 1,
    }
    assert await status_of(db, last[0]) is ActionStatus.EXECUTING


@on_postgresql
def test_every_statement_can_be_prepared_without_the_types_of_its_parameters(reader, deployed):
    statements = [statement for block in blocks("postgresql").values() for statement in block]
    prepared = [one for one in statements if not one.startswith(("SET", "BEGIN", "COMMIT"))]

    with closing(deployed.connect()) as client:
        for place, statement in enumerate(prepared):
            client.execute(f"PREPARE p{place} AS {numbered(statement)}")
        types = {str(each) for (given,) in client.execute(PARAMETER_TYPES) for each in given}

    assert types <= {"text", "json", "bigint", "integer", "double precision"}


PARAMETER_TYPES = "SELECT parameter_types::text[] FROM pg_prepared_statements WHERE statement LIKE 'PREPARE p%'"


# -- propose and validate ----------------------------------------------------------------------------------------------


async def test_a_proposal_holds_what_was_given(reader, db):
    number = proposed(reader, parameters='{"store":4,"slow":true}', key="alert-1")

    made = await db.get_proposal(number)
    assert (made.action_name, made.parameters, made.reason) == ("drain_store", {"store": 4, "slow": True}, "it is hot")
    assert (made.proposed_by, made.status_by, made.idempotency_key) == ("agent-1", "agent-1", "alert-1")
    assert (made.status, made.generation) == (ActionStatus.PROPOSED, 0)


@pytest.mark.parametrize("kind", ActionType)
async def test_the_page_names_each_type_of_action(reader, db, kind):
    number = proposed(reader, action_type=str(kind))

    assert f"`{kind}`" in page()
    assert (await db.get_proposal(number)).action_type is kind


async def test_a_known_key_stores_nothing_and_leads_to_the_first_proposal(reader, db):
    number = proposed(reader, key="alert-1")

    given = {"action_name": "fill", "action_type": "tool", "parameters": '{"n":1}', "reason": "it is hot"}
    again = reader.follow("Propose", **given, by="agent-2", key="alert-1")
    ((known, status, name, parameters),) = reader.follow("Propose", block=1, key="alert-1")

    assert (again, known, status, name) == ([], number, "proposed", "drain_store")
    assert (json.loads(parameters) if isinstance(parameters, str) else parameters) == {"store": 4}
    assert len(await db.list_proposals()) == 1


async def test_a_key_of_the_page_is_known_to_the_library(reader, db):
    number = proposed(reader, key="alert-1")

    again = await db.create_proposal(a_tool(parameters={"store": 4}), idempotency_key="alert-1")

    assert (again.id, again.repeated) == (number, True)


async def test_a_validation_says_who_when_and_why(reader, db):
    made = await db.get_proposal(validated(reader))

    assert (made.status, made.status_by, made.status_reason) == (ActionStatus.VALIDATED, "ann", "checked")
    assert made.validated_at == made.status_at


async def test_a_step_that_is_not_possible_returns_no_row(reader, db):
    number = validated(reader)

    assert reader.follow("Validate", proposal_id=number, by="bob", reason=None) == []
    assert (await db.get_proposal(number)).status_by == "ann"


# -- approve -----------------------------------------------------------------------------------------------------------


def asking(reader: Reader, role: str | None = None) -> None:
    """Have one person asked about each `fill`."""
    reader.follow("Set a policy", scope="action_name=fill", role=role, approvals=1, by="ops", reason="ask somebody")


def approved(reader: Reader, number: int, by: str = "ann", role: str | None = None) -> int:
    """Approve by the page, and return the id of the decision."""
    ((decision,),) = reader.follow("Approve", proposal_id=number, by=by, role=role, reason="seen")
    return cast("int", decision)


async def test_what_a_policy_asks_for_is_refused_until_it_is_approved(reader, db):
    asking(reader, role="security")
    number = proposed(reader, action_name="fill")
    step = {"proposal_id": number, "by": "ann", "reason": None}

    assert reader.refusal("Validate", **step) == NOT_APPROVED
    approved(reader, number, by="bob")
    assert reader.refusal("Validate", **step) == NOT_APPROVED
    approved(reader, number, role="security")
    if reader.engine == "sqlite":
        assert reader.follow("Validate", **step) == [(number,)]
    ((record,),) = reader.follow("Start", **start(number))

    status = await db.approval_status(number)
    assert [(decision.by, decision.role) for decision in status.decisions] == [("bob", None), ("ann", "security")]
    assert record


async def test_the_proposer_does_not_approve_and_nobody_decides_twice_about_one_start(reader, db):
    asking(reader)
    number = proposed(reader, action_name="fill")
    given = {"role": None, "reason": "seen"}

    assert reader.refusal("Approve", proposal_id=number, by="agent-1", **given) == OWN_APPROVAL
    decision = approved(reader, number)
    if reader.engine == "sqlite":
        reader.follow("Validate", proposal_id=number, by="ann", reason=None)
    reader.follow("Start", **start(number))
    assert reader.refusal(REVOKE, approval_id=decision, by="ann", **given) == APPROVAL_REFUSED
    assert reader.refusal("Reject", proposal_id=number, by="ann", **given) == APPROVAL_REFUSED


async def test_a_policy_of_the_page_is_the_librarys(reader, db):
    asking(reader)
    asking(reader, role="security")
    asking(reader)

    (policy,) = await db.approval_policies()
    assert (policy.scope, policy.version) == ("action_name=fill", 3)
    assert [(rule.role, rule.approvals) for rule in policy.rules] == [(None, 1), ("security", 1)]
    given = {"role": None, "approvals": 1, "by": "ops", "reason": "ask"}
    assert reader.refusal("Set a policy", scope="action_type=tool", **given) == POLICY_REFUSED


# -- execute -----------------------------------------------------------------------------------------------------------


async def test_a_start_opens_a_record_with_a_lease(reader, db):
    number, record_id = started(reader)

    proposal, record = await both(db, number)
    assert (proposal.status, proposal.status_reason) == (ActionStatus.EXECUTING, None)
    assert (record.id, record.worker, record.lease_seconds, record.outcome) == (record_id, "w1", 30.0, None)
    assert record.started_at == proposal.executing_at
    assert (record.lease_expires_at - record.last_seen_at).total_seconds() == 30.0


async def test_of_two_workers_that_start_one_proposal_the_second_gets_no_row(reader, db):
    number, _ = started(reader)

    assert reader.follow("Start", **start(number, "w2")) == []
    assert (await both(db, number))[1].worker == "w1"


@on_postgresql
async def test_the_start_of_the_page_is_made_under_read_committed_whatever_the_session_has(reader, db):
    number = validated(reader)
    reader.clients[""].execute("SET default_transaction_isolation = 'serializable'")

    step = "UPDATE action_proposals SET status = 'executing' WHERE id = :proposal_id"
    assert reader.refusal_of(step, proposal_id=number) == ISOLATION_REFUSED
    assert len(reader.follow("Start", **start(number))) == 1


async def test_a_heartbeat_extends_the_lease(reader, db):
    number, record_id = started(reader)
    before = (await both(db, number))[1]

    assert reader.follow(HEARTBEAT, record_id=record_id) == [(record_id,)]

    after = (await both(db, number))[1]
    assert after.last_seen_at >= before.last_seen_at
    assert (after.lease_expires_at - after.last_seen_at).total_seconds() == 30.0


def test_the_table_of_endings_is_the_one_in_the_code():
    outcomes = {(str(outcome), str(status)) for status, allowed in OUTCOMES.items() for outcome in allowed}

    assert {(outcome, status) for _, outcome, status in table("Finish")} == outcomes


@pytest.mark.parametrize(("outcome", "status"), [(outcome, status) for _, outcome, status in table("Finish")])
async def test_an_action_ends_as_the_table_says(reader, db, outcome, status):
    number, record_id = started(reader)
    if outcome == ActionOutcome.STOPPED:
        stop(reader)

    ending = end(record_id, outcome, status, error="what happened", result='{"moved":212}')
    assert reader.follow("Finish", **ending) == [(number,)]

    proposal, record = await both(db, number)
    assert (proposal.status, proposal.status_by, proposal.status_reason) == (status, "w1", "what happened")
    assert (record.outcome, record.success) == (outcome, outcome == "succeeded")
    assert (record.error_message, record.result_data) == ("what happened", {"moved": 212})
    assert record.completed_at == proposal.status_at


async def test_what_has_ended_returns_no_row(reader, db):
    number, record_id = started(reader)
    reader.follow("Finish", **end(record_id))

    assert reader.follow("Finish", **end(record_id, "failed", "failed")) == []
    assert reader.follow(HEARTBEAT, record_id=record_id) == []
    assert reader.follow(ASKED, record_id=record_id) == []
    assert reader.follow(CANCEL, proposal_id=number, by="ann", reason=None) == []
    assert await status_of(db, number) is ActionStatus.COMPLETED


async def test_a_stop_that_nobody_asked_for_is_not_answered(reader, db):
    number, record_id = started(reader)

    assert reader.refusal("Finish", **end(record_id, "stopped", "cancelled")) == RECORD_DISAGREES
    assert await status_of(db, number) is ActionStatus.EXECUTING


async def test_an_ending_that_its_record_does_not_bear_out_is_refused(reader, db):
    number, record_id = started(reader)

    assert reader.refusal("Finish", **end(record_id, "failed", "completed")) == RECORD_DISAGREES
    assert (await both(db, number))[1].outcome is None


async def test_a_request_to_cancel_is_seen(reader, db):
    number, record_id = started(reader)
    before = reader.follow(ASKED, record_id=record_id)

    await db.request_cancel(number, by="ann", reason="wrong store")

    assert (before, reader.follow(ASKED, record_id=record_id)) == ([(False,)], [(True,)])


# -- cancel ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [proposed, validated])
async def test_a_pending_proposal_is_cancelled(reader, db, make):
    number = make(reader)

    assert reader.follow(CANCEL, proposal_id=number, by="ann", reason="not today") == [(number,)]

    made = await db.get_proposal(number)
    assert (made.status, made.status_by, made.status_reason) == (ActionStatus.CANCELLED, "ann", "not today")


async def test_what_runs_is_not_cancelled(reader, db):
    number, _ = started(reader)

    assert reader.follow(CANCEL, proposal_id=number, by="ann", reason="not today") == []
    assert await status_of(db, number) is ActionStatus.EXECUTING


# -- stop and release --------------------------------------------------------------------------------------------------

SWEEP = "UPDATE action_proposals|operator_core_sweep"


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_stop_refuses_a_start_with_the_documented_code(reader, db, scope):
    number = validated(reader)
    stop(reader, scope, without=SWEEP)

    assert reader.refusal("Start", **start(number)) == STOPPED
    with pytest.raises(KillSwitchEngagedError):
        await db.start_execution(number, by="w2")


@pytest.mark.parametrize("scope", [*SCOPES, "ticket_id=7"])
async def test_a_stop_cancels_what_is_pending_and_covered_and_nothing_else(reader, db, scope):
    numbers = [proposed(reader), validated(reader), (await db.create_proposal(a_tool(ticket_id=7))).id]
    other = validated(reader, action_name="fill", action_type="workflow", by="agent-2")

    stop(reader, scope)

    covered = numbers[-1:] if scope == "ticket_id=7" else numbers
    expected = dict.fromkeys(covered, ActionStatus.CANCELLED)
    assert {number: await status_of(db, number) for number in covered} == expected
    assert (await status_of(db, other) is ActionStatus.CANCELLED) == (scope == "everything")
    made = await db.get_proposal(covered[0])
    assert (made.status_by, made.status_reason) == ("ann", "smoke in hall 3")


@pytest.mark.parametrize("scope", SCOPES)
async def test_what_runs_is_asked_by_a_stop_that_covers_it_and_answers(reader, db, scope):
    number, record_id = started(reader)
    _, other = started(reader, action_name="fill", action_type="workflow", by="agent-2")
    before = reader.follow(ASKED, record_id=record_id)

    generation = stop(reader, scope)
    asked = [reader.follow(ASKED, record_id=each) for each in (record_id, other)]
    reader.follow("Finish", **end(record_id, "stopped", "cancelled"))

    assert (before, asked) == ([(False,)], [[(True,)], [(scope == "everything",)]])
    assert (await both(db, number))[1].stop_generation == generation
    assert (await db.stop_requested(other) is not None) == (scope == "everything")


async def test_a_stop_of_the_page_is_one_of_the_library_and_is_read_by_the_page(reader, db):
    generations = [stop(reader, scope) for scope in ("everything", "ticket_id=7", "ticket_id=7")]

    engaged = (await db.kill_switch_status()).engaged
    read = reader.follow("Read the latch")

    assert generations == [1, 2, 3]
    assert [(str(one.scope), one.generation, one.by, one.reason) for one in engaged] == [row[:4] for row in read]
    assert [row[:2] for row in read] == [("everything", 1), ("ticket_id=7", 3)]


async def test_under_a_stop_a_proposal_is_stored_as_cancelled_or_refused_with_the_documented_code(reader, db):
    stop(reader)
    given = {"action_name": "drain_store", "action_type": "tool", "parameters": "{}", "reason": "it is hot"}

    if reader.engine == "sqlite":
        assert reader.refusal("Propose", **given, by="agent-1", key=None) == STOPPED
        assert await db.list_proposals() == []
    else:
        ((number, status),) = reader.follow("Propose", **given, by="agent-1", key=None)
        assert (status, await status_of(db, number)) == ("cancelled", ActionStatus.CANCELLED)


@on_postgresql
async def test_a_barrier_that_waits_for_a_start_fails_with_the_documented_code_and_the_stop_is_engaged(
    reader, db, deployed
):
    number = validated(reader)
    reader.clients["Stop"].execute("SET lock_timeout = '50ms'")

    with closing(deployed.connect(APP)) as hanging:
        hanging.execute("BEGIN")
        hanging.execute("UPDATE action_proposals SET status = 'executing' WHERE id = %s", [number])
        assert reader.refusal("Stop", scope="everything", by="ann", reason="smoke") == "55P03"
        assert [row[:2] for row in reader.follow("Read the latch")] == [("everything", 1)]
        hanging.execute("ROLLBACK")

    assert stop(reader) == 2
    assert await status_of(db, number) is ActionStatus.CANCELLED


async def test_a_release_lets_a_new_proposal_start_and_revives_nothing(reader, db):
    old = validated(reader)
    generation = stop(reader, without=SWEEP)

    assert release(reader, generation) == [("everything",)]

    assert reader.refusal("Start", **start(old)) == STOPPED
    number, _ = started(reader)
    assert await status_of(db, number) is ActionStatus.EXECUTING


async def test_a_release_ends_only_the_stop_that_it_names(reader, db):
    first, second = stop(reader), stop(reader)

    assert (release(reader, first), release(reader, second), release(reader, second)) == ([], [("everything",)], [])
    assert (await db.kill_switch_status()).engaged == ()


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_the_table_of_codes_is_the_one_in_the_code():
    assert {code: message for code, message, _ in table(REFUSED)} == MESSAGES


def test_each_code_says_what_to_do():
    assert [code for code, _, advice in table(REFUSED) if not advice] == []


async def test_a_scope_that_is_none_is_refused_and_stops_nothing(reader, db):
    assert reader.refusal("Stop", scope="ticket_id=x", by="ann", reason="smoke") == SCOPE_REFUSED
    assert (await db.kill_switch_status()).engaged == ()


async def test_a_step_without_its_time_is_refused_on_sqlite_and_signed_by_the_role_on_postgresql(reader, db):
    number = proposed(reader)
    step = "UPDATE action_proposals SET status = 'validated', status_by = 'ann' WHERE id = :number"

    code = reader.refusal_of(step, number=number)

    made = await db.get_proposal(number)
    if reader.engine == "sqlite":
        assert (code, made.status) == (CHECK_BROKEN, ActionStatus.PROPOSED)
    else:
        assert (code, made.status) == (None, ActionStatus.VALIDATED)
        assert made.status_by.startswith(f"sql:{APP}")


async def test_a_broken_check_has_the_documented_code(reader, db):
    number, record_id = started(reader)

    code = reader.refusal_of("UPDATE action_records SET outcome = 'failed' WHERE id = :record_id", record_id=record_id)

    assert code == (CHECK_BROKEN if reader.engine == "sqlite" else CHECK_VIOLATION)
    assert (await both(db, number))[1].outcome is None


async def test_a_step_that_does_not_exist_and_a_change_of_what_was_proposed_have_the_documented_codes(reader, db):
    number = proposed(reader)
    steps = ("status = 'failed'", "reason = 'none'")

    codes = [
        reader.refusal_of(f"UPDATE action_proposals SET {change} WHERE id = :number", number=number) for change in steps
    ]

    assert codes == [STEP_REFUSED, CHANGE_REFUSED]
