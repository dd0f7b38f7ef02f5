"""Attacks approvals in plain SQL, as an adversary who owns the tables but leaves the guards in place."""

import sqlite3
from itertools import product

import psycopg
import pytest

from operator_core.actions import PENDING, TRANSITIONS, ActionStatus, ApprovalRule, FourEyes
from operator_core.db.guards.codes import (
    APPROVAL_REFUSED,
    CHANGE_REFUSED,
    CHECK_BROKEN,
    EXPIRED,
    NOT_APPROVED,
    OWN_APPROVAL,
    STOPPED,
    UNREADABLE,
)
from operator_core.db.schema import approvals
from tests.contract.test_scope_grammar import SPACES
from tests.support.approvals import approved, policy
from tests.support.factories import stored
from tests.support.history import check_history
from tests.support.plain_sql import (
    CONFLICT_CLAUSES,
    LATER,
    NOW_ON_SQLITE,
    another_value,
    attack,
    contents,
    decide,
    engage,
    filled,
    insert,
    on_postgresql,
    on_sqlite,
    prune,
    release,
    rows,
    step,
    step_alone,
)

NOT_PENDING = [status for status in TRANSITIONS if status not in PENDING]
IN_THE_PAST = "'2001-01-01 00:00:00.000000'"
UNIQUE_OR_NEVER = {CHANGE_REFUSED, APPROVAL_REFUSED, "23505"}


@pytest.fixture(autouse=True)
def _history(ledger):
    yield
    assert check_history(ledger) == []


# -- steps -------------------------------------------------------------------------------------------------------------


async def test_no_step_of_plain_sql_is_taken_without_the_approvals(db, plain, ledger):
    validated = (await stored(db, ActionStatus.VALIDATED)).id
    await policy(db, ApprovalRule(approvals=2), ApprovalRule(role="security"))
    made = await stored(db)
    await approved(db, made, "anna", role="security")
    steps = [(made.id, ActionStatus.VALIDATED), (validated, ActionStatus.EXECUTING)]
    verbs = ["UPDATE", *(f"UPDATE OR {clause}" for clause in CONFLICT_CLAUSES if ledger.is_sqlite)]

    codes = {attack(plain, step(number, target, verb)) for (number, target), verb in product(steps, verbs)}
    if not ledger.is_sqlite:
        codes |= {attack(plain, step_alone(number, target)) for number, target in steps}

    assert codes == {NOT_APPROVED}


@pytest.mark.parametrize("status", [ActionStatus.VALIDATED, ActionStatus.EXECUTING])
async def test_no_proposal_is_born_beyond_its_approvals(db, plain, status):
    await policy(db, ApprovalRule(), scope="everything")

    attack(
        plain,
        insert(
            "action_proposals",
            **dict.fromkeys(("action_name", "proposed_by", "status_by", "reason"), "x"),
            **dict.fromkeys(("proposed_at", "status_at", f"{status}_at"), LATER),
            action_type="tool",
            parameters="{}",
            generation=0,
            status=status,
        ),
    )


async def test_a_step_in_plain_sql_with_its_approvals_is_taken_and_names_them(db, plain):
    stated = await policy(db, ApprovalRule(approvals=2))
    made = await stored(db)
    for by in ("'anna'", "'bob'"):
        plain.execute(decide(plain, made.id, by=by))

    plain.execute(step(made.id, ActionStatus.VALIDATED))
    plain.execute(step(made.id, ActionStatus.EXECUTING))

    told = (await db.get_events(made.id))[-1].data
    assert told == {"policy": stated.scope, "version": stated.version, "approvals": [1, 2]}


async def test_nobody_changes_for_whom_something_was_proposed(db, plain):
    await stored(db, on_behalf_of="carl")

    for value in ("'dora'", "NULL"):
        assert attack(plain, f"UPDATE action_proposals SET on_behalf_of = {value}") == CHANGE_REFUSED


async def test_a_rejection_in_plain_sql_bars_every_step_to_the_start_for_ever(db, plain):
    made = (await stored(db)).id, (await stored(db, ActionStatus.VALIDATED)).id
    for number in made:
        plain.execute(decide(plain, number, "rejected"))
        plain.execute(decide(plain, number))

    for number, target in zip(made, (ActionStatus.VALIDATED, ActionStatus.EXECUTING), strict=True):
        assert attack(plain, step(number, target)) == NOT_APPROVED
        plain.execute(step(number, ActionStatus.CANCELLED))


