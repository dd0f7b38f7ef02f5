"""Which database a command works on."""

from pathlib import Path

from sqlalchemy.engine import URL

from operator_core.db import ActionDB
from operator_core.db.urls import target_url


def database_url(given: str | None) -> URL:
    """Return the URL of `--url`, which may also be the path of a file; without it, that of the environment."""
    return target_url(Path(given) if given and "://" not in given else given or None)


def existing(given: str | None) -> ActionDB:
    """Return a ledger that must be there: nothing is created or migrated."""
    return ActionDB(database_url(given), migrate="check")
