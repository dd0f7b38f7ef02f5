"""Races our migrations against a host's Alembic in the same process, and against each other."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from operator_core.db import ActionDB, migrations
from tests.support.factories import proposal
from tests.support.postgres import PrivatePostgres
from tests.support.race_nursery import PATIENCE, ROOT
from tests.support.race_rounds import rounds

Urls = Callable[[int], list[str]]
THREADS = 12


@pytest.fixture(params=["sqlite", "postgresql"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> Urls:
    """A factory of the URLs of empty databases, on each engine in turn."""
    if request.param == "sqlite":
        return lambda count: [f"sqlite:///{tmp_path / f'{number}.db'}" for number in range(count)]
    server: PrivatePostgres = request.getfixturevalue("postgres")
    return lambda count: [server.url(server.create_database()) for _ in range(count)]


def race(how: str, urls: list[str]) -> list[str]:
    """Return what went wrong in each round; an empty text is a good round."""
    command = [sys.executable, "-m", "tests.support.alembic_race", how, *urls]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE * 5, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def test_a_migration_of_a_host_and_one_of_ours_do_not_meet_in_one_process(urls: Urls) -> None:
    count = rounds(5, 60)

    found = race("ours", urls(2 * count))

    bad = [problem for problem in found if problem]
    print(f"migrations of a host and of ours at once: {count} rounds, {len(bad)} went wrong")
    assert (len(found), bad) == (count, [])


def test_the_race_of_migrations_finds_what_the_globals_of_alembic_do(urls: Urls) -> None:
    count = rounds(5, 60)

    found = race("proxies", urls(2 * count))

    bad = [problem for problem in found if problem]
    print(f"the same through the globals of Alembic: {count} rounds, {len(bad)} went wrong")
    assert bad != []


@pytest.mark.parametrize("files", [1, THREADS])
def test_threads_that_open_new_files_at_once_all_have_a_ledger(tmp_path: Path, files: int) -> None:
    start, problems = threading.Barrier(THREADS), list[str]()

    async def propose(file: Path) -> None:
        async with ActionDB(file) as db:
            await db.create_proposal(proposal())

    def open_one(number: int) -> None:
        start.wait()
        try:
            asyncio.run(propose(tmp_path / f"{number % files}.db"))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what the race finds
            problems.append(repr(error))

    threads = [threading.Thread(target=open_one, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert problems == []
    assert {migrations.schema_status(file).revision for file in tmp_path.glob("*.db")} == {migrations.HEAD}


IMPORT = """
import sys, threading
from pathlib import Path
from operator_core.db import upgrade

def host():
    start.wait()
    exec(sys.argv[2])

sys.setswitchinterval(1e-5)
start = threading.Barrier(2)
thread = threading.Thread(target=host)
thread.start()
start.wait()
upgrade(Path(sys.argv[1]))
thread.join()
"""


@pytest.mark.parametrize(
    "statement",
    ["from alembic import command; command.upgrade", "from alembic.config import Config", "import alembic.command"],
)
def test_a_host_may_import_alembic_while_we_do(tmp_path: Path, statement: str) -> None:
    for number in range(rounds(1, 10)):
        command = [sys.executable, "-c", IMPORT, str(tmp_path / f"{number}.db"), statement]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)

        assert (done.returncode, done.stderr) == (0, "")
