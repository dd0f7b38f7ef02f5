"""The actions of the soak: each leaves in a file of its own process what it did and what it heard."""

import asyncio
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from operator_core.actions import StopRequestedError
from operator_core.db import Execution
from operator_core.worker import ActionRegistry

LET_GO = "let-go"
_LONGEST = 3_600.0  # seconds that an action runs when nobody ends it; the process is gone before


class Trace:
    """A file that one process alone appends to; what is in it outlives a kill of the process."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder = folder
        self._file = os.open(folder / f"{number}.trace", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def add(self, word: str, proposal_id: int | None, *more: object) -> None:
        """Write one line, whole and at once."""
        os.write(self._file, " ".join(map(str, (word, proposal_id, *more))).encode() + b"\n")

    @property
    def is_let_go(self) -> bool:
        """Whether the test lets the actions that wait for it come to their end."""
        return (self._folder / LET_GO).exists()


def let_go(folder: Path) -> None:
    """Let the actions that wait for it come to their end."""
    (folder / LET_GO).touch()


def lines(folder: Path, word: str) -> list[list[str]]:
    """Return what all processes have written under a word, each line from the id of its proposal on."""
    found = [line.split() for file in sorted(folder.glob("*.trace")) for line in file.read_text().splitlines()]
    return [line[1:] for line in found if line[0] == word]


def done(folder: Path) -> Counter[int]:
    """Return how often each proposal was done, by the files alone."""
    return Counter(int(line[0]) for line in lines(folder, "did"))


class Nothing(BaseModel):
    """The parameters of an action that needs nothing."""


class Pause(BaseModel):
    """The seconds that an action takes before and after its effect."""

    before: float = 0.0
    after: float = 0.0


def registry_of(trace: Trace) -> ActionRegistry:
    """Return all actions of a process."""
    registry = ActionRegistry()

    @registry.action("do", auto_approve=True)
    async def do(parameters: Pause, execution: Execution) -> dict[str, Any]:
        await asyncio.sleep(parameters.before)
        trace.add("did", execution.proposal.id)
        await asyncio.sleep(parameters.after)
        return {"by": execution.worker}

    @registry.action("obey", auto_approve=True)
    async def obey(_: Nothing, execution: Execution) -> None:
        asked = await execution.wait_for_stop()
        trace.add("heard", execution.proposal.id, asked.generation)
        execution.raise_if_stopped()

    @registry.action("ignore", auto_approve=True)
    async def ignore(_: Nothing, execution: Execution) -> None:
        while not trace.is_let_go:
            await asyncio.sleep(0.02)

    _add_those_that_lose(registry, trace)
    return registry


def _add_those_that_lose(registry: ActionRegistry, trace: Trace) -> None:
    @registry.action("notice", auto_approve=True)
    async def notice(_: Nothing, execution: Execution) -> None:
        trace.add("began", execution.proposal.id)
        try:
            await asyncio.sleep(_LONGEST)
        except asyncio.CancelledError:
            trace.add("saw", execution.proposal.id, "CancelledError", _checked(execution))
            raise

    @registry.action("cling", auto_approve=True)
    async def cling(_: Nothing, execution: Execution) -> dict[str, Any]:
        trace.add("began", execution.proposal.id)
        while not trace.is_let_go:
            time.sleep(0.02)  # noqa: ASYNC251 - it is deaf, as a call into a library can be
        return {"late": True}


def _checked(execution: Execution) -> str:
    """Return what an action is told that asks whether it may go on."""
    try:
        execution.raise_if_stopped()
    except StopRequestedError as asked:
        return type(asked).__name__
    except Exception as error:  # noqa: BLE001 - whatever it is, the test wants its name
        return type(error).__name__
    return "nothing"
