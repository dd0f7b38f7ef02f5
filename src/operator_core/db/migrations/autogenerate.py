"""The functions for a host's own Alembic, for its `env.py` and its migrations.

None of them opens a connection. In `env.py`, set `include_name=exclude_operator_core`; then leave our tables to
`operator-core db upgrade`, or call `run_revisions` in your own migrations. A host that takes our metadata into its own
chain sets `render_item=render_operator_core` instead, and calls `install_guards(op)`, because autogenerate writes no
guards.
"""

from collections.abc import Mapping
from typing import Literal, cast

import sqlalchemy as sa

from operator_core.db.guards import Operations
from operator_core.db.migrations.revisions import VERSION_TABLE
from operator_core.db.schema import Base
from operator_core.db.types import EnumText, JsonText, UtcDateTime

_ParentKey = Literal["schema_name", "table_name", "schema_qualified_table_name"]  # as Alembic types them

_OURS = frozenset({*Base.metadata.tables, VERSION_TABLE})
_PLAIN: dict[type, str] = {
    UtcDateTime: "sa.DateTime(timezone=True)",
    JsonText: "sa.JSON()",
    EnumText: "sa.Text()",
}


def exclude_operator_core(name: str | None, kind: str, parents: Mapping[_ParentKey, str | None]) -> bool:
    """Return whether a host's autogenerate should see a name: any but our tables and version table, in any schema.

    Pass it to `context.configure(include_name=...)`. If you already have such a function, combine both with `and`.
    """
    table = name if kind == "table" else parents.get("table_name")
    return table not in _OURS


def run_revisions(where: sa.Connection | Operations, start: str, end: str) -> None:
    """Run our revisions from `start` to `end` in a host's migration and transaction; with `--sql`, write them.

    `run_revisions(op, "base", "0001")` creates the ledger, `run_revisions(op, "0001", "0002")` upgrades it, and the
    reverse order downgrades it. The explicit numbers make the migration do the same with every later version of this
    library. A ledger that a host has made from our metadata has no version table: it is assumed to be at `start`, and
    gets a version table. With `start` equal to `end`, nothing else happens.

    Args:
        where: Alembic's `op`, or a connection whose transaction the caller commits.
        start: The current revision of the ledger, or `base`.
        end: The target revision, or `base`.

    Raises:
        InvalidArgumentError: There is no such revision, or the ledger is at another one.
        NameTakenError: An object of the host has one of our names.
    """
    from operator_core.db.migrations.within import run_within

    run_within(where, start, end)


def render_operator_core(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Render our types and CHECKs in a host's generated migrations as plain `sa.*`, without imports of ours.

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
    """Return a column that is nullable and has no default, with its CHECKs."""
    checks = [_check(found) for found in column.constraints if isinstance(found, sa.CheckConstraint)]
    return f"sa.Column({', '.join([repr(column.name), _plain(column.type) or f'sa.{column.type!r}', *sorted(checks)])})"


def _check(constraint: sa.CheckConstraint) -> str:
    return f"sa.CheckConstraint({str(constraint.sqltext)!r}, name=op.f({str(constraint.name)!r}))"
