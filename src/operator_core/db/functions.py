"""SQL functions that mean the same on both engines."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeEngine

from operator_core.db.types import UtcDateTime, sqlite_time


class now(FunctionElement[datetime]):  # noqa: N801 - reads like the SQL function that it is
    """The time of the database's clock at the start of the statement, the same wherever the statement uses it."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(now, "postgresql")
def _now_on_postgresql(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    return "statement_timestamp()"


@compiles(now, "sqlite")
def _now_on_sqlite(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    return f"({sqlite_time()})"


class now_plus(FunctionElement[datetime]):  # noqa: N801 - the same
    """The time of `now` plus some seconds, a column or a parameter; NULL if that is NULL."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(now_plus, "postgresql")
def _later_on_postgresql(element: now_plus, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"(statement_timestamp() + make_interval(secs => CAST({seconds} AS DOUBLE PRECISION)))"


@compiles(now_plus, "sqlite")
def _later_on_sqlite(element: now_plus, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    time = sqlite_time("'now'", f"{seconds} || ' seconds'")
    return f"({time})"


class json_rows(FunctionElement[Any]):  # noqa: N801 - the same
    """The table (value, position) of the members of a JSON array: a bulk insert in one parameter."""

    inherit_cache = True


@compiles(json_rows, "postgresql")
def _json_rows_on_postgresql(element: json_rows, compiler: SQLCompiler, **kw: Any) -> str:
    array = compiler.process(element.clauses, **kw)
    return (
        "(SELECT e.value, e.position "
        f"FROM json_array_elements(CAST({array} AS JSON)) WITH ORDINALITY AS e(value, position))"
    )


@compiles(json_rows, "sqlite")
def _json_rows_on_sqlite(element: json_rows, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(SELECT value, key AS position FROM json_each({compiler.process(element.clauses, **kw)}))"


def among(column: sa.ColumnElement[int], parameter: str) -> sa.ColumnElement[bool]:
    """Return the condition that an id is in a JSON array: one parameter, however many ids it holds."""
    return column.in_(_listed(parameter))


def not_among(column: sa.ColumnElement[int], parameter: str) -> sa.ColumnElement[bool]:
    """Return the opposite of `among`."""
    return column.not_in(_listed(parameter))


def _listed(parameter: str) -> sa.Select[Any]:
    listed = json_rows(sa.bindparam(parameter, type_=sa.Text())).table_valued("value", "position", name=parameter)
    return sa.select(sa.cast(sa.cast(listed.c.value, sa.Text()), sa.BigInteger()))


class json_item(FunctionElement[Any]):  # noqa: N801 - the same
    """The member `index` of a JSON array as a column value; times are in SQLite's format."""

    inherit_cache = True

    def __init__(self, value: sa.ColumnElement[Any], index: int, kind: TypeEngine[Any]) -> None:
        super().__init__(value, sa.literal_column(str(index)))
        self.type = kind


@compiles(json_item, "postgresql")
def _json_item_on_postgresql(element: json_item, compiler: SQLCompiler, **kw: Any) -> str:
    value, index = (compiler.process(clause, **kw) for clause in element.clauses)
    text = f"({value} ->> {index})"
    if isinstance(element.type, UtcDateTime):
        text = f"({text} || '+00')"
    return f"CAST({text} AS {compiler.dialect.type_compiler_instance.process(element.type)})"


@compiles(json_item, "sqlite")
def _json_item_on_sqlite(element: json_item, compiler: SQLCompiler, **kw: Any) -> str:
    value, index = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"json_extract({value}, '$[' || {index} || ']')"
