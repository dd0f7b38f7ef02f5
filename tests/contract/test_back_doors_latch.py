"""Attacks the latch in plain SQL, one statement at a time and in a storm."""

import random
import secrets
import sqlite3
from itertools import product

import psycopg
import pytest

from operator_core.actions import TRANSITIONS, ActionOutcome, ActionStatus
from operator_core.db.guards.codes import ISOLATION_REFUSED, STOPPED
from operator_core.db.guards.conditions import GUARDED_TABLES
from operator_core.db.schema import SCOPE_FIELDS
from tests.support.factories import stored
from tests.support.history import check_history
from tests.support.plain_sql import (
    CONFLICT_CLAUSES,
    LATER,
    TIMED,
    ask_to_stop,
    attack,
    attempt,
    close,
    engage,
    forbidden,
    insert,
    new,
    on_postgresql,
    release,
    rows,
    step,
    step_alone,
)

# -- the latch ---------------------------------------------------------------------------------------------------------


SCOPES = [
    "everything",
    *(f"{f}={v}" for f, v in zip(SCOPE_FIELDS, ("subject", "drain_store", "agent", 7), strict=True)),
]


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_stop_bars_starts_in_plain_sql_also_when_it_is_released(db, plain, scope):
    number = (await stored(db, ActionStatus.VALIDATED, ticket_id=7)).id
    start = step(number, ActionStatus.EXECUTING)

    plain.execute(engage(scope))
    codes = [attack(plain, start)]
    plain.execute(release(scope))
    codes.append(attack(plain, start))

    assert codes == [STOPPED, STOPPED]


async def test_no_number_of_a_stop_goes_back(plain):
    for scope in (*SCOPES, *SCOPES):
        attempt(plain, engage(scope))
    highest = rows(plain, "SELECT max(generation) FROM kill_switch")[0][0]

    for scope, number in product(SCOPES, (-1, 0, 1, highest)):
        attempt(plain, engage(scope).replace("(SELECT max(generation) + 1 FROM kill_switch)", str(number)))
        attempt(plain, f"UPDATE kill_switch SET generation = {number} WHERE scope = '{scope}'")

    standing = dict(rows(plain, "SELECT scope, generation FROM kill_switch"))
    engaged = rows(plain, "SELECT scope, max(generation) FROM kill_switch_events GROUP BY scope")
    assert standing == dict(engaged)
    assert max(standing.values()) >= highest


async def test_what_is_not_engaged_is_not_released(plain):
    attack(plain, release())
    plain.execute(engage())
    plain.execute(release())
    attack(plain, release())


@on_postgresql
@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_no_start_in_a_transaction_that_could_not_see_a_stop(db, plain, level):
    number = (await stored(db, ActionStatus.VALIDATED)).id

    for start in (step(number, ActionStatus.EXECUTING), step_alone(number, ActionStatus.EXECUTING)):
        plain.execute(f"BEGIN ISOLATION LEVEL {level}")
        with pytest.raises(psycopg.DatabaseError) as caught:
            plain.execute(start)
        plain.execute("ROLLBACK")
        assert caught.value.sqlstate == ISOLATION_REFUSED


# A client's own tables of the same names, and ways to make them come first.
DISGUISES = {
    "sqlite": (
        "CREATE TEMP TABLE {0} AS SELECT * FROM main.{0}",
        "ATTACH ':memory:' AS evil",
        "CREATE TABLE evil.{0} AS SELECT * FROM main.{0}",
    ),
    "postgresql": (
        "CREATE TEMP TABLE {0} AS SELECT * FROM public.{0}",
        "CREATE SCHEMA evil",
        "CREATE TABLE evil.{0} AS SELECT * FROM public.{0}",
    ),
}


async def test_tables_of_a_client_hide_neither_latch_nor_history(db, plain, ledger):
    first, second = [(await stored(db, ActionStatus.VALIDATED)).id for _ in range(2)]
    real = "main" if ledger.is_sqlite else "public"
    temporary, schema, table = DISGUISES["sqlite" if ledger.is_sqlite else "postgresql"]
    plain.execute(schema)
    for name in ("kill_switch", "action_events", "action_records"):
        plain.execute(temporary.format(name))
        plain.execute(table.format(name))
    if not ledger.is_sqlite:
        plain.execute("SET search_path = pg_temp, evil, public")

    plain.execute(step(first, ActionStatus.EXECUTING))
    plain.execute(engage().replace("kill_switch", f"{real}.kill_switch"))
    with pytest.raises((sqlite3.IntegrityError, psycopg.DatabaseError), match=STOPPED):
        plain.execute(step(second, ActionStatus.EXECUTING))

    assert check_history(ledger) == []


@on_postgresql
async def test_an_operator_of_a_client_hides_no_scope(db, plain):
    number = (await stored(db, ActionStatus.VALIDATED, ticket_id=7)).id
    plain.execute(engage("ticket_id=7"))
    plain.execute(
        "CREATE FUNCTION public.lie(text, bigint) RETURNS text LANGUAGE sql AS $$SELECT 'none'::text$$; "
        "CREATE OPERATOR public.|| (FUNCTION = public.lie, LEFTARG = text, RIGHTARG = bigint)"
    )

    assert attack(plain, step(number, ActionStatus.EXECUTING)) == STOPPED


# -- everything at once ------------------------------------------------------------------------------------------------


async def test_a_storm_of_plain_sql_leaves_only_legal_paths(db, plain, ledger):
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    if ledger.is_sqlite:
        plain.execute("PRAGMA synchronous = OFF")
    for status in TRANSITIONS:
        await stored(db, status)

    done = sum(attempt(plain, at_random(plain, dice, ledger)) for _ in range(600))

    print(f"{done} of 600 statements were not refused")
    assert done >= len(TRANSITIONS)
    assert check_history(ledger) == []


def at_random(plain, dice, ledger):
    """Return a statement, which may be legal."""
    number, status = dice.randint(1, 15), dice.choice(list(TRANSITIONS))
    verb = dice.choice(["UPDATE", *(f"UPDATE OR {clause}" for clause in CONFLICT_CLAUSES if ledger.is_sqlite)])
    times = {f"{s}_at": dice.choice([f"'{LATER}'", "NULL", f"{s}_at"]) for s in dice.sample(TIMED, dice.randint(0, 3))}
    table = dice.choice(GUARDED_TABLES)
    scope = dice.choice(["ticket_id=9", "proposed_by=bob", "everything"])
    counter = rows(plain, "SELECT max(generation) FROM kill_switch")[0][0]
    return dice.choice(
        [
            *[step(number, status, verb, **times), step(number, status, verb), step_alone(number, status)] * 10,
            *[new(generation=counter - dice.choice([0, 0, 0, 1]))] * 10,
            new(id=number, status=status, generation=counter),
            *[insert("action_records", proposal_id=number, started_at=LATER)] * 4,
            insert("action_records", id=number, proposal_id=dice.randint(1, 15), started_at=LATER),
            ask_to_stop(number),
            *[close(number, dice.choice(list(ActionOutcome)))] * 8,
            f"UPDATE action_records SET proposal_id = {dice.randint(1, 15)} WHERE id = {number}",
            *[engage(scope), release(scope), release(scope), release("everything")] * 2,
            *forbidden(table, ledger),
        ]
    )