# -- which decisions are recorded --------------------------------------------------------------------------------------

DECISIONS = ("approved", "rejected")


@pytest.mark.parametrize(("status", "decision"), [*product(NOT_PENDING, DECISIONS)])
async def test_nobody_decides_about_what_is_not_pending(db, plain, status, decision):
    made = await stored(db, status)

    for claimed in (f"'{status}'", "'proposed'", "'validated'"):
        assert attack(plain, decide(plain, made.id, decision, status=claimed)) == APPROVAL_REFUSED


@pytest.mark.parametrize("decision", DECISIONS)
@pytest.mark.parametrize("number", [4711, -1, 0, 2**63 - 1])
async def test_nobody_decides_about_what_is_not_there(db, plain, number, decision):
    await stored(db)

    assert attack(plain, decide(plain, number, decision)) == APPROVAL_REFUSED


async def test_nobody_decides_about_nothing(plain):
    attack(plain, decide(plain, 4711, proposal_id="NULL"))


@pytest.mark.parametrize("decision", ["", "Approved", "maybe", "approved "])
async def test_a_decision_is_one_of_three(db, plain, decision):
    made = await stored(db)

    attack(plain, decide(plain, made.id, decision))


@pytest.mark.parametrize("kind", ["''", "'Human'", "'person'", "x'68756d616e'"])
async def test_an_approver_is_of_one_of_three_kinds(db, plain, ledger, kind):
    made = await stored(db)
    if not ledger.is_sqlite:
        kind = kind.replace("x'68756d616e'", "'hu man'")

    attack(plain, decide(plain, made.id, kind=kind))


@pytest.mark.parametrize("reason", ["NULL", "''", "' '", f"'{SPACES}'"])
@pytest.mark.parametrize("decision", ["rejected", "revoked"])
async def test_a_rejection_and_a_revocation_have_a_reason(db, plain, decision, reason):
    made = await stored(db)
    plain.execute(decide(plain, made.id))
    others = {"revokes": "1"} if decision == "revoked" else {}

    attack(plain, decide(plain, made.id, decision, reason=reason, **others))


@pytest.mark.parametrize("by", ["''", "' '", f"'{SPACES}'"])
@pytest.mark.parametrize("decision", ["approved", "rejected", "revoked"])
async def test_a_decision_is_somebodys(db, plain, decision, by):
    made = await stored(db)
    plain.execute(decide(plain, made.id))
    others = {"revokes": "1"} if decision == "revoked" else {}

    assert attack(plain, decide(plain, made.id, decision, by=by, **others)) == APPROVAL_REFUSED


async def test_nobody_approves_under_a_stop_or_after_it(db, plain):
    made = await stored(db)

    for statement in (engage("action_name=drain_store"), release("action_name=drain_store")):
        plain.execute(statement)
        assert attack(plain, decide(plain, made.id)) == STOPPED


async def test_nobody_approves_what_has_expired(db, plain):
    made = await stored(db)
    late = f"INSERT INTO action_proposals ({{0}}, valid_until) SELECT {{0}}, {IN_THE_PAST} FROM action_proposals"
    names = "action_name, action_type, parameters, reason, proposed_at, proposed_by, status_at, status_by, generation"
    plain.execute(late.format(names))

    assert attack(plain, decide(plain, made.id + 1)) == EXPIRED
    plain.execute(decide(plain, made.id + 1, "rejected"))
    plain.execute(step(made.id + 1, ActionStatus.CANCELLED))


@pytest.mark.parametrize("four_eyes", FourEyes)
@pytest.mark.parametrize("by", ["agent-7", "carl", "anna"])
async def test_nobody_approves_alone_where_four_eyes_are_asked_for(db, plain, four_eyes, by):
    await policy(db, ApprovalRule(four_eyes=four_eyes))
    made = await stored(db, proposed_by="agent-7", on_behalf_of="carl")
    excluded = {
        FourEyes.NO: (),
        FourEyes.PROPOSER: ("agent-7",),
        FourEyes.PRINCIPAL: ("agent-7", "carl"),
    }[four_eyes]

    if by in excluded:
        assert attack(plain, decide(plain, made.id, by=f"'{by}'")) == OWN_APPROVAL
        assert attack(plain, step(made.id, ActionStatus.VALIDATED)) == NOT_APPROVED
    else:
        plain.execute(decide(plain, made.id, by=f"'{by}'"))
        plain.execute(step(made.id, ActionStatus.VALIDATED))


