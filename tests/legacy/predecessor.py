"""Databases as the raw-SQL predecessor left them, with a default for everything that a test does not care about."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

TABLES = """
CREATE TABLE action_proposals (
    id INTEGER PRIMARY KEY AUTOINCREMENT, ticket_id INTEGER, action_name TEXT, action_type TEXT, parameters TEXT,
    reason TEXT, status TEXT, proposed_at TEXT, proposed_by TEXT, validated_at TEXT, cancelled_at TEXT,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP, updated_at TEXT DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE action_records (
    id INTEGER PRIMARY KEY AUTOINCREMENT, proposal_id INTEGER, started_at TEXT, completed_at TEXT, success INTEGER,
    error_message TEXT, result_data TEXT, created_at TEXT DEFAULT CURRENT_TIMESTAMP
);
"""
UNTYPED = """
CREATE TABLE action_proposals (
    id, ticket_id, action_name, action_type, parameters, reason, status, proposed_at, proposed_by, validated_at,
    cancelled_at, created_at, updated_at
);
CREATE TABLE action_records (
    id, proposal_id, started_at, completed_at, success, error_message, result_data, created_at
);
"""
"""The same without any rule: every value stays what it is, and an id may be there twice."""

ZONE = "Europe/Berlin"
PROPOSED, VALIDATED, STARTED, ENDED = (f"2024-05-01T10:0{minute}:00" for minute in range(4))
UTC_AT = "2024-05-01 08:05:00"
STEPS = {"validated_at": VALIDATED}


class Predecessor:
    """The file of the predecessor, open for writing."""

    def __init__(self, path: Path, tables: str = TABLES) -> None:
        self.path = path
        with self._connected() as connection:
            connection.executescript(tables)

    def proposal(self, status: object = "proposed", /, **given: Any) -> int:
        """Insert a proposal, and return its row id."""
        default = {
            "ticket_id": 7,
            "action_name": "drain_store",
            "action_type": "tool",
            "parameters": '{"store":4}',
            "reason": "store 4 is hot",
            "status": status,
            "proposed_at": PROPOSED,
            "proposed_by": "agent",
            "created_at": UTC_AT,
            "updated_at": UTC_AT,
        }
        return self._insert("action_proposals", {**default, **given})

    def record(self, proposal_id: object, /, **given: Any) -> int:
        """Insert a record, and return its row id; it ended well unless told otherwise."""
        ended = {"started_at": STARTED, "completed_at": ENDED, "success": 1, "result_data": '{"moved":212}'}
        return self._insert("action_records", {"proposal_id": proposal_id, **ended, "created_at": UTC_AT, **given})

    def run(self, status: str = "completed", /, *, record: dict[str, Any] | None = None, **given: Any) -> int:
        """Insert a proposal that was started, with its record, and return the row id of the proposal."""
        number = self.proposal(status, **{**STEPS, **given})
        self.record(number, **{"success": int(status == "completed"), **(record or {})})
        return number

    def one_of_each(self) -> list[int]:
        """Insert what can be true, in every state, and return the row ids."""
        open_record = {"completed_at": None, "success": None, "result_data": None}
        return [
            self.proposal(),
            self.proposal("validated", **STEPS),
            self.run("completed"),
            self.run("failed", record={"error_message": "boom", "result_data": None}),
            self.run("executing", record=open_record),
            self.proposal("cancelled", cancelled_at=VALIDATED),
            self.proposal("cancelled", **STEPS, cancelled_at=STARTED),
        ]

    def execute(self, statement: str, *values: object) -> None:
        """Run any statement."""
        with self._connected() as connection:
            connection.execute(statement, values)

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return all rows, bytes that are no UTF-8 as lone surrogates."""
        with self._connected() as connection:
            connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY rowid")]

    def _insert(self, table: str, values: dict[str, Any]) -> int:
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        with self._connected() as connection:
            done = connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(values.values()))
        return done.lastrowid or 0

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            with connection:
                yield connection


def read_rejects(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file of rejected rows."""
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
