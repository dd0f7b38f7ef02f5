"""Search the newest proposals for the value of a scope, and for the other values of its field."""

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

import sqlalchemy as sa

from operator_core.actions.kill_switch import Scope
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.schema import proposals

MAX_PROPOSALS = 50_000
"""The number of proposals that are searched, newest first; no index of the ledger covers names."""

_MAX_VALUES = 500
_MAX_SIMILAR_VALUES = 3


@dataclass(frozen=True)
class UnmatchedScope:
    """The search for a scope that matches no proposal."""

    scope: Scope
    searched: int
    """The number of proposals that were searched."""
    values: list[str]
    """The values that they have in the field of the scope."""

    @property
    def similar(self) -> tuple[str, ...]:
        """Those of the values that may have been meant."""
        return tuple(get_close_matches(str(self.scope.value), self.values, n=_MAX_SIMILAR_VALUES))

    @property
    def warning(self) -> str:
        """That nothing matches the scope, with what may have been meant, for a person."""
        value = self.scope.value
        shown = value if isinstance(value, int) else repr(str(value))  # an action type is an enum
        searched_all = self.searched < MAX_PROPOSALS
        subject = "no proposal has ever had" if searched_all else f"none of the last {self.searched:,} proposals has"
        hint = f"; did you mean {' or '.join(map(repr, self.similar))}?" if self.similar else ""
        return f"{subject} {self.scope.field} {shown}{hint}"


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


@unit(TransactionMode.READ)
def unmatched_values(connection: sa.Connection, scope: Scope) -> UnmatchedScope | None:
    """Return what the newest proposals have in the field of a scope; None if one of them matches it."""
    assert scope.field is not None  # noqa: S101 - a scope of everything has no value
    limit = {"max_proposals": MAX_PROPOSALS}
    row = connection.execute(_count(scope.field), {"scope_value": scope.value, **limit}).one()
    if row.matching:
        return None
    values = connection.scalars(_values(scope.field), limit)
    return UnmatchedScope(scope, row.searched, [str(value) for value in values if value is not None])
