"""The translation of driver errors into this library's, by SQLSTATE and SQLite's error name, never by class."""

import errno
import os
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager

import sqlalchemy as sa
import sqlalchemy.exc
from sqlalchemy.engine import URL

from operator_core.actions.errors import (
    ActionError,
    ConnectionLostError,
    ConstraintError,
    DatabaseAccessError,
    DatabaseCorruptError,
    DatabaseFullError,
    DatabaseLockedError,
    DatabaseNotFoundError,
    DatabaseReadOnlyError,
    DatabaseReplacedError,
    DatabaseUnavailableError,
    GuardMissingError,
    NameTakenError,
    RetryTransactionError,
    TooManyOpenFilesError,
    UnreadableRowError,
)
from operator_core.db.engine.drivers import DRIVERS
from operator_core.db.engine.urls import display_url

_UNAVAILABLE: dict[str, type[DatabaseUnavailableError]] = {
    # SQLSTATE, PostgreSQL documentation, appendix A; a longer prefix wins
    "08": DatabaseUnavailableError,
    "08003": ConnectionLostError,
    "08006": ConnectionLostError,
    "57P01": ConnectionLostError,
    "57P02": ConnectionLostError,
    "57P03": DatabaseUnavailableError,
    "57P05": ConnectionLostError,
    "25P03": ConnectionLostError,
    "57014": DatabaseLockedError,
    "53": DatabaseUnavailableError,
    "53100": DatabaseFullError,
    "55P03": DatabaseLockedError,
    "28": DatabaseAccessError,
    "42501": DatabaseAccessError,
    "3D000": DatabaseNotFoundError,
    "25006": DatabaseReadOnlyError,
    "XX001": DatabaseCorruptError,
    "XX002": DatabaseCorruptError,
    "XX": DatabaseUnavailableError,
    "0A": DatabaseUnavailableError,  # a rule that was added while the ledger is open, for instance
    "58": DatabaseUnavailableError,
    "55": DatabaseUnavailableError,
    # SQLite's result codes, sqlite.org/rescode.html
    "SQLITE_CANTOPEN": DatabaseNotFoundError,
    "SQLITE_BUSY": DatabaseLockedError,
    "SQLITE_LOCKED": DatabaseLockedError,
    "SQLITE_READONLY": DatabaseReadOnlyError,
    "SQLITE_READONLY_DBMOVED": DatabaseReplacedError,
    "SQLITE_FULL": DatabaseFullError,
    "SQLITE_CORRUPT": DatabaseCorruptError,
    "SQLITE_NOTADB": DatabaseCorruptError,
    "SQLITE_IOERR": DatabaseUnavailableError,
    "SQLITE_PERM": DatabaseAccessError,
    "SQLITE_AUTH": DatabaseAccessError,
    "SQLITE_PROTOCOL": DatabaseUnavailableError,
    "SQLITE_NOMEM": DatabaseUnavailableError,
    "SQLITE_INTERRUPT": DatabaseUnavailableError,
}
_RETRY = ("40001", "40P01", "SQLITE_BUSY_SNAPSHOT", "SQLITE_BUSY_RECOVERY", "SQLITE_SCHEMA")
_CONSTRAINT = ("23", "P0", "SQLITE_CONSTRAINT")  # P0: a trigger of the host refused it
_NO_SUCH_TABLE = ("42P01", "42703", "42883")
_TAKEN = ("42P07", "42710", "42723")  # duplicate_table, duplicate_object, duplicate_function: only migrations create
_TAKEN_ON_SQLITE = ("already exists", "there is already")


_OURS = re.compile(r"OC\d{3}")  # a host's own triggers raise other texts


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        current = waiting.pop(0)
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [getattr(current, "orig", None), current.__cause__]


def error_code(error: BaseException) -> str | None:
    """Return the SQLSTATE or SQLite's error name of a driver's error, or of one that wraps it."""
    for cause in _chain(error):
        for name in ("sqlstate", "sqlite_errorname"):
            code = getattr(cause, name, None)
            if isinstance(code, str) and code:
                return code
    return None


def guard_code(error: BaseException) -> str | None:
    """Return the code (`OC001` ...) with which a guard refused, or None if none did."""
    code = error_code(error)
    if code == "SQLITE_CONSTRAINT_TRIGGER":  # SQLite puts RAISE's text where PostgreSQL has a state
        code = _message(error).partition(":")[0]
    return code if code and _OURS.fullmatch(code) else None


def _message(error: BaseException) -> str:
    cause = next((c for c in reversed(list(_chain(error))) if str(c)), error)
    return str(cause).strip().splitlines()[0] if str(cause) else type(cause).__name__


def cannot_decode(error: BaseException) -> bool:
    """Return whether a driver failed to convert a stored value to Python: such an error has no code."""
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        if error_code(error) is not None or error.connection_invalidated:
            return False
        return isinstance(error, sqlalchemy.exc.DataError) or "Could not decode to UTF-8" in _message(error)
    return isinstance(error, OverflowError | ValueError) and not isinstance(error, ActionError)


