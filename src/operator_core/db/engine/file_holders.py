"""The processes that have a SQLite file open, if the system can tell (on Linux, by `/proc/locks`)."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LOCKS = Path("/proc/locks")

# Bytes that SQLite locks, sqlite.org/src/doc/trunk/src/os.h and sqlite.org/walformat.html
_SHARED = 0x4000_0002  # of the file: each process that uses a log locks it, shared; an exclusive lock keeps others out
_WRITING = 120  # of the -shm: locked by the writer; another program's lock there, shared or not, keeps writers out
_MAPPED = 128  # of the -shm: every process that uses this log holds a shared lock


@dataclass(frozen=True)
class _Lock:
    pid: int
    is_write: bool
    inode: str
    first: int
    last: int


def who_holds(file: Path | None) -> str:
    """Describe the processes that keep others from writing to a file, or, without a visible lock, that have it open."""
    if file is None:
        return "another connection holds the file"
    path = os.path.realpath(file)
    holders = _pids(f"{path}-shm", _WRITING) | _pids(path, _SHARED, is_write=True)
    if len(holders) == 1:
        return f"process {holders.pop()} holds the file"
    if holders:
        return f"the processes {_listed(holders)} hold the file"
    if opened := _having_open(path, f"{path}-shm"):  # an "open file description" lock names no owner
        return f"another process holds the file; these have it open: {_listed(opened)}"
    return "another process holds the file"


def _listed(pids: set[int]) -> str:
    return ", ".join(map(str, sorted(pids)))


def _having_open(*paths: str) -> set[int]:
    wanted = set[tuple[int, int]]()
    for path in paths:
        with suppress(OSError):
            found = os.stat(path)
            wanted.add((found.st_dev, found.st_ino))
    return {pid for pid in _processes() if pid != os.getpid() and wanted & _open_files(pid)}


def _processes() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return []


def _open_files(pid: int) -> set[tuple[int, int]]:
    folder, files = f"/proc/{pid}/fd", set[tuple[int, int]]()
    with suppress(OSError):  # another user's, or it has ended
        for name in os.listdir(folder):
            with suppress(OSError):
                found = os.stat(f"{folder}/{name}")
                files.add((found.st_dev, found.st_ino))
    return files


def holders_by_another_log(path: str) -> set[int]:
    """Return the ids of the processes that have a file open with a log other than the one on disk.

    A process that is just opening the file is included for a moment. Processes in other containers are not seen.
    """
    return _pids(path, _SHARED) - _pids(f"{path}-shm", _MAPPED)


def _pids(path: str, byte: int, *, is_write: bool = False) -> set[int]:
    try:
        found = os.stat(path)
        locks = list(_locks())
    except OSError:
        return set()
    inode = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    return {
        lock.pid
        for lock in locks
        if lock.inode == inode and lock.first <= byte <= lock.last and lock.pid > 0 and lock.is_write >= is_write
    }


def _locks() -> Iterator[_Lock]:
    for words in map(str.split, LOCKS.read_text(encoding="ascii").splitlines()):
        # number, POSIX, ADVISORY, WRITE, pid, major:minor:inode, start, end; a waiter has an arrow after the number
        if "->" not in words:
            last = 2**63 - 1 if words[7] == "EOF" else int(words[7])
            yield _Lock(int(words[4]), words[3] == "WRITE", words[5], int(words[6]), last)
