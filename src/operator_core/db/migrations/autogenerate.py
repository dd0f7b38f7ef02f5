"""What a host with an Alembic of its own says about our tables, in its `env.py` and in its migrations.

It opens nothing. In its `env.py` a host says `include_name=exclude_operator_core`. It leaves our tables to
`operator-core db upgrade`, or calls `run_revisions` in its own migrations. One that takes our metadata into its own
chain says `render_item=render_operator_core` instead, and calls `install_guards(op)`: autogenerate writes no guards.
"""

from collections.abc import Mapping
from typing import Literal, cast

import sqlalchemy as sa

from operator_core.db.guards import Operations
from operator_core.db.migrations.revisions import VERSION_TABLE
from operator_core.db.schema import Base
from operator_core.db.types import EnumText, JsonText, UtcDateTime

_OURS = frozenset({*Base.metadata.tables, VERSION_TABLE})
_PLAIN: dict[type, str] = {
    UtcDateTime: "sa.DateTime(timezone=True)",
    JsonText: "sa.JSON()",
    EnumText: "sa.Text()",
}


def exclude_operator_core(name: str | None, kind: str, parents: Mapping[str, str | None]) -> bool:
    """Tell whether a host's autogenerate looks at a name: not at our tables nor at our version table, in any schema.

    Pass it to `context.configure(include_name=...)`. A host that has such a function already joins both with `and`.
    """
    table = name if kind == "table" else parents.get("table_name")
    return table not in _OURS


def run_revisions(where: sa.Connection | Operations, start: str, end: str) -> None:
    """Run our revisions from `start` to `end` within a host's migration, in its transaction; with `--sql` write them.

    `run_revisions(op, "base", "0001")` creates the ledger, `run_revisions(op, "0001", "0002")` upgrades it, and with
    the two exchanged it goes back. The numbers are written out, so that the migration does the same with every later
    version of this library. A ledger that a host has made from our metadata has no version table; it is taken to be at
    `start`, and has one from then on. With `start` equal to `end` that is all that is done.

    Args:
        where: Alembic's `op`, or a connection whose transaction the caller commits.
        start: The revision that the ledger is at, or `base`.
        end: The revision that it comes to, or `base`.

    Raises:
        InvalidArgumentError: There is no such revision, or the ledger is at another one.
        NameTakenError: Something of the host's has a name of ours.
    """
    from operator_core.db.migrations.within import run_within

    run_within(where, start, end)


def render_operator_core(kind: str, item: object, _context: object) -> str | Literal[False]:
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
