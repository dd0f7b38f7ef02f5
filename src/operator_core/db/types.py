"""Column types and SQL expressions that mean the same on both engines."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, cast

import sqlalchemy as sa
from pydantic_core import from_json
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeDecorator

from operator_core.actions.validation import dump_json
from operator_core.db.engine.drivers import driver_named

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""64 bits on both engines: only a column declared INTEGER is SQLite's own row id, which has 64 bits."""

AUTOINCREMENT = {"sqlite_autoincrement": True}
"""Table arguments: without AUTOINCREMENT SQLite reuses the highest id after a delete (PostgreSQL never does)."""

WITHOUT_ROWID = {"sqlite_with_rowid": False}
"""Table arguments: without a hidden row id, a table has no second key through which REPLACE could remove a row."""


@dataclass(frozen=True, slots=True)
class Undecodable:
    """A column value that cannot be read; it takes the value's place, so that the row's other values can be read."""

    detail: str


def sqlite_time(at: str = "'now'", *modifiers: str) -> str:
    """Return the SQL of a time as `UtcDateTime` stores it on SQLite, whose clock counts milliseconds.

    Args:
        at: The SQL of the time; by default the time of the statement.
        *modifiers: SQL of the steps from there, as `strftime` takes them.
    """
    return f"strftime('%Y-%m-%d %H:%M:%f', {', '.join((at, *modifiers))}) || '000'"


def time_text(at: datetime) -> str:
    """Return a time in UTC as the text that SQLite stores."""
    return at.replace(tzinfo=None).isoformat(" ", "microseconds")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC: `timestamptz` on PostgreSQL, `YYYY-MM-DD HH:MM:SS.ffffff` on SQLite."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time, which does not define a moment."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise TypeError(f"{value!r} has no time zone: pass an aware datetime")
        return value.astimezone(UTC)

    def bind_processor(self, dialect: Dialect) -> Any:
        """Write SQLite's text directly: SQLAlchemy's own type takes three times as long."""
        if dialect.name != "sqlite":
            return super().bind_processor(dialect)

        def process(value: datetime | None) -> str | None:
            moment = self.process_bind_param(value, dialect)
            return None if moment is None else time_text(moment)

        return process

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Return an aware time: SQLite stores no zone, and some drivers use that of the session."""
        if driver_named(dialect.driver).returns_utc:
            return None
        return _from_text if dialect.name == "sqlite" else _in_utc


def _from_text(text: str | None) -> datetime | Undecodable | None:
    try:
        return None if text is None else datetime.fromisoformat(text + "+00:00")
    except (TypeError, ValueError):
        return Undecodable("it is not a time written as YYYY-MM-DD HH:MM:SS.ffffff")


def _in_utc(moment: datetime | None) -> datetime | Undecodable | None:
    try:
        return None if moment is None else moment.astimezone(UTC)
    except OverflowError:
        return Undecodable("in UTC it lies outside the years 1 to 9999")


class JsonText(TypeDecorator[dict[str, Any]]):
    """A JSON object stored as its exact text.

    JSONB would turn 1e16 into an int and lose -0.0 and the order of the keys. The database returns the text unchanged,
    whatever deserializer the host's engine has, and only this type parses it.
    """

    impl = sa.JSON(none_as_null=True)
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Any:
        """Write our own compact text, whatever serializer the host's engine has."""

        def process(value: object) -> str | None:
            return None if value is None else dump_json(value)

        return process

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Parse the text."""
        return _parsed

    def column_expression(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """Select the text: PostgreSQL's drivers would parse it, and one failure would lose all rows."""
        return as_text(column)


_HARMLESS = frozenset({str, int, bool, type(None)})


def _parsed(text: str | None) -> object:
    if text is None:
        return None
    value: object
    try:
        value = from_json(text)
    except (TypeError, ValueError) as error:
        return Undecodable(f"it is not JSON that can be read: {error}")
    if isinstance(value, dict):
        members = cast("dict[str, object]", value).values()
        if not _HARMLESS.issuperset(map(type, members)) and not _is_finite(members):
            return Undecodable("it holds a number that is too large for a float")
    return value  # pyright: ignore[reportUnknownVariableType] - whatever JSON it is


def _is_finite(values: Iterable[object]) -> bool:
    """Return whether no number became infinity: 1e400 is valid JSON, but could not be returned equal."""
    for value in values:
        match value:
            case float():
                if not math.isfinite(value):
                    return False
            case dict():
                if not _is_finite(cast("Iterable[object]", value.values())):
                    return False
            case list():
                if not _is_finite(cast("Iterable[object]", value)):
                    return False
            case _:
                pass
    return True


def comparable(value: object, *, ignore_key_order: bool = False) -> object:
    """Return a value as `==` can compare it: 1, 1.0 and True are equal in Python, but differ in stored JSON."""
    return json.dumps(value, sort_keys=ignore_key_order) if isinstance(value, dict) else value


class EnumText(TypeDecorator[StrEnum]):
    """A `StrEnum` stored as its text; a named CHECK on the column lists its values."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, enum: type[StrEnum]) -> None:
        super().__init__()
        self.enum = enum

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Refuse a text that is not a member."""
        return None if value is None else self.enum(value).value

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Return the member."""
        members = _Members((member.value, member) for member in self.enum)
        members[None] = None
        return members.__getitem__


class _Members(dict[str | None, StrEnum | None]):
    def __missing__(self, value: object) -> Undecodable:
        return Undecodable(f"it is none of {', '.join(str(member) for member in self if member is not None)}")


def partial_index(name: str, *columns: str, where: str, unique: bool = False) -> sa.Index:
    """Return an index of only those rows that `where`, one text for both engines, selects."""
    condition = sa.text(where)
    return sa.Index(name, *columns, unique=unique, postgresql_where=condition, sqlite_where=condition)


class as_text(FunctionElement[dict[str, Any]]):  # noqa: N801 - reads like the SQL function that it is
    """The JSON of a column, which the database returns as its stored text."""

    type = JsonText()
    inherit_cache = True


@compiles(as_text, "postgresql")
def _as_text_on_postgresql(element: as_text, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **kw)} AS TEXT)"


@compiles(as_text, "sqlite")
def _as_text_on_sqlite(element: as_text, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)
