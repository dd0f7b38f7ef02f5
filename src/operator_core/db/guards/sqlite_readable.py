"""SQLite conditions that a new row could not be read back: its columns take any type, and its texts any bytes."""

import re
from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.schema import CheckConstraint

from operator_core.db.guards.conditions import FIRST_TIME, LAST_TIME, WHITESPACE
from operator_core.db.guards.readable import (
    MAX_DIGITS,
    MAX_LEVELS,
    MAX_NUMBER,
    json_columns,
    json_limit,
    text_columns,
    text_limit,
)
from operator_core.db.types import EnumText, JsonText, UtcDateTime

_PIECE = 512  # bytes
_HIGHEST = 309  # digits of the largest number of double precision
_LITERAL_OR = r"'[^']*'|\b(?:{})\b"
_IN_LIST = r"(\w+) (NOT )?IN \(('[^)]*')\)"
_NOT_ASCII = "GLOB '*[^ -~\n]*'"
_ONE_BYTE, _CONTINUATION = "[0-7]*", "[89AB]*"
_LEADS = {  # the well-formed sequences of UTF-8 as hexadecimal digits, Unicode Standard, table 3-7
    1: ("C[2-9A-F][89AB]*", "D?[89AB]*"),
    2: ("E0[AB]?[89AB]*", "E[1-9A-C][89AB]?[89AB]*", "ED[89]?[89AB]*", "E[EF][89AB]?[89AB]*"),
    3: ("F0[9AB]?[89AB]?[89AB]*", "F[123][89AB]?[89AB]?[89AB]*", "F48?[89AB]?[89AB]*"),
}


def _has_wrong_type(column: sa.Column[object]) -> str | None:
    """Return the condition that a value has another type than its column; None if another condition covers it.

    It calls no function, which would cost more than all the rest: SQLite orders numbers before texts, and texts before
    blobs.
    """
    value, kind = _new(column.name), column.type
    if isinstance(kind, sa.Boolean):
        return f"{value} NOT IN (0, 1)"
    if isinstance(kind, sa.Integer):
        return f"{value} IS NOT CAST({value} AS INTEGER)"
    if isinstance(kind, sa.Text | EnumText | JsonText):
        return f"{value} >= x''"
    return None


def _new(name: str) -> str:
    return f'NEW."{name}"' if name in ("by", "before") else f"NEW.{name}"


def unreadable(table: sa.Table, names: Iterable[str], *, changed: bool = False) -> list[str]:
    """Return conditions, each true of a row of which one of some columns could not be read back.

    Conditions that read a document come last, so that only text within its limit is read as one. With `changed`, only
    what an UPDATE changes is checked: existing values must not keep a row from being closed.
    """
    names = list(names)
    texts, documents = text_columns(table, names), json_columns(table, names)

    def asked(name: str, condition: str) -> str:
        old = _new(name).replace("NEW", "OLD")
        return f"({_new(name)} IS NOT {old} AND ({condition}))" if changed else condition

    types = {name: _has_wrong_type(table.c[name]) for name in names}
    plain = [asked(name, condition) for name, condition in types.items() if condition]
    plain += [asked(name, f"length({_new(name)}) > {text_limit(name)}") for name in texts]
    plain += [asked(name, _no_time(_new(name))) for name in names if isinstance(table.c[name].type, UtcDateTime)]
    if "lease_seconds" in names:
        plain.append(asked("lease_seconds", "NOT (NEW.lease_seconds > 0 AND NEW.lease_seconds <= 86400)"))
    conditions = [" OR ".join(plain)]
    conditions += [asked(name, f"length(CAST({_new(name)} AS BLOB)) > {json_limit(name)}") for name in documents]
    if characters := [*texts, *documents]:
        conditions.append(_no_unicode([(asked(name, "1"), _new(name)) for name in characters]))
    return [*conditions, *(asked(name, _unreadable_json(_new(name))) for name in documents)]


def _no_time(value: str) -> str:
    """Return the condition that a time does not read `YYYY-MM-DD HH:MM:SS.ffffff`, or lies outside the calendar."""
    seconds = f"strftime('%Y-%m-%d %H:%M:%S', substr({value}, 1, 19), '+0 days') IS NOT substr({value}, 1, 19)"
    fraction = f"substr({value}, 20) NOT GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]'"
    years = f"{value} NOT BETWEEN '{FIRST_TIME}' AND '{LAST_TIME}'"
    return f"({value} IS NOT NULL AND ({seconds} OR {fraction} OR {years}))"


def _no_unicode(texts: Sequence[tuple[str, str]]) -> str:
    """Return the condition that a text to check holds NUL, or bytes that are not UTF-8.

    Most texts hold only ASCII, so that is checked first.
    """
    nul = " OR ".join(f"{asked} AND instr({text}, char(0))" for asked, text in texts)
    not_ascii = " OR ".join(f"{asked} AND {text} {_NOT_ASCII}" for asked, text in texts)
    # Separated: two halves of a character must not meet.
    whole = " || ' ' || ".join(
        f"CASE WHEN {asked} AND {text} IS NOT NULL THEN {text} ELSE '' END" for asked, text in texts
    )
    return f"{nul} OR ({not_ascii}) AND {_no_utf8(whole)}"


