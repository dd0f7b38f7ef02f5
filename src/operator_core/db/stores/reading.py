"""Reads that survive unreadable rows: one such row does not hide the others.

Rows are normally read together. Only if the driver cannot decode one of them is the result read again in halves, down
to the row, and then column by column.

A read of one row raises `UnreadableRowError`. A read of many returns `Found`. A write whose row cannot be read returns
the error in place of the row; the caller raises it after the commit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from operator_core.actions.errors import UnreadableRowError
from operator_core.db.engine.capabilities import is_sqlite
from operator_core.db.errors import cannot_decode, describe
from operator_core.db.types import Undecodable

T = TypeVar("T")
Values = Mapping[str, Any]
Decode = Callable[[sa.Row[Any]], T]

_FIRST: sa.BindParameter[int] = sa.bindparam("first_id_read", type_=sa.BigInteger())
_LAST: sa.BindParameter[int] = sa.bindparam("last_id_read", type_=sa.BigInteger())


READABLE = "a value that can be read"
"""The expected value in a `Discrepancy` about a value that cannot be read."""


def in_id_range(column: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Return the condition that an id is between the bound values `first` and `last`."""
    return column.between(sa.bindparam("first", type_=sa.BigInteger()), sa.bindparam("last", type_=sa.BigInteger()))


@dataclass
class Found(Generic[T]):
    """The result of reading many rows: the readable ones, in their order, and an error for each other one."""

    items: list[T] = field(default_factory=list[T])
    unreadable: list[UnreadableRowError] = field(default_factory=list[UnreadableRowError])


def many(
    connection: sa.Connection, statement: sa.Select[Any], values: Values, key: sa.Column[int], decode: Decode[T]
) -> Found[T]:
    """Return the rows of a statement, decoded.

    Args:
        connection: The connection to read on.
        statement: Selects all that `decode` needs, including `key`.
        values: The parameters of the statement.
        key: The column with the id of a row.
        decode: Raises `UnreadableRowError` for a row that cannot be read.
    """
    fetched, unreadable = rows(connection, statement, values, key)
    found = Found[T](unreadable=unreadable)
    for row in fetched:
        try:
            found.items.append(decode(row))
        except UnreadableRowError as error:
            unreadable.append(error)
    return found


def one(
    connection: sa.Connection, statement: sa.Select[Any], values: Values, key: sa.Column[int], decode: Decode[T]
) -> T | None:
    """Return the one row of a statement, decoded, or None.

    Raises:
        UnreadableRowError: It cannot be read.
    """
    try:
        row = connection.execute(statement, values).one_or_none()
    except Exception as error:
        if not cannot_decode(error):
            raise
        found, unreadable = _apart(connection, statement, values, key)
        if unreadable:
            raise unreadable[0] from error
        row = found[0] if found else None  # it has changed since
    return None if row is None else decode(row)


def lossy(
    connection: sa.Connection, statement: sa.Select[Any], values: Values, key: sa.Column[int]
) -> list[dict[str, Any]]:
    """Return every row of a statement, in its order, with `Undecodable` for each unreadable value.

    For rows that must be shown whatever they hold: what is engaged, and what runs. `text`, `time` and `number` turn
    their values into displayable ones.

    Args:
        connection: The connection, in a transaction that sees one snapshot.
        statement: Selects `key`, and orders its rows without ties.
        values: The parameters of the statement.
        key: A column that is unique among the rows.
    """
    try:
        fetched = [dict(row._mapping) for row in connection.execute(statement, values)]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - it is public
    except Exception as error:
        if not cannot_decode(error):
            raise
        read = _by_position if is_sqlite(connection) else _by_key
        fetched = read(connection, statement, values, key)
    types = {column.name: column.type for column in statement.selected_columns}
    return [{name: _checked(value, types[name]) for name, value in row.items()} for row in fetched]


