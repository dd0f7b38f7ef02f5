"""In plain SQL nothing is stored that the library could not read back, and no date makes history old enough to go."""

import sqlite3

import psycopg
import pytest

from operator_core.actions import ActionOutcome, ActionStatus
from operator_core.db.guards.codes import CHANGE_REFUSED, EVENT_MISSING, UNREADABLE
from tests.support.factories import running, stored
from tests.support.latch import SINCE, at
from tests.support.plain_sql import (
    LATER,
    attack,
    attempt,
    close,
    contents,
    insert,
    new,
    on_postgresql,
    on_sqlite,
    prune,
    rows,
    soon,
    step,
)

LONG_AGO = "0001-01-03 00:00:00.000000"


def documents() -> dict[str, str]:
    """Return texts of JSON that Python's parser refuses, or does not give back equal."""
    return {
        "no object": "[1]",
        "a number that is infinite": '{"a": 1e400}',
        "a number that is negative and infinite": '{"a": [-1E+400]}',
        "a number of many digits and a fraction": '{"a": ' + "9" * 400 + ".5}",
        "an integer of many digits": '{"a": ' + "9" * 700 + "}",
        "a lone surrogate": r'{"a": "\ud800"}',
        "a lone surrogate in a key": r'{"\uDC00": 1}',
        "a NUL": r'{"a": "\u0000"}',
        "too many levels": '{"a": ' + "[" * 201 + "]" * 201 + "}",
        "too many levels of objects": '{"a": ' + '{"b":' * 201 + "1" + "}" * 201 + "}",
        "too many bytes": '{"a": "' + "x" * 262_144 + '"}',
    }


def odd_documents() -> dict[str, str]:
    """Return texts of JSON that look like those, and are well."""
    return {
        "digits in a string": '{"a": "' + "9" * 700 + '"}',
        "an exponent": '{"a": 1e308, "b": -1.5E-7, "c": 0e0}',
        "an integer that is longer than a float": '{"a": ' + "9" * 400 + "}",
        "brackets in a string": '{"a": "' + "[{" * 300 + '"}',
        "many lists beside each other": '{"a": [' + ", ".join(["[]"] * 300) + "]}",
        "a pair of surrogates": r'{"a": "\ud83d\ude00"}',
        "an escaped backslash": r'{"a": "C:\\users\\u0000 \\ud800"}',
        "the replacement character": '{"a": "\\ufffd \N{REPLACEMENT CHARACTER}"}',
        "some levels": '{"a": ' + "[" * 180 + "]" * 180 + "}",
        "spaces": '{ "a" : 1 }',
    }


@pytest.mark.parametrize("name", documents())
def test_parameters_that_could_not_be_read_back_are_refused(plain, name):
    assert attack(plain, new(parameters=documents()[name])) == UNREADABLE


@pytest.mark.parametrize("name", odd_documents())
async def test_parameters_that_only_look_odd_are_read_back(db, plain, name):
    assert attempt(plain, new(parameters=odd_documents()[name]))

    assert (await db.list_proposals())[0].parameters


@pytest.mark.parametrize("name", documents())
async def test_a_result_that_could_not_be_read_back_is_refused(db, plain, name):
    document = documents()[name].replace("x" * 262_144, "x" * 1_048_576)
    record = await running(db)

    statement = f"UPDATE action_records SET result_data = '{document}' WHERE id = {record.id}"

    assert attack(plain, statement) == UNREADABLE


@pytest.mark.parametrize("seconds", ["0", "-1", "86401", "'Infinity'", "'NaN'", "9e999"])
async def test_no_lease_is_longer_than_a_day(db, plain, seconds):
    proposal = await stored(db, ActionStatus.VALIDATED)
    plain.execute(step(proposal.id, ActionStatus.EXECUTING))
    lease = f"'w', {seconds}, '{LATER}', '{LATER}'"
    columns = "proposal_id, started_at, worker, lease_seconds, last_seen_at, lease_expires_at"

    with pytest.raises((sqlite3.Error, psycopg.Error)):
        plain.execute(f"INSERT INTO action_records ({columns}) VALUES ({proposal.id}, '{LATER}', {lease})")

    assert rows(plain, "SELECT count(*) FROM action_records") == [(0,)]


TEXTS = ("action_name", "reason", "proposed_by", "idempotency_key")


