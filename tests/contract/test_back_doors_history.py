"""Attacks inserts, history and prunes in plain SQL, as an adversary who leaves the guards in place."""

import secrets
from contextlib import closing
from itertools import product

import psycopg
import pytest

from operator_core.actions import TRANSITIONS, ActionStatus
from operator_core.actions.lifecycle import INITIAL, TERMINAL, states_always_visited
from operator_core.db.guards.codes import CHANGE_REFUSED
from operator_core.db.schema import proposals
from operator_core.db.types import UtcDateTime
from tests.support.factories import running, stored
from tests.support.history import check_history
from tests.support.plain_sql import (
    CONFLICT_CLAUSES,
    LATER,
    TIMED,
    attack,
    attempt,
    contents,
    engage,
    filled,
    insert,
    new,
    on_postgresql,
    on_sqlite,
    prune,
    release,
    rows,
    soon,
)

# -- inserts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", TRANSITIONS)
async def test_a_proposal_lands_proposed_or_not_at_all(plain, ledger, status):
    fitting = {f"{s}_at": LATER for s in TIMED if s in states_always_visited(status)}

    attempt(plain, new(status=status, **fitting))

    assert rows(plain, f"SELECT count(*) FROM action_proposals WHERE status <> '{INITIAL}'") == [(0,)]
    assert check_history(ledger) == []


@pytest.mark.parametrize("status", TRANSITIONS)
async def test_a_proposal_made_under_a_stop_lands_cancelled_or_not_at_all(plain, ledger, status):
    plain.execute(engage())
    fitting = {f"{s}_at": LATER for s in TIMED if s in states_always_visited(status)}

    attempt(plain, new(status=status, generation=1, **fitting))

    assert rows(plain, "SELECT count(*) FROM action_proposals WHERE status <> 'cancelled'") == [(0,)]
    assert check_history(ledger) == []


@pytest.mark.parametrize("status", [s for s in TIMED if s is not ActionStatus.CANCELLED])
async def test_a_proposal_born_cancelled_claims_no_other_step(plain, ledger, status):
    plain.execute(engage())

    attempt(plain, new(status="cancelled", generation=1, cancelled_at=LATER, **{f"{status}_at": LATER}))

    assert check_history(ledger) == []


@pytest.mark.parametrize("generation", [-1, 0, 2, 2**62, None])
async def test_a_proposal_lands_with_the_counter_or_not_at_all(plain, generation):
    plain.execute(engage())
    plain.execute(release())

    attempt(plain, new(generation=generation))

    assert rows(plain, "SELECT count(*) FROM action_proposals WHERE generation <> 1") == [(0,)]


@pytest.mark.parametrize("number", [-(2**63), -1, 0, 1, 2, 2**63 - 1])
async def test_an_id_that_a_client_chooses_blocks_nobody(db, plain, number):
    record = await running(db)
    attempt(plain, new(id=number))
    attempt(plain, insert("action_prunes", id=number, before=soon(), by="bob", reason="old", at=LATER))
    await db.update_proposal_status((other := await stored(db, ActionStatus.VALIDATED)).id, ActionStatus.EXECUTING)
    attempt(plain, insert("action_records", id=number, proposal_id=other.id, started_at=LATER))

    plain.execute(prune())
    again = await running(db)

    assert again.id != record.id


@on_sqlite
@pytest.mark.parametrize(
    "name", [c.name for c in proposals.columns if isinstance(c.type, UtcDateTime) and not c.nullable]
)
async def test_a_time_that_is_none_makes_nothing_unreadable(db, plain, name):
    await stored(db)

    attempt(plain, new(**{name: "teatime"}))

    assert len(await db.list_proposals()) >= 1


# -- history -----------------------------------------------------------------------------------------------------------


async def test_no_event_is_inserted(db, plain):
    made = await filled(db, plain)
    sources = ["NULL", *(f"'{status}'" for status in TRANSITIONS)]

    for number, source, target in product([*made.values(), 4711], sources, TRANSITIONS):
        values = f"{number}, {source}, '{target}', coalesce(max(status_at), '{LATER}'), 'bob', 0"
        columns = '(proposal_id, from_status, to_status, at, "by", generation)'
        attack(plain, f"INSERT INTO action_events {columns} SELECT {values} FROM action_proposals WHERE id = {number}")


async def test_no_event_of_the_kill_switch_is_inserted(plain):
    for engaged, change, generation in product((False, True), ("engaged", "released"), range(-1, 3)):
        if engaged:
            plain.execute(engage())
        values = {"generation": generation, "scope": "everything", "change": change, "at": LATER}
        attack(plain, insert("kill_switch_events", **values, by="bob", reason="none"))