# -- what a decision says ----------------------------------------------------------------------------------------------


@on_postgresql
async def test_the_server_writes_when_by_which_login_and_in_which_state(db, plain):
    made = await stored(db, ActionStatus.VALIDATED)
    plain.execute(engage("ticket_id=7"))
    ((before,),) = rows(plain, "SELECT clock_timestamp()")
    forged = {"at": IN_THE_PAST, "login": "'mallory'", "status": "'proposed'", "generation": "99"}

    plain.execute(decide(plain, made.id, **forged))

    ((at, login, status, generation),) = rows(plain, "SELECT at, login, status, generation FROM action_approvals")
    assert (login, status, generation) == (plain.info.user, "validated", 1)
    assert at >= before


@on_postgresql
async def test_who_names_nobody_is_the_login_and_human(db, plain):
    made = await stored(db)

    plain.execute(f"INSERT INTO action_approvals (proposal_id, decision) VALUES ({made.id}, 'approved')")

    found = rows(plain, 'SELECT "by", kind, login FROM action_approvals')
    assert found == [(f"sql:{plain.info.user}", "human", plain.info.user)]


@on_sqlite
@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("at", value) for value in (IN_THE_PAST, f"'{LATER}'", "strftime('%Y-%m-%d %H:%M:%f000', 'now', '{}')")),
        ("login", "'mallory'"),
        *(("status", f"'{status}'") for status in TRANSITIONS if status is not ActionStatus.PROPOSED),
        *(("generation", value) for value in ("-1", "1", "NULL", "'0'||'x'")),
    ],
)
async def test_no_client_invents_when_by_which_login_and_in_which_state(db, plain, column, value):
    made = await stored(db)

    for moved in ("-61 seconds", "+61 seconds") if "{}" in value else ("",):
        attack(plain, decide(plain, made.id, **{column: value.format(moved)}))


@pytest.mark.parametrize("longest", [60, 3600])
async def test_no_approval_outlasts_its_rule(db, plain, ledger, longest):
    await policy(db, ApprovalRule(expires_in=longest), ApprovalRule(role="sre", expires_in=longest / 2))
    made = await stored(db)
    ends = ["NULL", f"'{LATER}'", "'9999-12-30 00:00:00.000000'"]

    for end in ends:
        if ledger.is_sqlite:
            assert attack(plain, decide(plain, made.id, expires_at=end)) == APPROVAL_REFUSED
        else:
            plain.execute(decide(plain, made.id, expires_at=end))

    if not ledger.is_sqlite:
        seconds = rows(plain, "SELECT extract(epoch FROM expires_at - at)::float FROM action_approvals")
        assert seconds == [(float(longest),)] * len(ends)


async def test_an_end_may_be_sooner_than_that_of_the_rule(db, plain, ledger):
    await policy(db, ApprovalRule(expires_in=3600))
    made = await stored(db)
    soon = "strftime('%Y-%m-%d %H:%M:%f000', 'now', '+60 seconds')" if ledger.is_sqlite else "now() + interval '60 s'"

    plain.execute(decide(plain, made.id, expires_at=soon))

    ((kept,),) = rows(plain, f"SELECT expires_at <= {soon} FROM action_approvals")
    assert kept


@pytest.mark.parametrize("decision", ["rejected", "revoked"])
async def test_only_an_approval_has_an_end(db, plain, decision):
    made = await stored(db)
    plain.execute(decide(plain, made.id))
    others = {"revokes": "1"} if decision == "revoked" else {}

    attack(plain, decide(plain, made.id, decision, expires_at=f"'{LATER}'", **others))


@pytest.mark.parametrize("decision", ["approved", "revoked"])
async def test_only_a_rejection_names_what_takes_its_place(db, plain, decision):
    made = await stored(db)
    plain.execute(decide(plain, made.id))
    others = {"revokes": "1"} if decision == "revoked" else {}

    attack(plain, decide(plain, made.id, decision, replaced_by=str(made.id), **others))


