"""What is done once for each engine."""

from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.engine import URL, Dialect


class EngineMarks:
    """Marks on engines; all options and dedicated connections of an engine share its mark, also after `dispose`.

    An engine is known by its dialect and its URL: engines of ours share a dialect.
    """

    def __init__(self) -> None:
        self._marked: WeakKeyDictionary[Dialect, set[URL]] = WeakKeyDictionary()

    def __contains__(self, connection: sa.Connection) -> bool:
        return connection.engine.url in self._marked.get(connection.dialect, ())

    def add(self, connection: sa.Connection) -> None:
        """Mark the engine of a connection."""
        self._marked.setdefault(connection.dialect, set()).add(connection.engine.url)