@on_sqlite
@pytest.mark.parametrize("value", ["x'80ff'", "CAST(x'80ff' AS TEXT)", "CAST(x'c3' AS TEXT)", "'a' || char(0)"])
@pytest.mark.parametrize("column", TEXTS)
def test_what_is_no_text_is_refused(plain, column, value):
    columns = ("proposed_by", "status_by") if column == "proposed_by" else (column,)
    statement = new(**dict.fromkeys(columns, "put it here")).replace("'put it here'", value)

    assert attack(plain, statement) == UNREADABLE


@on_sqlite
@pytest.mark.parametrize("column", ["ticket_id", "retry_of", "proposed_at", "valid_until"])
@pytest.mark.parametrize("value", ["abc", "1.5e300", "x"])
def test_what_is_not_of_the_type_of_its_column_is_refused(plain, column, value):
    # SQLite keeps what it cannot convert as it is.
    assert attack(plain, new(**{column: value})) in {UNREADABLE, "OC009"}


@on_sqlite
@pytest.mark.parametrize("number", [9_007_199_254_740_991, 9_007_199_254_740_990, 1_000, -5, 0])
def test_no_client_chooses_an_id_that_is_not_due(plain, number):
    attack(plain, new(id=number))

    assert attempt(plain, new())
    assert rows(plain, "SELECT id FROM action_proposals") == [(1,)]


@pytest.mark.parametrize("column", ["status_by", "status_reason"])
async def test_no_step_carries_a_longer_text_than_the_library_writes(db, plain, column):
    proposal = await stored(db)
    length = 256 if column == "status_by" else 262_145
    statement = step(proposal.id, ActionStatus.VALIDATED, **{column: f"'{'ä' * length}'"})

    assert attack(plain, statement) == UNREADABLE


# -- what an older guard let in ----------------------------------------------------------------------------------------

GUARDS = {"action_proposals": "proposals", "action_records": "records"}


def without_guards(plain, table, statement):
    """Run a statement as before the guards of a table were there."""
    if isinstance(plain, sqlite3.Connection):
        short = GUARDS[table]
        texts = rows(plain, f"SELECT sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = '{table}'")
        names = rows(plain, f"SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = '{table}'")
        assert any(short in name for (name,) in names)
        for (name,) in names:
            plain.execute(f"DROP TRIGGER {name}")
        plain.execute(statement)
        for (text,) in texts:
            plain.execute(text)
    else:
        plain.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        plain.execute(statement)
        plain.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


async def test_what_could_not_be_read_back_does_not_start(db, plain):
    proposal = await stored(db, ActionStatus.VALIDATED)
    without_guards(
        plain,
        "action_proposals",
        f"""UPDATE action_proposals SET parameters = '{{"a": 1e400}}' WHERE id = {proposal.id}""",
    )

    assert attack(plain, step(proposal.id, ActionStatus.EXECUTING)) == UNREADABLE


async def test_what_could_not_be_read_back_can_be_cancelled(db, plain):
    proposal = await stored(db, ActionStatus.VALIDATED)
    without_guards(
        plain,
        "action_proposals",
        f"""UPDATE action_proposals SET parameters = '{{"a": 1e400}}' WHERE id = {proposal.id}""",
    )

    assert await db.cancel_all_pending() == 1


async def test_a_record_that_could_not_be_read_back_can_be_closed(db, plain):
    record = await running(db)
    without_guards(plain, "action_records", f"UPDATE action_records SET result_data = '[1]' WHERE id = {record.id}")

    assert attempt(plain, close(record.proposal_id, ActionOutcome.FAILED))
    assert attempt(plain, step(record.proposal_id, ActionStatus.FAILED))
    assert check_history_steps(plain, record.proposal_id)[-1] == "failed"


def check_history_steps(plain, number):
    return [
        row[0] for row in rows(plain, f"SELECT to_status FROM action_events WHERE proposal_id = {number} ORDER BY id")
    ]


# -- dates -------------------------------------------------------------------------------------------------------------


async def test_what_claims_to_be_old_is_not_pruned(db, plain):
    proposal = await stored(db)
    dated = {"status_at": f"'{LONG_AGO}'", "cancelled_at": f"'{LONG_AGO}'"}
    plain.execute(step(proposal.id, ActionStatus.CANCELLED, **dated))
    plain.execute(prune("2001-01-01 00:00:00.000000"))

    assert attack(plain, f"DELETE FROM action_proposals WHERE id = {proposal.id}") == CHANGE_REFUSED
    report = await db.prune(SINCE.replace(year=2002), by="ann", reason="old", keep_events=False)
    assert (report.proposals, report.events) == (0, 0)
    assert await db.get_proposal(proposal.id) is not None


