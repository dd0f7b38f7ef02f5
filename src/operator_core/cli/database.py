"""The database of a command, and the protection of a misplaced URL from being repeated."""

import argparse
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

from operator_core.actions import DatabaseUrlError, UnreadableRowError
from operator_core.cli import output
from operator_core.db import ActionDB
from operator_core.db.engine.url_text import looks_like_a_url
from operator_core.db.engine.urls import DEFAULT_PATH, URL_VARIABLE, file_or_url

_MISPLACED = ("unrecognized arguments", "invalid choice")  # in the words of argparse
_SCOPES = ("argument --scope", "argument scope")
_SCOPE = re.compile(r"(?!\w*pass)\w+=[^:=]*")  # action_name=x, but neither a URL nor libpq's user=u password=x
_REVISION = re.compile(r"[\w:+-]{1,80}")
_HIDDEN = "***"


def database_url(given: str | None) -> URL:
    """Return the URL of `--url` or of the environment, each of which may also be the path of a file.

    Raises:
        DatabaseUrlError: `--url` is empty, as from an unset variable: it must not mean another database.
    """
    if given is None:
        given = os.environ.get(URL_VARIABLE) or str(DEFAULT_PATH)
    if not given.strip():
        raise DatabaseUrlError("--url is empty: name the database")
    return file_or_url(given)


def open_existing(given: str | None, on_unreadable: Callable[[UnreadableRowError], Any] | None = None) -> ActionDB:
    """Return a ledger that must exist: nothing is created or migrated, and unreadable rows cause warnings."""
    return ActionDB(database_url(given), migrate="check", on_unreadable=on_unreadable or _warn)


def _warn(error: UnreadableRowError) -> None:
    output.print_warning(str(error))


def file_path(text: str) -> Path:
    """Return the path of a file, other than the database, that a command reads or writes."""
    if "://" in text or looks_like_a_url(text):
        raise argparse.ArgumentTypeError(
            "this looks like a database URL, which is named with --url; a file of such a name is written ./name"
        )
    return Path(text)


def revision(text: str) -> str:
    """Return the revision that a person has typed, which is not a URL."""
    if not _REVISION.fullmatch(text):
        raise argparse.ArgumentTypeError("a revision is its number, head or base; the database is named with --url")
    return text


def hide_urls(message: str, words: Sequence[str]) -> str:
    """Return argparse's message without the typed words that may hold a password."""
    misplaced = any(text in message for text in _MISPLACED)
    for word in sorted(words, key=len, reverse=True):
        value = word.partition("=")[2] if word.startswith("-") else word
        # A wrong scope is reported by its value, which looks like a part of a URL.
        is_url = looks_like_a_url(value) and not (message.startswith(_SCOPES) and _SCOPE.fullmatch(value))
        if value and (is_url or (misplaced and value != word)):
            for shown in (value, repr(value)[1:-1], ascii(value)[1:-1]):
                message = message.replace(shown, _HIDDEN)
    return message
