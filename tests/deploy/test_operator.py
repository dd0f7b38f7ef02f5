"""The operator role of docs/deploy.md stops and looks, and does nothing else."""

import asyncio
import re
from collections.abc import Awaitable
from contextlib import aclosing, closing
from datetime import UTC, datetime

import psycopg
import pytest

from operator_core.actions import (
    ActionError,
    ActionStatus,
    DatabaseAccessError,
    KillSwitchEngagedError,
    StopUnconfirmedError,
)
from operator_core.db import ActionDB, metadata
from operator_core.db.migrations.revisions import VERSION_TABLE
from tests.support.factories import proposal, running, stored
from tests.support.ledger import Ledger
from tests.support.patience import IN_VAIN, PATIENCE
from tests.support.roles import (
    APP,
    BY_HAND,
    NO_PRIVILEGE,
    OPERATOR,
    SETTINGS,
    TABLES,
    TO_TERMINATE,
    Call,
    command,
    refusal,
)
from tests.support.stop_steps import LISTENERS, client, pid, start, stop, until

pytestmark = pytest.mark.usefixtures("unhurried_stops")

# -- the operator ------------------------------------------------------------------------------------------------------


async def test_the_operator_stops_everything(operator, app):
    waiting = [await stored(app), await stored(app, ActionStatus.VALIDATED)]
    record = await running(app)

    receipt = await stop(operator)

    assert receipt.cancelled == tuple(made.id for made in waiting)
    assert [one.record_id for one in receipt.still_executing] == [record.id]
    with pytest.raises(KillSwitchEngagedError):
        await app.start_execution(waiting[1].id)


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
    assert (await app.get_proposal(other.id)).status is ActionStatus.PROPOSED


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
            await stop(operator, timeout=IN_VAIN)

        assert caught.value.pids == (pid(hanging),)
    assert (await operator.kill_switch_status()).engaged


async def test_many_stops_at_once_of_a_scope_that_was_never_stopped_all_succeed(operator, app):
    receipts = await asyncio.gather(*(stop(db, scope="ticket_id=7") for db in [operator, app] * 4))

    assert sorted(receipt.generation for receipt in receipts) == list(range(1, 9))


async def test_a_stop_of_the_operator_is_heard(operator, app, plain):
    async with aclosing(app.watch_kill_switch(poll_interval=3600)) as changes:
        heard = asyncio.ensure_future(anext(changes))
        await until(lambda: plain.execute(LISTENERS).fetchall(), "a listener")
        receipt = await stop(operator)

        async with asyncio.timeout(PATIENCE):
            assert (await heard).generation == receipt.generation


async def test_the_documented_stop_by_hand_is_signed_by_who_has_logged_in(deployed, app):
    made = await stored(app, ActionStatus.VALIDATED)

    ((_, generation, _, by, reason, *_),) = deployed.run(BY_HAND, OPERATOR)

    assert (generation, by, reason) == (1, f"sql:{deployed.role(OPERATOR)}", "what you see")
    with pytest.raises(KillSwitchEngagedError):
        await app.start_execution(made.id)


async def test_the_command_stops_and_shows_as_the_operator(deployed, app):
    await stored(app)

    url = deployed.url(OPERATOR)
    stopped, shown = await command(url, "stop", "--reason", "smoke"), await command(url, "status")
    released = await command(url, "release", "--reason", "over", "--generation", "1")

    assert (stopped[0], shown[0], released[0]) == (0, 0, 1)
    assert "ENGAGED" in shown[1]
    assert "permission denied" in released[1]


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
    "recover": lambda db, _: db.recover_expired_leases(),
    "prune": lambda db, _: db.prune(datetime.now(UTC)),
    "release": lambda db, _: db.release_kill_switch(by="eve", reason="because", generation=1),
}


@pytest.fixture
async def peopled(app) -> None:
    """A ledger with a proposal, one that is validated, and one that runs, and a stop of something else."""
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

    assert (await app.get_proposal(later.id)).status is ActionStatus.VALIDATED


async def test_a_sweep_after_the_release_cancels_nothing_that_was_proposed_since(deployed, app):
    receipt = await stop(app)
    await app.release_kill_switch(by="ann", reason="over", generation=receipt.generation)
    made = await stored(app, ActionStatus.VALIDATED)

    with closing(deployed.connect(OPERATOR)) as plainly:
        swept = plainly.execute(f"SELECT operator_core_sweep({receipt.generation}, 1000)").fetchall()

    assert (swept, (await app.get_proposal(made.id)).status) == ([], ActionStatus.VALIDATED)


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

    code, said = await command(deployed.url(OPERATOR), "stop", "--reason", "smoke", "--timeout", "60")

    assert (code, "FAILED, NOTHING IS STOPPED" in said, "permission denied for function" in said) == (1, True, True)


# -- what ends connections ---------------------------------------------------------------------------------------------


async def test_to_terminate_the_operator_lacks_a_right(operator, app, deployed):
    made = await stored(app, ActionStatus.VALIDATED)

    with client(Ledger(deployed.url(APP))) as hanging:
        hanging.execute(start(made.id))
        with pytest.raises(StopUnconfirmedError, match="may not be ended by this role"):
            await stop(operator, timeout=IN_VAIN, terminate_blockers=True)


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
                    await stop(operator, timeout=IN_VAIN, terminate_blockers=True)

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
            receipt = await stop(operator, timeout=3 * IN_VAIN, terminate_blockers=True)
    finally:
        deployed.run([TO_TERMINATE[0].replace("GRANT", "REVOKE").replace(" TO ", " FROM ")])

    assert receipt.cancelled == (made.id,)
