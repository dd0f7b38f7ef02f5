"""A start that is under way while somebody gets another log and stops there: it is not acknowledged after the stop."""

import asyncio
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from operator_core.actions import ActionStatus
from operator_core.actions.errors import DatabaseReplacedError
from operator_core.db import ActionDB
from operator_core.db.engine.aiosqlite_connection import WatchedConnection
from operator_core.db.engine.file_watch import FileView
from tests.support.factories import stored
from tests.support.second_views import WAYS, is_stopped, stop_from_elsewhere

ROUNDS = 8
LOGS = ["remove_shm", "remove_both", "replace_shm", "replace_both"]
_commit = WatchedConnection.commit


@pytest.fixture
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the mend out: nobody looks whether others see the same files."""
    monkeypatch.setattr(FileView, "require_unchanged", lambda _view: None)


# -- a forced schedule -------------------------------------------------------------------------------------------------


async def start_across_a_stop(file: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> object:
    """Have a stop by another log come between the last look of a start and its commit, and return what it returns."""
    look, stops = FileView.require_unchanged, list[int]()

    def require_unchanged(view: FileView) -> None:
        look(view)
        if not stops:
            stops.append(stop_from_elsewhere(WAYS[way](file), 0.1).returncode)

    async with ActionDB(file) as db:
        made = await stored(db, ActionStatus.VALIDATED)
        monkeypatch.setattr(FileView, "require_unchanged", require_unchanged)
        try:
            return await db.start_execution(made.id)
        finally:
            assert stops == [2]


@pytest.mark.parametrize("way", LOGS)
async def test_a_start_whose_commit_comes_after_the_stop_is_not_acknowledged(
    sqlite_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DatabaseReplacedError):
        await start_across_a_stop(sqlite_path, way, monkeypatch)

    if way.endswith("both"):  # by one -wal the commit lies over the stop, which is why that one is not confirmed
        assert is_stopped(sqlite_path)


@pytest.mark.usefixtures("unwatched")
async def test_without_the_look_after_the_commit_the_same_schedule_starts_after_the_stop(
    sqlite_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await start_across_a_stop(sqlite_path, "remove_both", monkeypatch)


# -- any schedule ------------------------------------------------------------------------------------------------------


class Claimer:
    """Claims as fast as it can, and notes when the commit of each acknowledged claim began."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.began, self.attempts = 0.0, 0
        self.acknowledged: list[float] = []

        def commit(connection: WatchedConnection) -> None:
            self.began = time.monotonic()
            _commit(connection)

        monkeypatch.setattr(WatchedConnection, "commit", commit)

    async def claim(self, db: ActionDB, until: asyncio.Event) -> None:
        while not until.is_set():
            self.attempts += 1
            await stored(db, ActionStatus.VALIDATED)
            if await db.claim_next(worker="w"):
                self.acknowledged.append(self.began)


@contextmanager
def stopper() -> Generator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.support.second_view_stopper"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.communicate()


def stopped(process: subprocess.Popen[str], file: Path, way: str) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{file} {way}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


async def late_claims(file: Path, process: subprocess.Popen[str], chance: random.Random, claimer: Claimer) -> int:
    """Run one round, and return how many claims were acknowledged whose commit began after the stop."""
    claimer.acknowledged.clear()
    over = asyncio.Event()
    async with ActionDB(file) as db:
        claiming = asyncio.create_task(claimer.claim(db, over))
        await asyncio.sleep(chance.uniform(0.0, 0.05))
        at = await asyncio.to_thread(stopped, process, file, chance.choice(LOGS))
        seen = claimer.attempts
        while not claiming.done() and claimer.attempts < seen + 3:
            await asyncio.sleep(0.001)
        over.set()
        await asyncio.gather(claiming, return_exceptions=True)
    return sum(began > at for began in claimer.acknowledged)


async def race(template: Path, folder: Path, rounds: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance, claimer = random.Random(seed), Claimer(monkeypatch)
    with stopper() as process:
        return [
            await late_claims(Path(shutil.copy(template, folder / f"{number}.db")), process, chance, claimer)
            for number in range(rounds)
        ]


async def test_no_claim_is_acknowledged_after_a_stop_by_another_log(
    sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sum(await race(sqlite_template, tmp_path, ROUNDS, monkeypatch)) == 0


@pytest.mark.usefixtures("unwatched")
async def test_without_the_looks_the_same_race_finds_late_claims(
    sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sum(await race(sqlite_template, tmp_path, 3, monkeypatch)) > 0
