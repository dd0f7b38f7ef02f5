"""Settings of servers, databases, roles and sessions: each is pinned, harmless, or refused with its name."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from operator_core.actions import (
    ActionOutcome,
    ActionStatus,
    DatabaseEncodingError,
    DatabaseReadOnlyError,
    DatabaseUnavailableError,
    EngineNotConfiguredError,
    SchemaOutOfDateError,
)
from operator_core.db import ActionDB, ActionRepository, migrations, upgrade
from operator_core.db.engine.url_options import PINNED
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.stop import barrier
from operator_core.db.stop.bounded_connection import BoundedConnection
from tests.cli.conftest import run_command
from tests.support.factories import proposal, stored
from tests.support.postgres import PrivatePostgres
from tests.support.stop_steps import stop

HOSTILE = {
    "timezone": "America/Sao_Paulo",
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "quote_all_identifiers": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "exit_on_error": "on",
    "statement_timeout": "1ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "1ms",
    "jit": "on",
    "client_encoding": "SQL_ASCII",
}
"""Settings that the library pins in its own sessions."""

HARMLESS = {
    "allow_system_table_mods": "on",
    "array_nulls": "off",
    "backslash_quote": "on",
    "check_function_bodies": "off",
    "client_min_messages": "debug5",
    "constraint_exclusion": "on",
    "cursor_tuple_fraction": "1",
    "default_table_access_method": "heap",
    "default_tablespace": "pg_default",
    "default_text_search_config": "simple",
    "default_toast_compression": "pglz",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_indexonlyscan": "off",
    "enable_indexscan": "off",
    "enable_mergejoin": "off",
    "enable_nestloop": "off",
    "enable_seqscan": "off",
    "enable_sort": "off",
    "escape_string_warning": "off",
    "from_collapse_limit": "1",
    "geqo_threshold": "2",
    "gin_fuzzy_search_limit": "1",
    "jit_above_cost": "0",
    "join_collapse_limit": "1",
    "lc_messages": "C",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
    "lo_compat_privileges": "on",
    "log_min_error_statement": "debug5",
    "log_statement": "all",
    "max_parallel_workers_per_gather": "4",
    "parallel_setup_cost": "0",
    "parallel_tuple_cost": "0",
    "password_encryption": "md5",
    "plan_cache_mode": "force_generic_plan",
    "plpgsql.check_asserts": "off",
    "plpgsql.extra_errors": "shadowed_variables,strict_multi_assignment,too_many_rows",
    "plpgsql.extra_warnings": "all",
    "row_security": "off",
    "synchronize_seqscans": "off",
    "synchronous_commit": "off",
    "temp_buffers": "100",
    "temp_tablespaces": "",
    "timezone_abbreviations": "India",
    "track_activities": "off",
    "transform_null_equals": "on",
    "work_mem": "64",
    "xmlbinary": "hex",
    "xmloption": "document",
    "zero_damaged_pages": "on",
}
"""Settings that change nothing of what the library promises, on a host's engine either."""

SINCE = {  # by the number of a server's version
    160000: {"createrole_self_grant": "set", "debug_parallel_query": "on", "restrict_nonsystem_relation_kind": ""},
    170000: {"event_triggers": "off"},
}

REFUSED_OF_A_HOST = {
    "extra_float_digits": "0",
    "exit_on_error": "on",
    "quote_all_identifiers": "on",
    "session_replication_role": "replica",
}
REFUSED_OF_A_HOST_WITH_PSYCOPG = {"client_encoding": "LATIN1", "datestyle": "German"}


@pytest.fixture(params=["asyncpg", "psycopg"])
def driver(request: pytest.FixtureRequest) -> str:
    """Each driver in turn."""
    return str(request.param)


@pytest.fixture
def url(postgres_url: str, driver: str) -> URL:
    """The URL of a ledger on a server, with each driver in turn."""
    return make_url(postgres_url).set(drivername=f"postgresql+{driver}")


def give(url: URL, settings: Mapping[str, str], *, whom: str = "DATABASE") -> None:
    """Give settings to a database, for every session that begins after this."""
    name = url.database if whom == "DATABASE" else url.username
    with closing(psycopg.connect(dsn_of(url), autocommit=True)) as plain:
        for setting, value in settings.items():
            statement = sql.SQL("ALTER {} {} SET {} = {}").format(
                sql.SQL(whom), sql.Identifier(str(name)), sql.SQL(setting), value
            )
            plain.execute(statement)


