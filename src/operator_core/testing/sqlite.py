"""A fresh SQLite ledger for a test, copied from a template that is migrated once per process."""

import os
import sqlite3
import threading
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from operator_core.actions.errors import DatabaseNotFoundError
from operator_core.db import upgrade

_ONE_AT_A_TIME = threading.Lock()  # two threads would both migrate


def fresh_sqlite(folder: str | os.PathLike[str], name: str = "ledger.db") -> Path:
    """Write a migrated, empty ledger into a folder, and return its path; the caller removes it.

    The first call in a process migrates and takes a moment, the others take a millisecond. Works inside a running event
    loop too.

    Args:
        folder: An existing folder, such as pytest's `tmp_path`.
        name: The name of the file.

    Raises:
        DatabaseNotFoundError: There is no such folder.
        FileExistsError: The file already exists.
    """
    file = Path(folder) / name
    if not file.parent.is_dir():
        raise DatabaseNotFoundError(url=str(file), detail=f"there is no folder {file.parent}")
    with _ONE_AT_A_TIME:
        template = _template()
    try:
        with file.open("xb") as new:
            new.write(template)
    except FileExistsError as error:
        raise FileExistsError(f"{file} is there already: give another folder, or another name") from error
    return file


@cache
def _template() -> bytes:
    """Return the contents of a migrated file: in memory they cannot be removed, and they end with the process."""
    with TemporaryDirectory(prefix="operator-core-") as folder:
        file = Path(folder) / "template.db"
        upgrade(file)
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return file.read_bytes()
