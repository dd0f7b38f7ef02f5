"""Cancels a call at each of its await points in turn, and says what that did to the connections around it."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from operator_core.db import ActionDB
from operator_core.db.engine.postgresql import APPLICATION_NAME
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE

MOST_STEPS = 2_000  # protects against a call that never ends
server_patience = PATIENCE
"""Seconds that a server may take to notice that a connection was given up."""
HOWS = ("once", "twice", "again and again", "by timeout")
Client = sqlite3.Connection | psycopg.Connection


@dataclass(frozen=True)
class Moment:
    """When a call is cancelled: at its n-th wait, at once or when what it waits for has come and is not taken yet."""

    number: int
    on_arrival: bool


@dataclass
class Trial:
    """What became of one call that was to be cancelled."""

    tripped: bool
    cancelled: bool
    result: object = None


class _Watched:
    """Drives a coroutine and reports every future that it waits for."""

    def __init__(self, work: Coroutine[Any, Any, Any], saw: Callable[[object], None]) -> None:
        self._work, self._saw = work, saw

    def __await__(self) -> Generator[Any, Any, Any]:
        send: Callable[[], object] = lambda: self._work.send(None)  # noqa: E731 - it is replaced below
        while True:
            try:
                waiting = send()
            except StopIteration as stop:
                return stop.value
            self._saw(waiting)
            try:
                value = yield waiting
            except BaseException as error:  # noqa: BLE001 - a task throws its cancellation in here
                send = lambda error=error: self._work.throw(error)  # noqa: E731
            else:
                send = lambda value=value: self._work.send(value)  # noqa: E731


@asynccontextmanager
async def _watching(saw: Callable[[object], None]) -> AsyncIterator[None]:
    """Report the waits of every task that is made within, also of those that are not the caller's own."""

    async def driven(work: Coroutine[Any, Any, Any]) -> Any:
        return await _Watched(work, saw)

    def factory(loop: asyncio.AbstractEventLoop, work: Any, **given: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(driven(work), loop=loop, **given)
        if asyncio.iscoroutine(work):
            task.add_done_callback(lambda _: work.close())  # cancelled before its first step, it is never awaited
        return task

    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    loop.set_task_factory(factory)
    try:
        yield
    finally:
        loop.set_task_factory(before)


class _Tripwire:
    """Counts waits, and trips at one of them."""

    def __init__(self, moment: Moment, trip: Callable[[], object]) -> None:
        self._moment, self._trip, self._count = moment, trip, 0
        self.tripped = False

    def saw(self, waiting: object) -> None:
        self._count += 1
        if self._count != self._moment.number:
            return
        if self._moment.on_arrival and isinstance(waiting, asyncio.Future):
            waiting.add_done_callback(self._now)  # before the task adds its own: the task has not woken yet
        else:
            asyncio.get_running_loop().call_soon(self._now)

    def _now(self, *_: object) -> None:
        self.tripped = True
        self._trip()


async def cancelled_at(moment: Moment, call: Callable[[], Awaitable[object]], how: str = "once") -> Trial:
    """Make a call, cancel it at a moment, and return when its task is done."""
    loop = asyncio.get_running_loop()
    limits: list[asyncio.Timeout] = []

    async def limited() -> object:
        async with asyncio.timeout(None) as limit:
            limits.append(limit)
            return await call()

    def trip() -> None:
        if how == "by timeout":
            limits[0].reschedule(loop.time())
            return
        task.cancel()
        if how == "twice":
            loop.call_soon(task.cancel)
        elif how == "again and again" and not task.done():
            loop.call_soon(trip)

    wire = _Tripwire(moment, trip)
    async with _watching(wire.saw):
        task = asyncio.ensure_future(limited())
        await asyncio.wait({task}, timeout=PATIENCE)
        assert task.done(), f"the call does not end when it is cancelled at {moment}"
    try:
        return Trial(wire.tripped, cancelled=False, result=task.result())
    except (asyncio.CancelledError, TimeoutError):
        return Trial(wire.tripped, cancelled=True)


async def moments(trial: Callable[[Moment], Awaitable[bool]]) -> int:
    """Try every moment of a call, until it is over before the moment comes; return how many there were."""
    tried = 0
    for on_arrival in (False, True):
        for number in range(1, MOST_STEPS):
            if not await trial(Moment(number, on_arrival)):
                break
            tried += 1
    return tried


def connections_in_use(db: ActionDB) -> int:
    """Return how many connections are out of the pool, and not kept at hand for the next call."""
    own = db._transactions
    assert own is not None
    kept = own._pinned or own._threads
    at_hand = 0 if kept is None else len(kept._idle)
    if own._threads is not None and own._threads._writer is not None and not own._threads._writer.users:
        at_hand += 1
    return own.engine.pool.checkedout() - at_hand  # type: ignore[attr-defined, no-any-return]


def traces(client: Client, db: ActionDB) -> list[str]:
    """Say what a call that is over has left behind: locks, transactions, connections that the pool never gets back."""
    found = []
    if (lost := connections_in_use(db)) != 0:
        found.append(f"{lost} connections are lost to the pool")
    if isinstance(client, sqlite3.Connection):
        return found + _sqlite_traces(client)
    give_up = time.monotonic() + server_patience
    while (left := _postgresql_traces(client)) and time.monotonic() < give_up:
        time.sleep(0.01)  # the server notices a moment later that it was hung up on; nothing here goes on meanwhile
    return found + left


def _sqlite_traces(client: sqlite3.Connection) -> list[str]:
    try:
        client.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        return [f"the write lock is held: {error}"]
    client.execute("ROLLBACK")
    return []


def _postgresql_traces(client: psycopg.Connection) -> list[str]:
    backends = client.execute(
        "SELECT state, query FROM pg_stat_activity WHERE datname = current_database() "
        f"AND application_name = '{APPLICATION_NAME}' AND state <> 'idle'"
    ).fetchall()
    locks = client.execute(
        "SELECT l.objid, l.mode FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database "
        "WHERE l.locktype = 'advisory' AND d.datname = current_database()"
    ).fetchall()
    return [f"a backend is {state} in {query}" for state, query in backends] + [
        f"lock {lock} is held" for lock in locks
    ]


def impatient(ledger: Ledger) -> Client:
    """Return a plain client that does not wait for a lock."""
    client = ledger.connect()
    if isinstance(client, sqlite3.Connection):
        client.execute("PRAGMA busy_timeout = 0")
    return client


class Obstacle:
    """Holds what every writer needs, until a moment after the call that runs into it was cancelled."""

    def __init__(self, ledger: Ledger) -> None:
        self._client = ledger.connect()
        self._holding = False

    def put_up(self) -> None:
        """Take SQLite's write lock, or a lock on PostgreSQL's table that lets only readers pass."""
        if isinstance(self._client, sqlite3.Connection):
            self._client.execute("BEGIN IMMEDIATE")
        else:
            self._client.execute("BEGIN")
            self._client.execute("LOCK TABLE action_proposals IN SHARE ROW EXCLUSIVE MODE")
        self._holding = True

    def remove(self) -> None:
        """Let the writers pass; a second call does nothing."""
        if self._holding:
            self._client.execute("ROLLBACK")
        self._holding = False

    def close(self) -> None:
        """Remove it for good."""
        self._client.close()


def highest_id(client: Client) -> int:
    """Return the id of the youngest proposal."""
    return int(client.execute("SELECT coalesce(max(id), 0) FROM action_proposals").fetchall()[0][0])


def standing(client: Client, after: int) -> tuple[object, ...]:
    """Say how all proposals younger than one stand: status, outcome of the record, states passed through, decisions."""
    rows = client.execute(
        "SELECT p.id, p.status, r.id IS NOT NULL, r.outcome FROM action_proposals AS p "
        f"LEFT JOIN action_records AS r ON r.proposal_id = p.id WHERE p.id > {after} ORDER BY p.id"
    ).fetchall()
    events = client.execute(
        f"SELECT proposal_id, to_status FROM action_events WHERE proposal_id > {after} ORDER BY id"
    ).fetchall()
    decisions = client.execute(
        f"SELECT proposal_id, decision FROM action_approvals WHERE proposal_id > {after} ORDER BY id"
    ).fetchall()
    return tuple((row[1], bool(row[2]), row[3], _of(row[0], events), _of(row[0], decisions)) for row in rows)


def _of(proposal_id: int, pairs: list[tuple[int, str]]) -> tuple[str, ...]:
    return tuple(text for number, text in pairs if number == proposal_id)
