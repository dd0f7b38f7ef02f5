"""What a forked child inherits of open connections: nothing that happens to them there may reach the parent's."""

import ctypes
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from sqlalchemy.engine import Engine

from operator_core.db.engine.sockets import drivers_of, fileno_of, forget_all, remembered, shut
from operator_core.db.engine.urls import sqlite_path

_SHARED_BYTES = (0x40000002, 510)
"""Where SQLite locks a file as long as it is open: first byte and number, as in its `os.h`."""

_IN_USE_BYTES = (128, 1)
"""The same in the file beside it that ends in `-shm`, as in its `os_unix.c`."""

_inherited: set[Path] = set()
"""The files of SQLite that were open when this process, or one before it, was forked."""

_locked: list[int] = []  # to close one of them would give the locks back


def forget(engine: Engine) -> None:
    """Let the connections of an engine go without their event loop: it is closed, or a parent's."""
    for driver in drivers_of(engine):  # a forked child knows none
        if engine.dialect.name == "sqlite":
            driver.stop()
        else:
            shut(driver)
    engine.dispose(close=False)


def _let_go() -> None:
    """Cut the child off from the connections that its parent has open."""
    for engine, drivers in remembered().items():
        if engine.dialect.name == "sqlite":
            _keep(drivers)
            if drivers and (file := sqlite_path(engine.url)) is not None:
                _inherited.add(file)
        else:
            _redirect(drivers)
    forget_all()
    for file in _inherited:
        _lock_again(file)


def _redirect(drivers: tuple[Any, ...]) -> None:
    """Let what a driver says at its end go nowhere: the parent's server would take it for the parent's."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for driver in drivers:
        with suppress(Exception):  # it is closed already
            os.dup2(nowhere, fileno_of(driver), inheritable=False)
    os.close(nowhere)


def _keep(drivers: tuple[Any, ...]) -> None:
    """Let no connection to SQLite ever be closed, not at the end of the interpreter either: SQLite forbids that."""
    for driver in drivers:
        inside = cast("dict[str, object]", vars(driver))
        inside["_running"] = False  # its thread is not in the child, so that nobody may wait for it
        connection = inside["_connection"]
        if connection is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def _lock_again(file: Path) -> None:
    """Take the locks that SQLite takes for granted in the child: it remembers them, and the system gives none to one.

    Without them another process would be the last one that has the file open, and would remove its log under the child.
    """
    import fcntl  # noqa: PLC0415 - systems that do not fork may lack it

    for path, (start, length) in ((file, _SHARED_BYTES), (Path(f"{file}-shm"), _IN_USE_BYTES)):
        with suppress(OSError):  # it is gone, and every call will say so
            _locked.append(os.open(path, os.O_RDWR | os.O_CLOEXEC))
            fcntl.lockf(_locked[-1], fcntl.LOCK_SH | fcntl.LOCK_NB, length, start)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
