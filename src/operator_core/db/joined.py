"""How a unit of work runs in the open transaction of a host's session."""

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from operator_core.db.engine import check_version, refusal_aborts, require_configured, shown
from operator_core.db.migrate import check
from operator_core.db.transitions import RefusedError
from operator_core.db.units import Kind, translated

P = ParamSpec("P")
T = TypeVar("T")

_checked: WeakSet[Dialect] = WeakSet()  # a dialect belongs to one engine, whatever its options


async def run_joined(
    session: AsyncSession,
    kind: Kind,
    unit: Callable[Concatenate[sa.Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Flush, then run `unit` on the connection of the session; a refusal leaves the transaction as it was before."""

    def whole(sync: Session) -> T:
        sync.flush()  # a connection does not autoflush
        connection = sync.connection()
        _check_once(connection)
        try:
            return _guarded(connection, kind, unit, *args, **kwargs)
        except RefusedError as refused:
            raise refused.explain(connection) from refused.__cause__

    with translated(_shown(session)):
        return await session.run_sync(whole)


def _guarded(
    connection: sa.Connection,
    kind: Kind,
    unit: Callable[Concatenate[sa.Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    if kind is Kind.WRITE and not refusal_aborts(connection):
        return unit(connection, *args, **kwargs)
    if kind in (Kind.READ, Kind.SNAPSHOT):
        return unit(connection, *args, **kwargs)
    with connection.begin_nested():
        return unit(connection, *args, **kwargs)


def _check_once(connection: sa.Connection) -> None:
    if connection.dialect not in _checked:
        require_configured(connection)
        check_version(connection)
        check(connection, connection.engine.url)
        _checked.add(connection.dialect)


def _shown(session: AsyncSession) -> str:
    bind: Any = session.sync_session.get_bind()
    return shown(bind.engine.url)
