"""The roles of docs/deploy.md, made by its own words on a real server: what each one may do, and what it may not."""

import asyncio
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from operator_core.actions import (
    ActionError,
    ActionRecord,
    ActionStatus,
    DatabaseAccessError,
    Finding,
    KillSwitchEngagedError,
    LeaseLostError,
    StopUnconfirmedError,
)
from operator_core.db import ActionDB, metadata, upgrade
from operator_core.db.guards import postgresql
from operator_core.db.migrate import VERSION_TABLE
from tests.support.claims import claimed, let_expire, recovered, unknown
from tests.support.factories import proposal, running, stored
from tests.support.ledger import Ledger
from tests.support.postgres import PrivatePostgres
from tests.support.stop_steps import client, pid, start, stop

ROOT = Path(__file__).parents[2]
OWNER, APP, OPERATOR = "operator_core_owner", "operator_core_app", "operator_core_operator"
TABLES = (*metadata.tables, VERSION_TABLE)
NO_PRIVILEGE = "42501"


def documented(heading: str) -> list[list[str]]:
    """Return the statements of each SQL block under a heading of docs/deploy.md, lines for psql among them."""
    text = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^```sql\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [re.findall(r"^(?:\\.*|[^\\]*?;)$", block, re.MULTILINE) for block in found]


ONCE, AFTER_EACH_UPGRADE, BY_HAND, TO_TERMINATE = documented("Roles")
(SETTINGS,) = documented("PgBouncer")


@dataclass
class Deployed:
    """A ledger with the roles of the document, under names of its own: roles belong to the whole server."""

    server: PrivatePostgres
    database: str
    mark: str
    password: str

    def role(self, name: str) -> str:
        return f"{name}_{self.mark}"

    def url(self, name: str) -> str:
        return self.server.url(self.database, user=self.role(name), password=self.password)

    def connect(self, name: str | None = None) -> psycopg.Connection:
        """Return a client that speaks plain SQL as a role, or as a superuser."""
        url = self.server.url(self.database) if name is None else self.url(name)
        return psycopg.connect(Ledger(url).dsn, autocommit=True)

    def run(self, statements: list[str], name: str | None = None) -> list[tuple]:
        """Run documented statements as a role, or as a superuser, and return the rows of the last one."""
        with closing(psycopg.connect(self.server.dsn(), autocommit=True) if name is None else self.connect(name)) as to:
            for statement in statements:
                if statement.startswith("\\connect "):
                    return self._run_within(statements[statements.index(statement) + 1 :])
                done = to.execute(self._renamed(statement))
        return done.fetchall() if done.description else []

    def _run_within(self, statements: list[str]) -> list[tuple]:
        with closing(self.connect()) as to:
            for statement in statements:
                to.execute(self._renamed(statement))
        return []

    def _renamed(self, statement: str) -> str:
        statement = re.sub(r"\b(operator_core_(?:owner|app|operator))\b", rf"\1_{self.mark}", statement)
        return re.sub(r"\bledger\b", self.database, statement)


@pytest.fixture(scope="module")
def template(postgres: PrivatePostgres) -> Iterator[Deployed]:
    """Is what the document makes, migrated by the owner."""
    made = Deployed(postgres, f"test_{secrets.token_hex(8)}", secrets.token_hex(4), secrets.token_urlsafe(18))
    names = [sql.Identifier(made.role(name)) for name in (OWNER, APP, OPERATOR)]
    postgres._databases.add(made.database)
    try:
        made.run(ONCE)
        with postgres._admin() as admin:
            for name in names:
                admin.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, made.password))
        upgrade(made.url(OWNER))
        made.run(AFTER_EACH_UPGRADE, OWNER)
        yield made
    finally:
        for database in tuple(postgres._databases):
            if database == made.database or database in _CLONES:
                postgres.drop_database(database)
        with postgres._admin() as admin:
            for name in names:
                admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(name))


_CLONES = set[str]()


@pytest.fixture
def deployed(template: Deployed) -> Deployed:
    """Is a copy of it; the rights on a database itself are not copied."""
    name = template.server.create_database(template.database)
    _CLONES.add(name)
    made = Deployed(template.server, name, template.mark, template.password)
    with closing(made.connect()) as admin:
        admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(*map(sql.Identifier, (name, made.role(OWNER)))))
    made.run([statement for statement in ONCE if " ON DATABASE " in statement])
    return made


@pytest.fixture
def plain(deployed: Deployed) -> Iterator[psycopg.Connection]:
    """Is a superuser."""
    with closing(deployed.connect()) as connection:
        yield connection


@pytest.fixture
async def app(deployed: Deployed):
    async with ActionDB(deployed.url(APP)) as db:
        yield db


@pytest.fixture
async def operator(deployed: Deployed):
    async with ActionDB(deployed.url(OPERATOR)) as db:
        yield db


# -- what the application role does ------------------------------------------------------------------------------------

Call = Callable[[ActionDB, psycopg.Connection], Awaitable[object]]


async def finished(db: ActionDB, **given: bool) -> object:
    record = await running(db)
    return await db.finish_execution(record.id or 0, **{"success": True, **given})


async def answered(db: ActionDB, _plain: object) -> object:
    record = await running(db)
    await stop(db)
    return await db.acknowledge_stop(record.id or 0, by="w1")


async def opened_and_closed(db: ActionDB, _plain: object) -> object:
    made = await stored(db, ActionStatus.VALIDATED)
    async with db.transaction() as tx:
        await tx.update_proposal_status(made.id or 0, ActionStatus.EXECUTING)
        record = await tx.create_record(ActionRecord(proposal_id=made.id or 0))
    return await db.update_record(record.id or 0, success=True)


async def worked(db: ActionDB, _plain: object) -> object:
    await stored(db, ActionStatus.VALIDATED)
    execution = await db.claim_next(worker="w1", idempotency_key="k1")
    assert execution is not None
    await execution.heartbeat()
    return await execution.complete({"n": 1})


async def reported_late(db: ActionDB, plain: psycopg.Connection) -> object:
    execution = await claimed(db)
    await recovered(db, plain, execution)
    with pytest.raises(LeaseLostError):
        await execution.complete({"n": 1})
    return plain.execute("SELECT kind FROM action_notes").fetchone()


async def recovered_lost(db: ActionDB, plain: psycopg.Connection) -> object:
    execution = await claimed(db)
    let_expire(plain, execution.record.id)
    return await db.recover_lost()


async def resolved(db: ActionDB, _plain: object) -> object:
    record = await unknown(db)
    found = await db.list_unsettled()
    await db.resolve_unknown(record.id or 0, finding=Finding.HAPPENED, by="ann", reason="it is empty")
    return found


async def asked(db: ActionDB, _plain: object) -> object:
    record = await running(db)
    await db.request_cancel(record.proposal_id, by="ann", reason="wrong store")
    return await db.stop_requested(record.id or 0)


async def released(db: ActionDB, _plain: object) -> object:
    await stored(db)
    receipt = await stop(db)
    return await db.release_kill_switch(by="ann", reason="over", generation=receipt.generation)


async def pruned(db: ActionDB, _plain: object) -> object:
    await finished(db)
    await stored(db, ActionStatus.CANCELLED)
    now = datetime.now(UTC)
    planned, done = await db.count_prunable(now), await db.prune(now)
    assert planned.proposals == done.proposals == 2
    return await db.verify() == []


async def watched(db: ActionDB, _plain: object) -> object:
    await stop(db)
    async with aclosing(db.watch_kill_switch()) as changes:
        return await anext(changes)


async def read(db: ActionDB, _plain: object) -> object:
    record = await running(db)
    number = record.proposal_id
    return (
        await db.get_proposal(number)
        and await db.get_record(record.id or 0)
        and await db.get_records_for_proposal(number)
        and await db.get_events(number)
        and await db.list_proposals()
        and await db.count_proposals()
        and [found async for found in db.iter_proposals()]
        and [event async for event in db.iter_events()]
        and await db.kill_switch_status()
        and await db.wait_for(number, ActionStatus.EXECUTING)
    )


async def hinted(db: ActionDB, _plain: object) -> object:
    async with db.hints() as hint:
        await hint(0.01)
    return True


async def cancelled(db: ActionDB, _plain: object) -> object:
    await stored(db)
    return await db.cancel_all_pending()


async def proposed(db: ActionDB, _plain: object) -> object:
    await db.create_proposal(proposal(), idempotency_key="k1")
    await db.create_proposals([proposal(), proposal()])
    return await db.take_proposed(["drain_store"])


CALLS: dict[str, Call] = {
    "create_proposal create_proposals take_proposed": proposed,
    "update_proposal_status start_execution finish_execution": lambda db, _: finished(db),
    "claim": lambda db, _: claimed(db),
    "claim_next": worked,
    "transaction create_record update_record": opened_and_closed,
    "engage_kill_switch acknowledge_stop": answered,
    "release_kill_switch": released,
    "request_cancel stop_requested": asked,
    "cancel_all_pending": cancelled,
    "recover_lost": recovered_lost,
    "a late report": reported_late,
    "list_unsettled resolve_unknown": resolved,
    "count_prunable prune verify": pruned,
    "watch_kill_switch": watched,
    "hints": hinted,
    "get_proposal get_record get_records_for_proposal get_events list_proposals count_proposals iter_proposals "
    "iter_events kill_switch_status wait_for": read,
}
BEFORE_AND_AFTER = {"open", "close", "migrate"}


def test_every_call_of_the_library_is_tried_as_the_application_role():
    public = {name for name in dir(ActionDB) if not name.startswith("_")}

    assert public - {name for names in CALLS for name in names.split()} == BEFORE_AND_AFTER


@pytest.mark.parametrize("names", CALLS)
async def test_the_application_role_may_do_all_that_the_library_does(app, plain, names):
    assert await CALLS[names](app, plain)


async def test_the_application_role_lets_no_history_go(app):
    await finished(app)

    with pytest.raises(DatabaseAccessError):
        await app.prune(datetime.now(UTC), keep_events=False)


async def test_the_owner_lets_history_go(app, deployed):
    await finished(app)

    async with ActionDB(deployed.url(OWNER)) as owner:
        report = await owner.prune(datetime.now(UTC), keep_events=False)

    assert (report.proposals, report.events) == (1, 4)


# -- what no role but the owner may do ---------------------------------------------------------------------------------


def refusal(connection: psycopg.Connection, statement: str) -> str | None:
    """Return the SQLSTATE with which a statement is refused, or None where it is not."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)
    except psycopg.Error as error:
        return error.sqlstate
    return None


GUARDS = [
    "CREATE TABLE public.mine (id int)",
    "CREATE TEMPORARY TABLE kill_switch (id int)",
    "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA mine",
    "SET session_replication_role = replica",
    f"SET ROLE {OWNER}",
    f"GRANT {OWNER} TO CURRENT_USER",
    "GRANT pg_signal_backend TO CURRENT_USER",
    *(f"ALTER TABLE {table} DISABLE TRIGGER ALL" for table in TABLES),
    *(f"ALTER TABLE {table} ADD COLUMN mine int" for table in TABLES),
    *(f"ALTER TABLE {table} OWNER TO CURRENT_USER" for table in TABLES),
    *(f"DROP TABLE {table} CASCADE" for table in TABLES),
    *(f"TRUNCATE {table} CASCADE" for table in TABLES),
    *(f"CREATE RULE mine AS ON UPDATE TO {table} DO INSTEAD NOTHING" for table in TABLES),
    *(
        f"CREATE TRIGGER mine BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION operator_core_refuse_always()"
        for table in TABLES
    ),
    *(f"DROP TRIGGER {trigger.name} ON {trigger.table}" for trigger in postgresql.triggers().values()),
    *(
        statement.format(name)
        for name in (*postgresql.functions(), *postgresql.operator_functions())
        for statement in ("DROP FUNCTION {} CASCADE", "ALTER FUNCTION {} RESET ALL")
    ),
    *(function.ddl for function in postgresql.functions().values()),
    *(function.ddl for function in postgresql.operator_functions().values()),
]  # fmt: skip
HISTORY = [
    f"{change}{table}{rest}"
    for table in ("action_events", "kill_switch_events", VERSION_TABLE)
    for change, rest in (("INSERT INTO ", " DEFAULT VALUES"), ("DELETE FROM ", ""))
] + [
    "UPDATE action_events SET reason = 'none'",
    "UPDATE action_notes SET reason = 'none'",
    "DELETE FROM action_notes",
    "UPDATE action_prunes SET reason = 'none'",
    "DELETE FROM action_prunes",
    "UPDATE kill_switch_events SET reason = 'none'",
    "DELETE FROM kill_switch",
    f"UPDATE {VERSION_TABLE} SET version_num = '0001'",
]


@pytest.mark.parametrize("role", [APP, OPERATOR])
def test_no_guard_is_altered_and_nothing_is_created(template, role):
    with closing(template.connect(role)) as plainly:
        refused = {statement: refusal(plainly, template._renamed(statement)) for statement in GUARDS}

    assert {statement: code for statement, code in refused.items() if code != NO_PRIVILEGE} == {}


@pytest.mark.parametrize("role", [APP, OPERATOR])
async def test_no_event_and_no_version_is_written(deployed, app, role):
    await finished(app)

    with closing(deployed.connect(role)) as plainly:
        refused = {statement: refusal(plainly, statement) for statement in HISTORY}

    assert {statement: code for statement, code in refused.items() if code != NO_PRIVILEGE} == {}


@pytest.mark.parametrize("statement", ["ALTER TABLE kill_switch DISABLE TRIGGER USER", "DROP TABLE action_events"])
def test_the_owner_may_do_what_the_others_may_not(template, statement):
    with closing(template.connect(OWNER)) as plainly:
        assert refusal(plainly, statement) is None


def test_the_application_role_runs_no_function_of_the_operator(template):
    with closing(template.connect(APP)) as plainly:
        refused = {refusal(plainly, statement) for statement in (*BY_HAND, "SELECT operator_core_sweep(1, 1)")}

    assert refused == {NO_PRIVILEGE}


def test_a_stranger_is_not_let_in(template):
    name = sql.Identifier(template.role("stranger"))
    with closing(template.connect()) as plain:
        plain.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, template.password))
        try:
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                template.connect("stranger")
        finally:
            plain.execute(sql.SQL("DROP ROLE {}").format(name))


# -- the operator ------------------------------------------------------------------------------------------------------


async def test_the_operator_stops_everything(operator, app):
    waiting = [await stored(app), await stored(app, ActionStatus.VALIDATED)]
    record = await running(app)

    receipt = await stop(operator)

    assert receipt.cancelled == tuple(made.id for made in waiting)
    assert [one.record_id for one in receipt.still_executing] == [record.id]
    with pytest.raises(KillSwitchEngagedError):
        await app.start_execution(waiting[1].id or 0)


@pytest.mark.parametrize(
    ("scope", "given"),
    [
        ("action_type=workflow", {"action_type": "workflow"}),
        ("action_name=fill_store", {"action_name": "fill_store"}),
        ("proposed_by=eve", {"proposed_by": "eve"}),
        ("ticket_id=7", {"ticket_id": 7}),
    ],
)
async def test_the_operator_stops_what_a_scope_covers_and_nothing_else(operator, app, scope, given):
    covered, other = await stored(app, **given), await stored(app)

    receipt = await stop(operator, scope=scope)

    assert (receipt.cancelled, str(receipt.scope)) == ((covered.id,), scope)
    assert (await app.get_proposal(other.id or 0)).status is ActionStatus.PROPOSED


async def test_the_operator_stops_again_and_after_a_release(operator, app):
    first, second = await stop(operator), await stop(operator, reason="more smoke")
    await app.release_kill_switch(by="ann", reason="over", generation=second.generation)
    third = await stop(operator)

    (engaged,) = (await operator.kill_switch_status()).engaged
    assert (first.generation, second.generation, third.generation) == (1, 2, 3)
    assert (engaged.generation, engaged.released_at, engaged.by) == (3, None, "ann")


async def test_a_stop_of_the_operator_is_told_as_that_of_anybody(operator, app):
    await stored(app)
    mine = await stop(operator, by="ann", reason="smoke")
    await app.release_kill_switch(by="ann", reason="over", generation=mine.generation)
    await stored(app)
    theirs = await stop(app, by="ann", reason="smoke")

    one, other = [(await app.get_events(receipt.cancelled[0]))[-1] for receipt in (mine, theirs)]
    assert (one.to_status, one.by, one.reason) == (other.to_status, other.by, other.reason)
    assert await app.verify() == []


async def test_a_stop_of_the_operator_waits_at_the_barrier(operator, app, deployed, plain):
    made = await stored(app, ActionStatus.VALIDATED)

    with client(Ledger(deployed.url(APP))) as hanging:
        hanging.execute(start(made.id))
        with pytest.raises(StopUnconfirmedError) as caught:
            await stop(operator, wait=0.5)

        assert caught.value.pids == (pid(hanging),)
    assert (await operator.kill_switch_status()).engaged


async def test_many_stops_at_once_of_a_scope_that_was_never_stopped_all_succeed(operator, app):
    receipts = await asyncio.gather(*(stop(db, scope="ticket_id=7") for db in [operator, app] * 4))

    assert sorted(receipt.generation for receipt in receipts) == list(range(1, 9))


async def test_a_stop_of_the_operator_is_heard(operator, app):
    async with aclosing(app.watch_kill_switch(poll=60)) as changes:
        heard = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0.5)  # it listens by now; if not, it looks at once
        receipt = await stop(operator)

        assert (await asyncio.wait_for(heard, 30)).generation == receipt.generation


async def test_the_documented_stop_by_hand_is_signed_by_who_has_logged_in(deployed, app):
    made = await stored(app, ActionStatus.VALIDATED)

    ((_, generation, _, by, reason, *_),) = deployed.run(BY_HAND, OPERATOR)

    assert (generation, by, reason) == (1, f"sql:{deployed.role(OPERATOR)}", "what you see")
    with pytest.raises(KillSwitchEngagedError):
        await app.start_execution(made.id or 0)


async def test_the_command_stops_and_shows_as_the_operator(deployed, app):
    await stored(app)

    url = deployed.url(OPERATOR)
    stopped, shown = await command(url, "stop", "--reason", "smoke"), await command(url, "status")
    released = await command(url, "release", "--reason", "over", "--generation", "1")

    assert (stopped[0], shown[0], released[0]) == (0, 0, 1)
    assert "ENGAGED" in shown[1]
    assert "permission denied" in released[1]


async def command(url: str, *words: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "operator_core", *words, "--url", url, stdout=-1, stderr=subprocess.STDOUT
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


READS: dict[str, Call] = {
    "look": lambda db, _: db.list_proposals(),
    "verify": lambda db, _: db.verify(),
    "status": lambda db, _: db.kill_switch_status(),
    "events": lambda db, _: db.get_events(1),
}
WRITES: dict[str, Call] = {
    "propose": lambda db, _: db.create_proposal(proposal()),
    "validate": lambda db, _: db.update_proposal_status(1, ActionStatus.VALIDATED),
    "start": lambda db, _: db.start_execution(2),
    "claim": lambda db, _: db.claim(2, worker="w1"),
    "claim the next": lambda db, _: db.claim_next(worker="w1"),
    "finish": lambda db, _: db.finish_execution(1, success=True),
    "cancel": lambda db, _: db.request_cancel(1, by="eve", reason="because"),
    "cancel all": lambda db, _: db.cancel_all_pending(),
    "recover": lambda db, _: db.recover_lost(),
    "prune": lambda db, _: db.prune(datetime.now(UTC)),
    "release": lambda db, _: db.release_kill_switch(by="eve", reason="because", generation=1),
}


@pytest.fixture
async def peopled(app) -> None:
    """Is a ledger with a proposal, one that is validated, and one that runs, and a stop of something else."""
    await stored(app)
    await stored(app, ActionStatus.VALIDATED)
    await running(app)
    await stop(app, scope="ticket_id=4711")


@pytest.mark.usefixtures("peopled")
async def test_the_operator_may_look(operator, plain):
    assert [name for name, look in READS.items() if await look(operator, plain) is None] == []


@pytest.mark.usefixtures("peopled")
async def test_the_operator_may_do_nothing_else(operator, plain):
    refused = {name: await error_of(write(operator, plain)) for name, write in WRITES.items()}

    assert [name for name, error in refused.items() if error is not DatabaseAccessError] == []


async def error_of(call: Awaitable[object]) -> type[ActionError] | None:
    try:
        await call
    except ActionError as error:
        return type(error)
    return None


@pytest.mark.parametrize("table", TABLES)
def test_the_operator_writes_to_no_table(template, table):
    column = "version_num" if table == VERSION_TABLE else f'"{[*metadata.tables[table].columns][-1].name}"'
    with closing(template.connect(OPERATOR)) as plainly:
        refused = {
            refusal(plainly, statement)
            for statement in (
                f"INSERT INTO {table} DEFAULT VALUES",
                f"UPDATE {table} SET {column} = {column}",
                f"DELETE FROM {table}",
                f"SELECT 1 FROM {table} FOR UPDATE",
                f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE",
            )
        }

    assert refused == {NO_PRIVILEGE}


async def test_a_sweep_cancels_nothing_that_no_stop_covers(deployed, app):
    await stop(app, scope="ticket_id=7")
    later = await stored(app, ActionStatus.VALIDATED, ticket_id=8)
    with closing(deployed.connect(OPERATOR)) as plainly:
        for generation in (-1, 0, 1, 2, 2**62):
            assert plainly.execute("SELECT operator_core_sweep(%s, 1000)", [generation]).fetchall() == []

    assert (await app.get_proposal(later.id or 0)).status is ActionStatus.VALIDATED


async def test_a_sweep_after_the_release_cancels_nothing_that_was_proposed_since(deployed, app):
    receipt = await stop(app)
    await app.release_kill_switch(by="ann", reason="over", generation=receipt.generation)
    made = await stored(app, ActionStatus.VALIDATED)

    with closing(deployed.connect(OPERATOR)) as plainly:
        swept = plainly.execute(f"SELECT operator_core_sweep({receipt.generation}, 1000)").fetchall()

    assert (swept, (await app.get_proposal(made.id or 0)).status) == ([], ActionStatus.VALIDATED)


async def test_the_functions_of_the_operator_are_led_astray_by_no_search_path(deployed, plain, app):
    plain.execute("CREATE SCHEMA evil")
    plain.execute("CREATE TABLE evil.kill_switch (LIKE kill_switch)")
    plain.execute(f"GRANT ALL ON SCHEMA evil TO {deployed.role(OPERATOR)}")
    plain.execute(f"GRANT ALL ON evil.kill_switch TO {deployed.role(OPERATOR)}")
    with closing(deployed.connect(OPERATOR)) as plainly:
        plainly.execute("SET search_path = evil, pg_temp, public")
        plainly.execute("SELECT public.operator_core_engage('everything', 'eve', 'astray')")

    assert [one.reason for one in (await app.kill_switch_status()).engaged] == ["astray"]
    assert plain.execute("SELECT count(*) FROM evil.kill_switch").fetchone() == (0,)


@pytest.mark.parametrize(
    "arguments", ["'nothing', 'eve', 'x'", "NULL, 'eve', 'x'", "'everything', 'eve', NULL", "'ticket_id=x', 'eve', 'x'"]
)
def test_the_function_engages_only_what_the_guards_let_through(deployed, plain, arguments):
    with closing(deployed.connect(OPERATOR)) as plainly, pytest.raises(psycopg.Error):
        plainly.execute(f"SELECT operator_core_engage({arguments})")

    assert plain.execute("SELECT count(*), max(generation) FROM kill_switch").fetchone() == (1, 0)


async def test_a_role_that_may_only_look_is_told_that_nothing_is_stopped(deployed, plain):
    functions = "operator_core_engage, operator_core_sweep"
    plain.execute(f"REVOKE EXECUTE ON FUNCTION {functions} FROM {deployed.role(OPERATOR)}")

    code, said = await command(deployed.url(OPERATOR), "stop", "--reason", "smoke", "--wait", "60")

    assert (code, "FAILED, NOTHING IS STOPPED" in said, "permission denied for function" in said) == (1, True, True)


# -- what ends connections ---------------------------------------------------------------------------------------------


async def test_to_terminate_the_operator_lacks_a_right(operator, app, deployed):
    made = await stored(app, ActionStatus.VALIDATED)

    with client(Ledger(deployed.url(APP))) as hanging:
        hanging.execute(start(made.id))
        with pytest.raises(StopUnconfirmedError, match="may not be ended by this role"):
            await stop(operator, wait=1, terminate=True)


async def test_each_one_that_the_operator_may_not_end_is_named_also_behind_pgbouncer(app, deployed):
    made = [await stored(app, ActionStatus.VALIDATED), await stored(app, ActionStatus.VALIDATED)]
    as_operator = [statement.replace(APP, OPERATOR) for statement in SETTINGS]
    deployed.run(as_operator)
    try:
        async with ActionDB(deployed.url(OPERATOR), pgbouncer=True) as operator:
            with client(Ledger(deployed.url(APP))) as one, client(Ledger(deployed.url(APP))) as other:
                one.execute(start(made[0].id))
                other.execute(start(made[1].id))
                with pytest.raises(StopUnconfirmedError) as caught:
                    await stop(operator, wait=1, terminate=True)

                refused = [f"server pid {pid(each)} may not be ended by this role (42501)" for each in (one, other)]
    finally:
        deployed.run([re.sub(r" SET (\w+) = .*;", r" RESET \1;", statement) for statement in as_operator])

    assert set(refused) <= set(caught.value.problems)


async def test_with_the_documented_right_the_operator_ends_who_is_in_the_way(operator, app, deployed):
    deployed.run(TO_TERMINATE)
    made = await stored(app, ActionStatus.VALIDATED)
    try:
        with client(Ledger(deployed.url(APP))) as hanging:
            hanging.execute(start(made.id))
            receipt = await stop(operator, wait=5, terminate=True)
    finally:
        deployed.run([TO_TERMINATE[0].replace("GRANT", "REVOKE").replace(" TO ", " FROM ")])

    assert receipt.cancelled == (made.id,)


# -- a backup ----------------------------------------------------------------------------------------------------------


def run_program(server: PrivatePostgres, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of PostgreSQL, of the version of the server where that is our own."""
    found = server._bin / name if server.owned else shutil.which(name)
    assert found is not None, f"{name} is not installed, and backups are made with it: install PostgreSQL's client"
    environment = {variable: value for variable, value in os.environ.items() if not variable.startswith("PG")}
    return subprocess.run([str(found), *words], capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
async def dump(deployed: Deployed, app: ActionDB, tmp_path: Path) -> Path:
    """Is a backup of a ledger with a stop, a finished action, one that runs, and one that is pending."""
    await finished(app)
    await running(app)
    await stop(app, scope="ticket_id=4711")
    await stored(app, ActionStatus.VALIDATED)
    file = tmp_path / "ledger.dump"
    made = run_program(deployed.server, "pg_dump", "--format=custom", f"--file={file}", Ledger(deployed.url(OWNER)).dsn)
    assert made.returncode == 0, made.stderr
    return file


async def test_a_restored_ledger_is_the_same_with_its_guards_its_stops_and_its_grants(
    deployed: Deployed, app: ActionDB, dump: Path
) -> None:
    other = Deployed(deployed.server, deployed.server.create_database(), deployed.mark, deployed.password)
    _CLONES.add(other.database)

    target = Ledger(other.server.url(other.database)).dsn
    restored = run_program(other.server, "pg_restore", "--exit-on-error", "--dbname", target, str(dump))

    assert restored.returncode == 0, restored.stderr
    async with ActionDB(other.url(APP)) as again, ActionDB(other.url(OPERATOR)) as operator:
        assert await again.list_proposals() == await app.list_proposals()
        assert (await again.kill_switch_status()).engaged == (await app.kill_switch_status()).engaged
        assert await again.verify() == []
        receipt = await stop(operator)
    assert (len(receipt.cancelled), len(receipt.still_executing)) == (1, 1)
    with closing(other.connect(APP)) as plainly:
        assert refusal(plainly, "DELETE FROM action_events") == NO_PRIVILEGE


def test_a_restore_of_data_alone_is_refused(deployed: Deployed, dump: Path) -> None:
    other = Deployed(deployed.server, deployed.server.create_database(), deployed.mark, deployed.password)
    _CLONES.add(other.database)
    upgrade(other.server.url(other.database))

    target = Ledger(other.server.url(other.database)).dsn
    words = ("--data-only", "--table=action_proposals", "--exit-on-error", "--dbname", target, str(dump))
    restored = run_program(other.server, "pg_restore", *words)

    assert (restored.returncode, "OC001" in restored.stderr) == (1, True)