def _by_key(
    connection: sa.Connection, statement: sa.Select[Any], values: Values, key: sa.Column[int]
) -> list[dict[str, Any]]:
    found, unreadable = _apart(connection, statement, values, key)
    by_key = {row._mapping[key]: dict(row._mapping) for row in found}  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - it is public
    for error in unreadable:
        row = statement.where(key == error.id)
        by_key[error.id] = {name: scalar(connection, one, values) for name, one in _each_column(row).items()}
    ids = connection.scalars(statement.with_only_columns(key, maintain_column_froms=True), values)
    return [by_key[number] for number in ids if number in by_key]


def _by_position(
    connection: sa.Connection, statement: sa.Select[Any], values: Values, _: sa.Column[int]
) -> list[dict[str, Any]]:
    # SQLite lets a column of any type hold undecodable text, even the key.
    rows = range(
        len(connection.scalars(statement.with_only_columns(sa.literal(1), maintain_column_froms=True), values).all())
    )
    columns: dict[str, Sequence[Any]] = {}
    for name, column in _each_column(statement).items():
        try:
            columns[name] = connection.scalars(column, values).all()
        except Exception as error:
            if not cannot_decode(error):
                raise
            columns[name] = [scalar(connection, column.offset(row).limit(1), values) for row in rows]
    return [{name: column[row] for name, column in columns.items()} for row in rows]


def _each_column(statement: sa.Select[Any]) -> dict[str, sa.Select[Any]]:
    return {
        column.name: statement.with_only_columns(column, maintain_column_froms=True)
        for column in statement.selected_columns
    }


def scalar(connection: sa.Connection, statement: sa.Select[Any], values: Values) -> Any:
    """Return the first value of a statement of one column, or `Undecodable` if it cannot be read."""
    try:
        value = connection.scalars(statement, values).first()
    except Exception as error:
        if not cannot_decode(error):
            raise
        return Undecodable(describe(error))
    return _checked(value, next(iter(statement.selected_columns)).type)


def _checked(value: object, kind: TypeEngine[Any]) -> object:
    """Return a value, or `Undecodable` if it is not of the Python type of its column."""
    if isinstance(value, datetime):
        return Undecodable("it is not a time of the calendar") if value.tzinfo is None else value  # asyncpg's infinity
    for types, wanted, description in _PYTHON_TYPES:
        if isinstance(kind, types) and not isinstance(value, wanted):
            return Undecodable(description)
    return value


_PYTHON_TYPES = (
    (sa.Integer, int | Undecodable | None, "it is not a whole number"),
    (sa.String, str | Undecodable | None, "it is not text"),
)

