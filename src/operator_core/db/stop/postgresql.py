"""A stop on PostgreSQL: publish, barrier and sweep, each of which must get past its blockers."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
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
from operator_core.actions.kill_switch import Scope, Stop
from operator_core.db.engine.urls import display_url
from operator_core.db.migrations.status import current_revision
from operator_core.db.stop import barrier
from operator_core.db.stop.bounded_connection import BoundedConnection
from operator_core.db.stop.command import RETRY_INTERVAL_SECONDS, StopCommand, StopProgress, failed, inspect_after_stop
from operator_core.db.stores import kill_switch

T = TypeVar("T")
_SWEEP_SHARE = 0.3  # of the time that is left after the publish; reserved for the sweep, not the barrier
_NO_PRIVILEGE = "42501"
_TERMINATE_AFTER = 0.2  # of the time that is left: how long a blocker may finish by itself before it is terminated
_LOOK_INTERVAL_SECONDS = 0.1
_SECOND_TRY_SECONDS = 2.0
_NOTIFY_SECONDS = 0.5


class _StopConnection(BoundedConnection):
    """The connection of a stop, with a second one that finds its blockers and can terminate them.

    Args:
        engine: The engine that provides its connections.
        pool: An engine whose pooled connections are used if the server refuses more.
        url: The URL that messages show.
        order: The stop to carry out.
    """

    def __init__(self, engine: AsyncEngine, pool: AsyncEngine, url: URL, order: StopCommand) -> None:
        super().__init__(engine, url)
        self.url, self._command = url, order
        self.publish: Callable[[sa.Connection, Scope, str, str], Stop] = kill_switch.publish
        self.sweep: Callable[[sa.Connection, Stop], list[int]] = kill_switch.sweep
        self.on_standby = True
        self._observers = [BoundedConnection(engine, url), BoundedConnection(pool, url)]
        for observer in self._observers:
            observer.durable = False
        self.blockers: list[barrier.Blocker] = []
        """The clients that blocked the last unit."""
        self.not_permitted: list[str] = []

    async def run_watched(self, unit: Callable[[sa.Connection], T], seconds: float, what: str) -> T:
        """Run a unit and meanwhile find its blockers; `what` describes what they do.

        Raises:
            DatabaseLockedError: It was blocked for `seconds`; `blockers` names the clients.
            ActionError: Anything else went wrong.
        """
        self.blockers, self.not_permitted = [], []
        try:
            return await self._watched(unit, seconds, what)
        except DatabaseLockedError:
            if self.blockers:
                raise
        # After the wait, no blocker can be seen any more: wait once more, just long enough for an observation.
        return await self._watched(unit, _SECOND_TRY_SECONDS, what)

    async def _watched(self, unit: Callable[[sa.Connection], T], seconds: float, what: str) -> T:
        end_at = time.monotonic() + seconds * _TERMINATE_AFTER
        commit_at = time.monotonic() + seconds / 2
        working = asyncio.ensure_future(self.run(unit, seconds))
        try:
            while not (await asyncio.wait({working}, timeout=min(_LOOK_INTERVAL_SECONDS, seconds / 4)))[0]:
                with suppress(ActionError):  # then the blockers stay unknown
                    await self._observe(what, end=time.monotonic() > end_at, commit=time.monotonic() > commit_at)
        finally:
            working.cancel()
        return working.result()

    async def _observe(self, what: str, *, end: bool, commit: bool) -> None:
        if self.session is None:
            return
        pid = self.session.pid
        found = await self.run_on_second_connection(lambda connection: barrier.find_blockers(connection, pid, what))
        self.blockers = found or self.blockers
        if found and end and self._command.terminate_blockers:
            self.not_permitted = await self.run_on_second_connection(
                lambda connection: barrier.terminate(connection, found)
            )
        if not found and commit and self.durable:
            waited = await self.run_on_second_connection(
                lambda connection: barrier.stop_waiting_for_standby(connection, pid)
            )
            self.on_standby = self.durable = not waited

    async def run_on_second_connection(self, unit: Callable[[sa.Connection], T]) -> T:
        """Run a unit on a second connection: one of our own, or else one of the pool."""
        own, pooled = self._observers
        try:
            return await own.run(unit, 1.0)
        except DatabaseLockedError:
            raise  # another connection would wait for the same lock
        except ActionError:
            return await pooled.run(unit, 1.0)

    async def close_all(self) -> None:
        """Close this connection and its observers."""
        for connection in (self, *self._observers):
            await connection.close()


async def engage_on_postgresql(
    engines: tuple[AsyncEngine, AsyncEngine], url: URL, order: StopCommand, progress: StopProgress
) -> None:
    """Engage a stop on the first of two engines; the pool of the second helps if the server has no free connection."""
    server = _StopConnection(*engines, url, order)
    try:
        await _publish(server, order, progress)
        for phase in (_barrier, _sweep):
            try:
                await phase(server, order, progress)
            except ActionError as error:  # the stop is engaged, and the caller must get its receipt
                progress.problems.append(str(error))
        progress.on_standby = server.on_standby
        if not server.on_standby:
            progress.problems.append("it is engaged here, not on the standby, which does not answer")
        with suppress(ActionError):
            await server.run(barrier.notify, _NOTIFY_SECONDS)
    finally:
        await server.close_all()


async def _publish(server: _StopConnection, order: StopCommand, progress: StopProgress) -> None:
    """Commit the latch, with retries until the deadline: engaging twice is harmless."""

    def publish(connection: sa.Connection) -> Stop:
        return server.publish(connection, order.scope, order.by, order.reason)

    while True:
        try:
            stop = await server.run_watched(publish, order.remaining, "holds the latch locked")
        except (DatabaseAccessError, DatabaseNotFoundError) as error:
            if error.code == _NO_PRIVILEGE and server.publish is kill_switch.publish:  # an operator may not write
                server.publish, server.sweep = kill_switch.publish_as_operator, kill_switch.sweep_as_operator
                continue
            raise failed(server.url, order, str(error)) from error  # a retry would not help
        except ActionError as error:
            if isinstance(error, GuardMissingError) and await server.run(current_revision, 1.0) is None:
                raise DatabaseNotFoundError(url=display_url(server.url), detail="it holds no such tables") from error
            if order.remaining <= 0:
                stop = await _confirm_published(server, order, error)
                progress.problems.append(f"the database has not confirmed its commit: {error}")
                progress.published(stop, order)
                return
            await asyncio.sleep(RETRY_INTERVAL_SECONDS)
        else:
            progress.published(stop, order)
            return


async def _confirm_published(server: _StopConnection, order: StopCommand, error: ActionError) -> Stop:
    """Check whether a publish without an answer was committed; another caller's stop does not count."""
    problem = "; ".join(blocker.text for blocker in server.blockers) or str(error)
    try:
        stops = await server.run_on_second_connection(kill_switch.list_stops)
    except ActionError:
        problem += " (and the database does not say whether it came through)"
        raise failed(server.url, order, problem) from error
    engaged = [stop for stop in stops if stop.released_at is None and stop.scope == order.scope]
    for stop in engaged:
        began = server.began_at
        if began is not None and stop.engaged_at >= began and (stop.by, stop.reason) == (order.by, order.reason):
            return stop
    if engaged:
        problem += f". Another one is: stop {engaged[-1].generation} ({order.scope}), by {engaged[-1].by}"
    raise failed(server.url, order, problem) from error


