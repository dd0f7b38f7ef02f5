"""Whatever an action raises, and wherever, ends that action alone, with what happened in the ledger and in the log."""

import asyncio
import gc
import io
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from operator_core.actions import ActionOutcome, StoredRecord
from operator_core.db import ActionDB, Execution
from operator_core.worker import ActionRegistry, Worker
from tests.support.factories import stored
from tests.support.workbench import Diary, Drain, at_work, found, ready, registry_of, worked

Act = Callable[[Execution], Awaitable[Any]]


class CustomExit(BaseException):
    pass


async def record_of(db: ActionDB, number: int) -> StoredRecord:
    (record,) = await db.get_records_for_proposal(number)
    return record


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """The output of a host's handler for this library's log."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("operator_core")
    logger.addHandler(handler)
    yield stream
    logger.removeHandler(handler)


# -- tracebacks --------------------------------------------------------------------------------------------------------


async def test_an_action_that_raises_leaves_its_traceback_in_the_log(db: ActionDB, lines: io.StringIO) -> None:
    async def act(_: Execution) -> None:
        raise ValueError("too hot")

    (number,) = await ready(db)

    await worked(db, act)

    assert f"proposal {number} (drain_store) failed: ValueError: too hot\nTraceback " in lines.getvalue()
    assert 'raise ValueError("too hot")\nValueError: too hot\n' in lines.getvalue()
    assert (await record_of(db, number)).error_message == "ValueError: too hot"


async def test_the_entry_of_a_failure_carries_the_error(db: ActionDB, caplog: pytest.LogCaptureFixture) -> None:
    error = ValueError("too hot")

    async def act(_: Execution) -> None:
        raise error

    await ready(db)

    await worked(db, act)

    (entry,) = [entry for entry in caplog.records if entry.levelno == logging.WARNING]
    assert entry.exc_info is not None
    assert entry.exc_info[1] is error


async def test_an_action_that_raises_after_it_has_ended_leaves_its_traceback(db: ActionDB, lines: io.StringIO) -> None:
    async def act(execution: Execution) -> None:
        await execution.complete()
        raise ValueError("too late")

    (number,) = await ready(db)

    await worked(db, act)

    assert (await record_of(db, number)).outcome is ActionOutcome.SUCCEEDED
    assert "ValueError: too late" in lines.getvalue()


async def test_an_action_that_answers_a_stop_leaves_no_traceback(db: ActionDB, lines: io.StringIO) -> None:
    begun = asyncio.Event()

    async def act(execution: Execution) -> None:
        begun.set()
        await execution.wait_for_stop()
        execution.raise_if_stopped()

    (number,) = await ready(db)
    async with at_work(Worker(db, registry_of(act), poll_interval=0.02)):
        await begun.wait()
        await db.request_cancel(number, by="ann", reason="not now")
        await db.wait_for(number, poll_interval=0.02)

    assert "Traceback" not in lines.getvalue()


async def test_a_model_that_breaks_leaves_its_traceback(db: ActionDB, lines: io.StringIO) -> None:
    registry = ActionRegistry()

    class Careless(Drain):
        def __init__(self, **_: Any) -> None:
            raise KeyError("store")

    @registry.action("drain_store", auto_approve=True)
    async def drain(parameters: Careless, execution: Execution) -> None: ...

    await stored(db)

    await Worker(db, registry).run_until_idle()

    assert "the model of drain_store broke\nTraceback" in lines.getvalue()


async def test_the_inner_errors_of_a_group_are_in_the_ledger_too(db: ActionDB) -> None:
    async def fail(error: Exception) -> None:
        raise error

    async def act(_: Execution) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail(ValueError("a")))
            group.create_task(fail(KeyError("b")))

    (number,) = await ready(db)

    await worked(db, act)

    message = (await record_of(db, number)).error_message
    assert (
        message == "ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions) [ValueError: a; KeyError: 'b']"
    )


async def test_a_group_of_answers_to_a_stop_is_an_answer(db: ActionDB) -> None:
    begun = asyncio.Event()

    async def part(execution: Execution) -> None:
        begun.set()
        await execution.wait_for_stop()
        execution.raise_if_stopped()

    async def act(execution: Execution) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(part(execution))
            group.create_task(part(execution))

    (number,) = await ready(db)
    async with at_work(Worker(db, registry_of(act), poll_interval=0.02)):
        await begun.wait()
        await db.request_cancel(number, by="ann", reason="not now")
        await db.wait_for(number, poll_interval=0.02)

    assert (await record_of(db, number)).outcome is ActionOutcome.STOPPED


# -- exits -------------------------------------------------------------------------------------------------------------


async def exits(_: Execution) -> None:
    sys.exit(0)


async def interrupts(_: Execution) -> None:
    raise KeyboardInterrupt


async def exits_in_a_group(_: Execution) -> None:
    raise BaseExceptionGroup("several", [SystemExit(3), ValueError("a")])


async def exits_in_a_thread(_: Execution) -> None:
    await asyncio.to_thread(sys.exit, 3)


async def _exit() -> None:
    await asyncio.sleep(0)
    sys.exit(3)


async def exits_in_a_task(_: Execution) -> None:
    await asyncio.create_task(_exit())


async def exits_in_a_task_group(_: Execution) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_exit())
        group.create_task(asyncio.sleep(3_600))


async def exits_in_gathered_tasks(_: Execution) -> None:
    await asyncio.gather(_exit(), asyncio.sleep(0))


async def closes(_: Execution) -> None:
    raise GeneratorExit


async def has_its_own(_: Execution) -> None:
    raise CustomExit("over")


async def fails_as_tests_do(_: Execution) -> None:
    pytest.fail("no")


async def ends_an_iteration(_: Execution) -> None:
    next(iter(()))


async def recurses(execution: Execution) -> None:
    await recurses(execution)


async def runs_out_of_memory(_: Execution) -> None:
    raise MemoryError


async def awaits_what_is_cancelled(_: Execution) -> None:
    inner = asyncio.create_task(asyncio.sleep(3_600))
    inner.cancel()
    await inner


async def raises_a_cancellation(_: Execution) -> None:
    raise asyncio.CancelledError


class ExitsAsTextError(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


async def raises_what_exits_as_text(_: Execution) -> None:
    raise ExitsAsTextError


ENDINGS: list[tuple[Act, str]] = [
    (exits, "SystemExit: 0"),
    (interrupts, "KeyboardInterrupt"),
    (exits_in_a_group, "BaseExceptionGroup: several (2 sub-exceptions) [SystemExit: 3; ValueError: a]"),
    (exits_in_a_thread, "SystemExit: 3"),
    (exits_in_a_task, "TaskExitedError: a task of the action ended with SystemExit: 3 (caused by SystemExit: 3)"),
    (exits_in_a_task_group, "ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception) [TaskExitedError: "),
    (exits_in_gathered_tasks, "TaskExitedError: a task of the action ended with SystemExit: 3"),
    (closes, "GeneratorExit"),
    (has_its_own, "CustomExit: over"),
    (fails_as_tests_do, "Failed: no"),
    (ends_an_iteration, "RuntimeError: coroutine raised StopIteration"),
    (recurses, "RecursionError: maximum recursion depth exceeded"),
    (runs_out_of_memory, "MemoryError"),
    (awaits_what_is_cancelled, "CancelledError"),
    (raises_a_cancellation, "CancelledError"),
    (raises_what_exits_as_text, "ExitsAsTextError: <ExitsAsTextError, whose text failed with SystemExit>"),
]


@pytest.mark.parametrize(("act", "message"), ENDINGS, ids=lambda given: getattr(given, "__name__", " "))
async def test_whatever_an_action_raises_ends_it_and_neither_the_worker_nor_what_runs_beside_it(
    db: ActionDB, act: Act, message: str
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def one_of_three(execution: Execution) -> dict[str, bool]:
        if execution.proposal.id == numbers[0]:
            begun.set()
            await ended.wait()
        elif execution.proposal.id == numbers[1]:
            await begun.wait()
            await act(execution)
        else:
            ended.set()
        return {"done": True}

    numbers = await ready(db, 3)

    report = await worked(db, one_of_three, concurrency=2)

    records = [await record_of(db, number) for number in numbers]
    assert [record.outcome for record in records] == ["succeeded", "failed", "succeeded"]
    assert (records[1].error_message or "").startswith(message)
    assert (report.succeeded, report.failed, report.aborted) == (2, 1, [])


async def test_a_result_whose_text_exits_is_stored_with_its_type(db: ActionDB) -> None:
    class ExitsAsResult:
        def __repr__(self) -> str:
            sys.exit(3)

    async def act(_: Execution) -> object:
        return ExitsAsResult()

    (number,) = await ready(db)

    report = await worked(db, act)

    record = await record_of(db, number)
    assert (report.succeeded, record.outcome) == (1, ActionOutcome.SUCCEEDED)
    assert "whose repr failed with SystemExit" in str(record.result_data)


async def test_an_action_that_cancels_itself_is_broken_off_and_says_so(db: ActionDB) -> None:
    async def act(_: Execution) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(3_600)

    (number,) = await ready(db)

    await worked(db, act)

    record = await record_of(db, number)
    assert (record.outcome, record.error_message) == (ActionOutcome.UNKNOWN, "broken off: its task was cancelled")


async def test_a_model_whose_validation_exits_refuses_the_proposal_alone(db: ActionDB) -> None:
    registry, diary = ActionRegistry(), Diary()

    class Sly(Drain):
        def model_post_init(self, _: Any) -> None:
            if self.store == 5:
                sys.exit(0)

    @registry.action("drain_store", auto_approve=True)
    async def drain(_: Sly, execution: Execution) -> None:
        await diary(execution)

    sly, sound = await stored(db, parameters={"store": 5}), await stored(db, parameters={"store": 4})

    await Worker(db, registry).run_until_idle()

    assert (await found(db, sly.id)).status_reason == ("the parameters do not fit: the model broke with SystemExit: 0")
    assert diary.ids == [sound.id]


async def test_a_task_that_outlives_its_action_ends_neither_the_worker(db: ActionDB) -> None:
    tasks: list[asyncio.Task[None]] = []

    async def act(_: Execution) -> None:
        tasks.append(asyncio.create_task(_exit()))

    await ready(db, 3)

    report = await worked(db, act)

    await asyncio.wait(tasks)
    assert report.succeeded == 3
    assert {type(task.exception()).__name__ for task in tasks} == {"TaskExitedError"}


async def test_the_tasks_of_a_loop_are_made_as_before_once_its_workers_are_gone(db: ActionDB) -> None:
    loop, made = asyncio.get_running_loop(), []

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        made.append(coro)
        return asyncio.Task(coro, loop=loop, **options)

    loop.set_task_factory(factory)
    try:
        await ready(db)
        await asyncio.gather(worked(db, exits_in_a_task), worked(db, Diary()))
        assert loop.get_task_factory() is factory
    finally:
        loop.set_task_factory(None)
    assert made


async def test_a_task_that_is_cancelled_before_it_began_leaves_no_warning(db: ActionDB) -> None:
    async def act(_: Execution) -> str:
        task = asyncio.create_task(_exit())
        task.cancel()
        await asyncio.wait({task})
        return task.get_name()

    await ready(db)

    report = await worked(db, act)

    gc.collect()
    assert report.succeeded == 1


async def test_an_exit_within_a_block_of_ones_own_passes_on_and_is_recorded(db: ActionDB) -> None:
    (number,) = await ready(db)
    execution = await db.claim(number, worker="w")

    with pytest.raises(CustomExit):
        async with execution:
            raise CustomExit("over")

    record = await record_of(db, number)
    assert (record.outcome, record.error_message) == (ActionOutcome.UNKNOWN, "broken off by CustomExit: over")


# -- results -----------------------------------------------------------------------------------------------------------


async def test_a_result_that_is_a_model_is_stored_as_json_without_a_word(
    db: ActionDB, caplog: pytest.LogCaptureFixture
) -> None:
    (number,) = await ready(db)

    await worked(db, Diary(Drain(store=7)))

    assert (await record_of(db, number)).result_data == {"store": 7, "force": False}
    assert [entry for entry in caplog.records if entry.levelno >= logging.WARNING] == []


async def test_a_result_that_is_changed_is_logged_as_a_warning_with_its_path(
    db: ActionDB, caplog: pytest.LogCaptureFixture
) -> None:
    (number,) = await ready(db)

    await worked(db, Diary({"share": float("nan")}))

    (entry,) = [entry for entry in caplog.records if entry.levelno == logging.WARNING]
    assert "result_data.share is nan; JSON has no such number" in entry.getMessage()
    assert vars(entry)["proposal_id"] == number
    assert (await record_of(db, number)).result_data == {
        "share": "nan",
        "_sanitised": "result_data.share is nan; JSON has no such number; it is stored as text",
    }
