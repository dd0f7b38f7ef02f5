"""Engaging a stop: publish, barrier, sweep, on a connection of its own and under one deadline.

Publish: the latch and the next generation are committed; from here on new starts are refused. Barrier: every start that
had passed the guard before has committed or died. Sweep: what is pending is cancelled. With SQLite's single writer, the
three are one transaction.
"""

from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from operator_core.actions.errors import ActionError, DatabaseNotFoundError, StopUnconfirmedError
from operator_core.actions.kill_switch import StopReceipt
from operator_core.db.engine.capabilities import is_sqlite
from operator_core.db.engine.dedicated import dedicated_engine
from operator_core.db.engine.urls import require_ledger_file
from operator_core.db.stop.command import StopCommand, StopProgress, failed
from operator_core.db.stop.postgresql import engage_on_postgresql
from operator_core.db.stop.sqlite import engage_on_sqlite
from operator_core.db.stop.unmatched_scope import with_scope_warning

__all__ = ["StopCommand", "engage"]


async def engage(engine: AsyncEngine, url: URL, order: StopCommand) -> StopReceipt:
    """Engage a stop and return its receipt.

    Raises:
        DatabaseNotFoundError: There is no ledger; nothing was created.
        StopFailedError: The stop is not engaged, although it was retried until the deadline.
        StopUnconfirmedError: The stop is engaged, but a start in flight could still get through.
    """
    try:
        require_ledger_file(url)
    except DatabaseNotFoundError:
        raise
    except ActionError as error:  # a stop through a second name would stop nothing
        raise failed(url, order, str(error)) from error
    own = dedicated_engine(engine)
    progress = StopProgress()
    try:
        if is_sqlite(engine):
            await engage_on_sqlite(own, url, order, progress)
        else:
            await engage_on_postgresql((own, engine), url, order, progress)
        receipt = await with_scope_warning(own, url, _receipt(order, progress))
    finally:
        if own is not engine:
            await own.dispose()
    if progress.problems:
        raise StopUnconfirmedError(
            receipt=receipt,
            problems=tuple(progress.problems),
            pids=tuple(progress.pids),
            start_possible=progress.start_possible,
        )
    return receipt


def _receipt(order: StopCommand, progress: StopProgress) -> StopReceipt:
    assert progress.stop is not None  # noqa: S101 - every path without a stop raises
    return StopReceipt(
        generation=progress.stop.generation,
        scope=order.scope,
        engaged_at=progress.stop.engaged_at,
        cancelled=tuple(sorted(progress.cancelled)),
        still_executing=progress.executing,
        not_yet_cancelled=tuple(progress.not_yet_cancelled),
        publish_ms=progress.publish_ms,
        stop_ms=order.elapsed_ms,
        on_standby=progress.on_standby,
    )
