"""A worker validates, claims, does and records; whatever an action does, the worker goes on."""

import asyncio
import logging
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from operator_core.actions import ActionOutcome, ActionStatus, InvalidArgumentError
from operator_core.db import ActionDB, Execution
from operator_core.worker import ActionRegistry, Worker
from tests.support.factories import stored
from tests.support.patience import PATIENCE
from tests.support.workbench import Diary, found, ready, registry_of, worked


async def test_what_is_proposed_is_validated_and_done_oldest_first(db: ActionDB) -> None:
    made, diary = [await stored(db) for _ in range(3)], Diary()

    report = await worked(db, diary)

    assert diary.ids == [one.id for one in made]
    assert (report.validated, report.succeeded) == (3, 3)


async def test_parameters_that_do_not_fit_are_refused_with_every_reason(db: ActionDB) -> None:
    made, diary = await stored(db, parameters={"store": "hot", "force": "maybe"}), Diary()

    report = await worked(db, diary)

    refused = await found(db, made.id)
    assert (report.rejected, diary.ids) == (1, [])
    assert (refused.status, refused.status_by) == (ActionStatus.CANCELLED, "w")
    assert all(f"{field}: " in refused.status_reason for field in ("store", "force"))


async def test_parameters_that_break_their_model_are_refused_and_stop_no_worker(db: ActionDB) -> None:
    class Careless(BaseModel):
        store: int

        @field_validator("store")
        @classmethod
        def known(cls, store: int) -> int:
            return {4: 4}[store]  # what Pydantic does not expect: a KeyError

    registry, diary = ActionRegistry(), Diary()

    @registry.action("drain_store", Careless, auto_approve=True)
    async def drain(_: Careless, execution: Execution) -> None:
        await diary(execution)

    broken, sound = await stored(db, parameters={"store": 5}), await stored(db, parameters={"store": 4})

    await Worker(db, registry).run_until_idle()

    assert (await found(db, broken.id)).status is ActionStatus.CANCELLED
    assert diary.ids == [sound.id]


async def test_what_was_validated_by_others_is_checked_before_it_runs(db: ActionDB) -> None:
    (number,) = await ready(db, parameters={"store": "hot"})
    diary = Diary()

    report = await worked(db, diary)

    assert (report.failed, diary.ids) == (1, [])
    assert "store" in ((await db.get_records_for_proposal(number))[0].error_message or "")


@pytest.mark.parametrize("status", [ActionStatus.PROPOSED, ActionStatus.VALIDATED])
async def test_names_that_are_not_registered_are_left_alone(db: ActionDB, status: ActionStatus) -> None:
    made = await stored(db, status, action_name="reboot")

    await worked(db, Diary())

    assert (await found(db, made.id)).status is status


async def test_a_worker_that_does_not_validate_leaves_what_is_proposed_alone(db: ActionDB) -> None:
    made, diary = await stored(db), Diary()
    (approved,) = await ready(db)

    await worked(db, diary, validate=False)

    assert diary.ids == [approved]
    assert (await found(db, made.id)).status is ActionStatus.PROPOSED


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_no_more_run_at_once_than_the_concurrency_allows(db: ActionDB, concurrency: int) -> None:
    running, most, reached = 0, 0, asyncio.Event()

    async def act(_: Execution) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == concurrency:
            reached.set()
        async with asyncio.timeout(PATIENCE):
            await reached.wait()
        await asyncio.sleep(0.02)
        running -= 1

    await ready(db, 7)

    await worked(db, act, concurrency=concurrency)

    assert most == concurrency


async def test_an_action_finds_its_parameters_and_its_execution(db: ActionDB) -> None:
    seen: list[Any] = []

    async def act(execution: Execution) -> None:
        seen.append((execution.proposal.parameters, execution.worker))

    await ready(db, parameters={"store": 7})

    await worked(db, act)

    assert seen == [({"store": 7}, "w")]


async def test_what_an_action_returns_is_its_result(db: ActionDB) -> None:
    (number,) = await ready(db)

    await worked(db, Diary({"drained": 4}))

    (record,) = await db.get_records_for_proposal(number)
    assert (record.outcome, record.result_data) == (ActionOutcome.SUCCEEDED, {"drained": 4})


