"""The path of a SQLite file: it means the same file for ever, and what is wrong with it is named."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from operator_core.actions import ActionStatus
from operator_core.actions.errors import (
    ActionError,
    DatabaseFullError,
    DatabaseNotFoundError,
    DatabaseUrlError,
)
from operator_core.db import ActionDB, ActionRepository, configure_engine, upgrade
from operator_core.db.engine.file_names import MAX_PATH_BYTES
from tests.support.factories import proposal, stored

# -- the current folder changes ----------------------------------------------------------------------------------------


def engine_of(url: str) -> AsyncEngine:
    return configure_engine(create_async_engine(url))


TARGETS: dict[str, Callable[[], Any]] = {
    "default": lambda: None,
    "path": lambda: Path("ops.db"),
    "path with dots": lambda: Path("../here/ops.db"),
    "URL": lambda: "sqlite:///ops.db",
    "URL object": lambda: URL.create("sqlite", database="ops.db"),
    "file URI": lambda: "sqlite:///file:ops.db?uri=true",
    "file URI that creates": lambda: "sqlite:///file:ops.db?mode=rwc&uri=true",
    "host": lambda: engine_of("sqlite+aiosqlite:///ops.db"),
    "host with a file URI": lambda: engine_of("sqlite+aiosqlite:///file:ops.db?uri=true"),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, next to another one."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("when", ["made", "opened"])
async def test_a_ledger_stays_where_it_is_when_the_current_folder_changes(
    here: Path, name: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(Path("ops.db"))
    target = TARGETS[name]()
    db = ActionDB(target)
    if when == "opened":
        await db.open()
    monkeypatch.chdir(here.parent / "there")

    async with db:
        made = await stored(db, ActionStatus.VALIDATED)
        await asyncio.gather(*(db.list_proposals() for _ in range(4)))  # by connections that are new
        async with db.transaction() as tx:
            await tx.create_proposal(proposal())
        receipt = await db.engage_kill_switch(by="ann", reason="smoke", timeout=60)
        await db.migrate()
    if isinstance(target, AsyncEngine):
        async with AsyncSession(target) as session:
            assert await ActionRepository(session).get_proposal(made.id)
        await target.dispose()

    assert made.id in receipt.cancelled
    assert os.listdir(here.parent / "there") == []  # noqa: PTH208 - one look, no path
    async with ActionDB(here / "ops.db") as again:
        assert len(await again.list_proposals()) == 2


async def test_a_path_is_shown_as_it_was_given(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = ActionDB(Path("ops.db"))
    monkeypatch.chdir(here.parent)

    assert repr(db) == "ActionDB('ops.db')"
    assert repr(ActionDB(here / "ops.db")) == f"ActionDB({str(here / 'ops.db')!r})"


# -- what is wrong is named --------------------------------------------------------------------------------------------

OPENINGS: dict[str, Callable[[Path], Awaitable[object]]] = {
    "open": lambda file: ActionDB(file).open(),
    "check": lambda file: ActionDB(file, migrate="check").open(),
    "host": lambda file: ActionDB(engine_of(f"sqlite+aiosqlite:///{file}")).open(),
    "upgrade": lambda file: asyncio.to_thread(upgrade, file),
}
every_opening = pytest.mark.parametrize("opening", OPENINGS)


def parent_is_a_file(folder: Path) -> Path:
    (folder / "file").write_text("")
    return folder / "file" / "ops.db"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "ops.db")
    return folder / "ops.db"


def link_to_itself(folder: Path) -> Path:
    (folder / "ops.db").symlink_to(folder / "ops.db")
    return folder / "ops.db"


def long_path(folder: Path) -> Path:
    while len(str(folder)) < MAX_PATH_BYTES:
        folder /= "x" * 50
    folder.mkdir(parents=True)
    return folder / "ops.db"


WRONG: dict[str, tuple[Callable[[Path], Path], type[ActionError], str]] = {
    "a folder": (lambda folder: folder, DatabaseNotFoundError, "this is a folder"),
    "no folder": (lambda folder: folder / "a" / "ops.db", DatabaseNotFoundError, "there is no folder"),
    "a file for a folder": (parent_is_a_file, DatabaseNotFoundError, "is a file, not a folder"),
    "a pipe": (pipe, DatabaseNotFoundError, "a device or a pipe, not a file"),
    "a device": (lambda _: Path("/dev/null"), DatabaseNotFoundError, "a device or a pipe, not a file"),
    "a long path": (long_path, DatabaseNotFoundError, "no path of more than"),
}


@every_opening
@pytest.mark.parametrize("name", WRONG)
async def test_a_path_that_leads_to_no_file_is_refused_and_says_why(tmp_path: Path, opening: str, name: str) -> None:
    make, kind, said = WRONG[name]

    with pytest.raises(kind, match=said):
        await OPENINGS[opening](make(tmp_path))


@every_opening
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
async def test_a_log_that_is_not_a_file_is_not_opened(
    sqlite_path: Path, opening: str, suffix: str, make: Callable[[str], None]
) -> None:
    make(f"{sqlite_path}{suffix}")

    with pytest.raises(DatabaseNotFoundError, match=f"{suffix} is not a file, but SQLite keeps a log there; remove it"):
        await OPENINGS[opening](sqlite_path)


@every_opening
@pytest.mark.parametrize("name", ["a\0b.db", "x" * 300])
async def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path, opening: str, name: str) -> None:
    with pytest.raises((DatabaseNotFoundError, DatabaseUrlError)):
        await OPENINGS[opening](tmp_path / name)


@every_opening
async def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path, opening: str) -> None:
    file = link_to_itself(tmp_path)

    with pytest.raises(ActionError):
        await OPENINGS[opening](file)


async def test_a_name_need_not_be_text(tmp_path: Path) -> None:
    file = Path(os.fsdecode(bytes(tmp_path) + b"/\xff\xfe 100%?#.db"))

    async with ActionDB(file) as db:
        made = await db.create_proposal(proposal())
    async with ActionDB(file, migrate="check") as db:
        assert await db.list_proposals() == [made]


# -- what the system lacks ---------------------------------------------------------------------------------------------

IN_A_SYSTEM_OF_ITS_OWN = """
import asyncio, os, resource, sys
from pathlib import Path
from operator_core.actions.errors import ActionError
from operator_core.db import ActionDB, upgrade
from tests.support.factories import proposal

