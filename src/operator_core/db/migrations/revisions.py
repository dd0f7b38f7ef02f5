"""The revisions, and the place of their scripts, which are Alembic's and travel with the package."""

from pathlib import Path

from operator_core.db.guards import names

REVISIONS = ("0001", "0002", "0003", "0004")
"""Every revision, oldest first; the last is the one that this code was written for."""
HEAD = REVISIONS[-1]
VERSION_TABLE = names.VERSION_TABLE

DDL_LOCK_TIMEOUT = 5.0  # seconds: an upgrade that waits for a lock makes all traffic wait behind it


def scripts() -> Path:
    """Return the folder of the scripts: in the package if it is installed, otherwise in the checkout."""
    packaged = Path(__file__).parents[2] / "_alembic"
    return packaged if packaged.is_dir() else Path(__file__).parents[4] / "alembic"
