"""The files that a SQLite connection has open, and whether others still see the same ones.

SQLite finds the log of a file by its name. When the -wal or the -shm is removed, or the file moved, the next process
that opens it gets another log: two processes then write to one file without seeing each other, and a stop reaches only
one of them.
"""

import atexit
import os
import sqlite3
import struct
import threading
from contextlib import suppress
from os import stat
from pathlib import Path
from weakref import WeakSet

from operator_core.actions.errors import DatabaseReplacedError, DatabaseUnavailableError
from operator_core.db.engine.file_names import linked_error, open_failure, require_folder_mount, require_openable

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed
    fcntl = None  # type: ignore[assignment]

DESCRIPTORS = "/proc/self/fd"
_SHARED_FIRST, _SHARED_SIZE = 0x4000_0002, 510
"""The bytes of a database file that SQLite locks exclusively when, on closing, it writes the log back into the file."""

_OPEN_FAILURES = ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_IOERR", "SQLITE_PERM", "SQLITE_FULL")

_Identity = tuple[int, int]


class FileView:
    """The database file, -wal and -shm of one connection, as they were when it opened them.

    Args:
        path: The path of the database file without symbolic links, as SQLite knows it.
        given: The absolute path that the user gave.
        url: The database as errors show it.

    Raises:
        DatabaseReplacedError: They were replaced while they were opened.
        DatabaseAliasError: The file has a second name.
    """

    def __init__(self, path: str, given: str | None, url: str) -> None:
        self._url = url
        self._file, self._wal, self._shm = path, f"{path}-wal", f"{path}-shm"
        self._given: str | None = None
        try:
            file, wal, shm = stat(self._file), stat(self._wal), stat(self._shm)
        except FileNotFoundError as error:
            raise self._replaced() from error
        self.identity: _Identity = (file.st_dev, file.st_ino)
        # Items 1 to 3 of a `stat_result` are inode, device and number of hard links.
        self._seen_file, self._seen_wal, self._seen_shm = (*file[1:3], 1), wal[1:3], shm[1:3]
        if given is not None and given != path:
            with suppress(OSError):  # a host that connects by itself may have any URL
                self._given = given if _identity(given) == self.identity else None
        self.require_unchanged()
        require_folder_mount(path, url)
        if not _are_open({self.identity, (wal.st_dev, wal.st_ino), (shm.st_dev, shm.st_ino)}):
            raise self._replaced()
        with _live_lock:
            _live.add(self)

    def require_unchanged(self) -> None:
        """Check that the paths still lead to the same files.

        Every call does this once or twice, so it is written for speed: slices of a `stat_result` are the quickest.

        Raises:
            DatabaseReplacedError: The file, its -wal or its -shm is gone, or there is another in its place.
            DatabaseAliasError: The file has a second name now.
        """
        try:
            if (
                stat(self._file)[1:4] == self._seen_file
                and stat(self._wal)[1:3] == self._seen_wal
                and stat(self._shm)[1:3] == self._seen_shm
                and (self._given is None or _identity(self._given) == self.identity)
            ):
                return
        except OSError as error:
            raise self._what_changed() from error
        raise self._what_changed()

    def _what_changed(self) -> DatabaseUnavailableError:
        try:
            for name in filter(None, (self._file, self._given)):
                found = stat(name)
                if (found.st_dev, found.st_ino) != self.identity:
                    return self._replaced("the file was")
                if found.st_nlink > 1:
                    return linked_error(name, self._url)
        except OSError:
            return self._replaced("the file was")
        return self._replaced()

    def _replaced(self, what: str = "the -wal or -shm of the file was") -> DatabaseReplacedError:
        return DatabaseReplacedError(url=self._url, detail=f"{what} deleted or replaced while it was open")

    def close(self) -> None:
        """Protect the log that others have opened since; call it right before the connection is closed.

        When its last connection closes, SQLite writes the log back into the file and removes -wal and -shm by name.
        Those names may belong to other files by now, and a stop may be in them.
        """
        with _live_lock:
            _live.discard(self)
        with suppress(OSError):
            if _identity(self._file) == self.identity and self._others_have_opened_it():
                _keep_open(self._file, self.identity)

    def _others_have_opened_it(self) -> bool:
        for name, seen in ((self._wal, self._seen_wal), (self._shm, self._seen_shm)):
            with suppress(FileNotFoundError):
                if stat(name)[1:3] != seen:
                    return True
        return False


