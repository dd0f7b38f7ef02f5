"""Attacks policies in plain SQL, as an adversary who owns the tables but leaves the guards in place."""

import sqlite3

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operator_core.actions import ActionStatus, ApprovalRule, InvalidArgumentError, ValueNotStorableError
from operator_core.actions.approvals import MAX_APPROVAL_SECONDS, check_policy_scope
from operator_core.db.errors import error_code, guard_code
from operator_core.db.guards.codes import CHANGE_REFUSED, NOT_APPROVED, POLICY_REFUSED, UNREADABLE
from operator_core.db.guards.conditions import WHITESPACE
from tests.contract.test_scope_grammar import ODD, SPACES, VALUES
from tests.support.approvals import OF_NAME, policy
from tests.support.factories import stored
from tests.support.history import check_history
from tests.support.plain_sql import (
    CONFLICT_CLAUSES,
    LATER,
    NEXT_POLICY_VERSION,
    attack,
    attempt,
    change_rule,
    on_postgresql,
    on_sqlite,
    rows,
    rule,
    step,
)

NAMES = st.sampled_from(["everything", "action_name=", "action_type=", "proposed_by=", "ticket_id=", "Action_name="])


@pytest.fixture(autouse=True)
def _history(ledger):
    yield
    assert check_history(ledger) == []


# -- what a rule is ----------------------------------------------------------------------------------------------------


async def test_a_rule_of_plain_sql_is_the_librarys(db, plain):
    plain.execute(rule(plain))

    (found,) = await db.approval_policies()

    assert (found.scope, found.rules, found.version, found.by) == (OF_NAME, (ApprovalRule(),), 1, "mallory")
    made = await stored(db)
    assert attack(plain, step(made.id, ActionStatus.VALIDATED)) == NOT_APPROVED


async def test_a_change_in_plain_sql_is_a_version_of_its_own(db, plain):
    await policy(db, ApprovalRule(), ApprovalRule(role="sre"))

    plain.execute(change_rule(plain, "role = ''", approvals="3", reason="'more'"))

    (found,) = await db.approval_policies()
    assert (found.version, found.reason) == (3, "more")
    assert rows(plain, "SELECT version, role, approvals FROM approval_policy_events ORDER BY id") == [
        (1, "", 1),
        (2, "sre", 1),
        (3, "", 3),
    ]


@pytest.mark.parametrize("approvals", [-(2**31), -1, 100, 2**31 - 1, "NULL"])
async def test_no_rule_asks_for_less_than_none_or_more_than_99(db, plain, approvals):
    await policy(db, ApprovalRule())

    attack(plain, rule(plain, "everything", approvals=str(approvals)))
    attack(plain, change_rule(plain, approvals=str(approvals)))


@pytest.mark.parametrize("seconds", [0, -1, -0.0, MAX_APPROVAL_SECONDS + 1, 1e308])
async def test_no_rule_counts_an_approval_for_no_time_or_for_more_than_a_year(db, plain, seconds):
    await policy(db, ApprovalRule())

    assert attack(plain, rule(plain, "everything", expires_seconds=str(seconds))) == POLICY_REFUSED
    assert attack(plain, change_rule(plain, expires_seconds=str(seconds))) == POLICY_REFUSED


@on_postgresql
@pytest.mark.parametrize("seconds", ["NaN", "Infinity", "-Infinity"])
async def test_no_rule_counts_an_approval_for_a_number_that_is_none(plain, seconds):
    assert attack(plain, rule(plain, expires_seconds=f"'{seconds}'")) == POLICY_REFUSED


@on_sqlite
@pytest.mark.parametrize("seconds", ["9e999", "-9e999", "'abc'", "x'80'", "''"])
async def test_no_rule_counts_an_approval_for_something_that_is_no_number(plain, seconds):
    attack(plain, rule(plain, expires_seconds=seconds))


@pytest.mark.parametrize("seconds", [1e-9, 0.5, MAX_APPROVAL_SECONDS])
async def test_the_limits_of_a_rule_are_the_librarys(db, plain, seconds):
    plain.execute(rule(plain, expires_seconds=str(seconds), approvals="99"))

    (found,) = await db.approval_policies()
    assert found.rules == (ApprovalRule(approvals=99, expires_in=seconds),)


@pytest.mark.parametrize("four_eyes", ["''", "'No'", "'everybody'", "NULL"])
async def test_four_eyes_are_one_of_three(db, plain, four_eyes):
    await policy(db, ApprovalRule())

    attack(plain, rule(plain, "everything", four_eyes=four_eyes))
    attack(plain, change_rule(plain, four_eyes=four_eyes))