async def test_what_an_action_raises_is_how_it_failed(db: ActionDB) -> None:
    async def act(_: Execution) -> None:
        raise ValueError("too hot")

    (number,) = await ready(db)

    report = await worked(db, act)

    (record,) = await db.get_records_for_proposal(number)
    assert (record.outcome, record.error_message, report.failed) == (ActionOutcome.FAILED, "ValueError: too hot", 1)


@pytest.mark.parametrize(
    "result", [{"a": object()}, {object(): 2}, {"x": float("nan")}, [object()], "a\0b", {"big": "x" * 2_000_000}]
)
async def test_a_result_that_cannot_be_stored_is_a_success_that_says_so(db: ActionDB, result: Any) -> None:
    (number,) = await ready(db)

    await worked(db, Diary(result))

    (record,) = await db.get_records_for_proposal(number)
    assert record.outcome is ActionOutcome.SUCCEEDED
    assert "_sanitised" in (record.result_data or {})


class Unreadable(Exception):  # noqa: N818 - it is no error of ours
    def __str__(self) -> str:
        raise RuntimeError("broken")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a\x00b\ud800"),
        ValueError("x" * 1_000_000),
        Unreadable(),
    ],
    ids=["no text", "too long", "unreadable"],
)
async def test_an_error_that_cannot_be_stored_is_a_failure_all_the_same(db: ActionDB, error: Exception) -> None:
    async def act(_: Execution) -> None:
        raise error

    (number,) = await ready(db)

    await worked(db, act)

    (record,) = await db.get_records_for_proposal(number)
    assert record.outcome is ActionOutcome.FAILED
    assert (record.error_message or "").startswith(type(error).__name__)


@pytest.mark.parametrize(
    "error", [ValueError("no"), Unreadable(), asyncio.CancelledError(), TimeoutError()], ids=lambda e: type(e).__name__
)
async def test_whatever_one_action_raises_the_next_is_done(db: ActionDB, error: BaseException) -> None:
    diary = Diary()

    async def act(execution: Execution) -> None:
        if execution.proposal.id == 1:
            raise error
        await diary(execution)

    numbers = await ready(db, 2)

    await worked(db, act)

    assert diary.ids == numbers[1:]


async def test_an_action_may_end_itself(db: ActionDB) -> None:
    async def act(execution: Execution) -> None:
        await execution.fail("half of it is done", {"half": 1})

    (number,) = await ready(db)

    report = await worked(db, act)

    (record,) = await db.get_records_for_proposal(number)
    assert (record.outcome, record.result_data, report.failed) == (ActionOutcome.FAILED, {"half": 1}, 1)


async def test_every_line_about_an_action_carries_its_ids(db: ActionDB, caplog: pytest.LogCaptureFixture) -> None:
    (number,) = await ready(db)

    with caplog.at_level(logging.INFO, logger="operator_core.worker"):
        await worked(db, Diary())

    told = [vars(line) for line in caplog.records if "record_id" in vars(line)]
    wanted = {"worker": "w", "proposal_id": number, "record_id": 1, "action_name": "drain_store"}
    assert len(told) == 2
    assert all(line | wanted == line for line in told)


async def test_a_refusal_is_logged_with_its_ids(db: ActionDB, caplog: pytest.LogCaptureFixture) -> None:
    made = await stored(db, parameters={"store": "hot"})

    await worked(db, Diary())

    (line,) = [vars(line) for line in caplog.records if line.levelno == logging.WARNING]
    assert (line["proposal_id"], line["action_name"], line["worker"]) == (made.id, "drain_store", "w")


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"name": " "}, "name"),
        ({"lease_seconds": -1}, "lease_seconds"),
        ({"poll_interval": "x"}, "poll_interval"),
    ],
)
async def test_a_setting_that_makes_no_sense_is_refused_by_name(db: ActionDB, given: Any, path: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{path} "):
        Worker(db, registry_of(Diary()), **given)


async def test_an_empty_registry_is_refused(db: ActionDB) -> None:
    with pytest.raises(InvalidArgumentError, match="registry is empty"):
        Worker(db, ActionRegistry())


async def test_two_workers_of_one_process_have_names_of_their_own(db: ActionDB) -> None:
    registry = registry_of(Diary())

    assert Worker(db, registry).name != Worker(db, registry).name
