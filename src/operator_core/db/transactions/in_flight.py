"""A call on its way to a server, with a bound on how long a cancelled caller waits for it."""

import asyncio
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from operator_core.db.engine.sockets import abort_all_connections, abort_connection
from operator_core.db.modes import READING, Unit
from operator_core.db.transactions.shield import Limit

T = TypeVar("T")

READ_CANCEL_TIMEOUT_SECONDS = 0.5
"""How long a cancelled call may take to end if it only reads or has not begun; then its connection is closed."""

WRITE_MARGIN_SECONDS = 5.0
"""How much longer than its `lock_timeout` a cancelled call that writes may take to end."""

HANG_UP_TIMEOUT_SECONDS = 2.0
"""How long to wait for a call whose connection was closed."""


class InFlight(Limit):
    """The limit of one call. It can close the call's connection, and stops an abandoned call from beginning.

    A call that is still connecting has no connection to close. It is left to the connect timeouts, keeps its slot
    meanwhile, and ends before its first statement.

    Args:
        seconds: How long a cancelled call may take to finish; None on SQLite, where no call waits indefinitely.
        reads: Whether it only reads, so that it need not finish.
        connecting: How long a call that has not begun may take to end.

    Attributes:
        is_awaited: Whether a caller waits for it; without one, it does not begin.
    """

    __slots__ = ("_connecting", "_driver", "is_awaited")

    def __init__(
        self, seconds: float | None, *, reads: bool = False, connecting: float = READ_CANCEL_TIMEOUT_SECONDS
    ) -> None:
        super().__init__(READ_CANCEL_TIMEOUT_SECONDS if reads and seconds is not None else seconds)
        self._connecting = connecting
        self._driver: Any = None
        self.is_awaited = True

    def require_awaited(self) -> None:
        """Require that a caller waits for the call.

        Raises:
            asyncio.CancelledError: Its caller was cancelled.
        """
        if not self.is_awaited:
            raise asyncio.CancelledError

    def attach(self, connection: sa.Connection) -> None:
        """Note the connection on which the call begins, unless its caller is gone.

        Raises:
            asyncio.CancelledError: Its caller was cancelled before.
        """
        self.require_awaited()
        self._driver = connection.connection.driver_connection

    def detach(self) -> None:
        """Drop the connection, which now belongs to the next call."""
        self._driver = None

    def patience(self) -> float | None:
        """Return how long to wait for the call; on a server, it cannot begin from here on."""
        if self.seconds is None:
            return None
        self.is_awaited = False
        return self._connecting if self._driver is None else self.seconds

    def give_up(self, task: "asyncio.Future[Any]") -> float:  # noqa: ARG002 - it ends by itself, with an error
        """Close the connection under the call: a cancelled driver would wait for a server that does not answer."""
        return HANG_UP_TIMEOUT_SECONDS if self.hang_up() else 0.0

    def hang_up(self) -> bool:
        """Make the call fail with a lost connection, or never begin; return whether it has begun."""
        self.is_awaited = False
        if self._driver is None:
            return False
        abort_connection(self._driver)
        return True


class UnitCall(InFlight, Generic[T]):
    """The call of one unit: what runs, and its result, which is there even if its caller was cancelled.

    Args:
        seconds: How long a cancelled call may take to finish; see `InFlight`.
        unit: The unit, which declares its mode.
        args: Its positional arguments, after the connection.
        kwargs: Its keyword arguments.
    """

    __slots__ = ("args", "is_done", "kwargs", "mode", "result", "unit")

    result: T

    def __init__(
        self, seconds: float | None, unit: Unit[..., T], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self.mode = unit.mode
        super().__init__(seconds, reads=self.mode in READING)
        self.unit, self.args, self.kwargs = unit, args, kwargs
        self.is_done = False

    def set_result(self, result: T) -> None:
        """Set the result, once its transaction is committed."""
        self.result, self.is_done = result, True


class ClosingPool(Limit):
    """The limit of closing a pool's idle connections, because a server may never answer the goodbye."""

    __slots__ = ("_engine",)

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(HANG_UP_TIMEOUT_SECONDS)
        self._engine = engine.sync_engine

    def give_up(self, task: "asyncio.Future[Any]") -> float:  # noqa: ARG002 - it ends by itself
        """Close all connections of the engine."""
        abort_all_connections(self._engine)
        return HANG_UP_TIMEOUT_SECONDS
