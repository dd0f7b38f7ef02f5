"""Which database a command works on."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

from operator_core.actions import DatabaseUrlError, UnreadableRowError
from operator_core.cli import screen
from operator_core.db import ActionDB
from operator_core.db.engine.urls import DEFAULT_PATH, URL_VARIABLE, target_url


def database_url(given: str | None) -> URL:
    """Return the URL of `--url` or of the environment, each of which may also be the path of a file.

    Raises:
        DatabaseUrlError: `--url` is empty, as from a variable that is not set: it must not mean another database.
    """
    if given is None:
        given = os.environ.get(URL_VARIABLE) or str(DEFAULT_PATH)
    if not given.strip():
        raise DatabaseUrlError("--url is empty: name the database")
    return target_url(given if "://" in given else Path(given))


def existing(given: str | None, on_unreadable: Callable[[UnreadableRowError], Any] | None = None) -> ActionDB:
    """Return a ledger that must be there: nothing is created or migrated; a row that cannot be read is warned of."""
    return ActionDB(database_url(given), migrate="check", on_unreadable=on_unreadable or _warn)


def _warn(error: UnreadableRowError) -> None:
    screen.warn(str(error))
