"""Rows that cannot be read: calls that read many rows skip them, and report and remember each one."""

from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy.engine import Dialect

from operator_core.actions.errors import UnreadableRowError
from operator_core.db.schema import proposals
from operator_core.db.stores.reading import Found
from operator_core.logs import get_logger

T = TypeVar("T")
OnUnreadable = Callable[[UnreadableRowError], Any]
"""A callback that receives the error of a skipped row, once for each row."""

log = get_logger("operator_core")


def warn(error: UnreadableRowError) -> None:
    """Log the error as a warning."""
    log.warning("%s", error, extra={"table": error.table, "row_id": error.id, "column": error.column})


class UnreadableRows:
    """The rows of one ledger that this process has skipped.

    Args:
        report: Called once for each row; by default a warning is logged.

    Attributes:
        proposals: The ids of proposals that no claim and no validation shall meet again.
    """

    def __init__(self, report: OnUnreadable | None = None) -> None:
        self._report = report or warn
        self._reported: set[tuple[str, int | None]] = set()
        self.proposals: set[int] = set()

    def add(self, error: UnreadableRowError) -> None:
        """Remember a row, and report it unless it was reported before."""
        if error.table == proposals.name and error.id is not None:
            self.proposals.add(error.id)
        if (error.table, error.id) not in self._reported:
            self._reported.add((error.table, error.id))
            self._report(error)

    def readable(self, found: Found[T]) -> list[T]:
        """Return the readable rows, and remember the others."""
        for error in found.unreadable:
            self.add(error)
        return found.items


_of_engines: WeakKeyDictionary[Dialect, UnreadableRows] = WeakKeyDictionary()


def of_engine(dialect: Dialect) -> UnreadableRows:
    """Return the registry of a host's engine, which has one dialect whatever its options."""
    return _of_engines.setdefault(dialect, UnreadableRows())
