"""The guard of the latch accepts exactly the scopes that the library reads, limits included."""

import sqlite3
import sys

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operator_core.actions import ActionType, Scope
from operator_core.db.errors import error_code, guard_code
from operator_core.db.guards.codes import SCOPE_REFUSED, UNREADABLE
from operator_core.db.guards.conditions import WHITESPACE
from tests.support.latch import SINCE, at
from tests.support.plain_sql import on_postgresql, on_sqlite, rows

SPACES = "".join(map(chr, WHITESPACE))
ODD = [
    "",
    "everything",
    "Everything",
    "everything ",
    *(f"action_type={kind}" for kind in ActionType),
    "action_type=",
    "action_type=none",
    "action_name=",
    "action_name=drain\tstore",
    "action_name==",
    "action_name= x ",
    f"action_name={'x' * 255}",
    f"action_name={'x' * 256}",
    "action_name=" + "\N{SNOWMAN}" * 255,
    "action_name=" + "\N{SNOWMAN}" * 256,
    *(f"action_name={space}" for space in SPACES),
    f"proposed_by={SPACES}",
    f"proposed_by={SPACES}x",
    "reason=x",
    "ticket_id=",
    "ticket_id=0",
    "ticket_id=-0",
    "ticket_id=007",
    "ticket_id=+1",
    "ticket_id= 1",
    "ticket_id=1 ",
    "ticket_id=1e3",
    "ticket_id=9223372036854775807",
    "ticket_id=9223372036854775808",
    "ticket_id=-9223372036854775808",
    "ticket_id=-9223372036854775809",
    "ticket_id=9999999999999999999",
    "ticket_id=٣",
]
NAMES = st.sampled_from(["everything", "action_type=", "action_name=", "proposed_by=", "ticket_id=", "tenant="])
VALUES = (
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
    | st.text(st.sampled_from(SPACES), max_size=4)
    | st.from_regex(r"[-+ 0]?[0-9]{0,20}", fullmatch=True)
    | st.sampled_from([*ActionType, "x" * 254, "x" * 255, "x" * 256, "é" * 255, "é" * 256])
)


def is_read(text: str) -> bool:
    """Tell whether the library reads a scope, and writes it as the same text."""
    return isinstance(scope := Scope.read(text), Scope) and str(scope) == text


def is_accepted(plain: sqlite3.Connection | psycopg.Connection, scope: str) -> bool:
    """Tell whether the guard lets a stop of a scope be engaged; nothing is left of it."""
    mark = "?" if isinstance(plain, sqlite3.Connection) else "%s"
    if scope == "everything":
        return True  # it has its row
    statement = (
        "INSERT INTO kill_switch (scope, generation, engaged_at, engaged_by, reason) "
        f"VALUES ({mark}, 1, {at(plain, SINCE)}, 'ann', 'smoke')"
    )
    plain.execute("BEGIN")
    try:
        plain.execute(statement, (scope,))
    except (sqlite3.Error, psycopg.Error) as error:
        refusal = guard_code(error) or error_code(error)
    else:
        refusal = None
    finally:
        plain.execute("ROLLBACK")
    assert refusal in {None, SCOPE_REFUSED}, scope
    return refusal is None


def test_the_guard_accepts_what_the_library_reads_and_nothing_else(plain):
    assert {text for text in ODD if is_accepted(plain, text)} == {text for text in ODD if is_read(text)}


def test_any_scope_is_accepted_exactly_where_it_is_read(plain):
    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(NAMES, VALUES)
    def check(name: str, value: str) -> None:
        assert is_accepted(plain, name + value) == is_read(name + value), name + value

    check()


def test_whitespace_is_all_that_python_strips() -> None:
    assert [code for code in range(sys.maxunicode + 1) if chr(code).isspace()] == list(WHITESPACE)


@on_sqlite
@pytest.mark.parametrize("scope", ["'action_name=a' || char(0) || 'b'", "x'6576657279'", "17"])
def test_no_scope_is_something_else_than_a_text_without_nul(plain, scope):
    with pytest.raises(sqlite3.Error):
        plain.execute(
            "INSERT INTO kill_switch (scope, generation, engaged_at, engaged_by, reason) "
            f"VALUES ({scope}, 1, {at(plain, SINCE)}, 'ann', 'smoke')"
        )

    assert rows(plain, "SELECT count(*) FROM kill_switch") == [(1,)]


LIMITS = {"engaged_by": 255, "reason": 262_144}


@pytest.mark.parametrize("column", LIMITS)
@pytest.mark.parametrize("over", [0, 1])
def test_a_stop_carries_no_longer_texts_than_the_library_writes(plain, column, over):
    mark = "?" if isinstance(plain, sqlite3.Connection) else "%s"
    text = "ä" * (LIMITS[column] + over)
    given = {"engaged_by": "'ann'", "reason": "'smoke'", column: mark}
    statement = (
        f"UPDATE kill_switch SET generation = 1, engaged_at = {at(plain, SINCE)}, "
        + ", ".join(f"{name} = {value}" for name, value in given.items())
        + " WHERE scope = 'everything'"
    )

    if not over:
        assert plain.execute(statement, (text,)).rowcount == 1
        return
    with pytest.raises((sqlite3.Error, psycopg.Error)) as caught:
        plain.execute(statement, (text,))

    assert guard_code(caught.value) == UNREADABLE


@on_postgresql
@pytest.mark.parametrize("text", ["repeat('x', 3000000)", "repeat('x', 256)"])
def test_an_operator_engages_with_no_longer_name_than_the_library_writes(plain, text):
    with pytest.raises(psycopg.Error) as caught:
        plain.execute(f"SELECT * FROM operator_core_engage('everything', {text}, 'smoke')")

    assert guard_code(caught.value) == UNREADABLE


# -- what is there already ---------------------------------------------------------------------------------------------


@pytest.fixture
def unreadable(plain) -> str:
    """A scope that no guard accepts any more, engaged before there was such a guard."""
    scope = "ticket_id=9999999999999999999"
    values = f"'{scope}', 1, {at(plain, SINCE)}, 'ann', 'smoke'"
    insert = f"INSERT INTO kill_switch (scope, generation, engaged_at, engaged_by, reason) VALUES ({values})"
    if isinstance(plain, sqlite3.Connection):
        guard = rows(plain, "SELECT sql FROM sqlite_master WHERE name = 'operator_core_kill_switch_insert'")[0][0]
        for statement in ("DROP TRIGGER operator_core_kill_switch_insert", insert, guard):
            plain.execute(statement)
    else:
        plain.execute("ALTER TABLE kill_switch DISABLE TRIGGER operator_core_kill_switch_change")
        plain.execute(insert)
        plain.execute("ALTER TABLE kill_switch ENABLE TRIGGER operator_core_kill_switch_change")
    return scope


async def test_a_scope_that_cannot_be_read_is_shown_as_its_text(db, unreadable):
    status = await db.kill_switch_status()

    assert [stop.scope for stop in status.engaged] == [unreadable]
    assert unreadable in status.model_dump_json()


async def test_a_scope_that_cannot_be_read_is_released_like_any_other(db, unreadable):
    released = await db.release_kill_switch(by="bob", reason="all clear", generation=1)

    assert (released.scope, released.released_by) == (unreadable, "bob")
    assert (await db.kill_switch_status()).engaged == ()


async def test_a_scope_that_cannot_be_read_stops_neither_a_recovery_nor_a_stop(db, unreadable):
    assert await db.recover_expired_leases() == []
    receipt = await db.engage_kill_switch(by="bob", reason="fire")

    assert receipt.generation == 2
