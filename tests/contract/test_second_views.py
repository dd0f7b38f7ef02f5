"""A SQLite file that is seen through two names or two logs: nothing starts after a stop that was confirmed."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from operator_core.actions import ActionStatus, KillSwitchEngagedError
from operator_core.actions.errors import (
    DatabaseAliasError,
    DatabaseNotFoundError,
    DatabaseReplacedError,
    StopFailedError,
)
from operator_core.db import ActionDB, ActionRepository, configure_engine, upgrade
from operator_core.db.engine import file_names
from operator_core.db.migrations import schema_status
from tests.support.factories import proposal, stored
from tests.support.ledger import Ledger
from tests.support.second_views import (
    WAYS,
    is_stopped,
    link,
    remove_both,
    remove_shm,
    rename_folder,
    stop_from_elsewhere,
)

NOTICED = (DatabaseReplacedError, DatabaseAliasError)
every_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture
def file(sqlite_path: Path) -> Path:
    """A ledger in a folder of its own, which can be renamed."""
    folder = sqlite_path.parent / "folder"
    folder.mkdir()
    return sqlite_path.rename(folder / sqlite_path.name)


async def in_a_block(db: ActionDB, number: int) -> None:
    async with db.transaction() as tx:
        await tx.start_execution(number)


CALLS: dict[str, Callable[[ActionDB, int], Awaitable[object]]] = {
    "read": lambda db, number: db.get_proposal(number),
    "snapshot": lambda db, _: db.kill_switch_status(),
    "write": lambda db, _: db.create_proposal(proposal()),
    "start": lambda db, number: db.start_execution(number),
    "claim": lambda db, _: db.claim_next(worker="w"),
    "transaction": lambda db, _: db.cancel_all_pending(),
    "stop": lambda db, _: db.engage_kill_switch(by="eve", reason="smoke", timeout=0.1),
    "block": in_a_block,
}
"""One call for each way in which a transaction is run."""


def engine_of(file: Path) -> AsyncEngine:
    return configure_engine(create_async_engine(f"sqlite+aiosqlite:///{file}"))


@asynccontextmanager
async def opened(file: Path, *, by: str) -> AsyncGenerator[ActionDB]:
    """Give an open ledger on an engine of ours, or of a host."""
    host = engine_of(file) if by == "host" else None
    async with ActionDB(host or file) as db:
        yield db
    if host is not None:
        await host.dispose()


async def validated(db: ActionDB) -> int:
    return (await stored(db, ActionStatus.VALIDATED)).id or 0


# -- noticed before the next call acts ---------------------------------------------------------------------------------


@every_way
@pytest.mark.parametrize("by", ["us", "host"])
async def test_no_call_works_on_a_file_that_others_see_otherwise(file: Path, way: str, by: str) -> None:
    async with opened(file, by=by) as db:
        number = await validated(db)
        WAYS[way](file)

        for call in CALLS.values():
            with pytest.raises((*NOTICED, StopFailedError, DatabaseNotFoundError)):
                await call(db, number)


@every_way
async def test_no_joined_call_works_on_a_file_that_others_see_otherwise(file: Path, way: str) -> None:
    engine = engine_of(file)
    async with ActionDB(file) as db:
        number = await validated(db)
    async with AsyncSession(engine) as session:
        repository = ActionRepository(session)
        await repository.get_proposal(number)
        WAYS[way](file)

        for call in (repository.start_execution(number), repository.get_proposal(number)):
            with pytest.raises(NOTICED):
                await call
    await engine.dispose()


@every_way
async def test_a_host_does_not_commit_to_a_file_that_others_see_otherwise(file: Path, way: str) -> None:
    engine = engine_of(file)
    async with ActionDB(file) as db:
        number = await validated(db)
    async with AsyncSession(engine) as session:
        await ActionRepository(session).start_execution(number)
        WAYS[way](file)

        with pytest.raises(NOTICED):
            await session.commit()
    await engine.dispose()


@pytest.mark.parametrize("way", [name for name in WAYS if name not in ("link", "link_elsewhere")])
async def test_a_ledger_that_is_opened_anew_works_on_what_others_see(file: Path, way: str) -> None:
    db = await ActionDB(file).open()
    await validated(db)
    other = WAYS[way](file)
    with pytest.raises(NOTICED):
        await db.create_proposal(proposal())
    await db.close()

    async with ActionDB(other) as anew:
        assert await anew.create_proposal(proposal())


async def test_a_second_name_that_is_gone_again_does_no_harm(file: Path) -> None:
    async with ActionDB(file) as db:
        other = link(file)
        with pytest.raises(DatabaseAliasError, match=r"the hard link .*linked\.db; remove that name"):
            await db.create_proposal(proposal())
        other.unlink()

        assert await db.create_proposal(proposal())


async def test_a_folder_that_is_back_in_its_place_does_no_harm(file: Path) -> None:
    async with ActionDB(file) as db:
        renamed = rename_folder(file)
        with pytest.raises(DatabaseReplacedError):
            await db.create_proposal(proposal())
        renamed.parent.rename(file.parent)

        assert await db.create_proposal(proposal())


@pytest.mark.parametrize("way", [remove_shm, remove_both])
async def test_another_ledger_of_the_process_does_not_mix_two_logs(file: Path, way: Callable[[Path], Path]) -> None:
    async with ActionDB(file) as db:
        await validated(db)
        way(file)

        with pytest.raises(DatabaseReplacedError):
            await ActionDB(file).open()
        with pytest.raises(DatabaseReplacedError):
            await ActionDB(engine_of(file)).open()


# -- a stop from the other side ----------------------------------------------------------------------------------------

ENDS = {
    **dict.fromkeys(("remove_shm", "remove_both", "replace_shm", "replace_both", "move"), 2),
    **dict.fromkeys(("replace_wal", "move_and_put_a_copy_there", "rename_folder"), 0),
    **dict.fromkeys(("remove_wal", "link", "link_elsewhere"), 1),
}
"""How a stop ends that comes from elsewhere: confirmed, not engaged, or engaged and not confirmed."""


@pytest.mark.parametrize(("way", "by"), [*((way, "us") for way in WAYS), ("remove_both", "host"), ("link", "host")])
async def test_nothing_starts_after_a_stop_from_elsewhere_and_the_stop_stays(file: Path, way: str, by: str) -> None:
    async with opened(file, by=by) as db:
        number = await validated(db)
        other = WAYS[way](file)
        ran = await asyncio.to_thread(stop_from_elsewhere, other, 30 if ENDS[way] == 0 else 0.5)

        with pytest.raises(NOTICED):
            await db.start_execution(number)

    assert (ran.returncode, ENDS[way]) == (ENDS[way], ENDS[way]), ran.stdout + ran.stderr
    if ran.returncode != 1:
        assert is_stopped(other)


@pytest.mark.parametrize("way", ["remove_shm", "remove_both", "move"])
async def test_a_stop_names_who_has_the_file_open_with_a_log_that_is_gone(file: Path, way: str) -> None:
    async with ActionDB(file):
        ran = await asyncio.to_thread(stop_from_elsewhere, WAYS[way](file), 0.3)

    assert f"process {os.getpid()} has the file open with a log that was removed" in ran.stderr


@pytest.mark.parametrize(("way", "said"), [("link", "has a second name"), ("remove_wal", "end every process")])
async def test_a_stop_that_would_reach_nobody_fails_and_says_what_to_do(file: Path, way: str, said: str) -> None:
    async with ActionDB(file) as db:
        await validated(db)
        ran = await asyncio.to_thread(stop_from_elsewhere, WAYS[way](file))

    assert (ran.returncode, said in ran.stderr, "UPDATE kill_switch SET" in ran.stderr) == (1, True, True)


IDLE = """
import asyncio, sys
from pathlib import Path
from operator_core.db import ActionDB
from tests.support.factories import proposal

