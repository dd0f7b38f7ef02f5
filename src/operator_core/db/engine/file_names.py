"""The names of a SQLite file: its absolute path, and the second names that a ledger must not have.

SQLite keeps the log of a file (`-wal`, `-shm`) next to the name by which the file was opened. It resolves symbolic
links first, so they do no harm. A hard link, or a mount of the file alone, is a second name and gets a second log. So
does a file whose -wal or -shm is a mount of its own.
"""

import os
import re
import stat
import time
from pathlib import Path

from sqlalchemy.engine import URL

from operator_core.actions.errors import (
    DatabaseAccessError,
    DatabaseAliasError,
    DatabaseFullError,
    DatabaseNotFoundError,
    DatabaseReadOnlyError,
    DatabaseReplacedError,
    DatabaseUnavailableError,
    TooManyOpenFilesError,
)

MOUNTS = "/proc/self/mountinfo"
MAX_PATH_BYTES = 504
"""The longest path that SQLite opens: it needs room for a suffix within 512 bytes."""

_LOOKS, _SECONDS_BETWEEN_LOOKS = 20, 0.002  # a process that closes the file removes both in between


class FileURL(URL):
    """The URL of a SQLite file with an absolute path, which errors show as the user wrote it."""

    shown_as: str = ""


def absolute(url: URL, file: Path) -> URL:
    """Return the URL of a SQLite file with an absolute path, which a change of the current folder does not affect.

    Args:
        url: Any URL of SQLite.
        file: The file of that URL.
    """
    if isinstance(url, FileURL):
        return url
    path, is_uri = Path(file).absolute(), str(url.database).startswith("file:")
    found = FileURL._make(url.set(database=path.as_uri() if is_uri else str(path)))
    found.shown_as = str(file)
    return found


def require_openable(file: Path, url: str) -> None:
    """Check that a file can be opened and has one name, before SQLite creates anything next to it.

    Args:
        file: The path of the file, which need not exist yet.
        url: The database as errors show it.

    Raises:
        DatabaseNotFoundError: The folder does not exist, or the path, or one where SQLite keeps a log, is not a file.
        DatabaseAccessError: The file may not be read.
        DatabaseAliasError: The file has a second name.
        DatabaseReplacedError: Its -wal was removed while it was open.
    """
    _require_folder(file, url)
    try:
        found = file.stat()
    except FileNotFoundError:
        return  # SQLite will create it
    except ValueError as error:  # it has a NUL
        raise DatabaseNotFoundError(url=url, detail="no file can have such a name") from error
    except OSError as error:
        raise DatabaseNotFoundError(url=url, detail=f"{file}: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a device or a pipe"
        raise DatabaseNotFoundError(url=url, detail=f"this is {kind}, not a file")
    if not _is_permitted(file, os.R_OK):
        raise DatabaseAccessError(url=url, detail="the file may not be read")
    if found.st_nlink > 1:
        raise linked_error(file, url)
    real = os.path.realpath(file)
    require_folder_mount(real, url)
    _require_log_files(real, url)
    _require_whole_log(real, url)


def _require_folder(file: Path, url: str) -> None:
    """Check the folder, of which SQLite says only "unable to open database file"."""
    if len(os.fsencode(file)) > MAX_PATH_BYTES:
        raise DatabaseNotFoundError(url=url, detail=f"SQLite opens no path of more than {MAX_PATH_BYTES} bytes")
    folder = file.parent
    try:
        is_folder = stat.S_ISDIR(folder.stat().st_mode)
    except PermissionError as error:
        raise DatabaseAccessError(url=url, detail=f"the folder {folder} may not be entered") from error
    except FileNotFoundError as error:
        raise DatabaseNotFoundError(url=url, detail=f"there is no folder {folder}") from error
    except OSError as error:
        raise DatabaseNotFoundError(url=url, detail=f"{folder}: {error.strerror}") from error
    if not is_folder:
        raise DatabaseNotFoundError(url=url, detail=f"{folder} is a file, not a folder")
    if not _is_permitted(folder, os.X_OK):
        raise DatabaseAccessError(url=url, detail=f"the folder {folder} may not be entered")


def _is_permitted(path: Path | str, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def linked_error(file: Path | str, url: str) -> DatabaseAliasError:
    """Return the error for a file with a hard link; it names the other link if that is in the same folder."""
    real = Path(os.path.realpath(file))
    try:
        found = real.stat()
        others = [entry.path for entry in os.scandir(real.parent) if entry.inode() == found.st_ino]
        other = next((path for path in sorted(others) if path != str(real)), None)
    except OSError:
        other = None
    detail = f"the file has a second name, the hard link {other or 'that `find / -samefile` finds'}; remove that name"
    return DatabaseAliasError(url=url, detail=detail)


def require_folder_mount(path: str, url: str) -> None:
    """Check that neither the file nor its log is a mount point of its own; their folder may be one.

    `docker run -v ops.db:/app/ops.db` mounts a file by itself. If its -shm or -wal is mounted, this process gets a log
    that those outside the mount do not see, even though the file is the same.

    Args:
        path: The path of the file, without symbolic links.
        url: The database as errors show it.

    Raises:
        DatabaseAliasError: The file, its -wal or its -shm is a mount point.
        TooManyOpenFilesError: No file descriptor is left to find out.
    """
    try:
        mounted = _mount_points(path, f"{path}-wal", f"{path}-shm")
    except OSError as error:  # it takes a file descriptor
        raise TooManyOpenFilesError(url=url, detail=f"{path}: {error.strerror}") from error
    if mounted:
        detail = f"the file {mounted[0]} is mounted by itself; unmount it, and mount its folder instead"
        raise DatabaseAliasError(url=url, detail=detail)


def _mount_points(*paths: str) -> list[str]:
    """Return those of the paths, all in one folder, that are mount points."""
    try:
        with open(MOUNTS, "rb") as lines:
            # 36 35 98:0 /root /mount/point ...; blanks in it are written \040
            points = {_unescaped(line.split(b" ", 5)[4]) for line in lines}
    except (FileNotFoundError, PermissionError):  # only Linux has this file
        device = os.stat(os.path.dirname(paths[0])).st_dev
        return [path for path in paths if os.path.exists(path) and os.stat(path).st_dev != device]
    return [path for path in paths if os.fsencode(path) in points]


def _unescaped(text: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8)]), text)


