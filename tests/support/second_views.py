"""Second views of a SQLite file: ways in which the next client to open it gets another log than the present ones."""

import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.support.ledger import Ledger
from tests.support.programs import OPERATOR_CORE, programs


def remove_shm(file: Path) -> Path:
    Path(f"{file}-shm").unlink()
    return file


def remove_wal(file: Path) -> Path:
    Path(f"{file}-wal").unlink()
    return file


def remove_both(file: Path) -> Path:
    return remove_shm(remove_wal(file))


def _replace(file: Path, *suffixes: str) -> Path:
    for suffix in suffixes:
        copy = shutil.copy(f"{file}{suffix}", f"{file}.copy")
        os.replace(copy, f"{file}{suffix}")  # noqa: PTH105 - one step, no path
    return file


def replace_shm(file: Path) -> Path:
    return _replace(file, "-shm")


def replace_wal(file: Path) -> Path:
    return _replace(file, "-wal")


def replace_both(file: Path) -> Path:
    return _replace(file, "-wal", "-shm")


def link(file: Path) -> Path:
    other = file.with_name("linked.db")
    other.hardlink_to(file)
    return other


def link_elsewhere(file: Path) -> Path:
    folder = file.parent / "elsewhere"
    folder.mkdir()
    other = folder / file.name
    other.hardlink_to(file)
    return other


def move(file: Path) -> Path:
    return file.rename(file.with_name("moved.db"))


def move_and_put_a_copy_there(file: Path) -> Path:
    shutil.copy(move(file), file)
    return file


def rename_folder(file: Path) -> Path:
    return file.parent.rename(file.parent.with_name("renamed")) / file.name


WAYS: dict[str, Callable[[Path], Path]] = {
    way.__name__: way
    for way in (
        remove_shm,
        remove_wal,
        remove_both,
        replace_shm,
        replace_wal,
        replace_both,
        link,
        link_elsewhere,
        move,
        move_and_put_a_copy_there,
        rename_folder,
    )
}
"""Each returns the path by which somebody else opens the file from then on."""


def stop_from_elsewhere(file: Path, wait: float = 30) -> subprocess.CompletedProcess[str]:
    """Have another process stop everything in a file, and return how that ended."""
    arguments = ["stop", "--url", str(file), "--reason", "smoke", "--by", "eve", "--timeout", str(wait)]
    return programs().run(OPERATOR_CORE, arguments)


def is_stopped(file: Path) -> bool:
    """Tell whether somebody who opens a file now sees a stop."""
    with closing(Ledger(file).connect()) as plain:
        return bool(plain.execute("SELECT 1 FROM kill_switch WHERE engaged_at IS NOT NULL").fetchall())
