"""The stop to carry out, its progress, and its final inspection and errors."""

import time
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from operator_core.actions.errors import ActionError, StopFailedError
from operator_core.actions.kill_switch import RunningAction, Scope, Stop
from operator_core.db.guards import missing_guards
from operator_core.db.guards.conditions import stop_statement
from operator_core.db.migrations import revisions
from operator_core.db.migrations.status import current_revision
from operator_core.db.stores import kill_switch, kill_switch_status

RETRY_INTERVAL_SECONDS = 0.02  # seconds between two tries


@dataclass(frozen=True)
class StopCommand:
    """The stop to carry out: scope, actor and reason; `timeout` is in seconds, for the whole stop."""

    scope: Scope
    by: str
    reason: str
    timeout: float
    terminate_blockers: bool
    started_at: float = field(default_factory=time.monotonic)

    @property
    def remaining(self) -> float:
        """Seconds until the deadline, never negative."""
        return max(0.0, self.started_at + self.timeout - time.monotonic())

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the call."""
        return round((time.monotonic() - self.started_at) * 1000, 3)


@dataclass
class StopProgress:
    """The progress of a stop."""

    stop: Stop | None = None
    publish_ms: float = 0.0
    on_standby: bool = True
    cancelled: list[int] = field(default_factory=list)
    not_yet_cancelled: list[int] = field(default_factory=list)
    executing: tuple[RunningAction, ...] = ()
    problems: list[str] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)
    start_possible: bool = False

    def published(self, stop: Stop, order: StopCommand) -> None:
        """Note that new starts are refused from here on."""
        self.stop, self.publish_ms = stop, order.elapsed_ms


def failed(url: URL, order: StopCommand, problem: str) -> StopFailedError:
    """Return the error of a stop that is not engaged, with the statement that engages it by hand."""
    sql = stop_statement(url.get_backend_name(), order.by, order.reason)
    if order.scope.field is not None:
        problem += f". The statement stops EVERYTHING, not only {order.scope}"
    return StopFailedError(problem=problem, sql=sql)


def inspect_after_stop(
    connection: sa.Connection, stop: Stop, scope: Scope
) -> tuple[tuple[RunningAction, ...], list[int], list[str]]:
    """Return what runs, what could not be swept, and why the stop does not hold: a release or a wrong guard."""
    executing, left = kill_switch_status.still_executing(connection, scope), kill_switch.unswept(connection, stop)
    return executing, left, [*_release_since(connection, stop), *_wrong_guards(connection)]


def _release_since(connection: sa.Connection, stop: Stop) -> list[str]:
    """Report that the scope of a stop is no longer engaged; a newer stop of the same scope holds as well."""
    latest = next((latch for latch in kill_switch.list_stops(connection) if latch.scope == stop.scope), None)
    if latest is None:
        return ["its row in the latch is gone: engage again"]
    if latest.released_at is None:
        return []
    when, by = latest.released_at.isoformat(), latest.released_by
    return [f"stop {latest.generation} was released at {when} by {by} ({latest.release_reason}): engage again"]


def _wrong_guards(connection: sa.Connection) -> list[str]:
    try:
        missing = missing_guards(connection, exactly=current_revision(connection) == revisions.HEAD)
    except (ActionError, DBAPIError) as error:
        return [f"the guards of the database could not be looked at: {error}"]
    return [f"the guards of the database do not hold: {guard}" for guard in missing]
