"""Takes guards away one after the other: a ledger without one is not opened, and the error names it."""

from contextlib import closing

import pytest

from operator_core.actions import GuardMissingError
from operator_core.db import ActionDB, install_guards
from operator_core.db.guards import postgresql, sqlite
from tests.migrations.support import next_revision, set_version, within
from tests.support.factories import stored
from tests.support.ledger import Ledger


async def named(ledger: Ledger, *statements: str) -> set[str]:
    """Run statements, and return what the error names when the ledger is opened, without the details; then restore."""
    with closing(ledger.connect()) as plain:
        for statement in statements:
            plain.execute(statement)
    with pytest.raises(GuardMissingError) as caught:
        async with ActionDB(ledger.target):
            pytest.fail(f"opened in spite of {statements}")
    await within(ledger, install_guards)
    return {text.partition(": it ")[0] for text in caught.value.guards}


async def test_a_guard_that_is_missing_is_named(ledger):
    drops = {name: f"DROP TRIGGER {name}" for name in sqlite.triggers()}
    if not ledger.is_sqlite:
        drops = {name: f"DROP TRIGGER {name} ON {guard.table}" for name, guard in postgresql.triggers().items()}

    told = {name: await named(ledger, drop) for name, drop in drops.items()}

    assert told == {name: {f"{name} is missing"} for name in drops}


async def test_a_guard_of_sqlite_that_is_altered_is_named(sqlite_path):
    ledger = Ledger(sqlite_path)
    altered = {
        name: (f"DROP TRIGGER {name}", text.replace("BEGIN", "WHEN false BEGIN", 1))
        for name, text in sqlite.triggers().items()
    }

    told = {name: await named(ledger, *statements) for name, statements in altered.items()}

    assert told == {name: {f"{name} is altered"} for name in altered}


@pytest.mark.parametrize("how", ["DISABLE TRIGGER", "ENABLE REPLICA TRIGGER"])
async def test_guards_of_postgresql_that_are_disabled_are_named(postgres_url, how):
    guards = postgresql.triggers()

    told = await named(
        Ledger(postgres_url), *(f"ALTER TABLE {guard.table} {how} {name}" for name, guard in guards.items())
    )

    assert told == {f"{name} is disabled" for name in guards}


async def test_one_guard_of_postgresql_that_is_disabled_is_named(postgres_url):
    (name, guard), *_ = postgresql.triggers().items()

    told = await named(Ledger(postgres_url), f"ALTER TABLE {guard.table} DISABLE TRIGGER {name}")

    assert told == {f"{name} is disabled"}


LAX = "CREATE FUNCTION lax() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$"
COLUMNS = {
    "action_proposals": "reason",
    "action_records": "error_message",
    "kill_switch": "reason",
    "approval_policies": "scope",
}


def swapped(text: str, one: str, other: str) -> str:
    return text.replace(one, other) if one in text else text.replace(other, one)


# Each returns the statement that makes a guard anew, almost as it was; the same statement where that is impossible.
ALTERATIONS = {
    "another condition": lambda guard: guard.ddl.replace(" EXECUTE", " WHEN (false) EXECUTE"),
    "another timing": lambda guard: swapped(guard.ddl, "BEFORE", "AFTER"),
    "another function": lambda guard: guard.ddl.replace(f"{guard.function}()", "lax()"),
    "fewer events": lambda guard: guard.ddl.replace("INSERT OR UPDATE", "INSERT").replace("UPDATE OR ", ""),
    "another level": lambda guard: (
        guard.ddl if "TRUNCATE" in guard.when else swapped(guard.ddl, "EACH ROW", "EACH STATEMENT")
    ),
    "only one column": lambda guard: guard.ddl.replace("UPDATE", f"UPDATE OF {COLUMNS.get(guard.table, 'id')}"),
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
async def test_triggers_of_postgresql_that_are_altered_are_named(postgres_url, alteration):
    made_anew = {guard: ALTERATIONS[alteration](guard) for guard in postgresql.triggers().values()}
    altered = {guard: text for guard, text in made_anew.items() if text != guard.ddl}
    drops = [f"DROP TRIGGER {guard.name} ON {guard.table}" for guard in altered]

    told = await named(Ledger(postgres_url), LAX, *drops, *altered.values())

    assert told == {f"{guard.name} is altered" for guard in altered}


FUNCTIONS = {
    "another body": "CREATE OR REPLACE FUNCTION {0}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
    "SET search_path = pg_catalog, public, pg_temp AS $$BEGIN RETURN NEW; END$$",
    "another user": "ALTER FUNCTION {0}() SECURITY INVOKER",
    "the path of the caller": "ALTER FUNCTION {0}() RESET search_path",
    "temporary tables first": "ALTER FUNCTION {0}() SET search_path = pg_temp, pg_catalog, public",
    "another schema": "ALTER FUNCTION {0}() SET search_path = pg_catalog, evil, pg_temp",
    "another schema first": "ALTER FUNCTION {0}() SET search_path = pg_catalog, evil, public, pg_temp",
}


@pytest.mark.parametrize("alteration", FUNCTIONS)
async def test_functions_of_postgresql_that_are_altered_are_named(postgres_url, alteration):
    functions = postgresql.functions().values()

    told = await named(
        Ledger(postgres_url),
        *(FUNCTIONS[alteration].format(function.name) for function in functions),
    )

    assert told == {f"function {function.name} is altered" for function in functions}


async def test_one_function_of_postgresql_that_is_altered_is_named(postgres_url):
    for function in postgresql.functions().values():
        reset = FUNCTIONS["the path of the caller"].format(function.name)

        assert await named(Ledger(postgres_url), reset) == {f"function {function.name} is altered"}


async def test_the_missing_latch_row_is_named(ledger):
    trigger = "operator_core_kill_switch_delete"
    drop = f"DROP TRIGGER {trigger}" + ("" if ledger.is_sqlite else " ON kill_switch")

    told = await named(ledger, drop, "DELETE FROM kill_switch")

    assert told == {f"{trigger} is missing", "the latch row 'everything' is missing"}


async def test_restored_guards_open_the_ledger_again(ledger):
    drop = "DROP TRIGGER operator_core_proposals_update" + ("" if ledger.is_sqlite else " ON action_proposals")
    await named(ledger, drop)

    async with ActionDB(ledger.target) as db:
        assert (await stored(db)).id == 1


async def test_a_guard_must_be_there_on_the_next_schema_too(ledger):
    set_version(ledger, next_revision())
    drop = "DROP TRIGGER operator_core_proposals_update" + ("" if ledger.is_sqlite else " ON action_proposals")

    assert await named(ledger, drop) == {"operator_core_proposals_update is missing"}


async def test_a_trigger_of_the_host_is_no_fault(ledger):
    with closing(ledger.connect()) as plain:
        if ledger.is_sqlite:
            plain.execute("CREATE TRIGGER host AFTER INSERT ON action_events BEGIN SELECT 1; END")
        else:
            plain.execute(
                "CREATE FUNCTION host() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$; "
                "CREATE TRIGGER host AFTER INSERT ON action_events FOR EACH ROW EXECUTE FUNCTION host()"
            )

    async with ActionDB(ledger.target) as db:
        assert (await stored(db)).id == 1
