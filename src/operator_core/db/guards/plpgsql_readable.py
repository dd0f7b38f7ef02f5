"""PostgreSQL conditions that a new row could not be read back; its types already ensure most of it."""

from collections.abc import Iterable

import sqlalchemy as sa

from operator_core.db.guards.conditions import WHITESPACE
from operator_core.db.guards.readable import MAX_DIGITS, MAX_LEVELS, json_columns, json_limit, text_columns, text_limit

FUNCTION = "operator_core_json_unreadable"
ARGUMENTS = "document text"

# Backslashes are in E'' strings: their meaning in others depends on a setting.
_SUSPECT = r"E'\\\\u|[0-9][eE]'"
_AS_LONG_AS_INFINITY = 309


def _digits(number: int) -> str:
    """Return the pattern of this many digits; a bound of PostgreSQL goes up to 255."""
    return "[0-9]{255}" * (number // 255) + f"[0-9]{{{number % 255}}}"


def unreadable(table: sa.Table, names: Iterable[str], *, changed: bool = False) -> str:
    """Return the condition that one of some columns could not be read back.

    Times are not included: `plpgsql.unreadable_times` compares those. With `changed`, only what an UPDATE changes is
    checked: existing values must not keep a row from being closed.
    """
    names = list(names)
    # Most texts are shorter in bytes than their limit in characters, and bytes are counted without reading the text.
    conditions = {
        name: f'octet_length(NEW."{name}") > {text_limit(name)} AND length(NEW."{name}") > {text_limit(name)}'
        for name in text_columns(table, names)
    }
    conditions |= {name: _unreadable_json(f"NEW.{name}", json_limit(name)) for name in json_columns(table, names)}
    if "lease_seconds" in names:
        conditions["lease_seconds"] = "NOT (NEW.lease_seconds > 0 AND NEW.lease_seconds <= 86400)"
    if not changed:
        return " OR ".join(conditions.values())
    return " OR ".join(
        f'NEW."{name}"::text IS DISTINCT FROM OLD."{name}"::text AND ({text})' for name, text in conditions.items()
    )


def _unreadable_json(value: str, limit: int) -> str:
    text = f"{value}::text"
    brackets = f"octet_length({text}) - octet_length(translate({text}, '[{{', ''))"
    long = f"octet_length({text}) > {_AS_LONG_AS_INFINITY} AND {text} ~ '{_digits(_AS_LONG_AS_INFINITY)}'"
    # The function reads the document several times, so only suspicious documents are passed to it.
    return (
        f"json_typeof({value}) <> 'object' OR octet_length({text}) > {limit} "
        f"OR ({text} ~ {_SUSPECT} OR {long} OR {brackets} > {MAX_LEVELS}) AND {FUNCTION}({text})"
    )


def json_unreadable() -> str:
    """Return the body of the function that finds what Python's parser refuses or changes in a JSON text."""
    return rf"""
DECLARE
    -- Without its strings, in which brackets and digits mean nothing.
    bare text := regexp_replace(document, E'"(?:[^"\\\\]|\\\\.)*"', '0', 'g');
    levels text := regexp_replace(bare, E'[^\\[\\]{{}}]', '', 'g');
BEGIN
    IF bare ~ '{_digits(MAX_DIGITS + 1)}' THEN
        RETURN true;
    END IF;
    FOR level IN 1..{MAX_LEVELS} LOOP
        EXIT WHEN levels = '';
        levels := replace(replace(levels, '[]', ''), '{{}}', '');
    END LOOP;
    IF levels <> '' THEN
        RETURN true;
    END IF;
    PERFORM document::jsonb;  -- refuses NUL and lone surrogates
    PERFORM number[1]::double precision  -- refuses what is larger than a float, or is none any more
    FROM regexp_matches(bare, E'-?[0-9]+(?:\\.[0-9]+)?[eE][-+]?[0-9]+|-?[0-9]+\\.[0-9]+', 'g') AS number;
    RETURN false;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN true;
END
"""


def name_is_blank(value: str) -> str:
    """Return the condition that a text holds nothing but what Python strips as whitespace."""
    spaces = " || ".join(f"chr({code})" for code in WHITESPACE)
    return f"btrim({value}, {spaces}) = ''"


def is_ticket(value: str) -> str:
    """Return the condition that a text is an integer of 64 bits as Python writes it."""
    # In this order: only texts with few digits are read as numbers.
    return (
        f"CASE WHEN {value} ~ '^(0|-?[1-9][0-9]{{0,18}})$' "
        f"THEN {value}::numeric BETWEEN -9223372036854775808 AND 9223372036854775807 ELSE false END"
    )