@pytest.mark.parametrize("role", ["sre", "x" * 255, "x" * 256, *SPACES, SPACES, f"{SPACES}x"])
async def test_a_role_is_read_back_or_refused(db, plain, role):
    is_accepted = attempt(plain, rule(plain, role=role))

    assert is_accepted == (bool(role.strip()) and len(role) <= 255)
    assert [one.rules[0].role for one in await db.approval_policies()] == [role] * is_accepted


async def test_no_rule_asks_for_no_approval_in_a_role(db, plain):
    await policy(db, ApprovalRule(role="sre"))

    assert attack(plain, rule(plain, "everything", "sre", approvals="0")) == POLICY_REFUSED
    assert attack(plain, change_rule(plain, approvals="0")) == POLICY_REFUSED


@pytest.mark.parametrize("column", ["by", "reason"])
@pytest.mark.parametrize("blank", ["", " ", SPACES])
async def test_a_rule_says_who_stated_it_and_why(db, plain, column, blank):
    await policy(db, ApprovalRule())

    assert attack(plain, rule(plain, "everything", **{column: f"'{blank}'"})) == POLICY_REFUSED
    assert attack(plain, change_rule(plain, **{column: f"'{blank}'"})) == POLICY_REFUSED


@pytest.mark.parametrize("column", ["by", "reason"])
async def test_no_text_of_a_rule_is_longer_than_the_library_writes(plain, column):
    text = "'" + "ä" * (256 if column == "by" else 262_145) + "'"

    assert attack(plain, rule(plain, **{column: text})) == UNREADABLE


# -- which scopes there are --------------------------------------------------------------------------------------------


def is_read(text: str) -> bool:
    """Tell whether the library takes the scope of a policy, and writes it as the same text."""
    try:
        return check_policy_scope(text) == text
    except (InvalidArgumentError, ValueNotStorableError):
        return False


def is_accepted(plain: sqlite3.Connection | psycopg.Connection, scope: str) -> bool:
    """Tell whether the guard lets a rule for a scope in; nothing is left of it."""
    mark = "?" if isinstance(plain, sqlite3.Connection) else "%s"
    statement = rule(plain, scope="{}").replace("%", "%%" if mark == "%s" else "%").replace("'{}'", mark)
    plain.execute("BEGIN")
    try:
        plain.execute(statement, (scope,))
    except (sqlite3.Error, psycopg.Error) as error:
        refusal = guard_code(error) or error_code(error)
    else:
        refusal = None
    finally:
        plain.execute("ROLLBACK")
    assert refusal in {None, POLICY_REFUSED, UNREADABLE}, scope
    return refusal is None


def test_the_guard_accepts_the_scopes_that_the_library_takes_and_nothing_else(plain):
    assert {text for text in ODD if is_accepted(plain, text)} == {text for text in ODD if is_read(text)}


def test_any_scope_is_accepted_exactly_where_the_library_takes_it(plain):
    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(NAMES, VALUES)
    def check(name: str, value: str) -> None:
        assert is_accepted(plain, name + value) == is_read(name + value), name + value

    check()


def test_a_name_of_whitespace_alone_has_no_policy(plain):
    for code in WHITESPACE:
        if code:
            assert not is_accepted(plain, f"action_name={chr(code)}")


@on_sqlite
@pytest.mark.parametrize("scope", ["'action_name=a' || char(0) || 'b'", "x'6576657279'", "17", "NULL"])
def test_no_scope_is_something_else_than_a_text_without_nul(plain, scope):
    attack(plain, rule(plain, scope="{}").replace("'{}'", scope))


# -- what never changes ------------------------------------------------------------------------------------------------


async def test_no_rule_disappears(db, plain, ledger):
    await policy(db, ApprovalRule(), ApprovalRule(role="sre"))
    await policy(db, ApprovalRule())

    codes = {attack(plain, f"DELETE FROM approval_policies{where}") for where in ("", " WHERE NOT in_force")}

    assert codes == {CHANGE_REFUSED}


