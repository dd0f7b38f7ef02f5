"""The restoration of what rebuilding a table on SQLite loses."""

import sqlalchemy as sa
from sqlalchemy import event


class TriggerRestorer:
    """A watcher that restores what a rebuilt SQLite table lost: triggers that the revision kept, and the last id."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._before: dict[str, str] | None = None
        self._ids: dict[str, int] = {}
        event.listen(connection, "before_cursor_execute", self._look)
        event.listen(connection, "after_cursor_execute", self._forget_dropped)

    def _look(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        if self._before is None and statement.split()[:1] not in (["BEGIN"], ["PRAGMA"]):
            self._before = {}
            self._remember()

    def _forget_dropped(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        if self._before and [word.upper() for word in statement.split()[:2]] == ["DROP", "TRIGGER"]:
            now = self._triggers()
            named = statement.rstrip("; \n").replace('"', " ").replace(".", " ").split()[-1]
            if named not in now:
                self._before.pop(named, None)

    def _remember(self) -> None:
        self._before, self._ids = self._triggers(), self._last_ids()

    def _triggers(self) -> dict[str, str]:
        found = self._connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        return {row.name: row.sql for row in found}

    def _last_ids(self) -> dict[str, int]:
        has = "SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'"
        if not self._connection.exec_driver_sql(has).scalar():
            return {}
        return {row.name: row.seq for row in self._connection.exec_driver_sql("SELECT name, seq FROM sqlite_sequence")}

    def _is_table(self, name: str) -> bool:
        found = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
        return bool(self._connection.exec_driver_sql(found, (name,)).scalar())

    def restore(self, **_: object) -> None:
        """Compare with the state before the revision that was just applied, and restore what is missing."""
        now, ids = self._triggers(), self._last_ids()
        for name, sql in (self._before or {}).items():
            if name not in now:
                self._connection.exec_driver_sql(sql)
        for name, seq in self._ids.items():
            if ids.get(name, 0) < seq and self._is_table(name):
                self._connection.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
                self._connection.exec_driver_sql("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (name, seq))
        self._remember()

    def close(self) -> None:
        """Stop watching."""
        event.remove(self._connection, "before_cursor_execute", self._look)
        event.remove(self._connection, "after_cursor_execute", self._forget_dropped)