def _identity(path: str) -> _Identity:
    found = stat(path)
    return found.st_dev, found.st_ino


def _are_open(wanted: set[_Identity]) -> bool:
    """Return whether this process has all of these files open; True if the system cannot tell (not Linux)."""
    try:
        numbers = os.listdir(DESCRIPTORS)
    except (FileNotFoundError, PermissionError):
        return True
    for number in numbers:
        with suppress(OSError):  # another thread has closed it
            found = os.fstat(int(number))
            wanted = wanted - {(found.st_dev, found.st_ino)}
    return not wanted


_live: WeakSet[FileView] = WeakSet()
_live_lock = threading.Lock()
_kept_open: dict[_Identity, int] = {}


def _keep_open(path: str, identity: _Identity) -> None:
    """Keep SQLite from locking the file exclusively when it closes, until this process ends.

    The descriptor is never closed, because closing it would drop SQLite's own locks in this process.
    """
    if fcntl is None or not hasattr(fcntl, "F_OFD_SETLK") or identity in _kept_open:
        return
    _kept_open[identity] = descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, _SHARED_FIRST, _SHARED_SIZE, 0)
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, lock)


@atexit.register
def _close_all() -> None:
    """Close the views of connections that were never closed: the interpreter closes those connections as it ends."""
    with _live_lock:
        views = list(_live)
    for view in views:
        view.close()


class FileWatch:
    """The file of an engine: its absolute path, and its identity when it was first opened.

    Args:
        file: The file of the URL, which is made absolute here, once; None in memory.
        url: The database as errors show it.
    """

    def __init__(self, file: Path | None, url: str) -> None:
        self._file, self._url = None if file is None else file.absolute(), url
        self._opened: _Identity | None = None

    def before_open(self) -> None:
        """Check that the file may be opened, before SQLite touches it and creates one in place of a deleted one.

        Raises:
            DatabaseReplacedError: It is not the file that this engine opened first, or a connection of this process
                has it open with another log.
            DatabaseUnavailableError: It cannot be opened; see `require_openable`.
        """
        if self._file is None:
            return
        if self._opened is not None and self._opened != _identity_or_none(self._file):
            raise DatabaseReplacedError(url=self._url, detail="the file was deleted or replaced while it was open")
        require_safe_to_open(self._file, self._url)

    def after_open(self, path: str) -> FileView:
        """Return the view of a connection that has begun to use the log, given the path that SQLite reports."""
        view = FileView(path, None if self._file is None else str(self._file), self._url)
        self._opened = self._opened or view.identity
        return view

    def absolute(self, database: str) -> str:
        """Return the database that a host's engine connects to, with the path of a `file:` URI made absolute."""
        path, mark, options = database.partition("?")
        if self._file is None or not path.startswith("file:") or path.startswith("file:/"):
            return database
        return f"{self._file.as_uri()}{mark}{options}"

    def explain(self, error: sqlite3.Error) -> DatabaseUnavailableError | None:
        """Return the error that says why SQLite could not open the file, or None if the cause is not found."""
        code = getattr(error, "sqlite_errorname", "")
        if self._file is None or not code.startswith(_OPEN_FAILURES):
            return None
        return open_failure(self._file, self._url, code)

    def forget(self, *_: object) -> None:
        """Forget which file was opened first, so that the next connection may open another."""
        self._opened = None


def _identity_or_none(file: Path) -> _Identity | None:
    try:
        return _identity(str(file))
    except OSError:
        return None


def require_safe_to_open(file: Path, url: str) -> None:
    """Check that opening a file would not create a second log of it, before SQLite touches it.

    Raises:
        DatabaseUnavailableError: It cannot be opened; see `require_openable`.
        DatabaseReplacedError: A connection of this process has the file open with a log other than the one on disk.
    """
    require_openable(file, url)
    identity = _identity_or_none(file)
    with _live_lock:
        views = [view for view in _live if view.identity == identity]
    for view in views:
        view.require_unchanged()