async def test_what_was_recorded_long_enough_ago_is_pruned(db, plain):
    proposal = await stored(db)
    dated = {"status_at": f"'{LONG_AGO}'", "cancelled_at": f"'{LONG_AGO}'"}
    plain.execute(step(proposal.id, ActionStatus.CANCELLED, **dated))
    plain.execute(prune(soon()))

    plain.execute(f"DELETE FROM action_proposals WHERE id = {proposal.id}")

    assert await db.get_proposal(proposal.id) is None


async def test_an_event_says_when_it_was_recorded_whatever_the_step_says(db, plain):
    proposal = await stored(db)
    dated = {"status_at": f"'{LONG_AGO}'", "cancelled_at": f"'{LONG_AGO}'"}
    plain.execute(step(proposal.id, ActionStatus.CANCELLED, **dated))

    first, last = await db.get_events(proposal.id)

    assert last.at.year == 1
    assert first.recorded_at is not None
    assert last.recorded_at is not None
    assert first.recorded_at.year >= SINCE.year


@on_sqlite
async def test_no_client_says_when_an_event_was_recorded(db, plain):
    await stored(db)
    columns = 'proposal_id, from_status, to_status, at, "by", reason, generation, recorded_at'
    plain.execute(
        "CREATE TEMP TRIGGER backdate BEFORE INSERT ON main.action_events WHEN NEW.recorded_at > '2001' BEGIN "
        f"INSERT INTO main.action_events ({columns}) VALUES (NEW.proposal_id, NEW.from_status, NEW.to_status, NEW.at, "
        f"NEW.\"by\", NEW.reason, NEW.generation, '{LONG_AGO}'); END".replace("main.action_events (", "action_events (")
    )

    assert attack(plain, step(1, ActionStatus.CANCELLED)) == CHANGE_REFUSED


# -- events that are swallowed -----------------------------------------------------------------------------------------

SWALLOWED = {
    "action_events": lambda record: step(2, ActionStatus.CANCELLED),
    "kill_switch_events": lambda record: (
        f"UPDATE kill_switch SET generation = 1, engaged_at = '{LATER}', engaged_by = 'ann', reason = 'smoke'"
    ),
    "action_notes": lambda record: (
        f"UPDATE action_records SET cancel_requested_at = '{LATER}', cancel_requested_by = 'ann' WHERE id = {record.id}"
    ),
}


@pytest.mark.parametrize("table", SWALLOWED)
async def test_a_step_whose_event_is_swallowed_is_aborted(db, plain, table):
    record = await running(db)
    await stored(db)
    if isinstance(plain, sqlite3.Connection):
        plain.execute(f"CREATE TEMP TRIGGER swallow BEFORE INSERT ON main.{table} BEGIN SELECT RAISE(IGNORE); END")
    else:
        plain.execute(
            "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;"
            f"CREATE TRIGGER zz_swallow BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION swallow()"
        )

    assert attack(plain, SWALLOWED[table](record)) == EVENT_MISSING


@on_postgresql
async def test_a_step_whose_event_another_rule_writes_elsewhere_is_aborted(db, plain):
    proposal = await stored(db)
    before = contents(plain)
    plain.execute("CREATE RULE elsewhere AS ON INSERT TO action_events DO INSTEAD NOTHING")

    with pytest.raises(psycopg.Error):
        plain.execute(step(proposal.id, ActionStatus.CANCELLED))

    assert contents(plain) == before


@on_sqlite
@pytest.mark.parametrize("statement", [insert("action_records", proposal_id=1, started_at=LATER, outcome="odd")])
async def test_no_check_is_left_out_where_sqlite_is_told_to_ignore_them(db, plain, statement):
    proposal = await stored(db, ActionStatus.VALIDATED)
    plain.execute("PRAGMA ignore_check_constraints = ON")

    attack(plain, statement)
    attack(plain, new(action_type="none"))
    attack(plain, step(proposal.id, ActionStatus.CANCELLED, cancelled_at="NULL"))


def test_times_of_a_stop_stay_readable(plain):
    engaged = f"generation = 1, engaged_by = 'ann', reason = 'smoke', engaged_at = {at(plain, SINCE)}"
    bad = engaged.replace(
        at(plain, SINCE), "'0000-01-01 00:00:00'" if isinstance(plain, sqlite3.Connection) else "'infinity'"
    )

    assert attack(plain, f"UPDATE kill_switch SET {bad}") == UNREADABLE
    assert rows(plain, "SELECT count(*) FROM kill_switch_events") == [(0,)]
