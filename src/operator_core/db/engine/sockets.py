"""The sockets of server connections, which can be closed even if the server does not answer."""

import os
import socket
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import event
from sqlalchemy.engine import Engine

_drivers: WeakKeyDictionary[Engine, "WeakSet[Any]"] = WeakKeyDictionary()


def remember_drivers(engine: Engine) -> None:
    """Track the connections that an engine opens, dedicated ones included; call it before adding other listeners."""
    known = _drivers[engine] = WeakSet[Any]()

    @event.listens_for(engine, "connect", insert=True)
    def remember(connection: Any, _record: object) -> None:
        known.add(connection.driver_connection)


def drivers_of(engine: Engine) -> tuple[Any, ...]:
    """Return the tracked connections of an engine."""
    return tuple(_drivers.get(engine, ()))


def remembered() -> dict[Engine, tuple[Any, ...]]:
    """Return the tracked connections of all engines."""
    return {engine: tuple(known) for engine, known in tuple(_drivers.items())}


def forget_all() -> None:
    """Stop tracking all connections: in a forked child they are the parent's."""
    for known in _drivers.values():
        known.clear()


def fileno_of(driver: Any) -> int:
    """Return the file descriptor of a server connection's socket."""
    transport = getattr(driver, "_transport", None)  # asyncpg has no public name for it
    number: int = driver.fileno() if transport is None else transport.get_extra_info("socket").fileno()
    return number


def shut(driver: Any) -> None:
    """Shut a socket down, but leave it to the task and the event loop that wait on it."""
    with suppress(Exception), socket.socket(fileno=os.dup(fileno_of(driver))) as same:  # it may be closed already
        same.shutdown(socket.SHUT_RDWR)


def abort_connection(driver: Any) -> None:
    """Close a connection at once, without a goodbye to a server that may not answer; waiting calls fail."""
    terminate = getattr(driver, "terminate", None)
    if terminate is not None:  # asyncpg
        terminate()
    else:  # psycopg waits for the socket: closed, it would wait for ever, on a reused descriptor
        shut(driver)


def abort_all_connections(engine: Engine) -> None:
    """Close all tracked connections of an engine."""
    for driver in drivers_of(engine):
        abort_connection(driver)