def describe(error: BaseException) -> str:
    """Return a driver's description of a value, which it may quote, as a short text."""
    return _message(error)[:_MAX_DESCRIPTION]


_MAX_DESCRIPTION = 200  # characters


def translate(error: BaseException, url: str) -> ActionError | None:
    """Return this library's error for a driver's, or None for other errors.

    `url` is shown in the message, so it must come without its password.
    """
    code, message = error_code(error), _message(error)
    if code is None:
        return _undecodable(error) or _translate_unnamed(error, message, url)
    if code.startswith(_RETRY):
        return RetryTransactionError(code=code)
    if code in _NO_SUCH_TABLE or (code == "SQLITE_ERROR" and "no such" in message):
        return GuardMissingError(url=url, guards=(message,))
    if code.startswith(_CONSTRAINT) or _OURS.fullmatch(code) or (code == "SQLITE_ERROR" and "JSON" in message):
        return ConstraintError(code=code, detail=message)
    if code in _TAKEN or (code == "SQLITE_ERROR" and any(words in message for words in _TAKEN_ON_SQLITE)):
        return NameTakenError(url=url, names=(message.removesuffix(" already exists"),))
    kind = _kind_of(code)
    return None if kind is None else kind(url=url, detail=message, code=code)


def _kind_of(code: str) -> type[DatabaseUnavailableError] | None:
    if code.startswith("SQLITE_CANTOPEN") and _no_descriptor_is_left():
        return TooManyOpenFilesError
    known = [prefix for prefix in _UNAVAILABLE if code.startswith(prefix)]
    return _UNAVAILABLE[max(known, key=len)] if known else None


_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)
_DESCRIPTORS_OF_SQLITE = 4  # the file, its -wal, its -shm, and one more


def _no_descriptor_is_left() -> bool:
    """Return whether no file can be opened; SQLite itself does not say why it could not open one."""
    with ExitStack() as taken:
        for _ in range(_DESCRIPTORS_OF_SQLITE):
            try:
                descriptor = os.open(os.sep, os.O_RDONLY)  # a folder: closing the file would drop SQLite's locks
            except OSError as error:
                return error.errno in _NO_DESCRIPTOR
            taken.callback(os.close, descriptor)
    return False


def _undecodable(error: BaseException) -> ActionError | None:
    if not cannot_decode(error) or isinstance(error, ValueError):  # which could be about a caller's value
        return None
    return UnreadableRowError(table="", id=None, column=None, detail=describe(error))


_REFUSALS = [refusal for driver in DRIVERS for refusal in driver.refusals.items()]


def _translate_unnamed(error: BaseException, message: str, url: str) -> ActionError | None:
    disconnected = isinstance(error, sqlalchemy.exc.DBAPIError) and error.connection_invalidated
    if isinstance(error, sqlalchemy.exc.TimeoutError):
        return DatabaseLockedError(url=url, detail=f"no connection of the pool became free: {message}")
    if isinstance(error, TimeoutError):
        return DatabaseUnavailableError(url=url, detail="no answer in time")
    if disconnected:
        return ConnectionLostError(url=url, detail=message)
    if isinstance(error, OSError | sqlalchemy.exc.InterfaceError):
        is_left = getattr(error, "errno", None) not in _NO_DESCRIPTOR
        return (DatabaseUnavailableError if is_left else TooManyOpenFilesError)(url=url, detail=message)
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        kinds = (kind for words, kind in _REFUSALS if re.search(words, message))
        return next(kinds, DatabaseUnavailableError)(url=url, detail=message)
    return None


Diagnosis = Callable[[sa.Connection], ActionError]


class GuardRefusal(Exception):  # noqa: N818 - not an error yet: its diagnosis determines the error
    """A refusal by a guard of the database; `diagnose` finds its reason, once the transaction is usable again."""

    def __init__(self, diagnose: Diagnosis) -> None:
        super().__init__()
        self.diagnose = diagnose


@contextmanager
def translating_errors(url: URL) -> Generator[None]:
    """Translate driver errors into this library's, in which `url` is shown without its password."""
    try:
        yield
    except (ActionError, GuardRefusal):
        raise
    except Exception as error:
        known = translate(error, display_url(url))
        if known is None:
            raise
        raise known from error


_NO_PRIVILEGE = "42501"


@contextmanager
def naming_missing_right(url: URL, problem: str) -> Generator[None]:
    """Say by `problem` which role has the right that this one lacks.

    Raises:
        DatabaseAccessError: The role lacks a right.
    """
    try:
        yield
    except sqlalchemy.exc.DBAPIError as error:
        if error_code(error) != _NO_PRIVILEGE:
            raise
        raise DatabaseAccessError(url=display_url(url), detail=problem, code=_NO_PRIVILEGE) from error
