"""The approver role of docs/deploy.md decides, and does nothing else; the application works without deciding."""

import asyncio
from contextlib import closing

import pytest

from operator_core.actions import (
    ActionStatus,
    ApprovalRefusedError,
    ApprovalRule,
    DatabaseAccessError,
    Decision,
    KillSwitchEngagedError,
    NotApprovedError,
    SelfApprovalError,
)
from operator_core.db import ActionDB, Execution, metadata
from operator_core.db.migrations.revisions import VERSION_TABLE
from operator_core.worker import ActionRegistry, Worker
from tests.support.factories import proposal, stored
from tests.support.patience import PATIENCE
from tests.support.roles import (
    APP,
    APPROVER,
    EDITOR,
    NO_PRIVILEGE,
    OPERATOR,
    TABLES,
    Call,
    command,
    refusal,
)
from tests.support.stop_steps import stop
from tests.support.workbench import Drain

ONE = [ApprovalRule()]
DECIDES = "operator_core_approver"


async def ask(owner: ActionDB, *rules: ApprovalRule) -> None:
    await owner.set_approval_policy("everything", rules or ONE, by="ann", reason="a person looks")


# -- the approver ------------------------------------------------------------------------------------------------------


async def test_the_approver_approves_and_the_database_writes_the_login(owner, app, approver, deployed):
    await ask(owner)
    made = await stored(app)

    approval = await approver.approve(made.id, by="anna", reason="looks right")

    assert (approval.by, approval.login) == ("anna", deployed.role(APPROVER))
    assert (await app.start_execution(made.id)).proposal_id == made.id
    assert await app.verify() == []


async def test_the_approver_revokes_and_rejects(owner, app, approver, deployed):
    await ask(owner)
    made, other = await stored(app), await stored(app)
    approval = await approver.approve(made.id, by="anna")

    revocation = await approver.revoke(approval.id, by="anna", reason="wrong store")
    rejection = await approver.reject(other.id, by="anna", reason="not today")

    assert (revocation.decision, revocation.login) == (Decision.REVOKED, deployed.role(APPROVER))
    assert (rejection.decision, rejection.login) == (Decision.REJECTED, deployed.role(APPROVER))
    assert (await app.get_proposal(other.id)).status is ActionStatus.CANCELLED
    with pytest.raises(NotApprovedError):
        await app.start_execution(made.id)


async def test_the_approver_approves_many_and_the_application_none(owner, app, approver):
    await ask(owner)
    made = [await stored(app), await stored(app)]

    with pytest.raises(DatabaseAccessError, match="may not decide"):
        await app.approve_many(made, by="anna")
    await approver.approve_many(made, by="anna")

    assert [(await app.get_proposal(one.id)).status for one in made] == [ActionStatus.VALIDATED] * 2


async def test_the_guards_hold_for_the_approver(owner, app, approver):
    await ask(owner)
    made, stopped = await stored(app, proposed_by="anna"), await stored(app, ticket_id=7)
    await stop(app, scope="ticket_id=7")

    with pytest.raises(SelfApprovalError):
        await approver.approve(made.id, by="anna")
    with pytest.raises(ApprovalRefusedError):
        await approver.approve(stopped.id, by="bob")


async def test_the_command_approves_as_the_approver_and_not_as_the_application(owner, app, deployed):
    await ask(owner)
    made = await stored(app)

    refused = await command(deployed.url(APP), "approve", str(made.id), "--by", "anna")
    approved = await command(deployed.url(APPROVER), "approve", str(made.id), "--by", "anna")

    assert (refused[0], DECIDES in refused[1]) == (1, True)
    assert approved[0] == 0
    assert (await app.get_proposal(made.id)).status is ActionStatus.VALIDATED