async def main(file, act):
    db = ActionDB(file)
    if len(sys.argv) > 3:
        upgrade(file)  # what is imported late is imported now
    if act == "call":
        await db.open()
        await db.create_proposal(proposal())
    taken = []
    if len(sys.argv) > 3:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        try:
            while True:
                taken.append(os.open("/", os.O_RDONLY))
        except OSError:
            for _ in range(int(sys.argv[3])):
                os.close(taken.pop())
    try:
        if act == "upgrade":
            await asyncio.to_thread(upgrade, file)
        elif act == "call":
            await asyncio.gather(*(db.list_proposals() for _ in range(9)))
        elif act == "stop":
            await db.engage_kill_switch(by="a", reason="b", timeout=0.2)
        else:
            await db.open()
    except ActionError as error:
        print(type(error).__name__, error)
    else:
        print("nothing raised")
    for one in taken:
        os.close(one)
    await db.close()

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


def run_alone(file: Path, act: str, *more: str, before: str | None = None) -> str | None:
    """Run an act in a process of its own, and return what it raised; None where this user may not mount."""
    command = [sys.executable, "-c", IN_A_SYSTEM_OF_ITS_OWN, str(file), act, *more]
    if before is not None:
        unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
        if subprocess.run([*unshare, "true"], check=False).returncode:
            return None
        command = [*unshare, "sh", "-c", f'{before} && exec "$@"', "sh", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("act", "left"), [("open", 0), ("open", 2), ("upgrade", 0), ("upgrade", 4), ("call", 0)])
def test_a_process_without_file_descriptors_is_told_that(sqlite_path: Path, act: str, left: int) -> None:
    said = run_alone(sqlite_path, act, str(left))

    assert said is not None
    assert said.startswith("TooManyOpenFilesError"), said
    assert "ulimit -n" in said


def test_a_file_system_that_is_mounted_read_only_is_named(sqlite_path: Path) -> None:
    folder = sqlite_path.parent
    mount = f"mount --bind '{folder}' '{folder}' && mount -o remount,ro,bind '{folder}'"
    said = run_alone(sqlite_path, "open", before=mount)

    if said is not None:
        assert said.startswith("DatabaseReadOnlyError"), said
        assert f"the file system of {folder} is mounted read-only" in said


def test_a_full_disk_is_named(sqlite_path: Path) -> None:
    folder = sqlite_path.parent / "small"
    folder.mkdir()
    fill = f"mount -t tmpfs -o size=512k tmpfs '{folder}' && cp '{sqlite_path}' '{folder}/ops.db'"
    fill += f" && (dd if=/dev/zero of='{folder}/rest' 2>/dev/null || true)"
    said = run_alone(folder / "ops.db", "open", before=fill)

    if said is not None:
        assert said.startswith(DatabaseFullError.__name__), said
