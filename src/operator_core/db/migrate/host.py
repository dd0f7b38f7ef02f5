"""What the `env.py` of a host with an Alembic of its own says about our tables, in one line each.

It imports no Alembic and opens nothing. A host that leaves our tables to `operator-core db upgrade` says
`include_name=not_ours`. One that takes our metadata into its own chain says `render_item=render_ours` instead, and
calls `install_guards(op)` in the migration: autogenerate writes no guards.
"""

from collections.abc import Mapping
from typing import Literal, cast

import sqlalchemy as sa

from operator_core.db.migrate import VERSION_TABLE
from operator_core.db.schema import Base
from operator_core.db.types import EnumText, JsonText, UtcDateTime

_OURS = frozenset({*Base.metadata.tables, VERSION_TABLE})
_PLAIN: dict[type, str] = {
    UtcDateTime: "sa.DateTime(timezone=True)",
    JsonText: "sa.JSON()",
    EnumText: "sa.Text()",
}


def not_ours(name: str | None, kind: str, parents: Mapping[str, str | None]) -> bool:
    """Tell whether a host's autogenerate looks at a name: not at our tables nor at our version table, in any schema.

    Pass it to `context.configure(include_name=...)`. A host that has such a function already joins both with `and`.
    """
    table = name if kind == "table" else parents.get("table_name")
    return table not in _OURS


def render_ours(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Write what is ours in a host's generated migrations in plain `sa.*`, so that these import nothing of ours.

    Pass it to `context.configure(render_item=...)`. Without it the types cannot be read back, a CHECK that belongs to a
    column is left out, and psycopg's dialect doubles each `%`.
    """
    if kind == "type":
        return _plain(item)
    if getattr(getattr(item, "table", None), "name", None) not in _OURS:
        return False
    if isinstance(item, sa.CheckConstraint):
        return _check(item)
    if isinstance(item, sa.Column) and item.constraints:
        return _column(cast("sa.Column[object]", item))
    return False


def _plain(kind: object) -> str | Literal[False]:
    for ours, text in _PLAIN.items():
        if isinstance(kind, ours):
            return text
    return False


def _column(column: sa.Column[object]) -> str:
    """Return a column that may be NULL and has no default, with its CHECKs."""
    checks = [_check(found) for found in column.constraints if isinstance(found, sa.CheckConstraint)]
    return f"sa.Column({', '.join([repr(column.name), _plain(column.type) or f'sa.{column.type!r}', *sorted(checks)])})"


def _check(constraint: sa.CheckConstraint) -> str:
    return f"sa.CheckConstraint({str(constraint.sqltext)!r}, name=op.f({str(constraint.name)!r}))"
