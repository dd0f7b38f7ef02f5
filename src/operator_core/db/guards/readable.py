"""The columns that are checked so that a row can be read back, and the limits of the library that apply to them.

The guards refuse what the library could not read or would never write. So whatever client has written a row, no read,
recovery or worker breaks on it. The conditions themselves differ by engine.
"""

from collections.abc import Iterable

import sqlalchemy as sa

from operator_core.actions.validation import (
    MAX_NAME_CHARACTERS,
    MAX_PARAMETERS_BYTES,
    MAX_RESULT_BYTES,
    MAX_TEXT_CHARACTERS,
)
from operator_core.db.types import JsonText

MAX_LEVELS = 190
"""The depth of JSON that Pydantic's parser reads, 200, minus room for the event that holds the value as a member."""

MAX_DIGITS = 640
"""The digits of an integer that Python reads, whatever its limit is set to."""

MAX_NUMBER = "1.7976931348623157e308"
"""The largest number of double precision: JSON may hold larger ones, which come back as infinity."""

_NAMES = frozenset(
    {"action_name", "idempotency_key", "claim_key", "worker", "by", "on_behalf_of", "role", "login", "digest"}
)


def text_limit(name: str) -> int:
    """Return how many characters a column of text may hold."""
    return MAX_NAME_CHARACTERS if name in _NAMES or name.endswith("_by") else MAX_TEXT_CHARACTERS


def json_limit(name: str) -> int:
    """Return how many bytes a column of JSON may hold."""
    # A late report holds a result with its outcome and its error.
    return {"parameters": MAX_PARAMETERS_BYTES, "result_data": MAX_RESULT_BYTES}.get(name, 2 * MAX_RESULT_BYTES)


def text_columns(table: sa.Table, names: Iterable[str]) -> list[str]:
    """Return those of some columns that hold free text."""
    return [name for name in names if isinstance(table.c[name].type, sa.Text)]


def json_columns(table: sa.Table, names: Iterable[str]) -> list[str]:
    """Return those of some columns that hold a JSON object."""
    return [name for name in names if isinstance(table.c[name].type, JsonText)]