async def test_no_rule_moves_to_another_scope_or_role(db, plain, ledger):
    await policy(db, ApprovalRule(), ApprovalRule(role="sre"))
    moves = [{"scope": "'everything'"}, {"role": "'x'"}, {"scope": "'action_name=x'", "role": "'y'"}]
    clauses = [f"UPDATE OR {clause}" for clause in CONFLICT_CLAUSES if ledger.is_sqlite]

    for move in [*moves, {"role": "'sre'"}]:
        statement = change_rule(plain, "role = ''", **move)
        assert attack(plain, statement) == CHANGE_REFUSED
        for clause in clauses:
            assert attack(plain, statement.replace("UPDATE", clause, 1)) == CHANGE_REFUSED


@on_sqlite
@pytest.mark.parametrize("version", ["1", "2", "99", "0", "-1", "NULL", f"{NEXT_POLICY_VERSION} + 1"])
async def test_no_client_invents_a_version(db, plain, version):
    await policy(db, ApprovalRule())
    await policy(db, ApprovalRule(approvals=2))

    attack(plain, rule(plain, "everything", version=version))
    attack(plain, change_rule(plain, version=version))


@on_sqlite
@pytest.mark.parametrize("at", ["'2001-01-01 00:00:00.000000'", f"'{LATER}'", "'soon'", "NULL"])
async def test_no_client_dates_a_rule(db, plain, at):
    await policy(db, ApprovalRule())

    attack(plain, rule(plain, "everything", at=at))
    attack(plain, change_rule(plain, at=at))


@on_postgresql
async def test_the_server_writes_the_version_and_the_time_of_a_rule(db, plain):
    await policy(db, ApprovalRule())
    ((before,),) = rows(plain, "SELECT clock_timestamp()")

    plain.execute(rule(plain, "everything", version="99", at=f"'{LATER}'"))
    plain.execute(change_rule(plain, "scope = 'everything'", version="1", at="'2001-01-01'"))

    ((version, at),) = rows(plain, "SELECT version, at FROM approval_policies WHERE scope = 'everything'")
    ((after,),) = rows(plain, "SELECT clock_timestamp()")
    assert version == 3
    assert before <= at <= after


@on_sqlite
@pytest.mark.parametrize("clause", CONFLICT_CLAUSES)
async def test_no_insert_takes_the_place_of_a_rule(db, plain, clause):
    await policy(db, ApprovalRule())

    for statement in (rule(plain, approvals="0"), rule(plain, "everything", version="1")):
        assert attack(plain, statement.replace("INSERT", f"INSERT OR {clause}", 1)) == CHANGE_REFUSED
    upsert = f"{rule(plain)} WHERE true ON CONFLICT (scope, role) DO UPDATE SET approvals = 0"
    assert attack(plain, upsert) == CHANGE_REFUSED


@on_postgresql
async def test_an_upsert_of_a_rule_is_a_change_with_a_version_and_an_event(db, plain):
    await policy(db, ApprovalRule())

    plain.execute(f"{rule(plain)} ON CONFLICT (scope, role) DO UPDATE SET approvals = 2, \"by\" = 'bob'")

    (found,) = await db.approval_policies()
    assert (found.rules[0].approvals, found.by) == (2, "bob")
    assert rows(plain, "SELECT count(*) FROM approval_policy_events") == [(2,)]


# -- history -----------------------------------------------------------------------------------------------------------


async def test_no_event_of_a_policy_is_inserted(db, plain):
    await policy(db, ApprovalRule())
    columns = 'version, scope, role, approvals, four_eyes, humans_only, expires_seconds, in_force, at, "by", reason'

    for version in ("version", "version + 1", "0", "-1"):
        values = columns.replace("version", version, 1)
        attack(
            plain,
            f"INSERT INTO approval_policy_events ({columns}) SELECT {values} FROM approval_policies",
        )


@on_sqlite
async def test_a_trigger_that_swallows_events_lets_no_rule_change(db, plain):
    await policy(db, ApprovalRule())
    plain.execute(
        "CREATE TEMP TRIGGER swallow BEFORE INSERT ON main.approval_policy_events BEGIN SELECT RAISE(IGNORE); END"
    )

    attack(plain, change_rule(plain, approvals="0"))
    attack(plain, rule(plain, "everything", approvals="0"))


async def test_what_is_not_in_force_asks_for_nothing_and_can_be_put_in_force_again(db, plain):
    await policy(db, ApprovalRule())
    made = await stored(db)

    plain.execute(change_rule(plain, in_force="false"))
    assert await db.approval_policies() == []
    plain.execute(change_rule(plain, in_force="true"))

    assert attack(plain, step(made.id, ActionStatus.VALIDATED)) == NOT_APPROVED