async def test_no_rejection_names_something_else_that_takes_its_place(db, plain):
    pending, gone, other = await stored(db), await stored(db), await stored(db)
    await db.update_proposal_status(gone.id, ActionStatus.CANCELLED, by="mallory", reason="because")

    for number, replacement in product((pending.id, gone.id), (other.id, gone.id, 4711, 0, -1)):
        assert attack(plain, decide(plain, number, "rejected", replaced_by=str(replacement))) == APPROVAL_REFUSED


@pytest.mark.parametrize("limit", [255, 256])
@pytest.mark.parametrize("column", ["by", "role", "digest"])
async def test_no_name_is_longer_than_the_library_writes(db, plain, column, limit):
    made = await stored(db)
    statement = decide(plain, made.id, **{column: f"'{'ä' * limit}'"})

    if limit > 255:
        assert attack(plain, statement) == UNREADABLE
    else:
        plain.execute(statement)
        assert len(getattr((await db.approval_status(made.id)).decisions[0], column)) == limit


# -- revocations -------------------------------------------------------------------------------------------------------


async def test_a_revocation_revokes_one_standing_approval_of_its_proposal(db, plain):
    made, other = await stored(db), await stored(db)
    for number in (made.id, other.id):
        plain.execute(decide(plain, number))
    plain.execute(decide(plain, made.id, "rejected"))

    for revoked in ("2", "3", "4", "4711", "0", "-1", "NULL"):
        attack(plain, decide(plain, made.id, "revoked", revokes=revoked))
    plain.execute(decide(plain, made.id, "revoked", revokes="1"))
    for revoked in ("1", "4"):
        attack(plain, decide(plain, made.id, "revoked", revokes=revoked))
    plain.execute(step(made.id, ActionStatus.CANCELLED))

    assert rows(plain, "SELECT revokes FROM action_approvals WHERE decision = 'revoked'") == [(1,)]


@pytest.mark.parametrize("decision", DECISIONS)
async def test_what_revokes_nothing_names_nothing_that_it_revokes(db, plain, decision):
    made = await stored(db)
    plain.execute(decide(plain, made.id))

    attack(plain, decide(plain, made.id, decision, revokes="1"))


@pytest.mark.parametrize("status", NOT_PENDING)
async def test_nothing_is_revoked_once_it_has_started_or_ended(db, plain, status):
    made = await stored(db)
    await approved(db, made, "anna")
    if status is ActionStatus.CANCELLED:
        plain.execute(step(made.id, status))
    else:
        record = await db.start_execution(made.id)
        if status is not ActionStatus.EXECUTING:
            await db.finish_execution(record.id, success=status is ActionStatus.COMPLETED)

    assert attack(plain, decide(plain, made.id, "revoked", revokes="1")) == APPROVAL_REFUSED


# -- append-only -------------------------------------------------------------------------------------------------------


async def test_no_column_of_a_decision_changes(db, plain):
    made = await filled(db, plain)

    codes = {attack(plain, f'UPDATE action_approvals SET "{c.name}" = {another_value(c)}') for c in approvals.columns}
    codes |= {
        attack(plain, f"DELETE FROM action_approvals WHERE proposal_id = {number}")
        for number in (made[ActionStatus.PROPOSED],)
    }

    assert CHANGE_REFUSED in codes <= {CHANGE_REFUSED, "428C9"}


@on_sqlite
@pytest.mark.parametrize("clause", CONFLICT_CLAUSES)
async def test_no_insert_takes_the_place_of_a_decision(db, plain, clause):
    made = await stored(db)
    plain.execute(decide(plain, made.id))
    plain.execute(decide(plain, made.id, "revoked", revokes="1"))
    plain.execute(decide(plain, made.id))

    for others in ({"id": "1"}, {"id": "2"}, {"id": "99"}, {"rowid": "1"}):
        attack(plain, decide(plain, made.id, **others).replace("INSERT", f"INSERT OR {clause}", 1))
    again = decide(plain, made.id, "revoked", revokes="1")
    attack(plain, again.replace("INSERT", f"INSERT OR {clause}", 1))
    attack(plain, f"{decide(plain, made.id, id='1')} WHERE true ON CONFLICT (id) DO UPDATE SET \"by\" = 'bob'")
    attack(plain, f"{again} WHERE true ON CONFLICT (revokes) DO UPDATE SET revokes = NULL")


