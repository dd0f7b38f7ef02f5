"""The names of a SQLite file: its path, made absolute once, and further names, which would each get a log of their own.

SQLite keeps the log of a file beside the name that it was opened by (`-wal`, `-shm`). It follows symbolic links first,
so those are harmless; a hard link, or a mount of the file alone, is a second name.
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

_LOOKS, _SECONDS_BETWEEN_LOOKS = 20, 0.002  # who closes a file removes its -shm a moment before its -wal


class FileURL(URL):
    """The URL of a SQLite file with an absolute path, which is shown as it was given."""

    shown_as: str = ""


def absolute(url: URL, file: Path) -> URL:
    """Return the URL of a SQLite file with its path made absolute, so that it outlives a change of the current folder.

    Args:
        url: Any URL of SQLite.
        file: Its file.
    """
    if isinstance(url, FileURL):
        return url
    path, is_uri = Path(file).absolute(), str(url.database).startswith("file:")
    found = FileURL._make(url.set(database=path.as_uri() if is_uri else str(path)))
    found.shown_as = str(file)
    return found


def require_openable(file: Path, url: str) -> None:
    """See that a file could be opened and has one name, before SQLite makes anything beside it.

    Args:
        file: Its path; it need not be there yet.
        url: How it is shown in errors.

    Raises:
        DatabaseNotFoundError: There is no such folder, or there is something else in its place.
        DatabaseAccessError: It may not be read.
        DatabaseAliasError: It has a second name.
        DatabaseReplacedError: A part of its log was removed while it was open.
    """
    _require_folder(file, url)
    try:
        found = file.stat()
    except FileNotFoundError:
        return  # there is none yet
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
    _require_whole_log(real, url)


def _require_folder(file: Path, url: str) -> None:
    """Say what SQLite calls "unable to open database file"."""
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
    """Return the error of a file with a hard link, which names the other link where it is in the same folder."""
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
    """See that a file is not mounted by itself, as by `docker run -v ops.db:/app/ops.db`; its folder may be.

    Args:
        path: Its path, without symbolic links.
        url: How it is shown in errors.

    Raises:
        DatabaseAliasError: It is.
        TooManyOpenFilesError: That cannot be looked up.
    """
    try:
        is_mounted = _is_mount_point(path)
    except OSError as error:  # it takes a file descriptor
        raise TooManyOpenFilesError(url=url, detail=f"{path}: {error.strerror}") from error
    if is_mounted:
        raise DatabaseAliasError(url=url, detail=f"the file {path} is mounted by itself; mount its folder instead")


def _is_mount_point(path: str) -> bool:
    try:
        with open(MOUNTS, "rb") as lines:
            # 36 35 98:0 /root /mount/point ...; blanks in it are written \040
            return any(_unescaped(line.split(b" ", 5)[4]) == os.fsencode(path) for line in lines)
    except (FileNotFoundError, PermissionError):  # there is no such file but on Linux
        return os.stat(path).st_dev != os.stat(os.path.dirname(path)).st_dev


def _unescaped(text: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8)]), text)


def _require_whole_log(path: str, url: str) -> None:
    """See that the -wal was not removed while others go on with the -shm: what is written then is lost with them."""
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
    """Return the error that says why SQLite could not open a file which `require_openable` has let pass, if it is seen.

    SQLite writes beside the file also for those who only read: its -wal and its -shm.
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
