"""How many functions of the library lie between a call and its SQL, counted and not judged."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import CoroutineType, FrameType
from typing import Any

import greenlet
import pytest
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.ext.asyncio import AsyncSession

import operator_core
from operator_core.actions import ActionStatus
from operator_core.db import ActionDB, ActionRepository
from tests.support.factories import proposal, stored
from tests.support.host import hosted
from tests.support.ledger import DRIVER, Ledger
from tests.support.patience import PATIENCE

MOST = 8
"""The most functions of the library, from the public method to the one that executes a statement."""

OURS = Path(operator_core.__file__).parent

Repository = ActionDB | ActionRepository
Call = Callable[[Repository, int], Awaitable[Any]]

CALLS: dict[str, tuple[ActionStatus, Call]] = {
    "create_proposal": (ActionStatus.PROPOSED, lambda db, _id: db.create_proposal(proposal())),
    "get_proposal": (ActionStatus.PROPOSED, lambda db, number: db.get_proposal(number)),
    "update_proposal_status": (
        ActionStatus.PROPOSED,
        lambda db, number: db.update_proposal_status(number, ActionStatus.VALIDATED),
    ),
    "start_execution": (ActionStatus.VALIDATED, lambda db, number: db.start_execution(number)),
    "claim_next": (ActionStatus.VALIDATED, lambda db, _id: db.claim_next(worker="w1")),
}


@asynccontextmanager
async def own(ledger: Ledger) -> AsyncIterator[Repository]:
    """Give an `ActionDB`."""
    async with ActionDB(ledger.target) as db:
        yield db


@asynccontextmanager
async def joined(ledger: Ledger) -> AsyncIterator[Repository]:
    """Give a repository in a host's session."""
    async with hosted(ledger, DRIVER) as host, AsyncSession(host.engine) as session:
        yield ActionRepository(session)


@asynccontextmanager
async def block(ledger: Ledger) -> AsyncIterator[Repository]:
    """Give the repository of `ActionDB.transaction`."""
    async with ActionDB(ledger.target) as db, db.transaction() as tx:
        yield tx


WAYS = {way.__name__: way for way in (own, joined, block)}


def stack(frame: FrameType | None) -> list[FrameType]:
    """Return a frame and its callers, outermost first."""
    frames: list[FrameType] = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def stack_here() -> list[FrameType]:
    """Return the stack of the caller, and below it that of the greenlet which waits for it."""
    waiting = greenlet.getcurrent().parent
    outer = [] if waiting is None or waiting.gr_frame is None else stack(waiting.gr_frame)
    return outer + stack(sys._getframe(1))


def awaiting(task: "asyncio.Task[Any]") -> list[FrameType]:
    """Return the frames of the coroutines in which a suspended task waits, outermost first."""
    frames: list[FrameType] = []
    coroutine: Any = task.get_coro()
    while isinstance(coroutine, CoroutineType):
        frames.append(coroutine.cr_frame)
        coroutine = coroutine.cr_await
    return frames


class Walk:
    """What lies between a call and each statement that it executes.

    A call may wait in its own task while another one, or the thread of a connection, works for it: then the way leads
    through both.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.to_statements: list[list[str]] = []
        self._caller: asyncio.Task[Any] | None = None
        self._loop, self._thread = asyncio.get_running_loop(), threading.current_thread()
        execute = DefaultDialect.do_execute

        def execute_and_note(*args: Any) -> None:
            if self._caller is not None:
                self.to_statements.append(self._ours(self._waiting_frames() + stack_here()))
            execute(*args)

        monkeypatch.setattr(DefaultDialect, "do_execute", execute_and_note)

    async def of(self, call: Awaitable[Any]) -> list[str]:
        """Return the longest way to a statement of this call."""
        self._caller = asyncio.current_task()
        try:
            await call
        finally:
            self._caller = None
        return max(self.to_statements, key=len)

    def _waiting_frames(self) -> list[FrameType]:
        caller = self._caller
        assert caller is not None
        if threading.current_thread() is self._thread:
            return [] if asyncio.current_task() is caller else awaiting(caller)
        frames: list[FrameType] = []
        asked = threading.Event()

        def ask() -> None:  # in the loop, where the caller is certain to be suspended
            frames.extend(awaiting(caller))
            asked.set()

        self._loop.call_soon_threadsafe(ask)
        assert asked.wait(PATIENCE)
        return frames

    @staticmethod
    def _ours(frames: list[FrameType]) -> list[str]:
        files = ((frame, Path(frame.f_code.co_filename)) for frame in frames)
        return [
            f"{file.relative_to(OURS)}:{frame.f_lineno} {frame.f_code.co_qualname}"
            for frame, file in files
            if file.is_relative_to(OURS)
        ]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CALLS)
async def test_a_call_reaches_its_sql_through_few_functions(
    ledger: Ledger, name: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, call = CALLS[name]
    async with WAYS[way](ledger) as repository:
        await call(repository, (await stored(repository, status)).id)  # the first call also checks the database
        made = await stored(repository, status)
        walk = Walk(monkeypatch)

        frames = await walk.of(call(repository, made.id))

    assert frames[0].endswith(f".{name}")  # it was found from its beginning
    assert len(frames) <= MOST, "\n".join([f"{len(frames)} frames from {name} to its SQL:", *frames])
