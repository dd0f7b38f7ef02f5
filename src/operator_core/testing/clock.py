"""Steps in time for a test: the database's clock cannot be set, so the stored times are moved back instead."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from operator_core.actions.errors import ActionError, InvalidArgumentError
from operator_core.actions.validation import check_seconds
from operator_core.db import ActionLedger
from operator_core.db.functions import now, now_plus
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.schema import CAN_EXPIRE, IS_OPEN, proposals, records
from operator_core.db.types import UtcDateTime, sqlite_time


@dataclass(eq=False)
class ValidUntilFixedError(ActionError):
    """The step would pass the `valid_until` of a pending proposal; nothing was changed."""

    proposal_id: int
    valid_until: datetime

    def __str__(self) -> str:
        return (
            f"proposal {self.proposal_id} is valid until {self.valid_until.isoformat()}, and what was proposed never "
            "changes, so time cannot step past that. To test what has expired, propose with a valid_until in the past"
        )


async def advance_time(db: ActionLedger, step: timedelta) -> int:
    """Let time pass for the leases of all running actions, and return how many there are.

    `last_seen_at` and `lease_expires_at` of every open record move back by `step`, through the guards, like any other
    write. A lease that expires this way is lost at the next recovery; a heartbeat before that renews it.

    Args:
        db: An open `ActionDB`, a transaction of it, or a repository in a session.
        step: Up to a day: no lease is longer.

    Raises:
        ValidUntilFixedError: A pending proposal would expire meanwhile, which cannot be simulated.
        InvalidArgumentError: `step` is negative, or longer than a day.
    """
    if not isinstance(step, timedelta):  # pyright: ignore[reportUnnecessaryIsInstance] - a caller may be untyped
        raise InvalidArgumentError(path="step", reason=f"is {step!a}; a timedelta is wanted")
    seconds = check_seconds(step.total_seconds(), "step")
    # No public call runs a statement of one's own in whatever transaction `db` has.
    return await db._run(_advance, seconds)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


class minus_seconds(FunctionElement[datetime]):  # noqa: N801 - reads like an SQL function, as its kin in db/types.py
    """A time minus some seconds; NULL if the time is NULL."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(minus_seconds, "postgresql")
def _earlier_on_postgresql(element: minus_seconds, compiler: SQLCompiler, **kw: Any) -> str:
    moment, seconds = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({moment} - make_interval(secs => CAST({seconds} AS DOUBLE PRECISION)))"


@compiles(minus_seconds, "sqlite")
def _earlier_on_sqlite(element: minus_seconds, compiler: SQLCompiler, **kw: Any) -> str:
    moment, seconds = (compiler.process(clause, **kw) for clause in element.clauses)
    time = sqlite_time(moment, f"printf('-%.3f seconds', {seconds})")
    return f"({time})"


_SECONDS = sa.bindparam("seconds", type_=sa.Float())
_EXPIRING = (
    sa.select(proposals.c.id, proposals.c.valid_until)
    .where(sa.text(CAN_EXPIRE), proposals.c.valid_until > now(), proposals.c.valid_until <= now_plus(_SECONDS))
    .order_by(proposals.c.id)
    .limit(1)
)
_MOVE = (
    sa.update(records)
    .where(sa.text(IS_OPEN), records.c.lease_expires_at.is_not(None))
    .values(
        last_seen_at=minus_seconds(records.c.last_seen_at, _SECONDS),
        lease_expires_at=minus_seconds(records.c.lease_expires_at, _SECONDS),
    )
)


@unit(TransactionMode.TRANSACTION)
def _advance(connection: sa.Connection, seconds: float) -> int:
    expiring = connection.execute(_EXPIRING, {"seconds": seconds}).one_or_none()
    if expiring is not None:
        raise ValidUntilFixedError(proposal_id=expiring.id, valid_until=expiring.valid_until)
    return connection.execute(_MOVE, {"seconds": seconds}).rowcount
