"""The application role of docs/deploy.md works; none but the owner touches the guards and the history."""

from contextlib import aclosing, closing
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg import sql

from operator_core.actions import (
    ActionRecord,
    ActionStatus,
    DatabaseAccessError,
    ExecutionResult,
    LeaseLostError,
    Resolution,
)
from operator_core.db import ActionDB
from operator_core.db.guards import postgresql
from operator_core.db.migrations.repair import repair
from operator_core.db.migrations.revisions import VERSION_TABLE
from tests.support.claims import claimed, let_expire, recovered, unknown
from tests.support.factories import proposal, running, stored
from tests.support.roles import (
    APP,
    APPROVER,
    BY_HAND,
    NO_PRIVILEGE,
    OPERATOR,
    OWNER,
    TABLES,
    Call,
    finished,
    refusal,
)
from tests.support.stop_steps import stop

# -- what the application role does ------------------------------------------------------------------------------------


async def answered(db: ActionDB, _plain: object) -> object:
    record = await running(db)
    await stop(db)
    return await db.acknowledge_stop(record.id, by="w1")


async def opened_and_closed(db: ActionDB, _plain: object) -> object:
    made = await stored(db, ActionStatus.VALIDATED)
    async with db.transaction() as tx:
        await tx.update_proposal_status(made.id, ActionStatus.EXECUTING)
        record = await tx.create_record(ActionRecord(proposal_id=made.id))
    return await db.update_record(record.id, success=True)


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
    return await db.recover_expired_leases()


async def resolved(db: ActionDB, _plain: object) -> object:
    record = await unknown(db)
    found = await db.list_unresolved()
    await db.resolve_unknown(record.id, resolution=Resolution.HAPPENED, by="ann", reason="it is empty")
    return found


async def asked(db: ActionDB, _plain: object) -> object:
    record = await running(db)
    await db.request_cancel(record.proposal_id, by="ann", reason="wrong store")
    return await db.stop_requested(record.id)


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
        and await db.get_record(record.id)
        and await db.get_records_for_proposal(number)
        and await db.get_events(number)
        and await db.list_proposals()
        and await db.count_proposals()
        and [found async for found in db.iter_proposals()]
        and [event async for event in db.iter_events()]
        and await db.kill_switch_status()
        and await db.wait_for(number, ActionStatus.EXECUTING)
        and await db.approval_status(number)
    )


async def asked_for_approvals(db: ActionDB, plain: psycopg.Connection) -> object:
    made = await stored(db)
    plain.execute("INSERT INTO approval_policies (scope, reason) VALUES ('everything', 'a person looks')")
    plain.execute(f"SELECT operator_core_approve({made.id}, 'ann', 'human', NULL, NULL, NULL, NULL)")
    later = await stored(db)
    async with aclosing(db.watch_approvals(after_id=0)) as decisions:
        decision = await anext(decisions)
    (pending,) = await db.list_pending_approvals()
    return (decision.proposal_id, pending.proposal.id) == (made.id, later.id) and await db.approval_policies()


async def hinted(db: ActionDB, _plain: object) -> object:
    async with db.notifications() as hint:
        await hint(0.01)
    return True


async def cancelled(db: ActionDB, _plain: object) -> object:
    await stored(db)
    return await db.cancel_all_pending()


async def proposed(db: ActionDB, _plain: object) -> object:
    await db.create_proposal(proposal(), idempotency_key="k1")
    await db.create_proposals([proposal(), proposal()])
    return await db.lock_proposed(["drain_store"])


async def done_at_once(db: ActionDB, _plain: object) -> object:
    made = [(await stored(db)).id for _ in range(2)]
    await db.validate_many(made)
    claimed = await db.claim_many(2, worker="w1")
    return await db.finish_many([ExecutionResult(record_id=one.record.id, success=True) for one in claimed])


CALLS: dict[str, Call] = {
    "validate_many claim_many finish_many": done_at_once,
    "create_proposal create_proposals lock_proposed": proposed,
    "update_proposal_status start_execution finish_execution": lambda db, _: finished(db),
    "claim": lambda db, _: claimed(db),
    "claim_next": worked,
    "transaction create_record update_record": opened_and_closed,
    "engage_kill_switch acknowledge_stop": answered,
    "release_kill_switch": released,
    "request_cancel stop_requested": asked,
    "cancel_all_pending": cancelled,
    "recover_expired_leases": recovered_lost,
    "a late report": reported_late,
    "list_unresolved resolve_unknown": resolved,
    "count_prunable prune verify": pruned,
    "watch_kill_switch": watched,
    "notifications": hinted,
    "list_pending_approvals approval_policies watch_approvals": asked_for_approvals,
    "get_proposal get_record get_records_for_proposal get_events list_proposals count_proposals iter_proposals "
    "iter_events kill_switch_status wait_for approval_status": read,
}
OF_OTHERS = {"approve", "approve_many", "reject", "revoke", "supersede", "set_approval_policy"}
"""What test_approver.py shows to be refused."""
BEFORE_AND_AFTER = {"open", "close", "migrate"}