def dsn_of(url: URL) -> str:
    """Return the URL as psycopg wants it."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def younger(postgres: PrivatePostgres) -> dict[str, str]:
    """Return those harmless settings that only newer servers know, and which this one does."""
    with postgres._admin() as admin:
        version = admin.info.server_version
    return {name: value for since, found in SINCE.items() if version >= since for name, value in found.items()}


PARAMETERS = {"float": [0.1, 1e16, -0.0, 1.7976931348623157e308], "text": "ü\\' \U0001f511 NULL", "null": None}


async def keep_the_promises(db: ActionRepository) -> int:
    """Propose, validate, start, claim, finish, and see that every value comes back as it was; return an id."""
    until = datetime(2999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    made = await db.create_proposal(proposal(ticket_id=5, parameters=PARAMETERS, valid_until=until))
    assert (made.parameters, made.valid_until) == (PARAMETERS, until)
    assert await db.get_proposal(made.id) == made
    assert abs(datetime.now(UTC) - made.status_at) < timedelta(hours=1)
    await db.update_proposal_status(made.id, ActionStatus.VALIDATED)
    execution = await db.claim(made.id, worker="w1", lease_seconds=60.123456789)
    assert execution.record.lease_seconds == 60.123456789
    closed = await execution.complete(PARAMETERS)
    assert await db.get_record(closed.id) == closed
    assert closed.result_data == PARAMETERS
    other = await stored(db, ActionStatus.VALIDATED)
    begun = await db.start_execution(other.id)
    failed = await db.finish_execution(begun.id, success=False, error_message="no")
    assert failed.outcome is ActionOutcome.FAILED
    steps = [event.to_status for event in await db.get_events(made.id)]
    assert steps == ["proposed", "validated", "executing", "completed"]
    bulk = await db.create_proposals([proposal(parameters=PARAMETERS, proposed_at=until.replace(year=2020))] * 2)
    assert bulk[0].proposed_at == until.replace(year=2020)
    return made.id


async def keep_the_stop(db: ActionDB) -> None:
    """Stop, look, release, and find nothing wrong in the history."""
    pending = await stored(db)
    receipt = await stop(db)
    assert pending.id in receipt.cancelled
    status = await db.kill_switch_status()
    assert [(found.generation, found.engaged_at) for found in status.engaged] == [
        (receipt.generation, receipt.engaged_at)
    ]
    assert abs(datetime.now(UTC) - receipt.engaged_at) < timedelta(hours=1)
    released = await db.release_kill_switch(by="ann", reason="out", generation=receipt.generation)
    assert released.released_at is not None
    assert await db.verify() == []


@asynccontextmanager
async def host_engine(url: URL) -> AsyncIterator[AsyncEngine]:
    """Give a plain engine, as a host makes it."""
    engine = create_async_engine(url)
    try:
        yield engine
    finally:
        await engine.dispose()


# -- sessions of our own -----------------------------------------------------------------------------------------------


def test_every_setting_that_is_pinned_is_tried() -> None:
    assert set(PINNED) - {"application_name"} <= set(HOSTILE)


async def test_all_promises_hold_under_every_setting_at_once(url: URL, postgres: PrivatePostgres) -> None:
    give(url, {**HOSTILE, **HARMLESS, **younger(postgres)})

    async with ActionDB(url) as db:
        await keep_the_promises(db)
        async with db.transaction() as tx:
            await keep_the_promises(tx)
        await keep_the_stop(db)


ALONE = ["datestyle", "default_transaction_read_only", "extra_float_digits", "quote_all_identifiers", "exit_on_error"]


@pytest.mark.parametrize("name", ALONE)
async def test_a_role_may_have_such_a_setting_as_well(url: URL, postgres: PrivatePostgres, name: str) -> None:
    role = url._replace(username=f"strange_{name}")
    with postgres._admin() as admin:
        made = sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {}")
        admin.execute(made.format(sql.Identifier(str(role.username)), postgres.password))
    try:
        give(role, {name: HOSTILE[name]}, whom="ROLE")
        async with ActionDB(role) as db:
            await keep_the_promises(db)
            await keep_the_stop(db)
    finally:
        with postgres._admin() as admin:
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(str(role.username))))


def test_a_ledger_is_made_checked_and_stopped_under_every_setting(url: URL, postgres: PrivatePostgres) -> None:
    empty = url.set(database=postgres.create_database())
    give(empty, {**HOSTILE, **HARMLESS, **younger(postgres)})
    target = empty.render_as_string(hide_password=False)

    made = run_command("db", "upgrade", "--url", target)
    checked = run_command("db", "check", "--url", target)
    stopped = run_command("stop", "--reason", "smoke", "--timeout", "60", "--url", target)
    status = run_command("status", "--json", "--url", target)

    assert [done.code for done in (made, checked, stopped, status)] == [0, 0, 0, 0], (
        made.err + checked.out + stopped.err
    )
    assert [found["reason"] for found in status.json["engaged"]] == ["smoke"]


TIMEOUT = "SELECT coalesce(nullif(current_setting('transaction_timeout', true), ''), '0')"


@unit(TransactionMode.READ)
def _timeout(connection):
    return connection.exec_driver_sql(TIMEOUT).scalar()


async def test_a_transaction_has_no_timeout_but_ours(url: URL, postgres: PrivatePostgres) -> None:
    with postgres._admin() as admin:
        knows = admin.info.server_version >= 170000
    if knows:
        give(url, {"transaction_timeout": "1h"})

    async with ActionDB(url) as db:
        first = await db._run(
            unit(TransactionMode.READ)(lambda connection: connection.exec_driver_sql(TIMEOUT).scalar())
        )
        assert db._transactions is not None
        await db._transactions.release_idle_connections()
        await db._transactions.engine.dispose()
        async with db.transaction() as tx:
            await tx.list_proposals()
            later = await tx._run(
                unit(TransactionMode.READ)(lambda connection: connection.exec_driver_sql(TIMEOUT).scalar())
            )

    assert (first, later) == ("0", "0")


ENVIRONMENT = {"PGTZ": "Asia/Kolkata", "PGDATESTYLE": "German", "PGOPTIONS": "-c extra_float_digits=-15"}


async def test_the_environment_changes_no_setting(url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    asked = "SELECT current_setting('timezone') || ' ' || current_setting('datestyle')"

    async with ActionDB(url) as db:
        found = await db._run(unit(TransactionMode.READ)(lambda connection: connection.exec_driver_sql(asked).scalar()))
        await keep_the_promises(db)
        await keep_the_stop(db)

    assert found == "UTC ISO, MDY"


async def test_a_schema_that_the_role_does_not_see_is_no_ledger(url: URL) -> None:
    give(url, {"search_path": "elsewhere"})

    with pytest.raises(SchemaOutOfDateError):
        await ActionDB(url).open()


BY_HAND = (
    """INSERT INTO action_proposals (action_name, action_type, parameters, reason)
    VALUES ('drain_store', 'subject', '{"a": 0.1}', 'hot')""",
    "UPDATE action_proposals SET status = 'validated'",
    "UPDATE action_proposals SET status = 'executing'",
    """INSERT INTO action_records (proposal_id, started_at, worker, lease_seconds, lease_expires_at, last_seen_at)
    SELECT id, now(), 'w', 0.1, now(), now() FROM action_proposals""",
    "UPDATE action_records SET completed_at = now(), success = true, outcome = 'succeeded'",
    "UPDATE action_proposals SET status = 'completed'",
)
OF_CLIENTS = {name: value for name, value in HOSTILE.items() if "timeout" not in name and "transaction" not in name}


async def test_what_a_client_does_under_every_setting_is_in_the_history_as_it_was(url: URL) -> None:
    give(url, OF_CLIENTS)
    with closing(psycopg.connect(dsn_of(url), autocommit=True)) as plain:
        for statement in BY_HAND:
            plain.execute(statement)

    async with ActionDB(url) as db:
        assert await db.verify() == []
        (done,) = await db.list_proposals()
        (record,) = await db.get_records_for_proposal(done.id)
    assert (done.status, record.lease_seconds) == (ActionStatus.COMPLETED, 0.1)


# -- databases that are not suitable -----------------------------------------------------------------------------------


@pytest.fixture(params=["LATIN1", "SQL_ASCII"])
def unsuitable(request: pytest.FixtureRequest, url: URL, postgres: PrivatePostgres) -> URL:
    """An empty database with another encoding."""
    name = f"{postgres.create_database()}_other"
    made = "CREATE DATABASE {} ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    with postgres._admin() as admin:
        admin.execute(sql.SQL(made).format(sql.Identifier(name), request.param))
    postgres._databases.add(name)
    return url.set(database=name)


@pytest.mark.parametrize("call", [upgrade, migrations.schema_status])
def test_a_database_that_does_not_keep_unicode_is_neither_made_nor_approved(unsuitable: URL, call) -> None:
    with pytest.raises(DatabaseEncodingError, match=r"CREATE DATABASE \.\.\. ENCODING 'UTF8' TEMPLATE template0"):
        call(unsuitable)

    with closing(psycopg.connect(dsn_of(unsuitable))) as plain:
        assert plain.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


@pytest.mark.parametrize("command", ["upgrade", "check"])
def test_the_command_line_refuses_it_as_well(unsuitable: URL, command: str) -> None:
    done = run_command("db", command, "--url", unsuitable.render_as_string(hide_password=False))

    assert done.code == 1
    assert "has the encoding" in done.err


# -- sessions that leave the guards out --------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [upgrade, migrations.schema_status])
def test_a_role_whose_sessions_leave_triggers_out_is_refused_by_commands(url: URL, call) -> None:
    give(url, {"session_replication_role": "replica"})

    with pytest.raises(EngineNotConfiguredError, match="RESET session_replication_role"):
        call(url)


async def test_it_is_refused_on_open_and_its_stop_fails_aloud(url: URL) -> None:
    give(url, {"session_replication_role": "replica"})
    target = url.render_as_string(hide_password=False)

    with pytest.raises(EngineNotConfiguredError, match="session_replication_role is replica"):
        await ActionDB(url).open()
    stopped = run_command("stop", "--reason", "smoke", "--timeout", "1", "--url", target)

    assert (stopped.code, "session_replication_role is replica" in stopped.err) == (1, True)


# -- sessions of a host ------------------------------------------------------------------------------------------------


async def test_a_host_may_have_every_harmless_setting(url: URL, postgres: PrivatePostgres) -> None:
    give(url, {**HARMLESS, **younger(postgres), "timezone": "Asia/Kolkata", "intervalstyle": "iso_8601"})

    async with host_engine(url) as engine:
        async with AsyncSession(engine) as session:
            await keep_the_promises(ActionRepository(session))
            await session.commit()
        async with ActionDB(engine) as db:
            await keep_the_promises(db)
            await keep_the_stop(db)


def refused(driver: str) -> dict[str, str]:
    """Return the settings with which the engine of a host is refused."""
    return {**REFUSED_OF_A_HOST, **(REFUSED_OF_A_HOST_WITH_PSYCOPG if driver == "psycopg" else {})}


async def test_other_settings_of_a_host_are_refused_by_name(url: URL, driver: str) -> None:
    for name, value in refused(driver).items():
        give(url, {name: value})
        async with host_engine(url) as engine:
            with pytest.raises(EngineNotConfiguredError, match=f"{name} is "):
                await ActionDB(engine).open()
            async with AsyncSession(engine) as session:
                with pytest.raises(EngineNotConfiguredError, match=f"{name} is "):
                    await ActionRepository(session).list_proposals()
        with closing(psycopg.connect(dsn_of(url), autocommit=True)) as plain:
            plain.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(sql.Identifier(str(url.database))))


async def test_what_is_refused_of_psycopg_is_harmless_with_asyncpg(url: URL, driver: str) -> None:
    give(url, {"datestyle": "German"} if driver == "asyncpg" else {"datestyle": "ISO, DMY"})

    async with host_engine(url) as engine, ActionDB(engine) as db:
        await keep_the_promises(db)
        await keep_the_stop(db)


async def test_a_host_that_may_only_read_is_told_so_and_can_stop_all_the_same(url: URL) -> None:
    give(url, {"default_transaction_read_only": "on"})

    async with host_engine(url) as engine, ActionDB(engine) as db:
        assert await db.list_proposals() == []
        with pytest.raises(DatabaseReadOnlyError, match="default_transaction_read_only"):
            await db.create_proposal(proposal())
        receipt = await stop(db)

    async with ActionDB(url) as db:
        assert [found.generation for found in (await db.kill_switch_status()).engaged] == [receipt.generation]


async def test_what_changes_while_a_host_is_open_stops_no_stop(url: URL) -> None:
    async with host_engine(url) as engine, ActionDB(engine) as db:
        pending = await stored(db)
        timeouts = {"lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"}
        give(url, {name: value for name, value in HOSTILE.items() if name not in timeouts})

        receipt = await stop(db)

    assert receipt.cancelled == (pending.id,)


async def test_timeouts_of_a_host_are_its_own_and_say_so(url: URL) -> None:
    give(url, {"statement_timeout": "1ms"})
    async with host_engine(url) as engine:
        with pytest.raises(DatabaseUnavailableError):
            async with ActionDB(engine) as db:
                for _ in range(50):
                    await db.create_proposals([proposal()] * 200)

    with closing(psycopg.connect(dsn_of(url), options="-c statement_timeout=0")) as plain:
        assert plain.execute("SELECT count(*) % 200 FROM action_proposals").fetchone() == (0,)


async def test_a_unit_that_begins_at_the_deadline_is_bounded_and_durable_all_the_same(
    url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = "SELECT current_setting('default_transaction_read_only') || ' ' || current_setting('synchronous_commit')"
    give(url, {"default_transaction_read_only": "on", "synchronous_commit": "off"})
    bound = barrier.apply_timeouts
    monkeypatch.setattr(
        barrier, "apply_timeouts", lambda sync, _seconds, **given: bound(sync, 60.0, **given)
    )  # no race with 0

    async with host_engine(url) as engine:
        connection = BoundedConnection(engine, url)
        found = await connection._transact(lambda sync: sync.exec_driver_sql(asked).scalar(), 0.0)
        await connection.close()

    assert found == "off on"
