"""Rows that no guard lets in today, planted behind the guards: left by older guards, or by whoever disabled them."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.history import write_past_guards
from tests.support.ledger import Ledger

DEEP = '{"a":' * 250 + "1" + "}" * 250
DIGITS = '{"a":' + "7" * 5_000 + "}"


@dataclass(frozen=True)
class Plant:
    """A value in SQL that cannot be read in a column of a table."""

    table: str
    column: str
    value: str

    def __str__(self) -> str:
        return f"{self.table}.{self.column}={self.value[:30]}"


def _json(text: str) -> str:
    return f"'{text}'"


JSON = [
    *map(
        _json,
        ('{"a":"\\ud800"}', '{"a":"\\udc00\\ud800"}', '{"a":1e400}', '{"a":[1,{"b":-1e999}]}', "[1]", '"text"', "7"),
    ),
    *map(_json, (DEEP, DIGITS, '{"a":' + "9" * 400 + ".5}")),
]
NO_JSON = [*map(_json, ("", "{", '{"a":01}', '{"a":NaN}', "{''a'':1}")), "x'80ff'", "CAST(x'7b80' AS TEXT)", "7", "1.5"]
NO_TEXT = ["CAST(x'80ff' AS TEXT)", "CAST(x'eda080' AS TEXT)", "x'80ff'"]
NO_TIME = ["'soon'", "''", "'2026-02-30 00:00:00.000000'", "'2026-01-01'", "7", "x'80'", "CAST(x'80' AS TEXT)"]
NO_DATE = ["'infinity'", "'-infinity'", "'20000-01-01 00:00:00+00'", "'0044-03-15 00:00:00+00 BC'"]
NO_NUMBER = ["'abc'", "1.5", "x'80'"]
NOT_FINITE = ["'Infinity'", "'-Infinity'", "'NaN'"]


def _plants(columns: dict[str, list[str]], values: list[str]) -> list[Plant]:
    return [Plant(table, column, value) for table, names in columns.items() for column in names for value in values]


_JSON_COLUMNS = {
    "action_proposals": ["parameters"],
    "action_records": ["result_data"],
    "action_events": ["data"],
    "action_notes": ["data"],
}
_TEXT_COLUMNS = {
    "action_proposals": ["action_name", "reason", "proposed_by", "status_by"],
    "action_records": ["worker", "error_message"],
    "action_events": ["by", "reason"],
    "action_notes": ["by"],
    "action_approvals": ["by", "reason", "role", "digest"],
}
_TIME_COLUMNS = {
    "action_proposals": ["proposed_at", "valid_until"],
    "action_records": ["last_seen_at"],
    "action_events": ["at"],
    "action_notes": ["at"],
    "action_approvals": ["at", "expires_at"],
}
SQLITE = [
    *_plants(_JSON_COLUMNS, JSON + NO_JSON),
    *_plants(_TEXT_COLUMNS, NO_TEXT),
    *_plants(_TIME_COLUMNS, NO_TIME),
    *_plants({"action_proposals": ["ticket_id", "generation", "retry_of"], "action_events": ["generation"]}, NO_NUMBER),
    *_plants({"action_approvals": ["generation", "revokes", "replaced_by"]}, NO_NUMBER),
    *_plants({"action_records": ["lease_seconds"]}, ["'abc'", "9e999", "x'80'"]),
]
POSTGRESQL = [
    *_plants(_JSON_COLUMNS, JSON),
    *_plants(_TIME_COLUMNS, NO_DATE),
    *_plants({"action_records": ["lease_seconds"]}, NOT_FINITE),
]


PLANTS = {True: SQLITE, False: POSTGRESQL}
"""Those of SQLite, and those of PostgreSQL."""


def plants(ledger: Ledger, rows: Mapping[Plant, int]) -> None:
    """Write each value that cannot be read into the row with this id, and leave the guards as they were."""
    behind_the_guards(
        ledger, *(f'UPDATE {w.table} SET "{w.column}" = {w.value} WHERE id = {row}' for w, row in rows.items())
    )


def behind_the_guards(ledger: Ledger, *statements: str) -> None:
    """Do what no guard lets anybody do, and leave the guards as they were."""
    write_past_guards(ledger, *statements, checks=False)