async def _barrier(server: _StopConnection, order: StopCommand, progress: StopProgress) -> None:
    seconds, what = order.remaining * (1 - _SWEEP_SHARE), "holds a start open"
    progress.start_possible = True
    try:
        try:
            await server.run_watched(barrier.pass_barrier, seconds, what)
        except GuardMissingError:
            await server.run_watched(barrier.pass_barrier_before_0003, seconds, what)
    except DatabaseLockedError:
        _note_blockers(server, progress, "the barrier was not passed in time")
    else:
        progress.start_possible = False


def _note_blockers(server: _StopConnection, progress: StopProgress, unseen: str) -> None:
    progress.problems += [blocker.text for blocker in server.blockers] or [unseen]
    progress.problems += server.not_permitted
    progress.pids += [blocker.pid for blocker in server.blockers if blocker.pid is not None]


async def _sweep(server: _StopConnection, order: StopCommand, progress: StopProgress) -> None:
    """Cancel in batches until only locked proposals are left, or until the deadline; then read what runs.

    What runs is read in a new snapshot, after the barrier, which contains every start before it.
    """
    stop, what = progress.stop, "keeps what is pending from being cancelled; none of it can start"
    assert stop is not None  # noqa: S101 - _publish has set it
    while True:
        try:
            swept = await server.run_watched(
                lambda connection: server.sweep(connection, stop), max(order.remaining, 0.5), what
            )
        except DatabaseLockedError:
            _note_blockers(server, progress, what)
            return
        except RetryTransactionError:
            swept = []
        progress.cancelled += swept
        if len(swept) == kill_switch.SWEEP_ROWS and order.remaining > 0:
            continue
        problems = await _look(server, order, progress, stop)
        if problems is None:
            return
        if not progress.not_yet_cancelled or order.remaining <= 0:
            progress.problems += problems
            progress.start_possible = progress.start_possible or bool(problems)
            return
        await asyncio.sleep(RETRY_INTERVAL_SECONDS)


async def _look(server: _StopConnection, order: StopCommand, progress: StopProgress, stop: Stop) -> list[str] | None:
    """Note what runs, and return why the stop does not hold; None if neither could be read."""
    try:
        seen = await server.run_watched(
            lambda connection: inspect_after_stop(connection, stop, order.scope),
            max(order.remaining, 1.0),
            "locks what a stop looks at",
        )
    except ActionError as error:
        _note_blockers(server, progress, str(error))
        progress.problems.append("what still executes, and whether the guards hold, is not known")
        progress.start_possible = True
        return None
    progress.executing, progress.not_yet_cancelled, problems = seen
    return problems
