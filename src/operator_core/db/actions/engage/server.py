"""A stop on PostgreSQL: publish, barrier, sweep, each of which must outlive what is in its way."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from operator_core.actions.errors import (
    ActionError,
    DatabaseAccessError,
    DatabaseLockedError,
    DatabaseNotFoundError,
    GuardMissingError,
    RetryTransactionError,
)
from operator_core.actions.stops import Scope, Stop
from operator_core.db import barrier, kill_switch
from operator_core.db.actions.bounded import BoundedConnection
from operator_core.db.actions.engage.order import PAUSE, Order, Progress, failed, look
from operator_core.db.engine.urls import shown
from operator_core.db.migrate import current

T = TypeVar("T")
_SWEEP_SHARE = 0.3  # of the time that is left after the publish, kept back from the barrier for the sweep
_NO_PRIVILEGE = "42501"
_TERMINATE_AFTER = 0.2  # of the time that is left: how long who is in the way may finish by itself before it is ended


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


async def on_server(engines: tuple[AsyncEngine, AsyncEngine], url: URL, order: Order, progress: Progress) -> None:
    """Engage a stop on the first of two engines; the pool of the other one helps where the server has no more room."""
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
            raise failed(server.url, order, str(error)) from error  # trying again would not help
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
            await asyncio.sleep(PAUSE)
        else:
            progress.published(stop, order)
            return


async def _engaged_after_all(server: _Server, order: Order, error: ActionError) -> Stop:
    """Look whether a publish came through whose answer did not."""
    try:
        latches = await _besides(server, kill_switch.latches)
    except ActionError:
        problem = f"{error} (and the database does not say whether it came through)"
        raise failed(server.url, order, problem) from error
    for stop in latches:
        if stop.released_at is None and stop.scope == order.scope:
            return stop
    raise failed(server.url, order, await _who_is_in_the_way(server, error)) from error


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
        seen = await server.run(lambda connection: look(connection, stop), max(order.left, 1.0))
        progress.executing, progress.unswept, missing = seen
        if not progress.unswept or order.left <= 0:
            progress.problems += missing
            return
        await asyncio.sleep(PAUSE)
