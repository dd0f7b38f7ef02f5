"""The comparison of the latch with its events, and of the counters of ids with the ids that were given."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from operator_core.actions.stops import EVERYTHING
from operator_core.actions.types import Difference, EventKind
from operator_core.db.schema import Base, kill_switch, kill_switch_events

_LATCH = sa.select(*kill_switch.columns)
_last = (
    sa.select(kill_switch_events.c.scope, sa.func.max(kill_switch_events.c.generation).label("generation"))
    .group_by(kill_switch_events.c.scope)
    .subquery("last")
)
_LAST_EVENTS = sa.select(*kill_switch_events.columns).join(
    _last,
    sa.and_(
        _last.c.scope == kill_switch_events.c.scope,
        _last.c.generation == kill_switch_events.c.generation,
    ),
)
_MENDED_BY_STOP = "operator-core stop --scope '{}' engages it anew; release it then, if it is not wanted"
MENDED_BY_REPAIR = "operator-core db repair"


@dataclass
class _History:
    """The last stop of a scope, as its events tell it."""

    generation: int
    engaged: Any = None
    released: Any = None

    @property
    def values(self) -> dict[str, object]:
        """What the row of the latch must hold."""
        begin, end = self.engaged, self.released
        return {
            "generation": self.generation,
            "engaged_at": begin and begin.at,
            "engaged_by": begin and begin.by,
            "reason": begin and begin.reason,
            "released_at": end and end.at,
            "released_by": end and end.by,
            "release_reason": end and end.reason,
        }

    def __str__(self) -> str:
        return f"stop {self.generation}, {'released' if self.released else 'engaged'}"


def _histories(connection: sa.Connection) -> dict[str, _History]:
    histories: dict[str, _History] = {}
    for event in connection.execute(_LAST_EVENTS):
        setattr(histories.setdefault(event.scope, _History(event.generation)), event.change, event)
    return histories


def compare_latch(connection: sa.Connection) -> list[Difference]:
    """Return where the latch says something else than its events; wants one snapshot."""
    latch = {row.scope: row for row in connection.execute(_LATCH)}
    history = _histories(connection)
    return [
        Difference(scope=scope, field=field, expected=str(expected), found=str(found), mend=mend)
        for scope in sorted({EVERYTHING, *latch, *history})
        for row, told in [(latch.get(scope), history.get(scope))]
        for mend in [MENDED_BY_REPAIR if _is_restorable(row, told) else _MENDED_BY_STOP.format(scope)]
        for field, expected, found in _differences(row, told)
    ]


def _differences(row: sa.Row[Any] | None, told: _History | None) -> Iterator[tuple[str, object, object]]:
    if row is None:
        yield "row", told or "a row", "nothing"
    elif told is None:
        if row.generation:
            yield "history", "nothing: it has no history", f"stop {row.generation}"
    elif row.generation != told.generation:
        yield "generation", told, f"stop {row.generation}"
    elif told.engaged is None:
        yield "history", f"the engage of stop {told.generation}", "nothing"
    else:
        for field, value in told.values.items():
            if getattr(row, field) != value:
                yield field, value, getattr(row, field)


def _is_restorable(row: sa.Row[Any] | None, told: _History | None) -> bool:
    """Tell whether the history says what a row must hold, and it would not release what is engaged."""
    if row is None:
        return True
    engaged = row.engaged_at is not None and row.released_at is None
    known = told is not None and told.engaged is not None and row.generation <= told.generation
    return known and not (engaged and told is not None and told.released is not None)


def restore_latch(connection: sa.Connection) -> None:
    """Write what the history knows and the latch does not, behind the guards: who calls this has dropped them."""
    latch = {row.scope: row for row in connection.execute(_LATCH)}
    for scope, told in _histories(connection).items():
        row = latch.get(scope)
        if told.engaged is None or not _is_restorable(row, told) or not any(_differences(row, told)):
            continue
        if row is None:
            connection.execute(sa.insert(kill_switch).values(scope=scope, **told.values))
        else:
            connection.execute(sa.update(kill_switch).where(kill_switch.c.scope == scope).values(told.values))


# -- the counters of ids -----------------------------------------------------------------------------------------------

_LAST_ID = 2**53 - 1  # what the CHECK of an id allows: above it a table has come to its end
_NUMBERED = tuple(name for name, table in Base.metadata.tables.items() if "id" in table.c and table.c.id.identity)
_GIVEN_ELSEWHERE = {
    "action_proposals": "SELECT max(proposal_id) FROM action_events",
    "action_records": f"SELECT max(record_id) FROM action_notes WHERE kind <> '{EventKind.REPORTED_LATE}'",
}
"""Where the ids of rows stand that may be pruned, and must never be given again; each is read from an index."""


def _highest(table: str) -> str:
    """Return the SQL of the highest id of a table that is, or was, there."""
    elsewhere = f" UNION ALL {_GIVEN_ELSEWHERE[table]}" if table in _GIVEN_ELSEWHERE else ""
    return f"(SELECT coalesce(max(g.id), 0) FROM (SELECT max(id) AS id FROM {table}{elsewhere}) AS g)"


def _counters(last: Callable[[str], str]) -> sa.TextClause:
    one_each = (f"SELECT '{table}' AS name, {last(table)} AS last, {_highest(table)} AS highest" for table in _NUMBERED)
    return sa.text(" UNION ALL ".join(one_each))


def _autoincrement(table: str) -> str:
    return f"coalesce((SELECT max(seq) FROM sqlite_sequence WHERE name = '{table}'), 0)"


def _sequence(table: str) -> str:
    """Return the SQL of the last id that PostgreSQL has given; NULL where this role may not see it."""
    sequence = f"CAST(pg_get_serial_sequence('{table}', 'id') AS regclass)"
    return (
        f"CASE WHEN has_sequence_privilege({sequence}, 'USAGE, SELECT') "
        f"THEN coalesce(pg_sequence_last_value({sequence}), 0) END"
    )


_COUNTERS = {"sqlite": _counters(_autoincrement), "postgresql": _counters(_sequence)}


def lagging_ids(connection: sa.Connection) -> list[Difference]:
    """Return the tables whose next id was given already, as after a restore of data alone; wants one snapshot."""
    return [
        Difference(
            field=f"{row.name}.id",
            expected=f"a counter at {row.highest} or above",
            found=f"{row.last}",
            mend=MENDED_BY_REPAIR,
        )
        for row in _lagging(connection)
    ]


def _lagging(connection: sa.Connection) -> list[sa.Row[Any]]:
    rows = connection.execute(_COUNTERS[connection.dialect.name])
    return [row for row in rows if row.last is not None and row.last < row.highest]


def raise_counters(connection: sa.Connection) -> None:
    """Set each counter of ids to the highest id that was given; one that nobody can have given is left alone."""
    for row in _lagging(connection):
        if row.highest >= _LAST_ID:
            continue
        if connection.dialect.name == "sqlite":
            connection.execute(_FORGET_COUNTER, {"name": row.name})
            connection.execute(_SET_COUNTER, {"name": row.name, "seq": row.highest})
        else:
            connection.execute(sa.select(sa.func.setval(sa.func.pg_get_serial_sequence(row.name, "id"), row.highest)))


_FORGET_COUNTER = sa.text("DELETE FROM sqlite_sequence WHERE name = :name")
_SET_COUNTER = sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :seq)")
