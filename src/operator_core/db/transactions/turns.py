"""Turns on a session and its connection: the ledger's calls run one after another, and a host's statements wait."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only

from operator_core.actions.errors import SessionBusyError


class Call:
    """A call of the ledger that has its turn, in the task that makes it."""

    def __init__(self) -> None:
        self.task = asyncio.current_task()
        self.over = asyncio.Event()

    def keep_waiting(self) -> None:
        """Wait in SQLAlchemy's greenlet until the call is over, unless this task makes it."""
        if self.task is not asyncio.current_task():
            await_only(self.over.wait())


# -- the session -------------------------------------------------------------------------------------------------------


class Turns:
    """The queue of one session: a call that is cancelled in it has done nothing."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._call: Call | None = None

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[Call]:
        """Wait for all earlier calls, and keep later ones waiting.

        Raises:
            SessionBusyError: The task has its turn already, for example in a host's listener that its own call runs.
        """
        if self._call is not None and self._call.task is asyncio.current_task():
            raise SessionBusyError(detail="another call of the ledger, which runs this one")
        async with self._lock:
            call = self._call = Call()
            try:
                yield call
            finally:
                self._call = None
                call.over.set()


_queues: WeakKeyDictionary[Session, Turns] = WeakKeyDictionary()


def turns_of(session: AsyncSession) -> Turns:
    """Return the queue of a session, which all repositories on it share."""
    found = _queues.get(session.sync_session)
    if found is None:
        found = _queues[session.sync_session] = Turns()
    return found


EXCLUSIVE = ("commit", "rollback", "close", "flush", "_connection_for_bind")
"""What SQLAlchemy refuses, or does only in part, while another task connects or flushes a session."""


@contextmanager
def alone_in(session: Session, call: Call) -> Generator[None]:
    """Keep other tasks from changing the state of a session, or from connecting it, until the call is over."""

    def waiting(act: Callable[..., Any]) -> Callable[..., Any]:
        def wait_and_act(*args: Any, **kwargs: Any) -> Any:
            call.keep_waiting()
            return act(*args, **kwargs)

        return wait_and_act

    of_the_host = {name: vars(session)[name] for name in EXCLUSIVE if name in vars(session)}
    for name in EXCLUSIVE:
        setattr(session, name, waiting(getattr(session, name)))
    try:
        yield
    finally:
        for name in EXCLUSIVE:
            delattr(session, name)
        vars(session).update(of_the_host)


def flush(session: Session) -> None:
    """Flush the host's pending objects; refuse the commit of a `begin` block that another task leaves meanwhile.

    Raises:
        SessionBusyError: In that other task: its commit would split the flush.
    """
    if not (session.new or session.dirty or session.deleted):
        return
    event.listen(session, "before_commit", _refuse)
    try:
        session.flush()  # a connection does not autoflush; an error of the host's own objects is the host's
    finally:
        event.remove(session, "before_commit", _refuse)


def _refuse(_session: Session) -> None:
    raise SessionBusyError(detail="a call of the ledger, which flushes it")


@contextmanager
def naming_a_busy_session() -> Generator[None]:
    """Translate SQLAlchemy's errors about two tasks in one session; all other errors stay the host's.

    Raises:
        SessionBusyError: A task of the host is in the middle of a commit, a flush or its first statement.
    """
    try:
        yield
    except InvalidRequestError as error:
        words = next((words for words in _BUSY if words in str(error)), None)
        if words is None:
            raise
        raise SessionBusyError(detail=_BUSY[words]) from error


_ENDING = "a commit, a rollback or a close"
_BUSY = {
    "provisioning a new connection": "its first statement",
    "already flushing": "a flush",
    "is in 'prepared' state": "a commit",
    "can't be called here": _ENDING,
    "This transaction is closed": _ENDING,
    "This Connection is closed": _ENDING,
    "closed transaction inside context manager": "the end of a block of `begin` or `begin_nested`",
}


# -- the connection ----------------------------------------------------------------------------------------------------

_under_way: dict[int, Call] = {}  # by the id of the driver's connection, which lives as long as the call
_watched: WeakSet[Dialect] = WeakSet()  # all options of an engine share one, and the engines of ours do too

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_under_way.clear)


@contextmanager
def alone_on(connection: sa.Connection, call: Call) -> Generator[None]:
    """Make other tasks' statements, commits and rollbacks wait: inside our savepoint they would share its end."""
    _watch(connection)
    key = id(connection.connection.dbapi_connection)
    _wait_for_turn(key)  # two sessions may share a connection
    _under_way[key] = call
    try:
        yield
    finally:
        del _under_way[key]


def _wait_for_turn(key: int) -> None:
    while (call := _under_way.get(key)) is not None and call.task is not asyncio.current_task():
        call.keep_waiting()


def _watch(connection: sa.Connection) -> None:
    """Make everything that goes to the driver wait for a call of the ledger in flight there; once per engine."""
    dialect = connection.dialect
    if dialect in _watched:
        return
    _watched.add(dialect)

    def before_statement(*event_arguments: Any) -> None:
        if _under_way:
            context = event_arguments[-1]
            _wait_for_turn(id(context.root_connection.connection.dbapi_connection))

    def after_turn(end: Callable[[Any], None]) -> Callable[[Any], None]:
        def wait_and_end(dbapi_connection: Any) -> None:
            if _under_way:
                _wait_for_turn(id(getattr(dbapi_connection, "dbapi_connection", dbapi_connection)))
            end(dbapi_connection)

        return wait_and_end

    for name in ("do_execute", "do_executemany", "do_execute_no_params"):
        event.listen(connection.engine, name, before_statement)
    for name in ("do_commit", "do_rollback"):  # SQLAlchemy's events would slow down each statement of the host
        setattr(dialect, name, after_turn(getattr(dialect, name)))
