"""Protection of a parent's open connections from its forked children, which inherit them."""

import ctypes
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from sqlalchemy.engine import Engine

from operator_core.db.engine.drivers import driver_of
from operator_core.db.engine.sockets import drivers_of, forget_all, remembered
from operator_core.db.engine.urls import sqlite_path

_SHARED_BYTES = (0x40000002, 510)
"""The bytes that SQLite locks while a file is open: first byte and number, as in its `os.h`."""

_IN_USE_BYTES = (128, 1)
"""The bytes that it locks in the file's `-shm`, as in its `os_unix.c`."""

_inherited: set[Path] = set()
"""The SQLite files that were open when this process, or an ancestor, was forked."""

_locked: list[int] = []  # closing one of them would release the locks


def forget(engine: Engine) -> None:
    """Drop the connections of an engine without using their event loop, which is closed or a parent's."""
    for driver in drivers_of(engine):  # a forked child knows none
        if engine.dialect.name == "sqlite":
            driver.stop()
        else:
            driver_of(driver).shut(driver)
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
    """Redirect a driver's goodbye to nowhere: the server would take it for the parent's."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for driver in drivers:
        with suppress(Exception):  # it is closed already
            os.dup2(nowhere, driver_of(driver).fileno(driver), inheritable=False)
    os.close(nowhere)


def _keep(drivers: tuple[Any, ...]) -> None:
    """Prevent any SQLite connection from ever being closed, even at the interpreter's exit: SQLite forbids that."""
    for driver in drivers:
        inside = cast("dict[str, object]", vars(driver))
        inside["_running"] = False  # its thread is not in the child, so that nothing may wait for it
        connection = inside["_connection"]
        if connection is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def _lock_again(file: Path) -> None:
    """Take the locks that SQLite assumes in the child: it remembers them, but the system does not inherit them.

    Without them another process would be the last one that has the file open, and would remove its log under the child.
    """
    import fcntl  # noqa: PLC0415 - systems that do not fork may lack it

    for path, (start, length) in ((file, _SHARED_BYTES), (Path(f"{file}-shm"), _IN_USE_BYTES)):
        with suppress(OSError):  # the file is gone, and every call will report it
            _locked.append(os.open(path, os.O_RDWR | os.O_CLOEXEC))
            fcntl.lockf(_locked[-1], fcntl.LOCK_SH | fcntl.LOCK_NB, length, start)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
