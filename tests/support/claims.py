"""Executions under a lease, which expires by the database's clock, not by waiting."""

import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg

from operator_core.actions import ActionOutcome, ActionStatus, StoredRecord
from operator_core.db import ActionDB, ActionRepository
from operator_core.db.repository.execution import Execution
from tests.support.factories import stored

Plain = sqlite3.Connection | psycopg.Connection

HOUR_AGO = {
    sqlite3.Connection: "strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 hour') || '000'",
    psycopg.Connection: "now() - interval '1 hour'",
}


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


ENDINGS: dict[str, tuple[Callable[[Execution], Awaitable[Any]], ActionOutcome]] = {
    "complete": (lambda execution: execution.complete({"n": 1}), ActionOutcome.SUCCEEDED),
    "fail": (lambda execution: execution.fail("no such store"), ActionOutcome.FAILED),
    "abandon": (lambda execution: execution.abandon("cut off"), ActionOutcome.UNKNOWN),
}


async def claimed(db: ActionRepository, *, worker: str = "w1", lease_seconds: float = 60.0, **given: Any) -> Execution:
    """Return an execution that its worker has just claimed."""
    made = await stored(db, ActionStatus.VALIDATED, **given)
    assert made.id is not None
    return await db.claim(made.id, worker=worker, lease_seconds=lease_seconds)


def let_expire(plain: Plain, record_id: int | None) -> None:
    """Have a lease run out an hour ago."""
    plain.execute(f"UPDATE action_records SET lease_expires_at = {HOUR_AGO[type(plain)]} WHERE id = {record_id}")


async def recovered(db: ActionDB, plain: Plain, execution: Execution) -> StoredRecord:
    """Take an execution from its worker, and return the record."""
    let_expire(plain, execution.record.id)
    (record,) = await db.recover_expired_leases(by="ward")
    return record


async def unknown(db: ActionRepository, **given: Any) -> StoredRecord:
    """Return the record of an execution whose outcome nobody knows."""
    return await (await claimed(db, **given)).abandon("cut off")
