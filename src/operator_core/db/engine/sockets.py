"""The sockets under connections to a server, which can be closed although the server does not answer."""

import os
import socket
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import event
from sqlalchemy.engine import Engine

_drivers: WeakKeyDictionary[Engine, "WeakSet[Any]"] = WeakKeyDictionary()


def remember_drivers(engine: Engine) -> None:
    """Remember which connections an engine makes, and those beside it; call it before anything else listens."""
    known = _drivers[engine] = WeakSet[Any]()

    @event.listens_for(engine, "connect", insert=True)
    def remember(connection: Any, _record: object) -> None:
        known.add(connection.driver_connection)


def drivers_of(engine: Engine) -> tuple[Any, ...]:
    """Return the connections that are remembered of an engine."""
    return tuple(_drivers.get(engine, ()))


def remembered() -> dict[Engine, tuple[Any, ...]]:
    """Return the connections that are remembered of all engines."""
    return {engine: tuple(known) for engine, known in tuple(_drivers.items())}


def forget_all() -> None:
    """Remember none of them any more: in a forked child they are the parent's."""
    for known in _drivers.values():
        known.clear()


def fileno_of(driver: Any) -> int:
    """Return the number of the socket of a connection to a server."""
    transport = getattr(driver, "_transport", None)  # asyncpg has no public name for it
    number: int = driver.fileno() if transport is None else transport.get_extra_info("socket").fileno()
    return number


def shut(driver: Any) -> None:
    """End the conversation on a socket, and leave the socket to whoever waits on it, and to its event loop."""
    with suppress(Exception), socket.socket(fileno=os.dup(fileno_of(driver))) as same:  # it may be closed already
        same.shutdown(socket.SHUT_RDWR)


def abort_connection(driver: Any) -> None:
    """End a connection at once, without a word to a server that may not answer; what waits on it fails."""
    terminate = getattr(driver, "terminate", None)
    if terminate is not None:  # asyncpg
        terminate()
    else:  # what psycopg waits for is the socket: closed beneath it, it would wait for ever, on a number given anew
        shut(driver)


def abort_all_connections(engine: Engine) -> None:
    """End all connections of an engine whose connections are remembered."""
    for driver in drivers_of(engine):
        abort_connection(driver)
