"""Keeps what an account has set up for other programs away from the tests."""

import atexit
import os
import tempfile
from collections.abc import MutableMapping
from pathlib import Path
from tempfile import TemporaryDirectory

DATABASE_URL = "OPERATOR_CORE_DATABASE_URL"
MEMORY = Path("/dev/shm")  # noqa: S108 - pytest and mkdtemp make folders of their own in it
_MEMORY_NEEDED = 4 * 1024**3


def isolate(environ: MutableMapping[str, str]) -> None:
    """Take out what would lead the drivers elsewhere, and replace a home that this account may not use.

    The home may be that of another account, as after `setpriv`: the drivers and tools cannot look into it.
    """
    for name in [name for name in environ if name.startswith("PG") or name == DATABASE_URL]:
        del environ[name]
    if not os.access(environ.get("HOME", ""), os.R_OK | os.W_OK | os.X_OK):
        home = TemporaryDirectory(prefix="operator-core-home-")
        atexit.register(home.cleanup)
        environ["HOME"] = home.name


def keep_files_in_memory(environ: MutableMapping[str, str], folder: Path = MEMORY) -> None:
    """Have temporary files in memory where there is enough of it, unless the environment says where they belong.

    Each commit to SQLite waits for the disk otherwise. A process that is killed loses nothing either way: only a crash
    of the whole machine could tell the difference.
    """
    if "TMPDIR" in environ or not os.access(folder, os.W_OK | os.X_OK):
        return
    found = os.statvfs(folder)
    if found.f_bavail * found.f_frsize >= _MEMORY_NEEDED and not found.f_flag & getattr(os, "ST_NOEXEC", 0):
        environ["TMPDIR"] = str(folder)
        tempfile.tempdir = None  # it is looked up again
