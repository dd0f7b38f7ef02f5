"""How a stop is engaged: publish, barrier, sweep, on a connection of its own and under one deadline.

Publish: the latch and the next generation are committed; from here on new starts are refused. Barrier: every start that
had passed the guard before has committed or died. Sweep: what is pending is cancelled. SQLite's single writer makes one
transaction of the three.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from operator_core.actions.errors import (
    ActionError,
    DatabaseAccessError,
    DatabaseFullError,
    DatabaseLockedError,
    DatabaseNotFoundError,
    GuardMissingError,
    RetryTransactionError,
    StopFailedError,
    StopUnconfirmedError,
)
from operator_core.actions.stops import Scope, StillExecuting, Stop, StopReceipt
from operator_core.db import barrier, kill_switch, stop_status
from operator_core.db.actions.bounded import BoundedConnection
from operator_core.db.engine import is_sqlite
from operator_core.db.engine.beside import beside, without_waiting
from operator_core.db.engine.sqlite import BEGIN
from operator_core.db.engine.urls import file_of, require_ledger_file, shown
from operator_core.db.guards import missing_guards
from operator_core.db.guards.rules import stop_statement
from operator_core.db.migrate import HEAD, current
from operator_core.db.units import translated

T = TypeVar("T")
_PAUSE = 0.02  # seconds between two tries against a server
_POLL = 0.001  # seconds between two tries for SQLite's write lock: its own back-off cost a stop 3 s, polling 92 ms
_SWEEP_SHARE = 0.3  # of the time that is left after the publish, kept back from the barrier for the sweep
_NO_PRIVILEGE = "42501"
_TERMINATE_AFTER = 0.2  # of the time that is left: how long who is in the way may finish by itself before it is ended


@dataclass(frozen=True)
class Order:
    """What is to be stopped, by whom and why; `wait` is in seconds, for all of it."""

    scope: Scope
    by: str
    reason: str
    wait: float
    terminate: bool
    begun: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds until the deadline, never negative."""
        return max(0.0, self.begun + self.wait - time.monotonic())

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the call."""
        return round((time.monotonic() - self.begun) * 1000, 3)


@dataclass
class Progress:
    """How far a stop has come."""

    stop: Stop | None = None
    publish_ms: float = 0.0
    on_standby: bool = True
    cancelled: list[int] = field(default_factory=list)
    unswept: list[int] = field(default_factory=list)
    executing: tuple[StillExecuting, ...] = ()
    problems: list[str] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)

    def published(self, stop: Stop, order: Order) -> None:
        """Note that new starts are refused from here on."""
        self.stop, self.publish_ms = stop, order.elapsed_ms


async def engage(engine: AsyncEngine, url: URL, order: Order) -> StopReceipt:
    """Engage a stop and return its receipt.

    Raises:
        DatabaseNotFoundError: There is no ledger; nothing was created.
        StopFailedError: The stop is not engaged, after tries until the deadline.
        StopUnconfirmedError: It is engaged, but a start that was under way could still get through.
    """
    require_ledger_file(url)
    own = beside(engine)
    progress = Progress()
    try:
        if is_sqlite(engine):
            await _on_sqlite(own, url, order, progress)
        else:
            await _on_server((own, engine), url, order, progress)
    finally:
        if own is not engine:
            await own.dispose()
    return _receipt(order, progress)


def _receipt(order: Order, progress: Progress) -> StopReceipt:
    assert progress.stop is not None  # noqa: S101 - every way out without a stop raises
    receipt = StopReceipt(
        generation=progress.stop.generation,
        scope=progress.stop.scope,
        engaged_at=progress.stop.engaged_at,
        cancelled=tuple(sorted(progress.cancelled)),
        still_executing=progress.executing,
        unswept=tuple(progress.unswept),
        publish_ms=progress.publish_ms,
        stop_ms=order.elapsed_ms,
        on_standby=progress.on_standby,
    )
    if progress.problems:
        raise StopUnconfirmedError(receipt=receipt, problems=tuple(progress.problems), pids=tuple(progress.pids))
    return receipt


def _failed(url: URL, order: Order, problem: str) -> StopFailedError:
    sql = stop_statement(url.get_backend_name(), order.by, order.reason)
    if order.scope.field is not None:
        problem += f". The statement stops EVERYTHING, not only {order.scope}"
    return StopFailedError(problem=problem, sql=sql)


# -- SQLite ------------------------------------------------------------------------------------------------------------


async def _on_sqlite(engine: AsyncEngine, url: URL, order: Order, progress: Progress) -> None:
    problem, unit = "the file stays locked", kill_switch.engage_at_once
    while True:
        try:
            with translated(url):
                async with engine.connect() as connection:
                    await connection.execution_options(**{BEGIN: "NONE"})
                    await connection.run_sync(without_waiting)
                    await _begin_by_polling(connection, url, order)
                    await _stop_at_once(connection, url, order, progress, unit)
                    return
        except DatabaseFullError as error:
            problem, unit = str(error), kill_switch.engage_without_sweep
        except DatabaseLockedError:
            file = file_of(url)
            pid = None if file is None else barrier.writer_of(file)
            problem = f"{'another process' if pid is None else f'process {pid}'} holds the file; no other start can "
            problem += "commit either; end that process"
        except ActionError as error:
            problem = str(error)
        if order.left <= 0:
            raise _failed(url, order, problem)
        await asyncio.sleep(_PAUSE)


async def _begin_by_polling(connection: AsyncConnection, url: URL, order: Order) -> None:
    while True:
        try:
            with translated(url):
                await connection.exec_driver_sql("BEGIN IMMEDIATE")
                return
        except DatabaseLockedError:
            if order.left <= 0:
                raise
            await asyncio.sleep(_POLL)


_Unit = Callable[[sa.Connection, Scope, str, str], tuple[Stop, list[int]]]


async def _stop_at_once(connection: AsyncConnection, url: URL, order: Order, progress: Progress, unit: _Unit) -> None:
    stop, progress.cancelled = await connection.run_sync(unit, order.scope, order.by, order.reason)
    await connection.commit()
    progress.published(stop, order)
    try:
        with translated(url):
            seen = await connection.run_sync(_look, stop)
    except ActionError as error:  # the stop is engaged all the same
        progress.problems.append(str(error))
    else:
        progress.executing, progress.unswept, missing = seen
        progress.problems += missing


# -- PostgreSQL --------------------------------------------------------------------------------------------------------


@dataclass
class _Server(BoundedConnection):
    """The connection of a stop. Where the server gives no second one, `spare` is the engine whose pool has some."""

    engine: AsyncEngine
    spare: AsyncEngine
    url: URL
    order: Order
    publish: Callable[[sa.Connection, Scope, str, str], Stop] = kill_switch.publish
    sweep: Callable[[sa.Connection, Stop], list[int]] = kill_switch.sweep

    def __post_init__(self) -> None:
        super().__init__(self.engine, self.url)


async def _on_server(engines: tuple[AsyncEngine, AsyncEngine], url: URL, order: Order, progress: Progress) -> None:
    server = _Server(*engines, url, order)
    try:
        await _publish(server, order, progress)
        for phase in (_barrier, _sweep):
            try:
                await phase(server, order, progress)
            except ActionError as error:  # the stop is engaged, and its receipt must reach whoever stops
                progress.problems.append(str(error))
    finally:
        await server.close()


async def _publish(server: _Server, order: Order, progress: Progress) -> None:
    """Commit the latch, again and again until it is or the deadline has passed: engaging twice is harmless."""
    while True:
        try:
            stop = await _watched(server, order, progress)
        except (DatabaseAccessError, DatabaseNotFoundError) as error:
            if error.code == _NO_PRIVILEGE and server.publish is kill_switch.publish:  # an operator writes nothing
                server.publish, server.sweep = kill_switch.publish_as_operator, kill_switch.sweep_as_operator
                continue
            raise _failed(server.url, order, str(error)) from error  # trying again would not help
        except ActionError as error:
            if isinstance(error, GuardMissingError) and await server.run(current, 1.0) is None:
                raise DatabaseNotFoundError(url=shown(server.url), detail="it holds no such tables") from error
            if order.left <= 0:
                stop = await _engaged_after_all(server, order, error)
                progress.problems.append(f"the database has not confirmed its commit: {error}")
                progress.published(stop, order)
                return
            if order.terminate and isinstance(error, DatabaseLockedError):
                with suppress(ActionError):
                    await _besides(server, barrier.terminate_latch_holders)
            await asyncio.sleep(_PAUSE)
        else:
            progress.published(stop, order)
            return


async def _engaged_after_all(server: _Server, order: Order, error: ActionError) -> Stop:
    """Look whether a publish came through whose answer did not."""
    try:
        latches = await _besides(server, kill_switch.latches)
    except ActionError:
        problem = f"{error} (and the database does not say whether it came through)"
        raise _failed(server.url, order, problem) from error
    for stop in latches:
        if stop.released_at is None and stop.scope == order.scope:
            return stop
    raise _failed(server.url, order, await _who_is_in_the_way(server, error)) from error


async def _who_is_in_the_way(server: _Server, error: ActionError) -> str:
    with suppress(ActionError):
        if isinstance(error, DatabaseLockedError):
            found = await _besides(server, barrier.latch_holders)
            return "; ".join([blocker.text for blocker in found] or [str(error)])
    return str(error)


async def _besides(server: _Server, unit: Callable[[sa.Connection], T]) -> T:
    """Run a unit on a second connection: one of our own, else one of the pool."""
    for engine in (server.engine, server.spare):
        helper = BoundedConnection(engine, server.url)
        helper.durable = False
        try:
            return await helper.run(unit, 1.0)
        except ActionError:
            if engine is server.spare:
                raise
        finally:
            await helper.close()
    raise AssertionError("unreachable: the last engine returns or raises")


async def _watched(server: _Server, order: Order, progress: Progress) -> Stop:
    """Publish, and when the commit waits for a standby that does not answer, have it wait no longer."""
    seconds = order.left * (_TERMINATE_AFTER if order.terminate else 1)
    publishing = asyncio.ensure_future(
        server.run(lambda connection: server.publish(connection, order.scope, order.by, order.reason), seconds)
    )
    done, _ = await asyncio.wait({publishing}, timeout=order.left / 2)
    if not done and server.pid:
        with suppress(ActionError):  # then the deadline ends the wait
            if await _besides(server, lambda connection: barrier.stop_waiting_for_standby(connection, server.pid)):
                progress.on_standby = server.durable = False
                progress.problems.append("it is engaged here, not on the standby, which does not answer")
    return await publishing


async def _barrier(server: _Server, order: Order, progress: Progress) -> None:
    refused: list[str] = []
    until = order.left * (1 - _SWEEP_SHARE)
    if order.terminate:
        if await _passed(server, until * _TERMINATE_AFTER):
            return
        refused = await server.run(barrier.terminate_blockers, max(order.left, 1.0))
        until = order.left * (1 - _SWEEP_SHARE)
    if await _passed(server, until):
        return
    found = await server.run(barrier.blockers, max(order.left, 1.0))
    progress.problems += [blocker.text for blocker in found] or ["the barrier was not passed in time"]
    progress.problems += refused
    progress.pids += [blocker.pid for blocker in found if blocker.pid is not None]


async def _passed(server: _Server, seconds: float) -> bool:
    try:
        await server.run(barrier.pass_barrier, seconds)
    except DatabaseLockedError:
        return False
    return True


async def _sweep(server: _Server, order: Order, progress: Progress) -> None:
    """Cancel in batches until nothing is left that is not locked, or the deadline; then see what runs.

    What runs is read in a new snapshot, after the barrier: what had started before it is there.
    """
    stop = progress.stop
    assert stop is not None  # noqa: S101 - _publish has set it
    while True:
        try:
            swept = await server.run(lambda connection: server.sweep(connection, stop), max(order.left, 0.5))
        except (DatabaseLockedError, RetryTransactionError):
            swept = []
        progress.cancelled += swept
        if len(swept) == kill_switch.SWEEP_ROWS and order.left > 0:
            continue
        seen = await server.run(lambda connection: _look(connection, stop), max(order.left, 1.0))
        progress.executing, progress.unswept, missing = seen
        if not progress.unswept or order.left <= 0:
            progress.problems += missing
            return
        await asyncio.sleep(_PAUSE)


def _look(connection: sa.Connection, stop: Stop) -> tuple[tuple[StillExecuting, ...], list[int], list[str]]:
    """Return what runs, what could not be swept, and which guards this stop cannot stand on."""
    executing = stop_status.still_executing(connection, stop.scope)
    missing = missing_guards(connection, exactly=current(connection) == HEAD)
    problems = [f"the guards of the database do not hold: {guard}" for guard in missing]
    return executing, kill_switch.leftovers(connection, stop), problems
