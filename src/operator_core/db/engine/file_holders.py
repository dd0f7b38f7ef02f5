"""The processes that have a SQLite file open, as far as the system tells (on Linux, by `/proc/locks`)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LOCKS = Path("/proc/locks")

# Bytes that SQLite locks, sqlite.org/src/doc/trunk/src/os.h and sqlite.org/walformat.html
_OPEN = 0x4000_0002  # of the file: locked, shared, by every process that has it open with a log
_WRITING = 120  # of the -shm: locked by the writer
_MAPPED = 128  # of the -shm: locked, shared, by every process that uses this log


@dataclass(frozen=True)
class _Lock:
    pid: int
    is_write: bool
    inode: str
    first: int
    last: int


def writer_of(file: Path | None) -> int | None:
    """Return the process id of the holder of a file's write lock."""
    return None if file is None else min(_pids(f"{os.path.realpath(file)}-shm", _WRITING, is_write=True), default=None)


def holders_by_another_log(path: str) -> set[int]:
    """Return the ids of the processes that have a file open with a log other than the one on disk.

    A process that is just opening the file is among them for a moment. Processes in other containers are not seen.
    """
    return _pids(path, _OPEN) - _pids(f"{path}-shm", _MAPPED)


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
