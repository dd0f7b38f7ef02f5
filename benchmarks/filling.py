"""Fills a ledger with many rows by plain SQL, its guards out of the way; afterwards they are back."""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg

_INSERT = """
INSERT INTO action_proposals (
    action_name, action_type, parameters, reason, status, proposed_at, proposed_by, generation, status_at, status_by,
    validated_at, executing_at, completed_at, cancelled_at
)
SELECT
    'drain_store', 'subject', '{{"store":"store-4","grace_seconds":30}}', 'store 4 is hot', s.status, {time}, 'agent',
    0, {time}, 'system', CASE WHEN s.status IN ('validated', 'completed') THEN {time} END,
    CASE WHEN s.status = 'completed' THEN {time} END, CASE WHEN s.status = 'completed' THEN {time} END,
    CASE WHEN s.status = 'cancelled' THEN {time} END
FROM (
    SELECT CASE
        WHEN n > {rows} - {pending} THEN CASE n % 2 WHEN 0 THEN 'proposed' ELSE 'validated' END
        ELSE CASE n % 10 WHEN 0 THEN 'completed' ELSE 'cancelled' END
    END AS status FROM ({series}) AS numbers
) AS s"""

_RECORDS = """
INSERT INTO action_records (proposal_id, started_at, completed_at, success, outcome)
SELECT id, executing_at, completed_at, {true}, 'succeeded' FROM action_proposals WHERE status = 'completed'"""

_EVENT = """
INSERT INTO action_events (proposal_id, from_status, to_status, at, "by", generation)
SELECT id, {source}, '{target}', {time}, 'system', 0 FROM action_proposals WHERE {condition}"""
_STEPS = (
    ("NULL", "proposed", "true"),
    ("'proposed'", "validated", "validated_at IS NOT NULL"),
    ("'validated'", "executing", "executing_at IS NOT NULL"),
    ("'executing'", "completed", "completed_at IS NOT NULL"),
    ("'proposed'", "cancelled", "cancelled_at IS NOT NULL"),
)

_RESTORE = """
UPDATE action_proposals SET
    status = CASE id % 2 WHEN 0 THEN 'proposed' ELSE 'validated' END, status_at = {time}, cancelled_at = NULL,
    status_by = 'system', status_reason = NULL, validated_at = CASE id % 2 WHEN 1 THEN {time} END
WHERE id > {rows} - {pending}"""
_FORGET = "DELETE FROM action_events WHERE to_status = 'cancelled' AND proposal_id > {rows} - {pending}"


class Filler(ABC):
    """Fills a migrated, empty ledger: with the history of every row.

    One in ten of what is finished was completed, the others cancelled; half of what is pending is validated.
    """

    time = true = series = ""

    def __init__(self, target: str, rows: int, pending: int) -> None:
        self.target = target
        self._texts: dict[str, Any] = {"rows": rows, "pending": pending, "time": self.time, "true": self.true}
        self._texts["series"] = self.series.format(rows=rows)

    @abstractmethod
    def unguarded(self) -> Any:
        """Give a connection in a block; within it no guard looks, after it all do and the tables are tidy."""

    def fill(self) -> None:
        """Make the rows."""
        with self.unguarded() as connection:
            connection.execute(_INSERT.format(**self._texts))
            connection.execute(_RECORDS.format(**self._texts))
            for source, target, condition in _STEPS:
                texts = {**self._texts, "source": source, "target": target, "condition": condition}
                connection.execute(_EVENT.format(**texts))

    def restore(self) -> None:
        """Make pending again what was pending, and forget what happened since."""
        with self.unguarded() as connection:
            connection.execute(_RESTORE.format(**self._texts))
            connection.execute(_FORGET.format(**self._texts))


class SqliteFiller(Filler):
    """Takes the triggers away and puts them back word for word."""

    time, true = "'2026-01-01 00:00:00.000000'", "1"
    series = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {rows}) SELECT n FROM s"

    def __init__(self, path: Path, rows: int, pending: int) -> None:
        super().__init__(f"sqlite:///{path}", rows, pending)
        self._path = path

    @contextmanager
    def unguarded(self) -> Generator[sqlite3.Connection]:
        """Give a connection in a block."""
        with closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            guards = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
            connection.execute("BEGIN IMMEDIATE")
            for name, _ in guards:
                connection.execute(f"DROP TRIGGER {name}")
            yield connection
            for _, sql in guards:
                connection.execute(sql)
            connection.execute("COMMIT")
            connection.execute("ANALYZE")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


class PostgresqlFiller(Filler):
    """Has a session in which no trigger fires."""

    time, true = "TIMESTAMPTZ '2026-01-01 00:00:00+00'", "true"
    series = "SELECT n FROM generate_series(1, {rows}) AS n"

    @contextmanager
    def unguarded(self) -> Generator[psycopg.Connection]:
        """Give a connection in a block."""
        with psycopg.connect(self.target, autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            yield connection
            for table in ("action_proposals", "action_records", "action_events"):
                connection.execute(f"VACUUM (ANALYZE) {table}")
            connection.execute("CHECKPOINT")
