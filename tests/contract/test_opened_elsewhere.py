"""A ledger that is used in a forked child, another thread or a second event loop says so, and harms nobody's."""

import asyncio
import gc
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from operator_core.actions import OpenedElsewhereError
from operator_core.db import ActionDB
from tests.support.elsewhere import AT_HOME, CHILD, CLOSE, OWN_LEDGER
from tests.support.factories import proposal
from tests.support.host import DRIVERS
from tests.support.programs import ELSEWHERE, programs


@pytest.fixture(params=DRIVERS)
def target(request: pytest.FixtureRequest) -> Path | str:
    if request.param == "sqlite":
        return Path(request.getfixturevalue("sqlite_path"))
    url = make_url(request.getfixturevalue("postgres_url")).set(drivername=DRIVERS[request.param])
    return url.render_as_string(hide_password=False)


def said_in(place: str, target: Path | str, end: str = "at once") -> dict[str, str]:
    done = programs().run(ELSEWHERE, [str(target), place, end])
    assert done.returncode == 0, done.stderr
    said: dict[str, str] = json.loads(done.stdout)
    return said


def of_calls(said: dict[str, str]) -> set[str]:
    """Return what all calls have said that need the ledger to be at home."""
    return {words for name, words in said.items() if name not in (AT_HOME, CHILD, CLOSE, OWN_LEDGER)}


@pytest.mark.parametrize("end", ["at once", "collected"])
def test_every_call_in_a_forked_child_names_the_processes_and_the_parent_goes_on(target: Path | str, end: str) -> None:
    said = said_in("a child", target, end)

    (words,) = of_calls(said)
    assert words.startswith("OpenedElsewhereError")
    assert "was opened in process" in words
    assert {said[name] for name in (CLOSE, OWN_LEDGER, AT_HOME)} == {"nothing"}


def test_every_call_in_another_thread_names_it_and_the_ledger_goes_on_at_home(target: Path | str) -> None:
    said = said_in("a thread", target)

    (words,) = of_calls(said) | {said[CLOSE]}
    assert words.startswith("OpenedElsewhereError")
    assert "event loop of the thread MainThread" in words
    assert {said[name] for name in (OWN_LEDGER, AT_HOME)} == {"nothing"}


def test_every_call_in_a_second_run_says_that_its_loop_is_closed(target: Path | str) -> None:
    said = said_in("a second run", target)

    (words,) = of_calls(said)
    assert words.startswith("OpenedElsewhereError")
    assert "an event loop that is closed" in words
    assert {said[name] for name in (CLOSE, OWN_LEDGER)} == {"nothing"}


def test_a_ledger_that_was_closed_may_be_opened_in_a_second_run(target: Path | str) -> None:
    db = ActionDB(target)

    async def use() -> int | None:
        await asyncio.gather(*(db.open() for _ in range(3)))
        try:
            return (await db.create_proposal(proposal())).id
        finally:
            await db.close()

    assert [asyncio.run(use()) for _ in range(2)] == [1, 2]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # what was forgotten is collected
def test_a_ledger_that_was_forgotten_is_closed_and_opened_anew_in_a_second_run(target: Path | str) -> None:
    db = ActionDB(target)

    async def forget() -> None:
        await db.open()
        await db.create_proposal(proposal())

    async def use() -> int | None:
        with pytest.raises(OpenedElsewhereError):
            await db.open()
        await db.close()
        async with db:
            return (await db.create_proposal(proposal())).id

    asyncio.run(forget())
    found = asyncio.run(use())
    gc.collect()

    assert found == 2


def in_a_child(act: Callable[[], Any]) -> str:
    """Return what an act in a forked child has said."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = repr(act())
        except BaseException as error:  # noqa: BLE001 - the parent shows it
            said = repr(error)
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


async def _propose(db: ActionDB) -> int | None:
    async with db:
        return (await db.create_proposal(proposal())).id


def test_a_ledger_that_was_made_before_the_fork_is_opened_in_the_child(target: Path | str) -> None:
    db = ActionDB(target)

    assert in_a_child(lambda: asyncio.run(_propose(db))) == "1"
    assert asyncio.run(_propose(db)) == 2


def test_a_ledger_that_the_parent_has_open_is_closed_and_opened_anew_in_the_child(target: Path | str) -> None:
    async def parent() -> tuple[str, int | None]:
        async with ActionDB(target) as db:
            await db.create_proposal(proposal())

            async def child() -> int | None:
                await db.close()
                return await _propose(db)

            said = in_a_child(lambda: asyncio.run(child()))
            return said, (await db.create_proposal(proposal())).id

    assert asyncio.run(parent()) == ("2", 3)


def test_what_a_child_writes_is_kept_when_its_parent_closes_the_same_file(sqlite_path: Path) -> None:
    """SQLite takes no locks in a child on a file that the parent has open: the parent would take the log away."""
    told, telling = os.pipe()
    heard, hearing = os.pipe()

    async def child() -> None:
        async with ActionDB(sqlite_path) as db:
            await db.create_proposal(proposal())
            os.write(telling, b"1")
            os.read(heard, 1)  # the parent has closed
            await db.create_proposal(proposal())
            os.write(telling, b"2")
            os.read(heard, 1)
            os._exit(0)

    async def parent() -> int:
        async with ActionDB(sqlite_path) as db:
            await db.create_proposal(proposal())
            pid = os.fork()
            if pid == 0:
                asyncio.run(child())
            await asyncio.to_thread(os.read, told, 1)
        return pid

    pid = asyncio.run(parent())
    os.write(hearing, b"1")
    os.read(told, 1)

    async def seen() -> int:
        async with ActionDB(sqlite_path) as db:
            return len(await db.list_proposals())

    found = asyncio.run(seen())
    os.write(hearing, b"2")
    os.waitpid(pid, 0)
    assert found == 3