@on_postgresql
async def test_no_upsert_takes_the_place_of_a_decision(db, plain):
    made = await stored(db)
    plain.execute(decide(plain, made.id))
    plain.execute(decide(plain, made.id, "revoked", revokes="1"))
    again = decide(plain, made.id, "revoked", revokes="1")

    codes = {attack(plain, again), attack(plain, f"{again} ON CONFLICT (revokes) DO UPDATE SET revokes = NULL")}
    chosen = decide(plain, made.id, id="1").replace("SELECT", "OVERRIDING SYSTEM VALUE SELECT", 1)
    codes |= {attack(plain, chosen), attack(plain, f"{chosen} ON CONFLICT (id) DO UPDATE SET \"by\" = 'bob'")}

    assert codes <= {*UNIQUE_OR_NEVER, "428C9"}


@on_postgresql
async def test_a_copy_is_guarded_like_an_insert(db, plain):
    made = await stored(db, ActionStatus.EXECUTING)
    before = contents(plain)
    copied = 'COPY action_approvals (proposal_id, decision, "by", kind) FROM STDIN'

    with pytest.raises(psycopg.Error) as caught, plain.cursor() as cursor, cursor.copy(copied) as copy:
        copy.write_row((made.id, "approved", "mallory", "human"))

    assert caught.value.sqlstate == APPROVAL_REFUSED
    assert contents(plain) == before


async def test_a_prune_that_keeps_the_history_lets_no_decision_go(db, plain):
    made = await stored(db)
    await db.reject(made.id, by="anna", reason="no")
    plain.execute(prune())
    plain.execute("DELETE FROM action_proposals")

    assert attack(plain, "DELETE FROM action_approvals") == CHANGE_REFUSED


@on_sqlite
async def test_a_trigger_of_a_client_decides_nothing_that_a_client_could_not(db, plain):
    await policy(db, ApprovalRule())
    made = await stored(db)
    inner = decide(plain, made.id, by="'agent'")
    plain.execute(f"CREATE TEMP TRIGGER meddle BEFORE UPDATE ON main.action_proposals BEGIN {inner}; END")

    attack(plain, step(made.id, ActionStatus.VALIDATED))

    assert (await db.approval_status(made.id)).decisions == ()


@on_sqlite
async def test_a_revocation_within_a_start_is_seen_by_it(db, plain):
    await policy(db, ApprovalRule())
    made = await stored(db)
    await approved(db, made, "anna")
    inner = decide(plain, made.id, "revoked", revokes="1", at=NOW_ON_SQLITE)
    plain.execute(f"CREATE TEMP TRIGGER meddle BEFORE UPDATE ON main.action_proposals BEGIN {inner}; END")

    assert attack(plain, step(made.id, ActionStatus.EXECUTING)) == NOT_APPROVED


@pytest.mark.parametrize("table", ["action_approvals", "approval_policies"])
async def test_tables_of_a_client_hide_neither_approvals_nor_policies(db, plain, ledger, table):
    await policy(db, ApprovalRule())
    made = await stored(db)
    real, mine = ("main", "temp") if ledger.is_sqlite else ("public", "pg_temp")
    plain.execute(f"CREATE TEMP TABLE {table} AS SELECT * FROM {real}.{table} WHERE false")
    if table == "action_approvals":
        given = {"id": 1, "proposal_id": made.id, "decision": "approved", "by": "anna", "kind": "human", "at": LATER}
        plain.execute(insert(f"{mine}.{table}", **given))
    if not ledger.is_sqlite:
        plain.execute("SET search_path = pg_temp, public")

    with pytest.raises((sqlite3.IntegrityError, psycopg.DatabaseError), match=NOT_APPROVED):
        plain.execute(step(made.id, ActionStatus.VALIDATED))


async def test_checks_that_a_client_ignores_hold_all_the_same(db, plain, ledger):
    made = await stored(db)
    if ledger.is_sqlite:
        plain.execute("PRAGMA ignore_check_constraints = ON")

    code = attack(plain, decide(plain, made.id, "rejected", reason="NULL"))

    assert code == (CHECK_BROKEN if ledger.is_sqlite else "23514")