def _require_log_files(path: str, url: str) -> None:
    """Check that SQLite finds nothing but files where it keeps a log: it would wait for a pipe without a limit."""
    for log in (f"{path}{suffix}" for suffix in ("-wal", "-shm", "-journal")):
        try:
            is_file = stat.S_ISREG(os.stat(log).st_mode)
        except OSError:
            continue
        if not is_file:
            raise DatabaseNotFoundError(url=url, detail=f"{log} is not a file, but SQLite keeps a log there; remove it")


def _require_whole_log(path: str, url: str) -> None:
    """Check that the -wal was not removed while the -shm is still in use: what is written then would be lost."""
    for look in range(_LOOKS):
        if not os.path.exists(f"{path}-shm") or os.path.exists(f"{path}-wal"):
            return
        time.sleep(_SECONDS_BETWEEN_LOOKS * bool(look))
    detail = (
        f"{path}-wal was removed and {path}-shm was not: end every process that has the ledger open, "
        "then remove the -shm too"
    )
    raise DatabaseReplacedError(url=url, detail=detail)


def open_failure(file: Path, url: str, code: str) -> DatabaseUnavailableError | None:
    """Return the error that says why SQLite could not open a file that passed `require_openable`; None if unknown.

    SQLite writes the -wal and the -shm even for a connection that only reads.
    """
    real = os.path.realpath(file)
    folder, parts = os.path.dirname(real), (real, f"{real}-wal", f"{real}-shm")
    missing = [part for part in parts if not os.path.exists(part)]
    disk = os.statvfs(folder) if hasattr(os, "statvfs") else None
    if disk is not None and disk.f_flag & os.ST_RDONLY:
        return DatabaseReadOnlyError(url=url, detail=f"the file system of {folder} is mounted read-only", code=code)
    for part in parts:
        if part not in missing and not _is_permitted(part, os.R_OK | os.W_OK):
            return DatabaseReadOnlyError(url=url, detail=f"this user may not write {part}", code=code)
    if missing and not _is_permitted(folder, os.W_OK):
        detail = f"this user may not write in the folder {folder}, where SQLite keeps the log of the file"
        return DatabaseReadOnlyError(url=url, detail=detail, code=code)
    if disk is not None and not (disk.f_bavail and (disk.f_favail or not disk.f_files)):
        return DatabaseFullError(url=url, detail=f"no room is left in {folder}", code=code)
    return None
