"""The sockets of server connections, which can be closed even if the server does not answer."""

from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import event
from sqlalchemy.engine import Engine

from operator_core.db.engine.drivers import driver_of

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


def abort_connection(connection: Any) -> None:
    """Close a connection at once, without a goodbye to a server that may not answer; waiting calls fail."""
    driver_of(connection).abort(connection)


def abort_all_connections(engine: Engine) -> None:
    """Close all tracked connections of an engine."""
    for driver in drivers_of(engine):
        abort_connection(driver)