async def main():
    db = await ActionDB(Path(sys.argv[1])).open()
    await db.create_proposal(proposal())
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    if sys.argv[2] == "closes":
        await db.close()
    return db

kept = asyncio.run(main())
"""


@contextmanager
def idle(file: Path, end: str) -> Generator[subprocess.Popen[str]]:
    """Start a process that has a ledger open, until it is told to end."""
    command = [sys.executable, "-c", IDLE, str(file), end]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
        process.communicate("\n")


@pytest.mark.parametrize("end", ["closes", "ends"])
@pytest.mark.parametrize("way", [remove_shm, remove_both])
def test_who_noticed_nothing_does_not_undo_the_stop_when_it_ends(
    file: Path, way: Callable[[Path], Path], end: str
) -> None:
    with idle(file, end) as process:
        way(file)
        ran = stop_from_elsewhere(file, 0.3)

    assert (process.returncode, ran.returncode) == (0, 2)
    assert is_stopped(file)


def test_what_was_acknowledged_is_kept_when_only_the_log_was_removed(file: Path) -> None:
    with idle(file, "closes"):
        remove_both(file)

    with closing(Ledger(file).connect()) as plain:
        assert plain.execute("SELECT count(*) FROM action_proposals").fetchone() == (1,)


# -- refused from the start --------------------------------------------------------------------------------------------


async def open_and_close(file: Path, by: str) -> None:
    async with opened(file, by=by):
        pass


OPENINGS: dict[str, Callable[[Path], Awaitable[object]]] = {
    "open": lambda file: open_and_close(file, "us"),
    "check": lambda file: ActionDB(file, migrate="check").open(),
    "host": lambda file: open_and_close(file, "host"),
    "upgrade": lambda file: asyncio.to_thread(upgrade, file),
    "db check": lambda file: asyncio.to_thread(schema_status, file),
}
every_opening = pytest.mark.parametrize("opening", OPENINGS)


@every_opening
async def test_a_file_with_a_second_name_is_not_opened(file: Path, opening: str) -> None:
    other = link(file)

    for name in (file, other):
        with pytest.raises(DatabaseAliasError, match="a ledger must have one name"):
            await OPENINGS[opening](name)

    assert sorted(os.listdir(file.parent)) == ["ledger.db", "linked.db"]  # noqa: PTH208 - one look, no path


def named(file: Path, name: str) -> Path:
    return file.rename(file.with_name(name))


def written_mounts(folder: Path, mounted: Path) -> Path:
    """Write what Linux says of its mounts, one of which is a file."""
    found = folder / "mountinfo"
    found.write_text(
        "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
        f"63 43 254:0 /ops.db {str(mounted).replace(' ', chr(92) + '040')} rw,relatime - ext4 /dev/vda rw\n"
    )
    return found


@every_opening
@pytest.mark.parametrize("part", ["", "-wal", "-shm"])
async def test_a_file_that_is_mounted_by_itself_is_not_opened_nor_is_one_whose_log_is(
    file: Path, opening: str, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaced = named(file, "my ledger.db")
    monkeypatch.setattr(file_names, "MOUNTS", str(written_mounts(tmp_path, Path(f"{spaced}{part}"))))

    with pytest.raises(
        DatabaseAliasError, match=rf"my ledger\.db{part} is mounted by itself; .* mount its folder instead"
    ):
        await OPENINGS[opening](spaced)


@every_opening
async def test_a_file_whose_log_lost_one_part_is_not_opened(file: Path, opening: str) -> None:
    async with ActionDB(file) as db:
        await validated(db)
        shutil.copy(f"{file}-shm", f"{file}.kept")
    shutil.move(f"{file}.kept", f"{file}-shm")

    with pytest.raises(DatabaseReplacedError, match="then remove the -shm too"):
        await OPENINGS[opening](file)

    remove_shm(file)
    await open_and_close(file, "us")


# -- one log after all -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["file", "folder"])
async def test_a_symbolic_link_leads_to_the_same_log(file: Path, what: str) -> None:
    other = file.parent.with_name("other")
    if what == "folder":
        other.symlink_to(file.parent)
        other /= file.name
    else:
        other.symlink_to(file)
    async with ActionDB(other) as db:
        number = await validated(db)
        ran = await asyncio.to_thread(stop_from_elsewhere, file)

        with pytest.raises(KillSwitchEngagedError):
            await db.start_execution(number)

    assert ran.returncode == 0, ran.stderr


def lead_elsewhere(link: Path, target: str) -> None:
    """Have a symbolic link lead to a copy of its file, or to the file itself in another place."""
    file, elsewhere = link.resolve(), link.with_name("elsewhere.db")
    if target == "another":
        shutil.copy(file, elsewhere)
    else:
        file.rename(elsewhere)
    link.unlink()
    link.symlink_to(elsewhere)


@pytest.mark.parametrize("target", ["another", "moved"])
async def test_a_symbolic_link_that_leads_elsewhere_now_is_noticed(file: Path, target: str) -> None:
    other = file.with_name("link.db")
    other.symlink_to(file)
    async with ActionDB(other) as db:
        number = await validated(db)
        lead_elsewhere(other, target)

        with pytest.raises(DatabaseReplacedError):
            await db.start_execution(number)


MOUNTED = """
set -e
mkdir "$1/app"
if [ "$2" = file ]; then touch "$1/app/ledger.db"; mount --bind "$1/folder/ledger.db" "$1/app/ledger.db"
else mount --bind "$1/folder" "$1/app"; fi
if [ "$2" = -wal ] || [ "$2" = -shm ]; then
cp "$1/folder/ledger.db$2" "$1/other"; mount --bind "$1/other" "$1/app/ledger.db$2"; fi
exec "$3" -m operator_core stop --url "$1/app/ledger.db" --reason smoke --by eve --timeout 30
"""


def run_with_own_mounts(*command: str) -> subprocess.CompletedProcess[str] | None:
    """Run a program whose mounts nobody else sees; None where this user may not mount."""
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], check=False).returncode:
        return None
    return subprocess.run([*unshare, *command], capture_output=True, text=True, check=False)


def stop_through_a_mount(file: Path, what: str) -> subprocess.CompletedProcess[str] | None:
    """Stop through a second mount of the file, or of its folder, in which a part of the log may be mounted too."""
    return run_with_own_mounts("sh", "-c", MOUNTED, "sh", str(file.parent.parent), what, sys.executable)


async def test_a_stop_through_another_mount_of_the_folder_holds(file: Path) -> None:
    async with ActionDB(file) as db:
        number = await validated(db)
        ran = await asyncio.to_thread(stop_through_a_mount, file, "folder")

        if ran is not None:
            assert ran.returncode == 0, ran.stderr
            with pytest.raises(KillSwitchEngagedError):
                await db.start_execution(number)


@pytest.mark.parametrize("what", ["file", "-wal", "-shm"])
async def test_a_stop_through_a_mount_of_the_file_or_of_its_log_fails(file: Path, what: str) -> None:
    async with ActionDB(file) as db:
        number = await validated(db)
        ran = await asyncio.to_thread(stop_through_a_mount, file, what)

        if ran is not None:
            assert (ran.returncode, "mount its folder instead" in ran.stderr) == (1, True), ran.stderr
        assert await db.start_execution(number)


MOUNTED_WHILE_OPEN = """
import asyncio, shutil, subprocess, sys
from pathlib import Path
from operator_core.actions.errors import DatabaseReplacedError
from operator_core.db import ActionDB
from tests.support.factories import proposal

async def main(file, part):
    async with ActionDB(file) as db:
        made = await db.create_proposal(proposal())
        await db.get_proposal(made.id)
        copy = shutil.copy(f"{file}{part}", f"{file}.copy")
        subprocess.run(["mount", "--bind", copy, f"{file}{part}"], check=True)
        for call in (db.get_proposal(made.id), db.create_proposal(proposal())):
            try:
                await call
            except DatabaseReplacedError:
                print("noticed")

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


@pytest.mark.parametrize("part", ["", "-wal", "-shm"])
def test_what_is_mounted_over_an_open_file_or_its_log_is_noticed_at_the_next_call(file: Path, part: str) -> None:
    ran = run_with_own_mounts(sys.executable, "-c", MOUNTED_WHILE_OPEN, str(file), part)

    if ran is not None:
        assert (ran.returncode, ran.stdout) == (0, "noticed\n" * 2), ran.stderr