OTHERS: dict[str, Call] = {
    "propose": lambda db, _: db.create_proposal(proposal()),
    "validate": lambda db, _: db.update_proposal_status(1, ActionStatus.VALIDATED),
    "start": lambda db, _: db.start_execution(1),
    "claim": lambda db, _: db.claim_next(worker="w1"),
    "cancel": lambda db, _: db.request_cancel(1, by="eve", reason="because"),
    "recover": lambda db, _: db.recover_expired_leases(),
    "supersede": lambda db, _: db.supersede(1, parameters={}, by="eve", reason="because"),
    "set a policy": lambda db, _: ask(db),
}


@pytest.mark.parametrize("name", OTHERS)
async def test_the_approver_does_nothing_else(app, approver, plain, name):
    await stored(app)

    with pytest.raises(DatabaseAccessError):
        await OTHERS[name](approver, plain)


@pytest.mark.parametrize("table", TABLES)
def test_the_approver_writes_to_no_table(template, table):
    column = "version_num" if table == VERSION_TABLE else f'"{[*metadata.tables[table].columns][-1].name}"'
    with closing(template.connect(APPROVER)) as plainly:
        refused = {
            refusal(plainly, statement)
            for statement in (
                f"INSERT INTO {table} DEFAULT VALUES",
                f"UPDATE {table} SET {column} = {column}",
                f"DELETE FROM {table}",
                f"SELECT 1 FROM {table} FOR UPDATE",
            )
        }

    assert refused == {NO_PRIVILEGE}


def test_the_approver_neither_stops_nor_holds_up_a_stop(template):
    with closing(template.connect(APPROVER)) as plainly:
        refused = {
            refusal(plainly, f"SELECT operator_core_{call}")
            for call in ("engage('everything', 'eve', 'x')", "sweep(1, 1)", "barrier()")
        }

    assert refused == {NO_PRIVILEGE}


# -- the others --------------------------------------------------------------------------------------------------------


DECISIONS: dict[str, Call] = {
    "approve": lambda db, _: db.approve(1, by="eve"),
    "reject": lambda db, _: db.reject(1, by="eve", reason="because"),
    "revoke": lambda db, _: db.revoke(1, by="eve", reason="because"),
    "supersede": lambda db, _: db.supersede(1, parameters={}, by="eve", reason="because"),
}


@pytest.mark.parametrize("name", DECISIONS)
async def test_the_application_decides_nothing_and_hears_who_may(app, approver, plain, name):
    made = await stored(app)
    await approver.approve((await stored(app)).id, by="anna")
    before = plain.execute("SELECT * FROM action_approvals").fetchall()

    with pytest.raises(DatabaseAccessError, match=DECIDES) as caught:
        await DECISIONS[name](app, plain)

    assert caught.value.code == NO_PRIVILEGE
    assert plain.execute("SELECT * FROM action_approvals").fetchall() == before
    assert (await app.get_proposal(made.id)).status is ActionStatus.PROPOSED


@pytest.mark.parametrize("role", [APP, APPROVER, OPERATOR])
async def test_only_the_owner_sets_a_policy(owner, deployed, role):
    async with ActionDB(deployed.url(role)) as db:
        with pytest.raises(DatabaseAccessError, match="owner of the tables"):
            await ask(db)
    assert await owner.approval_policies() == []

    await ask(owner)

    assert [policy.scope for policy in await owner.approval_policies()] == ["everything"]


@pytest.mark.parametrize("role", [APP, OPERATOR])
def test_nobody_else_runs_the_functions_of_the_approver(template, role):
    calls = (
        "approve(1, 'eve', 'human', NULL, NULL, NULL, NULL)",
        "reject(1, 'eve', 'human', NULL, 'x', NULL, NULL)",
        "revoke(1, 'eve', 'human', NULL, 'x')",
    )
    with closing(template.connect(role)) as plainly:
        refused = {call: refusal(plainly, f"SELECT operator_core_{call}") for call in calls}

    assert set(refused.values()) == {NO_PRIVILEGE}


