"""Attacks steps and records in plain SQL, as an adversary who owns the tables but leaves the guards in place."""

from itertools import product

import pytest

from operator_core.actions import TRANSITIONS, ActionOutcome, ActionStatus
from operator_core.actions.lifecycle import INITIAL, OUTCOMES, STEP_PAIRS, states_always_visited
from operator_core.db.guards.codes import CHANGE_REFUSED, CHECK_BROKEN, RECORD_DISAGREES, STEP_REFUSED
from operator_core.db.guards.conditions import GUARDED_TABLES
from operator_core.db.schema import proposals, records
from tests.support.factories import running, stored
from tests.support.history import check_history
from tests.support.plain_sql import (
    CONFLICT_CLAUSES,
    LATER,
    NEVER_CHANGES,
    TIMED,
    another_value,
    ask_to_stop,
    attack,
    attempt,
    close,
    filled,
    forbidden,
    insert,
    on_postgresql,
    on_sqlite,
    ready,
    rows,
    step,
    step_alone,
)

ILLEGAL = tuple(pair for pair in product(TRANSITIONS, repeat=2) if pair not in STEP_PAIRS)

# -- steps -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", TRANSITIONS)
async def test_no_illegal_step_is_taken(db, plain, ledger, source):
    number = (await stored(db, source)).id
    targets = [target for left, target in ILLEGAL if left is source]
    verbs = ["UPDATE", *(f"UPDATE OR {clause}" for clause in CONFLICT_CLAUSES if ledger.is_sqlite)]

    codes = {attack(plain, step_alone(number, target)) for target in targets}
    for target, verb in product(targets, verbs):
        fitting = {f"{s}_at": f"'{LATER}'" if s in states_always_visited(target) else "NULL" for s in TIMED}
        codes |= {attack(plain, step(number, target, verb, **fitting)), attack(plain, step(number, target, verb))}

    assert codes == {STEP_REFUSED}


@pytest.mark.parametrize("status", TRANSITIONS)
async def test_a_status_of_null_is_refused_also_where_null_means_the_default(db, plain, ledger, status):
    number = (await stored(db, status)).id
    nothing = {f"{s}_at": "NULL" for s in TIMED} | {"status": "NULL"}
    verbs = ["UPDATE", *(["UPDATE OR REPLACE"] if ledger.is_sqlite else [])]

    codes = [attack(plain, step(number, INITIAL, verb, **nothing)) for verb in verbs]

    assert len(codes) == len(verbs)


@pytest.mark.parametrize(("source", "target"), STEP_PAIRS)
async def test_a_legal_step_in_full_is_taken_and_recorded(db, plain, ledger, source, target):
    number = await ready(db, plain, source, target)

    plain.execute(step(number, target))

    last = (await db.get_events(number))[-1]
    assert (last.from_status, last.to_status, last.by) == (source, target, "mallory")
    assert check_history(ledger) == []


@on_postgresql
@pytest.mark.parametrize(("source", "target"), STEP_PAIRS)
async def test_a_legal_step_of_the_status_alone_is_recorded_with_the_session_and_a_time(db, plain, source, target):
    number = await ready(db, plain, source, target)
    clock = rows(plain, "SELECT clock_timestamp()")[0][0]

    plain.execute(step_alone(number, target))

    last, found = (await db.get_events(number))[-1], await db.get_proposal(number)
    assert (last.from_status, last.to_status, last.by) == (source, target, f"sql:{plain.info.user}")
    assert clock <= last.at == found.status_at == getattr(found, f"{target}_at")


@on_sqlite
@pytest.mark.parametrize(("source", "target"), STEP_PAIRS)
async def test_a_legal_step_of_the_status_alone_fails_a_check(db, plain, source, target):
    number = await ready(db, plain, source, target)

    assert attack(plain, step_alone(number, target)) == CHECK_BROKEN


@pytest.mark.parametrize("target", TRANSITIONS[ActionStatus.EXECUTING])
async def test_executing_is_not_left_against_the_record(db, plain, target):
    codes = [attack(plain, step((await running(db)).proposal_id, target))]
    for outcome in set(ActionOutcome) - set(OUTCOMES[target]):
        number = (await running(db)).proposal_id
        plain.execute(ask_to_stop(number))
        plain.execute(close(number, outcome))
        codes.append(attack(plain, step(number, target)))

    assert set(codes) == {RECORD_DISAGREES}


