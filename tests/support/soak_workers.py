"""The processes of the soak: workers of the library, and naive ones, until they are stopped or killed."""

import asyncio
import contextlib
import logging
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psycopg

from operator_core.actions import DatabaseUnavailableError
from operator_core.db import ActionDB
from operator_core.worker import ActionRegistry, Worker
from tests.support.ledger import Ledger
from tests.support.soak_actions import Trace, registry_of

LIFE = 3_600  # seconds; no process outlives its test by more
_NAIVE_LEASE = timedelta(seconds=0.3)


@dataclass(frozen=True)
class Order:
    """What one process is to be; `actions` are the names of those that it can do, all when empty."""

    number: int
    role: str
    ledger: Ledger
    folder: Path
    seed: int
    concurrency: int = 1
    lease_seconds: float = 60.0
    actions: tuple[str, ...] = ()


def run(order: Order, line: Connection) -> None:
    """Be one process, and tell in the end what was done."""
    signal.alarm(LIFE)
    os.nice(5)  # the test that judges wants to be heard
    logging.basicConfig(filename=order.folder / f"{order.number}.log", level=logging.INFO)
    line.send(_ROLES[order.role](order, line))
    line.close()


# -- through the library -----------------------------------------------------------------------------------------------


def _worker(order: Order, line: Connection) -> dict[str, Any]:
    return asyncio.run(_work(order, line))


async def _work(order: Order, line: Connection) -> dict[str, Any]:
    registry = _chosen(order, Trace(order.folder, order.number))
    async with await _opened(order) as db:
        worker = Worker(
            db,
            registry,
            name=f"worker {order.number}",
            concurrency=order.concurrency,
            lease_seconds=order.lease_seconds,
            poll_interval=0.1,
        )
        with _told(line, worker.stop):
            return asdict(await worker.run())


async def _opened(order: Order) -> ActionDB:
    """Open the ledger, again and again while its server is away, as a supervisor would start the process again."""
    while True:
        try:
            return await ActionDB(order.ledger.target).open()
        except DatabaseUnavailableError:
            await asyncio.sleep(0.1)


def _chosen(order: Order, trace: Trace) -> ActionRegistry:
    every, chosen = registry_of(trace), ActionRegistry()
    for action in every:
        if not order.actions or action.name in order.actions:
            chosen.add(action.name, action.handler, action.model, auto_approve=True)
    return chosen


@contextlib.contextmanager
def _told(line: Connection, stop: Callable[[], None]) -> Any:
    """Stop when the test says so, and end at once when the test is gone."""
    loop = asyncio.get_running_loop()

    def heard() -> None:
        try:
            line.recv()
        except EOFError:
            os._exit(1)
        stop()

    loop.add_reader(line.fileno(), heard)
    try:
        yield
    finally:
        loop.remove_reader(line.fileno())


# -- naively -----------------------------------------------------------------------------------------------------------


def _until_told(order: Order, line: Connection, act: Callable[["_Naive"], None]) -> dict[str, Any]:
    naive = _Naive(order)
    while not line.poll():
        with contextlib.suppress(sqlite3.OperationalError, sqlite3.IntegrityError, psycopg.IntegrityError):
            act(naive)  # who comes second may be refused by a lock or a CHECK, after it has done the action
    return {}


class _Naive:
    """Does the action `do` by plain SQL, in a ledger whose guards are dropped."""

    def __init__(self, order: Order) -> None:
        self._plain: Any = order.ledger.connect()
        self._trace, self._dice = Trace(order.folder, order.number), random.Random(order.seed)

    def oldest(self) -> int | None:
        row = self._plain.execute(
            "SELECT id FROM action_proposals WHERE status = 'validated' ORDER BY id LIMIT 1"
        ).fetchone()
        return None if row is None else int(row[0])

    def step(self, number: int, status: str, condition: str = "") -> bool:
        now = _text(datetime.now(UTC))
        changes = f"status = '{status}', status_at = '{now}', {status}_at = '{now}'"
        where = f"WHERE id = {number} {condition}"
        return self._plain.execute(f"UPDATE action_proposals SET {changes} {where}").rowcount > 0

    def think(self) -> None:
        time.sleep(self._dice.random() * 0.02)

    def do(self, number: int) -> None:
        self._trace.add("did", number)
        self.think()
        self.step(number, "completed")

    def validate_again(self) -> None:
        """Give back what was not heard of: whoever did it may have been killed after it."""
        late = _text(datetime.now(UTC) - _NAIVE_LEASE)
        self._plain.execute(
            "UPDATE action_proposals SET status = 'validated', status_at = validated_at, executing_at = NULL "
            f"WHERE status = 'executing' AND status_at < '{late}'"
        )


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")


def _read_then_write(naive: _Naive) -> None:
    number = naive.oldest()
    if number is None:
        time.sleep(0.01)
        return
    naive.think()
    naive.step(number, "executing")
    naive.do(number)


def _claim_then_validate_again(naive: _Naive) -> None:
    naive.validate_again()
    number = naive.oldest()
    if number is None or not naive.step(number, "executing", "AND status = 'validated'"):
        time.sleep(0.01)
        return
    naive.do(number)


def _reader(order: Order, line: Connection) -> dict[str, Any]:
    return _until_told(order, line, _read_then_write)


def _reviver(order: Order, line: Connection) -> dict[str, Any]:
    return _until_told(order, line, _claim_then_validate_again)


_ROLES = {"worker": _worker, "reads then writes": _reader, "validates again": _reviver}