def test_the_functions_are_led_astray_by_no_search_path(deployed, plain):
    plain.execute("CREATE SCHEMA evil")
    plain.execute("CREATE TABLE evil.action_approvals (LIKE action_approvals)")
    plain.execute(f"GRANT ALL ON SCHEMA evil TO {deployed.role(APPROVER)}")
    plain.execute(f"GRANT ALL ON evil.action_approvals TO {deployed.role(APPROVER)}")
    ((number,),) = plain.execute(
        "INSERT INTO action_proposals (action_name, action_type, parameters, reason, generation) "
        "VALUES ('drain_store', 'tool', '{}', 'hot', 0) RETURNING id"
    ).fetchall()

    with closing(deployed.connect(APPROVER)) as plainly:
        plainly.execute("SET search_path = evil, pg_temp, public")
        plainly.execute(f"SELECT public.operator_core_approve({number}, 'anna', 'human', NULL, NULL, NULL, NULL)")

    kept = plain.execute('SELECT "by", login FROM public.action_approvals').fetchall()
    assert kept == [("anna", deployed.role(APPROVER))]
    assert plain.execute("SELECT count(*) FROM evil.action_approvals").fetchone() == (0,)


async def test_the_documented_role_of_an_editor_supersedes(owner, app, deployed):
    await ask(owner)
    made = await stored(app, parameters={"store": 4})

    async with ActionDB(deployed.url(EDITOR)) as editor:
        edited = await editor.supersede(made.id, parameters={"store": 5}, by="carl", reason="the other one")

    status = await app.approval_status(made.id)
    assert (edited.parameters, edited.retry_of, status.rejected_by) == ({"store": 5}, made.id, "carl")
    assert [decision.login for decision in status.decisions] == [deployed.role(EDITOR)]


# -- stops and workers beside it ---------------------------------------------------------------------------------------


async def test_a_stop_of_the_operator_covers_what_is_approved(owner, app, approver, operator):
    await ask(owner)
    made = await stored(app)
    await approver.approve(made.id, by="anna")

    receipt = await stop(operator)

    assert receipt.cancelled == (made.id,)
    with pytest.raises(KillSwitchEngagedError):
        await app.start_execution(made.id)


def registry_of(ran: list[int]) -> ActionRegistry:
    registry = ActionRegistry()

    @registry.action("drain_store", auto_approve=True)
    async def drain(_: Drain, execution: Execution) -> None:
        ran.append(execution.proposal.id)

    return registry


async def work(db: ActionDB) -> list[int]:
    ran: list[int] = []
    async with asyncio.timeout(PATIENCE):
        await Worker(db, registry_of(ran), name="w").run_until_idle()
    return ran


async def test_a_worker_of_the_application_runs_what_is_registered_with_auto_approve(app):
    made = [await stored(app) for _ in range(3)]

    assert await work(app) == [one.id for one in made]
    assert [event.by for event in await app.get_events(made[0].id) if event.to_status == "validated"] == ["w"]
    assert (await app.approval_status(made[0].id)).decisions == ()


async def test_a_worker_of_the_application_runs_what_the_policy_asks_nobody_about(owner, app):
    await ask(owner, ApprovalRule(approvals=0))
    made = await stored(app)

    assert await work(app) == [made.id]


async def test_a_worker_of_the_application_approves_nothing_under_a_policy(owner, app, approver):
    await ask(owner, ApprovalRule(humans_only=False))
    made, other = await stored(app), await stored(app)
    await approver.approve(other.id, by="anna")

    assert await work(app) == [other.id]
    assert (await app.get_proposal(made.id)).status is ActionStatus.PROPOSED


async def test_a_worker_that_may_approve_does_so_as_a_system_where_the_policy_lets_it(owner, app, deployed):
    await ask(owner, ApprovalRule(humans_only=False))
    made = await stored(app)

    async with ActionDB(deployed.url(EDITOR)) as db:
        assert await work(db) == [made.id]

    (approval,) = (await app.approval_status(made.id)).decisions
    assert (approval.by, approval.kind, approval.login) == ("w", "system", deployed.role(EDITOR))