def _no_utf8(text: str) -> str:
    leads = " ".join(
        f"WHEN s.h GLOB '{pattern}' THEN {following}" for following, patterns in _LEADS.items() for pattern in patterns
    )
    # Each lead byte adds the number of bytes that must follow it, and each following byte subtracts one: the sum is 0.
    counted = f"sum(CASE WHEN s.h GLOB '{_ONE_BYTE}' THEN 0 WHEN s.h GLOB '{_CONTINUATION}' THEN -1 {leads} END)"
    wrong = f"count(*) > count(CASE WHEN s.h GLOB '{_ONE_BYTE}' OR s.h GLOB '{_CONTINUATION}' THEN 0 {leads} END)"
    # In pieces, each with the first bytes of the next one: SQLite copies what it takes a byte from. LIMIT keeps it from
    # building the piece again for each byte.
    whole = f"(SELECT CAST({text} AS BLOB) AS b LIMIT 1) AS t"
    pieces = (
        f"SELECT substr(t.b, c.key * {_PIECE} + 1, {_PIECE + 3}) AS p "
        f"FROM {whole}, {_counting(f'length(t.b) / {_PIECE}')} AS c LIMIT -1"
    )
    positions = f"{_counting(f'min({_PIECE}, length(q.p)) - 1')} AS i WHERE i.key < length(q.p)"
    windows = f"SELECT hex(substr(q.p, i.key + 1, 4)) AS h FROM ({pieces}) AS q, {positions}"
    return f"(SELECT {counted} <> 0 OR {wrong} FROM ({windows}) AS s)"


def _counting(last: str) -> str:
    """Return a table whose `key` counts from 0 to `last`."""
    return f"json_each('[' || replace(hex(zeroblob({last})), '00', '0,') || '0]')"


def _unreadable_json(value: str) -> str:
    """Return the condition that a text is not a JSON object that Python's parser reads and returns equal."""
    brackets = f"length({value}) - length(replace(replace({value}, '[', ''), '{{', '')) > {MAX_LEVELS}"
    levels = "length(j.fullkey) - length(replace(replace(j.fullkey, '[', ''), '.', ''))"
    exponent = f"{value} GLOB '*e[-+0-9]*' OR {value} GLOB '*E[-+0-9]*'"
    large = f"{exponent} OR length({value}) > {_HIGHEST} AND {value} GLOB {_digits(_HIGHEST)}"
    long = f"{value} GLOB {_digits(MAX_DIGITS + 1)}"
    infinite = f"abs(j.atom) > {MAX_NUMBER}"
    number = f"j.type = 'real' AND {infinite} OR j.type = 'integer' AND {infinite} AND {long}"
    tree = f"EXISTS (SELECT 1 FROM json_tree({value}) AS j WHERE {{}})"
    # U+FFFD itself is text like any other; SQLite also reads it where there is no character.
    own = "replace({}, char(65533), '') GLOB '*' || char(65533) || '*'"
    surrogate = " OR ".join(own.format(f"CAST({found} AS TEXT)") for found in ("j.atom", "j.key"))
    # SQLite stops evaluating WHEN conditions as soon as one decides; after ELSE, it would evaluate every part.
    return (
        f"CASE WHEN {value} IS NULL THEN 0 WHEN NOT json_valid({value}) THEN 1 "
        f"WHEN json_type({value}) <> 'object' THEN 1 "
        f"WHEN {brackets} AND {tree.format(f'{levels} >= {MAX_LEVELS}')} THEN 1 "
        f"WHEN ({large}) AND {tree.format(number)} THEN 1 "
        f"WHEN instr({value}, '\\u') "
        f"AND ({tree.format(surrogate)} OR instr(replace({value}, '\\\\', ''), '\\u0000')) THEN 1 ELSE 0 END"
    )


def _digits(number: int) -> str:
    """Return the pattern of a text with this many digits in a row, written out: SQLite would build it for each row."""
    return f"'*{'[0-9]' * number}*'"


def breaks_check(table: sa.Table) -> str:
    """Return the condition that a row breaks a CHECK of its table, because a client may tell SQLite to ignore them.

    The CHECK of the id is left out: a trigger does not know the id before the row exists.
    """
    names = "|".join(table.columns.keys())
    checks = sorted(str(c.sqltext) for c in table.constraints if isinstance(c, CheckConstraint))
    return " OR ".join(
        f"NOT ({re.sub(_LITERAL_OR.format(names), _as_new, re.sub(_IN_LIST, _one_by_one, check))})"
        for check in checks
        if not check.startswith("id ")
    )


def _one_by_one(found: re.Match[str]) -> str:
    """Compare with each value of a list: SQLite would build a table of the list for every row."""
    name, negated, values = found.groups()
    comparisons = [f"{name} {'<>' if negated else '='} {value}" for value in values.split(", ")]
    return f"({(' AND ' if negated else ' OR ').join(comparisons)})"


def _as_new(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith("'") else _new(found[0])


def takes_id_ahead(table: str) -> str:
    """Return the condition that a client chose an id ahead of the counter; after the highest id there is no other."""
    due = f"coalesce((SELECT s.seq FROM sqlite_sequence AS s WHERE s.name = '{table}'), 0) + 1"
    return f"NEW.id > {due} OR NEW.id < 1 AND NEW.id <> -1"  # SQLite shows -1 if no id is given


def name_is_blank(value: str) -> str:
    """Return the condition that a text holds nothing but what Python strips as whitespace."""
    return f"trim({value}, char({', '.join(map(str, WHITESPACE))})) = ''"


def is_ticket(value: str) -> str:
    """Return the condition that a text is an integer of 64 bits as Python writes it."""
    return f"{value} = CAST(CAST({value} AS INTEGER) AS TEXT)"