def test_every_call_of_the_library_is_tried_as_the_application_role():
    public = {name for name in dir(ActionDB) if not name.startswith("_")}

    assert public - {name for names in CALLS for name in names.split()} == BEFORE_AND_AFTER | OF_OTHERS


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


COPIED = (
    "action_name, action_type, parameters, reason, proposed_at, proposed_by, generation, status, status_at, status_by"
)


def with_id(number: int, overriding: str = "") -> str:
    """Return the statement that copies the first proposal under an id of the client's choice."""
    return f"INSERT INTO action_proposals (id, {COPIED}) {overriding} SELECT {number}, {COPIED} FROM action_proposals"


async def test_the_application_role_gives_a_free_id_only_if_it_overrides_the_system_value(app, deployed):
    made = await stored(app)
    overriding = "OVERRIDING SYSTEM VALUE"
    with closing(deployed.connect(APP)) as plainly:
        for number in (made.id + 1, 1_000):
            assert refusal(plainly, with_id(number)) == "428C9"  # generated_always
        for number in (0, -1, 2**53):
            assert refusal(plainly, with_id(number, overriding)) == "23514"  # check_violation
        assert refusal(plainly, with_id(made.id, overriding)) == "23505"  # unique_violation
        assert refusal(plainly, "UPDATE action_proposals SET id = 77") == "428C9"
        assert refusal(plainly, "SELECT setval('action_proposals_id_seq', 1000)") == NO_PRIVILEGE
        plainly.execute(with_id(made.id + 1, overriding))

    assert (await app.create_proposal(proposal())).id == made.id + 2


@pytest.mark.parametrize("number", [1_000, 2**53 - 1])
async def test_the_owner_finds_an_id_that_the_counter_has_not_reached(app, deployed, number):
    made = await stored(app)
    with closing(deployed.connect(APP)) as plainly:
        plainly.execute(with_id(number, "OVERRIDING SYSTEM VALUE"))
    assert await app.verify() == []

    async with ActionDB(deployed.url(OWNER)) as owner:
        assert [difference.field for difference in await owner.verify()] == ["action_proposals.id"]
    repair(deployed.url(OWNER))

    async with ActionDB(deployed.url(OWNER)) as owner:
        assert bool(await owner.verify()) is (number == 2**53 - 1)
    assert (await app.create_proposal(proposal())).id == (number + 1 if number == 1_000 else made.id + 1)


# -- what no role but the owner may do ---------------------------------------------------------------------------------


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
        for name in (*postgresql.functions(), *postgresql.other_functions())
        for statement in ("DROP FUNCTION {} CASCADE", "ALTER FUNCTION {} RESET ALL")
    ),
    *(function.ddl for function in postgresql.functions().values()),
    *(function.ddl for function in postgresql.other_functions().values()),
]  # fmt: skip
HISTORY = [
    f"{change}{table}{rest}"
    for table in (
        "action_events",
        "kill_switch_events",
        "action_approvals",
        "approval_policies",
        "approval_policy_events",
        VERSION_TABLE,
    )
    for change, rest in (("INSERT INTO ", " DEFAULT VALUES"), ("DELETE FROM ", ""))
] + [
    "UPDATE action_events SET reason = 'none'",
    "UPDATE action_notes SET reason = 'none'",
    "DELETE FROM action_notes",
    "UPDATE action_prunes SET reason = 'none'",
    "DELETE FROM action_prunes",
    "UPDATE kill_switch_events SET reason = 'none'",
    "DELETE FROM kill_switch",
    "UPDATE action_approvals SET reason = 'none'",
    "UPDATE approval_policies SET approvals = 0",
    "UPDATE approval_policy_events SET reason = 'none'",
    f"UPDATE {VERSION_TABLE} SET version_num = '0001'",
]


@pytest.mark.parametrize("role", [APP, APPROVER, OPERATOR])
def test_no_guard_is_altered_and_nothing_is_created(template, role):
    with closing(template.connect(role)) as plainly:
        refused = {statement: refusal(plainly, template._renamed(statement)) for statement in GUARDS}

    assert {statement: code for statement, code in refused.items() if code != NO_PRIVILEGE} == {}


@pytest.mark.parametrize("role", [APP, APPROVER, OPERATOR])
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