async def test_no_trigger_of_a_client_inserts_events(db, plain, ledger):
    number = (await stored(db, ActionStatus.EXECUTING)).id
    values = {"proposal_id": number, "from_status": None, "to_status": "completed", "at": LATER, "by": "bob"}
    forged = insert("action_events", **values, generation=0)
    plain.execute("CREATE TEMP TABLE mine (x INTEGER)")
    if ledger.is_sqlite:
        plain.execute(f"CREATE TEMP TRIGGER forge AFTER INSERT ON mine BEGIN {forged}; END")
    else:
        plain.execute(
            f"CREATE FUNCTION pg_temp.forge() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {forged}; RETURN NEW; END$$;"
            "CREATE TRIGGER forge AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION pg_temp.forge()"
        )

    attack(plain, "INSERT INTO mine VALUES (1)")


@on_postgresql
async def test_no_role_borrows_the_function_that_writes_events(db, plain, postgres, ledger):
    number = (await stored(db, ActionStatus.EXECUTING)).id
    role, secret = (f"guest_{secrets.token_hex(4)}" for _ in range(2))
    plain.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{secret}'")
    database = ledger.dsn.rpartition("/")[2]
    url = postgres.url(database, driver="postgresql", user=role, password=secret)

    with closing(psycopg.connect(url, autocommit=True)) as guest:
        attempt(
            guest,
            "CREATE TEMP TABLE mine (id bigint, status text, status_at timestamptz, status_by text, "
            "status_reason text, generation bigint)",
        )
        function = "EXECUTE FUNCTION public.operator_core_write_event()"
        attempt(guest, f"CREATE TRIGGER forge AFTER UPDATE ON mine FOR EACH ROW {function}")
        attempt(guest, f"INSERT INTO mine VALUES ({number}, 'validated', now(), 'bob', NULL, 0)")
        attempt(guest, "UPDATE mine SET status = 'failed'")

    assert check_history(ledger) == []


@on_postgresql
async def test_copy_is_guarded_like_an_insert(db, plain):
    made = await stored(db, ActionStatus.EXECUTING)
    before = contents(plain)
    copied = 'COPY action_events (proposal_id, to_status, at, "by", generation) FROM STDIN'

    with pytest.raises(psycopg.Error) as caught, plain.cursor() as cursor, cursor.copy(copied) as copy:
        copy.write_row((made.id, "completed", LATER, "bob", 0))

    assert caught.value.sqlstate == CHANGE_REFUSED
    assert contents(plain) == before


# -- prunes ------------------------------------------------------------------------------------------------------------


async def test_only_what_is_finished_is_deleted_and_only_after_a_younger_prune(db, plain):
    made = {status: (await stored(db, status)).id for status in TRANSITIONS}
    statements = {
        status: [
            f"DELETE FROM action_records WHERE proposal_id = {number}",
            f"DELETE FROM action_proposals WHERE id = {number}",
        ]
        for status, number in made.items()
    }
    plain.execute(prune("2001-01-01 00:00:00.000000"))
    attack(plain, statements[ActionStatus.COMPLETED][0])
    for status in TERMINAL:
        attack(plain, statements[status][1])
    events = rows(plain, "SELECT * FROM action_events ORDER BY id")

    plain.execute(prune())

    attack(plain, statements[ActionStatus.EXECUTING][0])
    for status in TRANSITIONS:
        if status not in TERMINAL:
            attack(plain, statements[status][1])
            continue
        for statement in statements[status]:
            plain.execute(statement)
    assert rows(plain, "SELECT * FROM action_events ORDER BY id") == events
    assert await db.count_proposals() == {status: int(status not in TERMINAL) for status in TRANSITIONS}


async def test_a_proposal_is_not_deleted_from_under_its_record(db, plain):
    made = await stored(db, ActionStatus.COMPLETED)
    plain.execute(prune())

    attack(plain, f"DELETE FROM action_proposals WHERE id = {made.id}")


async def test_the_id_of_a_pruned_proposal_is_never_given_again(db, plain, ledger):
    made = await stored(db, ActionStatus.CANCELLED)
    plain.execute(prune())
    plain.execute(f"DELETE FROM action_proposals WHERE id = {made.id}")

    attack(plain, new(id=made.id))
    for clause in CONFLICT_CLAUSES if ledger.is_sqlite else ():
        attack(plain, new(id=made.id).replace("INSERT", f"INSERT OR {clause}", 1))
