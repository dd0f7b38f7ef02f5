"""Attacks leases, findings, notes, validity, retries and idempotency keys in plain SQL."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from operator_core.actions import ActionOutcome, ActionStatus, EventKind, LeaseLostError, Resolution
from operator_core.actions.lifecycle import OUTCOMES, TERMINAL
from operator_core.actions.types import utc_now
from operator_core.db.guards.codes import (
    CHANGE_REFUSED,
    CHECK_BROKEN,
    EXPIRED,
    NOT_RETRYABLE,
    RECORD_DISAGREES,
    UNREADABLE,
)
from operator_core.db.guards.conditions import FINDING_COLUMNS
from operator_core.db.schema import NOTES
from tests.support.claims import claimed, recovered, unknown
from tests.support.factories import running, stored
from tests.support.history import check_history
from tests.support.ledger import Ledger
from tests.support.plain_sql import (
    CONFLICT_CLAUSES,
    LATER,
    ask_to_stop,
    attack,
    attempt,
    insert,
    new,
    on_sqlite,
    prune,
    rows,
    step,
    step_alone,
)
from tests.support.stop_steps import stop

PAST = utc_now() - timedelta(hours=1)
KNOWN = [outcome for outcomes in OUTCOMES.values() for outcome in outcomes if outcome is not ActionOutcome.UNKNOWN]


@pytest.fixture(autouse=True)
def _history(ledger: Ledger) -> Iterator[None]:
    yield
    assert check_history(ledger) == []


def settle(record_id: int | None, verb: str = "UPDATE", **others: str) -> str:
    """Return the update that writes a finding, with `others` set besides."""
    values = {"finding": f"'{Resolution.HAPPENED}'", "finding_at": f"'{LATER}'", "finding_by": "'mallory'"}
    changes = {**values, "finding_reason": "'none'", **others}
    return f"{verb} action_records SET {', '.join(f'{k} = {v}' for k, v in changes.items())} WHERE id = {record_id}"


def note(record, kind: EventKind, status: ActionStatus, **others: object) -> str:
    values = {"proposal_id": record.proposal_id, "record_id": record.id, "kind": kind, "status": status, "at": LATER}
    return insert("action_notes", **{**values, "by": "mallory", "generation": 0, **others})


def verbs(ledger: Ledger) -> list[str]:
    return ["UPDATE", *(f"UPDATE OR {clause}" for clause in CONFLICT_CLAUSES if ledger.is_sqlite)]


# -- findings ----------------------------------------------------------------------------------------------------------


async def test_a_finding_in_plain_sql_is_written_and_recorded(db, plain):
    record = await unknown(db)

    plain.execute(settle(record.id))

    last = (await db.get_events(record.proposal_id))[-1]
    assert (last.kind, last.by, last.data) == (EventKind.RESOLVED, "mallory", {"finding": Resolution.HAPPENED})


@pytest.mark.parametrize("outcome", KNOWN)
async def test_no_finding_about_a_known_outcome_is_written(db, plain, ledger, outcome):
    execution = await claimed(db)
    await stop(db)
    record = await execution.acknowledge_stop(outcome=outcome)

    codes = {attack(plain, settle(record.id, verb)) for verb in verbs(ledger)}

    assert codes == {CHANGE_REFUSED}


async def test_no_finding_about_what_runs_is_written(db, plain, ledger):
    record = await running(db)

    codes = {attack(plain, settle(record.id, verb)) for verb in verbs(ledger)}

    assert codes == {CHANGE_REFUSED}


async def test_no_finding_is_written_while_a_record_is_closed(db, plain):
    record = await running(db)
    closing = {"completed_at": f"'{LATER}'", "outcome": "'unknown'", "success": "false"}

    assert attack(plain, settle(record.id, **closing)) == CHANGE_REFUSED


@pytest.mark.parametrize("column", FINDING_COLUMNS)
async def test_no_part_of_a_finding_is_rewritten(db, plain, ledger, column):
    record = await unknown(db)
    plain.execute(settle(record.id))
    values = {"finding": "'partly'", "finding_at": "'2031-01-01 00:00:00.000000'"}

    for verb, value in ((verb, value) for verb in verbs(ledger) for value in (values.get(column, "'bob'"), "NULL")):
        attack(plain, f"{verb} action_records SET {column} = {value} WHERE id = {record.id}")


async def test_a_finding_is_not_taken_back(db, plain):
    record = await unknown(db)
    plain.execute(settle(record.id))
    nothing = ", ".join(f"{column} = NULL" for column in FINDING_COLUMNS)

    assert attack(plain, f"UPDATE action_records SET {nothing} WHERE id = {record.id}") == CHANGE_REFUSED


@pytest.mark.parametrize("column", FINDING_COLUMNS)
async def test_half_a_finding_is_refused(db, plain, column):
    record = await unknown(db)

    attack(plain, settle(record.id, **{column: "NULL"}))


async def test_what_is_no_finding_is_refused(db, plain):
    record = await unknown(db)

    attack(plain, settle(record.id, finding="'perhaps'"))


@pytest.mark.parametrize("change", ["outcome = 'succeeded', success = true", "error_message = 'none'", "worker = 'w2'"])
async def test_a_finding_changes_nothing_else(db, plain, change):
    record = await unknown(db)
    column, _, value = change.partition(" = ")

    assert attack(plain, settle(record.id, **{column: value})) == CHANGE_REFUSED


# -- leases ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["worker = 'w2'", "lease_seconds = 1", "claim_key = 'l'", "claim_key = NULL"])
async def test_what_a_claim_has_fixed_never_changes(db, plain, ledger, change):
    await stored(db, ActionStatus.VALIDATED)
    execution = await db.claim_next(worker="w1", idempotency_key="k")

    codes = {
        attack(plain, f"{verb} action_records SET {change} WHERE id = {execution.record.id}") for verb in verbs(ledger)
    }

    assert codes == {CHANGE_REFUSED}


async def test_half_a_lease_is_refused(db, plain):
    record = await running(db)

    attack(plain, f"UPDATE action_records SET last_seen_at = '{LATER}' WHERE id = {record.id}")


@pytest.mark.parametrize("column", ["last_seen_at", "lease_expires_at"])
async def test_the_lease_of_a_closed_record_never_changes(db, plain, column):
    record = await recovered(db, plain, await claimed(db))

    code = attack(plain, f"UPDATE action_records SET {column} = '{LATER}' WHERE id = {record.id}")

    assert code == CHANGE_REFUSED


async def test_what_nobody_has_settled_is_not_deleted(db, plain):
    record = await unknown(db)
    plain.execute(prune())

    attack(plain, f"DELETE FROM action_records WHERE id = {record.id}")
    attack(plain, f"DELETE FROM action_proposals WHERE id = {record.proposal_id}")


async def test_what_is_settled_can_be_pruned(db, plain):
    record = await unknown(db)
    await db.resolve_unknown(record.id, resolution=Resolution.PARTLY, by="ann", reason="half full")
    plain.execute(prune())

    plain.execute(f"DELETE FROM action_records WHERE id = {record.id}")
    plain.execute(f"DELETE FROM action_proposals WHERE id = {record.proposal_id}")

    assert await db.get_record(record.id) is None


# -- notes and events --------------------------------------------------------------------------------------------------


async def with_notes(db, plain):
    """Return a record about which a request, a finding and a late report were told."""
    execution = await claimed(db)
    await db.request_cancel(execution.proposal.id, by="ann", reason="wrong store")
    record = await recovered(db, plain, execution)
    with pytest.raises(LeaseLostError):
        await execution.complete()
    return await db.resolve_unknown(record.id, resolution=Resolution.PARTLY, by="ann", reason="half full")


@pytest.mark.parametrize("table", ["action_notes", "action_events"])
async def test_what_was_told_is_neither_changed_nor_deleted(db, plain, ledger, table):
    record = await with_notes(db, plain)
    changes = ["\"by\" = 'bob'", "reason = 'none'", "data = NULL", f"at = '{LATER}'", "proposal_id = 4711"]

    attack(plain, f"DELETE FROM {table} WHERE proposal_id = {record.proposal_id}")
    for verb, change in ((verb, change) for verb in verbs(ledger) for change in changes):
        attack(plain, f"{verb} {table} SET {change} WHERE proposal_id = {record.proposal_id}")


@pytest.mark.parametrize("table", ["action_notes", "action_events"])
async def test_what_was_told_outlives_a_prune_that_keeps_the_history(db, plain, table):
    record = await with_notes(db, plain)
    plain.execute(prune())
    plain.execute(f"DELETE FROM action_records WHERE id = {record.id}")
    plain.execute(f"DELETE FROM action_proposals WHERE id = {record.proposal_id}")

    attack(plain, f"DELETE FROM {table} WHERE proposal_id = {record.proposal_id}")


@pytest.mark.parametrize("status", ActionStatus)
@pytest.mark.parametrize("kind", NOTES)
async def test_no_note_about_what_runs_is_forged(db, plain, kind, status):
    record = (await claimed(db)).record

    assert attack(plain, note(record, kind, status)) == CHANGE_REFUSED


@pytest.mark.parametrize("kind", [kind for kind in NOTES if kind is not EventKind.REPORTED_LATE])
async def test_no_second_request_or_finding_is_forged(db, plain, kind):
    record = await with_notes(db, plain)
    times = {EventKind.CANCEL_REQUESTED: "cancel_requested_at", EventKind.RESOLVED: "finding_at"}
    (at,) = rows(plain, f"SELECT {times[kind]} FROM action_records WHERE id = {record.id}")[0]

    assert attack(plain, note(record, kind, ActionStatus.FAILED, at=at)) == CHANGE_REFUSED


@pytest.mark.parametrize("kind", NOTES)
async def test_no_note_about_nothing_is_forged(db, plain, kind):
    record = await with_notes(db, plain)

    for wrong in ({"record_id": 4711}, {"proposal_id": 4711}):
        assert attack(plain, note(record, kind, ActionStatus.FAILED, **wrong)) == CHANGE_REFUSED


async def test_a_step_is_no_note(db, plain):
    record = await with_notes(db, plain)

    attack(plain, note(record, EventKind.STEP, ActionStatus.FAILED))


@on_sqlite
async def test_no_note_is_replaced(db, plain):
    await with_notes(db, plain)

    for clause in CONFLICT_CLAUSES:
        attack(plain, f"INSERT OR {clause} INTO action_notes SELECT * FROM action_notes")
        attack(plain, f"UPDATE OR {clause} action_notes SET id = id + 1")


@on_sqlite
async def test_a_trigger_of_a_client_forges_no_request(db, plain):
    record = await running(db)
    forged = note(record, EventKind.CANCEL_REQUESTED, ActionStatus.EXECUTING)
    plain.execute(f"CREATE TEMP TRIGGER forge AFTER UPDATE ON main.action_records BEGIN {forged}; END")

    attempt(plain, ask_to_stop(record.proposal_id))


# -- validity ----------------------------------------------------------------------------------------------------------


async def test_what_has_expired_does_not_start_in_plain_sql(db, plain, ledger):
    number = (await stored(db, ActionStatus.VALIDATED, valid_until=PAST)).id

    codes = {attack(plain, step(number, ActionStatus.EXECUTING, verb)) for verb in verbs(ledger)}

    assert codes == {EXPIRED}


async def test_what_has_expired_does_not_start_by_its_status_alone(db, plain, ledger):
    number = (await stored(db, ActionStatus.VALIDATED, valid_until=PAST)).id

    code = CHECK_BROKEN if ledger.is_sqlite else EXPIRED  # on SQLite no guard writes the time of the step

    assert attack(plain, step_alone(number, ActionStatus.EXECUTING)) == code


@pytest.mark.parametrize("value", [f"'{LATER}'", "NULL"])
async def test_nobody_prolongs_what_is_valid(db, plain, ledger, value):
    number = (await stored(db, ActionStatus.VALIDATED, valid_until=PAST)).id

    for verb in verbs(ledger):
        attack(plain, f"{verb} action_proposals SET valid_until = {value} WHERE id = {number}")
        attack(plain, step(number, ActionStatus.EXECUTING, verb, valid_until=value))


@on_sqlite
@pytest.mark.parametrize(
    "value",
    [
        "teatime",
        "2026-01-02",
        "2026-02-30 00:00:00.000000",
        "2026-04-31 00:00:00.000000",
        "9999-12-31 23:59:59.999999",
        7,
    ],
)
async def test_a_time_that_nobody_could_read_is_refused(plain, value):
    assert attack(plain, new(valid_until=value)) == UNREADABLE


# -- retries -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [status for status in ActionStatus if status not in TERMINAL])
async def test_no_retry_of_what_is_not_finished_is_made(db, plain, status):
    number = (await stored(db, status)).id

    assert attack(plain, new(retry_of=number)) == NOT_RETRYABLE


@pytest.mark.parametrize("number", [4711, 0, -1])
async def test_no_retry_of_nothing_is_made(plain, number):
    assert attack(plain, new(retry_of=number)) == NOT_RETRYABLE


@pytest.mark.parametrize("clause", CONFLICT_CLAUSES)
@on_sqlite
async def test_no_conflict_clause_makes_a_retry_of_what_is_not_finished(db, plain, clause):
    number = (await stored(db)).id

    assert attack(plain, new(retry_of=number).replace("INSERT", f"INSERT OR {clause}", 1)) == NOT_RETRYABLE


# -- idempotency keys --------------------------------------------------------------------------------------------------


async def test_no_second_proposal_of_a_key_is_made(db, plain):
    await stored(db, idempotency_key="k")

    attack(plain, new(idempotency_key="k"))


@on_sqlite
@pytest.mark.parametrize("clause", CONFLICT_CLAUSES)
async def test_no_conflict_clause_removes_the_first_proposal_of_a_key(db, plain, clause):
    await stored(db, idempotency_key="k")
    other = await stored(db)

    attack(plain, new(idempotency_key="k").replace("INSERT", f"INSERT OR {clause}", 1))
    attack(plain, f"UPDATE OR {clause} action_proposals SET idempotency_key = 'k' WHERE id = {other.id}")
    attack(plain, step(other.id, ActionStatus.VALIDATED, f"UPDATE OR {clause}", idempotency_key="'k'"))


async def test_nobody_answers_a_stop_for_a_worker_that_nobody_asked(db, plain):
    record = (await claimed(db)).record
    closing = f"completed_at = '{LATER}', outcome = 'stopped', success = false"

    assert attack(plain, f"UPDATE action_records SET {closing} WHERE id = {record.id}") == RECORD_DISAGREES
