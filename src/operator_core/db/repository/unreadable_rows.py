"""The rows that cannot be read: calls that read many pass over them, report each once, and remember it."""

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
"""A function that is called with the error of a row which a call passes over, once for each row."""

log = get_logger("operator_core")


def warn(error: UnreadableRowError) -> None:
    """Write the error into the log."""
    log.warning("%s", error, extra={"table": error.table, "row_id": error.id, "column": error.column})


class UnreadableRows:
    """The rows of one ledger that were passed over, as long as this process works with it.

    Args:
        report: Is called once for each row; by default the log has a warning.

    Attributes:
        proposals: The ids of proposals that no claim and no validation is to come upon again.
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
        """Return the rows that can be read, and remember the others."""
        for error in found.unreadable:
            self.add(error)
        return found.items


_of_engines: WeakKeyDictionary[Dialect, UnreadableRows] = WeakKeyDictionary()


def of_engine(dialect: Dialect) -> UnreadableRows:
    """Return what was passed over on a host's engine, which has one dialect whatever its options."""
    return _of_engines.setdefault(dialect, UnreadableRows())
