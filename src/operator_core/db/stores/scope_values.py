"""Search the newest proposals for the value of a scope, and for the other values of its field."""

from dataclasses import dataclass
from functools import cache

import sqlalchemy as sa

from operator_core.actions.kill_switch import Scope
from operator_core.db.schema import proposals

MAX_PROPOSALS = 50_000
"""The number of proposals that are searched, newest first; no index of the ledger covers names."""

_MAX_VALUES = 500


@dataclass(frozen=True)
class UnmatchedScope:
    """The search for a scope that matches no proposal."""

    searched: int
    """The number of proposals that were searched."""
    values: list[str]
    """The values that they have in the field of the scope."""


@cache
def _newest(field: str) -> sa.Subquery:
    rows = sa.bindparam("max_proposals", type_=sa.Integer())
    return sa.select(proposals.c[field].label("value")).order_by(proposals.c.id.desc()).limit(rows).subquery("newest")


@cache
def _count(field: str) -> sa.Executable:
    newest = _newest(field)
    matches = newest.c.value == sa.bindparam("scope_value", type_=proposals.c[field].type)
    return sa.select(sa.func.count().label("searched"), sa.func.count().filter(matches).label("matching")).select_from(
        newest
    )


@cache
def _values(field: str) -> sa.Executable:
    return sa.select(_newest(field).c.value).distinct().limit(_MAX_VALUES)


def unmatched_values(connection: sa.Connection, scope: Scope) -> UnmatchedScope | None:
    """Return what the newest proposals have in the field of a scope; None if one of them matches it."""
    assert scope.field is not None  # noqa: S101 - a scope of everything has no value
    limit = {"max_proposals": MAX_PROPOSALS}
    row = connection.execute(_count(scope.field), {"scope_value": scope.value, **limit}).one()
    if row.matching:
        return None
    values = connection.scalars(_values(scope.field), limit)
    return UnmatchedScope(row.searched, [str(value) for value in values if value is not None])