@on_sqlite
async def test_a_step_within_a_step_leaves_a_legal_path(db, plain, ledger):
    number = (await stored(db)).id
    inner = step(number, ActionStatus.CANCELLED)
    plain.execute(f"CREATE TEMP TRIGGER meddle BEFORE UPDATE ON main.action_proposals BEGIN {inner}; END")

    attempt(plain, step(number, ActionStatus.VALIDATED, cancelled_at="NULL"))

    assert check_history(ledger) == []


# -- what was recorded -------------------------------------------------------------------------------------------------


async def test_no_column_of_a_proposal_changes_without_a_step(db, plain):
    made = await filled(db, plain)

    for column, number in product(proposals.columns, made.values()):
        if column.name != "status":
            attack(plain, f"UPDATE action_proposals SET {column.name} = {another_value(column)} WHERE id = {number}")


@pytest.mark.parametrize(("source", "target"), STEP_PAIRS)
async def test_a_legal_step_changes_no_other_column(db, plain, source, target):
    number = await ready(db, plain, source, target)
    own = {"status", "status_at", "status_by", "status_reason", f"{target}_at"}
    others = [column for column in proposals.columns if column.name not in own]

    codes = {attack(plain, step(number, target, **{column.name: another_value(column)})) for column in others}

    assert CHANGE_REFUSED in codes <= NEVER_CHANGES


async def test_a_finished_record_never_changes(db, plain):
    made = await filled(db, plain)
    finished = f"proposal_id IN ({made[ActionStatus.COMPLETED]}, {made[ActionStatus.FAILED]})"
    reopened = "completed_at = NULL, outcome = NULL, success = NULL"
    changes = [reopened, *(f"{column.name} = {another_value(column)}" for column in records.columns)]

    codes = {attack(plain, f"UPDATE action_records SET {change} WHERE {finished}") for change in changes}

    assert CHANGE_REFUSED in codes <= NEVER_CHANGES


async def test_an_open_record_keeps_its_proposal_its_start_and_the_request_to_stop(db, plain):
    record, other = await running(db), await stored(db, ActionStatus.VALIDATED)
    await db.update_proposal_status(other.id, ActionStatus.EXECUTING)
    plain.execute(ask_to_stop(record.proposal_id))
    erased = "cancel_requested_at = NULL, cancel_requested_by = NULL"
    changes = [erased, "cancel_requested_by = 'bob'", "cancel_reason = 'late'", f"started_at = '{LATER}'", "id = 99"]

    codes = {
        attack(plain, f"UPDATE action_records SET {change} WHERE id = {record.id}")
        for change in [*changes, f"proposal_id = {other.id}"]
    }

    assert CHANGE_REFUSED in codes <= NEVER_CHANGES


@on_sqlite
async def test_a_record_that_is_closed_within_an_update_is_not_rewritten_by_it(db, plain, ledger):
    number = (await running(db)).proposal_id
    inner = f"{close(number, ActionOutcome.FAILED)}; {step(number, ActionStatus.FAILED)}"
    plain.execute(f"CREATE TEMP TRIGGER meddle BEFORE UPDATE ON main.action_records BEGIN {inner}; END")

    attempt(plain, f"UPDATE action_records SET error_message = 'forged' WHERE proposal_id = {number}")

    assert check_history(ledger) == []


async def test_nobody_answers_a_stop_that_nobody_asked_for(db, plain):
    record = await running(db)

    assert attack(plain, close(record.proposal_id, ActionOutcome.STOPPED)) == RECORD_DISAGREES


@pytest.mark.parametrize("status", [status for status in TRANSITIONS if status is not ActionStatus.EXECUTING])
async def test_no_record_is_made_for_a_proposal_that_is_not_executing(db, plain, status):
    made = await stored(db, status)

    code = attack(plain, insert("action_records", proposal_id=made.id, started_at=LATER))

    assert code in (RECORD_DISAGREES, CHANGE_REFUSED)


@pytest.mark.parametrize("table", GUARDED_TABLES)
async def test_no_statement_rewrites_or_removes_rows(db, plain, ledger, table):
    await filled(db, plain)

    for statement in forbidden(table, ledger):
        attack(plain, statement)