UNREADABLE_TEXT = "(cannot be read)"
UNREADABLE_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""The time that is shown instead of an unreadable one."""


def text(value: Any) -> Any:
    """Return a text that `lossy` read; a fixed text if it is unreadable."""
    return UNREADABLE_TEXT if isinstance(value, Undecodable) else value


def time(value: Any, default: datetime = UNREADABLE_TIME) -> Any:
    """Return a time that `lossy` read; `default` if it is unreadable."""
    return default if isinstance(value, Undecodable) else value


def number(value: Any, default: int = 0) -> Any:
    """Return a number that `lossy` read; `default` if it is unreadable."""
    return default if isinstance(value, Undecodable) else value


def plain(table: sa.Table) -> Decode[sa.Row[Any]]:
    """Return a decoder for part of a row, with its id first, that is read column by column, without a DTO."""

    def decode(row: sa.Row[Any]) -> sa.Row[Any]:
        for name, value in row._mapping.items():  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - it is public
            if isinstance(value, Undecodable):
                raise UnreadableRowError(table=table.name, id=row[0], column=str(name), detail=value.detail)
        return row

    return decode


def written(
    connection: sa.Connection, statement: sa.Executable, values: Values, of: tuple[sa.Table, int], decode: Decode[T]
) -> T | UnreadableRowError | None:
    """Run a statement that writes one row, and return the row, decoded; None if it wrote none.

    Args:
        connection: The connection to run on.
        statement: Returns all that `decode` needs.
        values: The parameters of the statement.
        of: The table and the id of the row, to name it if the driver cannot read it.
        decode: Raises `UnreadableRowError` if the row cannot be read.
    """
    try:
        row = connection.execute(statement, values).one_or_none()
        return None if row is None else decode(row)
    except UnreadableRowError as error:
        error.kept = True
        return error
    except Exception as error:
        if not cannot_decode(error):
            raise
        table, number = of
        unreadable = diagnose(connection, sa.select(*table.columns), {}, (table.c.id, number), error)
        unreadable.kept = True
        return unreadable


def require_readable(row: T | UnreadableRowError) -> T:
    """Return a row that was written.

    Raises:
        UnreadableRowError: The row was written, but cannot be read.
    """
    if isinstance(row, UnreadableRowError):
        raise row
    return row


# -- rows that the driver cannot decode --------------------------------------------------------------------------------


def rows(
    connection: sa.Connection, statement: sa.Select[Any], values: Values, key: sa.Column[int]
) -> tuple[Sequence[sa.Row[Any]], list[UnreadableRowError]]:
    """Return the rows of a statement that the driver can decode, and an error for each of the others."""
    try:
        return connection.execute(statement, values).all(), []
    except Exception as error:
        if not cannot_decode(error):
            raise
    return _apart(connection, statement, values, key)


def _apart(
    connection: sa.Connection, statement: sa.Select[Any], values: Values, key: sa.Column[int]
) -> tuple[Sequence[sa.Row[Any]], list[UnreadableRowError]]:
    # The same conditions and locks apply; only the selection is smaller.
    only_ids = statement.with_only_columns(key, maintain_column_froms=True)
    ids = connection.scalars(only_ids, values).all()
    apart = _Apart(connection, statement.where(key.between(_FIRST, _LAST)), values, key)
    apart.read(sorted(ids))
    return [apart.rows[number] for number in ids if number in apart.rows], apart.unreadable


@dataclass
class _Apart:
    """A read of a result in halves, until each unreadable row stands alone."""

    connection: sa.Connection
    statement: sa.Select[Any]
    values: Values
    key: sa.Column[int]
    rows: dict[int, sa.Row[Any]] = field(default_factory=dict[int, sa.Row[Any]])
    unreadable: list[UnreadableRowError] = field(default_factory=list[UnreadableRowError])

    def read(self, ids: Sequence[int]) -> None:
        """Read the rows of these ids, which are sorted."""
        if not ids:
            return
        values = {**self.values, _FIRST.key: ids[0], _LAST.key: ids[-1]}
        try:
            for row in self.connection.execute(self.statement, values).all():
                self.rows[row._mapping[self.key]] = row  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - it is public
        except Exception as error:
            if not cannot_decode(error):
                raise
            if len(ids) == 1:
                self.unreadable.append(diagnose(self.connection, self.statement, values, (self.key, ids[0]), error))
                return
            half = len(ids) // 2
            self.read(ids[:half])
            self.read(ids[half:])


def diagnose(
    connection: sa.Connection,
    statement: sa.Select[Any],
    values: Values,
    row: tuple[sa.Column[int], int],
    error: Exception,
) -> UnreadableRowError:
    """Return the error that names the first column of a row that cannot be decoded.

    Args:
        connection: The connection to read on.
        statement: Selects the row, possibly among others.
        values: The parameters of the statement.
        row: The column with its id, and the id.
        error: The driver's error for all columns together.
    """
    key, number = row
    table, name = key.table, None
    for column in statement.selected_columns:
        alone = statement.with_only_columns(column, maintain_column_froms=True).where(key == number)
        try:
            connection.execute(alone, values).all()
        except Exception as reason:
            if not cannot_decode(reason):
                raise
            name, error = column.name, reason
            if isinstance(column, sa.Column):  # a label has no table
                table = column.table
            break
    return UnreadableRowError(table=table.name, id=number, column=name, detail=describe(error))
