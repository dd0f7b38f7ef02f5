"""A ledger under test, told apart by engine only where plain SQL is spoken to it."""

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

from tests.support.patience import PATIENCE

DRIVER = os.environ.get("OPERATOR_CORE_TEST_DRIVER", "asyncpg")
"""The driver of PostgreSQL with which the contract tests run: asyncpg or psycopg."""


@dataclass(frozen=True)
class Ledger:
    """Where a ledger is: a SQLite file, or the URL of a PostgreSQL database."""

    target: Path | str

    @property
    def is_sqlite(self) -> bool:
        return isinstance(self.target, Path)

    @property
    def dsn(self) -> str:
        """The URL as psycopg wants it."""
        return make_url(str(self.target)).set(drivername="postgresql").render_as_string(hide_password=False)

    def connect(self) -> sqlite3.Connection | psycopg.Connection:
        """Return an autocommitting client that speaks plain SQL, on SQLite with foreign keys off."""
        if isinstance(self.target, Path):
            return sqlite3.connect(self.target, isolation_level=None, timeout=PATIENCE)
        return psycopg.connect(self.dsn, autocommit=True)
