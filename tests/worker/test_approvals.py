"""A worker waits for a person, unless the registry or a policy says that nobody is asked."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy.engine import make_url

from operator_core.actions import (
    ActionStatus,
    ApprovalRule,
    ApproverKind,
    Decision,
    NotApprovedError,
    StoredProposal,
)
from operator_core.db import ActionDB
from operator_core.worker import ActionRegistry, Worker, WorkerReport, checker
from operator_core.worker.checker import ProposalChecker
from tests.support.factories import proposal, stored
from tests.support.ledger import DRIVER, Ledger
from tests.support.patience import PATIENCE
from tests.support.postgres import PrivatePostgres
from tests.support.workbench import Diary, Drain, at_work, found, registry_of

NOW_AND_THEN = 0.02
"""Seconds between two polls of a worker in these tests."""

WHOEVER = ApprovalRule(humans_only=False)
"""A rule that a program may satisfy."""


@pytest.fixture
def asking() -> ActionRegistry:
    """Is a registry whose one action waits for a person."""
    return registry_of(Diary(), auto_approve=False)


@pytest.fixture
def automatic() -> ActionRegistry:
    """Is a registry whose one action needs nobody."""
    return registry_of(Diary())


async def worked(db: ActionDB, registry: ActionRegistry, **settings: Any) -> WorkerReport:
    """Let a worker do all there is to do."""
    async with asyncio.timeout(PATIENCE):
        return await Worker(db, registry, name="w", **settings).run_until_idle()


async def policy(db: ActionDB, *rules: ApprovalRule, scope: str = "everything") -> None:
    await db.set_approval_policy(scope, list(rules), by="ann", reason="a test")


async def status_of(db: ActionDB, made: StoredProposal) -> ActionStatus:
    return (await found(db, made.id)).status


class WatchedDB(ActionDB):
    """Counts its units by their names, and lets a worker poll only when the test says so."""

    def __init__(self, target: Any) -> None:
        super().__init__(target)
        self.units: Counter[str] = Counter()
        self._polls, self._rested = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def _run(self, unit: Any, *args: Any, **kwargs: Any) -> Any:
        self.units[unit.__name__] += 1
        return await super()._run(unit, *args, **kwargs)

    async def _run_claim(self, unit: Any, *args: Any, **kwargs: Any) -> Any:
        self.units[unit.__name__] += 1
        return await super()._run_claim(unit, *args, **kwargs)

    @asynccontextmanager
    async def notifications(self) -> AsyncGenerator[Callable[[float], Awaitable[None]]]:
        async def until_the_next_poll(_: float) -> None:
            self._rested.release()
            await self._polls.acquire()

        yield until_the_next_poll

    async def rests(self) -> None:
        """Wait until the worker waits for its next poll."""
        await self._rested.acquire()

    async def units_of(self, polls: int) -> Counter[str]:
        """Return what a worker that rests does in so many polls."""
        self.units.clear()
        for _ in range(polls):
            self._polls.release()
            await self.rests()
        return self.units.copy()


# -- what waits, and what does not -------------------------------------------------------------------------------------


async def test_what_does_not_fit_is_cancelled_before_a_person_is_asked(db: ActionDB, asking: ActionRegistry) -> None:
    misfit, sound = await stored(db, parameters={"store": "hot"}), await stored(db)

    report = await worked(db, asking)

    refused = await found(db, misfit.id)
    assert (refused.status, refused.status_by, report.rejected) == (ActionStatus.CANCELLED, "w", 1)
    assert [one.proposal.id for one in await db.list_pending_approvals()] == [sound.id]


async def test_what_nobody_approved_waits_however_long_a_worker_runs(ledger: Ledger, asking: ActionRegistry) -> None:
    async with WatchedDB(ledger.target) as db, at_work(Worker(db, asking, concurrency=4)):
        made = await stored(db)
        await db.rests()

        await db.units_of(30)

        assert (await status_of(db, made)) is ActionStatus.PROPOSED
        (waiting,) = await db.list_pending_approvals()
        assert (waiting.proposal.id, waiting.approval.decisions) == (made.id, ())
        assert await db.get_events(made.id) == [event for event in await db.get_events(made.id) if event.id == 1]


async def test_it_runs_once_a_person_has_approved_it_elsewhere_while_the_worker_runs_on(
    db: ActionDB, ledger: Ledger, asking: ActionRegistry
) -> None:
    async with at_work(Worker(db, asking, name="w", poll_interval=NOW_AND_THEN)) as running:
        made = await stored(db)
        async with ActionDB(ledger.target) as elsewhere:
            await elsewhere.approve(made.id, by="ann")

        done = await db.wait_for(made.id, timeout=PATIENCE)

        assert (done.status, running.done()) == (ActionStatus.COMPLETED, False)
    steps = [(event.to_status, event.by) for event in await db.get_events(made.id) if event.kind == "step"]
    assert steps[1:3] == [(ActionStatus.VALIDATED, "ann"), (ActionStatus.EXECUTING, "w")]


async def test_what_a_person_rejects_never_runs(db: ActionDB, asking: ActionRegistry) -> None:
    made = await stored(db)
    await db.reject(made.id, by="ann", reason="not now")

    report = await worked(db, asking)

    assert (await status_of(db, made), report.succeeded) == (ActionStatus.CANCELLED, 0)


async def test_an_automatic_action_has_an_approval_of_the_system_by_the_name_of_the_worker(
    db: ActionDB, automatic: ActionRegistry
) -> None:
    made = await stored(db)

    report = await worked(db, automatic)

    (approval,) = (await db.approval_status(made.id)).decisions
    assert (report.validated, report.succeeded) == (1, 1)
    assert (approval.decision, approval.kind, approval.by) == (Decision.APPROVED, ApproverKind.SYSTEM, "w")
    assert (approval.reason, approval.digest) == ("registered with auto_approve", made.digest)


async def test_a_worker_that_does_not_validate_checks_and_approves_nothing(
    db: ActionDB, automatic: ActionRegistry
) -> None:
    made, misfit = await stored(db), await stored(db, parameters={"store": "hot"})
    await policy(db, ApprovalRule(approvals=0))

    report = await worked(db, automatic, validate=False)

    assert report == WorkerReport()
    for one in (made, misfit):
        assert await status_of(db, one) is ActionStatus.PROPOSED
        assert (await db.approval_status(one.id)).decisions == ()


# -- a policy of the database is above the registry --------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["everything", "action_name=drain_store"])
async def test_an_automatic_action_waits_where_a_policy_wants_a_person(
    db: ActionDB, automatic: ActionRegistry, scope: str
) -> None:
    await policy(db, ApprovalRule(), scope=scope)
    made = await stored(db)

    before = await worked(db, automatic)
    waiting = await status_of(db, made)
    await db.approve(made.id, by="ann")
    after = await worked(db, automatic)

    assert (before.succeeded, waiting, after.succeeded) == (0, ActionStatus.PROPOSED, 1)
    assert [decision.by for decision in (await db.approval_status(made.id)).decisions] == ["ann"]


@pytest.mark.parametrize("scope", ["everything", "action_name=drain_store"])
async def test_an_action_that_waits_for_a_person_runs_where_a_policy_says_that_nobody_is_asked(
    db: ActionDB, asking: ActionRegistry, scope: str
) -> None:
    await policy(db, ApprovalRule(approvals=0), scope=scope)
    made = await stored(db)

    report = await worked(db, asking)

    assert (await status_of(db, made), report.validated) == (ActionStatus.COMPLETED, 1)
    validated = (await db.get_events(made.id))[1]
    assert (validated.by, validated.reason) == ("w", "the policy asks nobody")


async def test_a_policy_that_says_that_nobody_is_asked_lets_nothing_run_that_does_not_fit(
    db: ActionDB, asking: ActionRegistry
) -> None:
    await policy(db, ApprovalRule(approvals=0))
    misfit = await stored(db, parameters={"store": "hot"})

    await worked(db, asking)

    assert await status_of(db, misfit) is ActionStatus.CANCELLED


async def test_a_policy_that_counts_programs_is_satisfied_by_an_automatic_action(
    db: ActionDB, automatic: ActionRegistry
) -> None:
    await policy(db, WHOEVER)
    made = await stored(db)

    report = await worked(db, automatic)

    (approval,) = (await db.approval_status(made.id)).decisions
    started = next(event for event in await db.get_events(made.id) if event.to_status is ActionStatus.EXECUTING)
    assert (report.succeeded, (started.data or {})["approvals"]) == (1, [approval.id])


async def test_a_policy_that_counts_programs_is_not_satisfied_by_an_action_that_waits_for_a_person(
    db: ActionDB, asking: ActionRegistry
) -> None:
    await policy(db, WHOEVER)
    made = await stored(db)

    await worked(db, asking)

    assert await status_of(db, made) is ActionStatus.PROPOSED


async def test_all_workers_together_count_as_one_approver(db: ActionDB, automatic: ActionRegistry) -> None:
    await policy(db, ApprovalRule(approvals=2, humans_only=False))
    made = await stored(db)

    for name in ("v", "w", "w"):
        await Worker(db, automatic, name=name).run_until_idle()

    status = await db.approval_status(made.id)
    assert (status.status, [decision.by for decision in status.decisions]) == (ActionStatus.PROPOSED, ["v"])


async def test_a_worker_does_not_approve_again_what_a_person_took_back(db: ActionDB, automatic: ActionRegistry) -> None:
    await policy(db, ApprovalRule(approvals=2, humans_only=False))
    made = await stored(db)
    await worked(db, automatic)
    (approval,) = (await db.approval_status(made.id)).decisions
    await db.revoke(approval.id, by="ann", reason="not by a program")

    await worked(db, automatic)

    assert len((await db.approval_status(made.id)).decisions) == 2


async def test_a_policy_that_comes_after_the_check_holds_for_what_is_validated_already(
    db: ActionDB, automatic: ActionRegistry
) -> None:
    made = await stored(db)
    assert await ProposalChecker(db, automatic, WorkerReport(), "w").check_some()
    await policy(db, ApprovalRule())

    report = await worked(db, automatic)

    assert (await status_of(db, made), report.succeeded) == (ActionStatus.VALIDATED, 0)
    with pytest.raises(NotApprovedError):
        await db.start_execution(made.id)


# -- what waits costs nothing ------------------------------------------------------------------------------------------


async def test_a_worker_is_not_kept_busy_by_what_waits(
    ledger: Ledger, asking: ActionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checker, "LATE_COMMIT_SECONDS", PATIENCE)
    monkeypatch.setattr(checker, "RECHECK_SECONDS", PATIENCE)
    async with WatchedDB(ledger.target) as db, at_work(Worker(db, asking, lease_seconds=PATIENCE)):
        await db.rests()
        while not db.units["sweep_all"]:  # the first recovery is not over yet
            await asyncio.sleep(0.01)
        idle = await db.units_of(20)
        await db.create_proposals([proposal() for _ in range(50)])
        await db.units_of(1)

        waiting = await db.units_of(20)

        assert waiting == idle
        assert (idle["list_"], idle["lock_proposed"]) == (20, 0)
        assert len(await db.list_pending_approvals()) == 50


async def test_what_waits_is_logged_once(
    db: ActionDB, asking: ActionRegistry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(checker, "RECHECK_SECONDS", 0.0)
    made, checking = await stored(db), ProposalChecker(db, asking, WorkerReport(), "w")

    with caplog.at_level(logging.INFO, logger="operator_core.worker"):
        for _ in range(5):
            assert await checking.check_some()

    assert [line.message for line in caplog.records] == [
        f"proposal {made.id} (drain_store) waits for a person's approval"
    ]


# -- what a check has missed -------------------------------------------------------------------------------------------


async def test_what_another_worker_had_locked_when_it_died_is_checked_again(
    db: ActionDB, ledger: Ledger, automatic: ActionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checker, "LATE_COMMIT_SECONDS", PATIENCE)
    made, checking = await stored(db), ProposalChecker(db, automatic, WorkerReport(), "w")
    async with ActionDB(ledger.target) as other:
        await _check_while_another_holds(db, other, checking, is_sqlite=ledger.is_sqlite)

    monkeypatch.setattr(checker, "RECHECK_SECONDS", PATIENCE)
    assert not await checking.check_some()
    monkeypatch.setattr(checker, "RECHECK_SECONDS", 0.0)
    assert await checking.check_some()

    assert await status_of(db, made) is ActionStatus.VALIDATED


async def _check_while_another_holds(
    db: ActionDB, other: ActionDB, checking: ProposalChecker, *, is_sqlite: bool
) -> None:
    """Check what another worker has locked; it dies, which undoes its transaction."""
    if is_sqlite:
        checking._checked = (await db.list_proposals(limit=1))[0].id  # SQLite's one writer is waited for
        return
    with pytest.raises(ConnectionAbortedError):
        async with other.transaction() as tx:
            assert await tx.lock_proposed(["drain_store"])
            assert not await checking.check_some()
            raise ConnectionAbortedError


async def test_what_is_committed_after_a_later_proposal_is_checked_too(
    db: ActionDB, ledger: Ledger, automatic: ActionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checker, "LATE_COMMIT_SECONDS", 0.0)
    checking = ProposalChecker(db, automatic, WorkerReport(), "w")
    if not ledger.is_sqlite:
        async with ActionDB(ledger.target) as host, host.transaction() as tx:
            late = await tx.create_proposal(proposal())
            later = await stored(db)
            assert await checking.check_some()
            assert await status_of(db, later) is ActionStatus.VALIDATED
    else:  # its one writer commits in the order of the ids
        late = await stored(db)

    assert await checking.check_some()

    assert await status_of(db, late) is ActionStatus.VALIDATED


async def test_what_waits_is_checked_a_second_time_only(
    db: ActionDB, asking: ActionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checker, "LATE_COMMIT_SECONDS", 0.0)
    await db.create_proposals([proposal() for _ in range(2 * checker.BATCH)])
    checking = ProposalChecker(db, asking, WorkerReport(), "w")

    async with asyncio.timeout(PATIENCE):
        while await checking.check_some():
            pass

    await stored(db)
    assert [await checking.check_some() for _ in range(4)] == [True, True, False, False]


# -- what it says ------------------------------------------------------------------------------------------------------


def registry_of_both() -> ActionRegistry:
    registry = ActionRegistry()

    async def handler(_: Drain, execution: object) -> None: ...

    for name in ("page", "list_stores"):
        registry.add(name, handler, auto_approve=True)
    for name in ("wipe", "drain_store"):
        registry.add(name, handler)
    return registry


@pytest.mark.parametrize(
    ("validate", "said"),
    [
        (True, "It approves by itself: list_stores, page. A person approves: drain_store, wipe"),
        (False, "It approves by itself: nothing. A person approves: drain_store, list_stores, page, wipe"),
    ],
)
async def test_the_first_line_of_the_log_names_what_a_worker_approves_by_itself(
    db: ActionDB, caplog: pytest.LogCaptureFixture, said: str, *, validate: bool
) -> None:
    with caplog.at_level(logging.INFO, logger="operator_core.worker"):
        async with at_work(Worker(db, registry_of_both(), name="w", validate=validate)):
            pass

    assert caplog.records[0].message.startswith("worker w works on ")
    assert caplog.records[0].message.endswith(said)


# -- a login that may not decide ---------------------------------------------------------------------------------------


@pytest.fixture
def application(postgres: PrivatePostgres, postgres_url: str) -> Iterator[str]:
    """Is the URL of a role that may do all that a worker needs, but decides about nothing."""
    role, ledger = f"application_{uuid4().hex}", Ledger(postgres_url)
    with closing(ledger.connect()) as owner:
        owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
        owner.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        owner.execute(f"GRANT INSERT, UPDATE ON action_proposals, action_records TO {role}")
        owner.execute(f"GRANT EXECUTE ON FUNCTION operator_core_barrier, operator_core_lacks_approval TO {role}")
        url = make_url(postgres_url).set(username=role, password="x", drivername=f"postgresql+{DRIVER}")  # noqa: S106
        yield url.render_as_string(hide_password=False)
        owner.execute(f"DROP OWNED BY {role}")
        owner.execute(f"DROP ROLE {role}")


async def test_a_worker_that_may_not_decide_validates_what_needs_nobody(
    application: str, automatic: ActionRegistry
) -> None:
    async with ActionDB(application) as db:
        made = [await stored(db) for _ in range(2)]

        report = await worked(db, automatic)

        assert (report.validated, report.succeeded) == (2, 2)
        assert [await status_of(db, one) for one in made] == [ActionStatus.COMPLETED] * 2
        assert (await db.approval_status(made[0].id)).decisions == ()


async def test_a_worker_that_may_not_decide_leaves_what_a_policy_asks_about(
    application: str, postgres_url: str, automatic: ActionRegistry
) -> None:
    async with ActionDB(postgres_url) as owner, ActionDB(application) as db:
        await policy(owner, WHOEVER)
        made = await stored(db)

        before = await worked(db, automatic)
        await owner.approve(made.id, by="ann")
        after = await worked(db, automatic)

    assert (before.succeeded, after.succeeded) == (0, 1)
