"""Comparisons of the latch with its events, and of the id counters with the ids that were given."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from operator_core.actions.kill_switch import EVERYTHING
from operator_core.actions.reports import Discrepancy
from operator_core.actions.types import EventKind
from operator_core.db.engine.capabilities import is_sqlite
from operator_core.db.schema import Base, kill_switch, kill_switch_events
from operator_core.db.stores import reading
from operator_core.db.types import Undecodable

_LATCH = sa.select(*kill_switch.columns).order_by(kill_switch.c.generation)
_last = (
    sa.select(kill_switch_events.c.scope, sa.func.max(kill_switch_events.c.generation).label("generation"))
    .group_by(kill_switch_events.c.scope)
    .subquery("last")
)
_LAST_EVENTS = (
    sa.select(*kill_switch_events.columns)
    .join(
        _last,
        sa.and_(
            _last.c.scope == kill_switch_events.c.scope,
            _last.c.generation == kill_switch_events.c.generation,
        ),
    )
    .order_by(kill_switch_events.c.id)
)
_Row = Mapping[str, Any]
_MENDED_BY_STOP = "operator-core stop --scope '{}' engages it anew; release it then, if it is not wanted"
MENDED_BY_REPAIR = "operator-core db repair"


@dataclass
class _History:
    """The last stop of a scope, according to its events."""

    generation: Any
    engaged: _Row | None = None
    released: _Row | None = None

    @property
    def values(self) -> dict[str, object]:
        """The values that the row of the latch must hold."""
        begin, end = self.engaged or {}, self.released or {}
        return {
            "generation": self.generation,
            "engaged_at": begin.get("at"),
            "engaged_by": begin.get("by"),
            "reason": begin.get("reason"),
            "released_at": end.get("at"),
            "released_by": end.get("by"),
            "release_reason": end.get("reason"),
        }

    @property
    def is_readable(self) -> bool:
        """Whether each of these values can be read."""
        return not any(isinstance(value, Undecodable) for value in self.values.values())

    def __str__(self) -> str:
        return f"stop {_shown(self.generation)}, {'released' if self.released else 'engaged'}"


def _latch(connection: sa.Connection) -> dict[str, _Row]:
    rows = reading.lossy(connection, _LATCH, {}, kill_switch.c.generation)
    return {reading.text(row["scope"]): row for row in rows}


def _histories(connection: sa.Connection) -> dict[str, _History]:
    histories: dict[str, _History] = {}
    for event in reading.lossy(connection, _LAST_EVENTS, {}, kill_switch_events.c.id):
        history = histories.setdefault(reading.text(event["scope"]), _History(event["generation"]))
        if event["change"] == "engaged":
            history.engaged = event
        elif event["change"] == "released":
            history.released = event
    return histories


_EVENTS = sa.select(*kill_switch_events.columns).order_by(kill_switch_events.c.id)


def compare_latch(connection: sa.Connection) -> list[Discrepancy]:
    """Return where the latch differs from its events, and every unreadable value of both; needs one snapshot."""
    latch, history = _latch(connection), _histories(connection)
    differences = [
        Discrepancy(scope=scope, field=field, expected=str(_shown(expected)), found=str(_shown(found)), mend=mend)
        for scope in sorted({EVERYTHING, *latch, *history})
        for row, events in [(latch.get(scope), history.get(scope))]
        for is_restorable in [scope == reading.UNREADABLE_TEXT or _is_restorable(row, events)]
        for mend in [MENDED_BY_REPAIR if is_restorable else _MENDED_BY_STOP.format(scope)]
        for field, expected, found in _differences(row, events)
    ]
    return [*differences, *_unreadable_events(connection)]


def _unreadable_events(connection: sa.Connection) -> Iterator[Discrepancy]:
    for event in reading.lossy(connection, _EVENTS, {}, kill_switch_events.c.id):
        unreadable = {name: value for name, value in event.items() if isinstance(value, Undecodable)}
        wrong = {name: (reading.READABLE, value.detail) for name, value in unreadable.items()}
        if "change" not in wrong and event["change"] not in _CHANGES:
            wrong["change"] = (" or ".join(_CHANGES), event["change"])
        for name, (expected, found) in wrong.items():
            scope, field = reading.text(event["scope"]), f"event {event['id']}.{name}"
            yield Discrepancy(scope=scope, field=field, expected=expected, found=found)


_CHANGES = ("engaged", "released")


def _shown(value: object) -> object:
    return f"{reading.UNREADABLE_TEXT}: {value.detail}" if isinstance(value, Undecodable) else value


def _differences(row: _Row | None, history: _History | None) -> Iterator[tuple[str, object, object]]:
    if row is None:
        yield "row", history or "a row", "nothing"
        return
    unreadable = [name for name, value in row.items() if isinstance(value, Undecodable)]
    for name in unreadable:
        yield name, reading.READABLE if history is None else history.values.get(name, reading.READABLE), row[name]
    if "generation" in unreadable:
        return
    if history is None:
        if row["generation"]:
            yield "history", "nothing: it has no history", f"stop {row['generation']}"
    elif row["generation"] != history.generation:
        yield "generation", history, f"stop {row['generation']}"
    elif history.engaged is None:
        yield "history", f"the engage of stop {history.generation}", "nothing"
    else:
        for name, value in history.values.items():
            if name not in unreadable and not isinstance(value, Undecodable) and row[name] != value:
                yield name, value, row[name]


def _is_restorable(row: _Row | None, history: _History | None) -> bool:
    """Return whether the history defines what a row must hold, and restoring it would not release a stop."""
    if row is None:
        return history is None or history.is_readable
    if history is None or history.engaged is None or not history.is_readable:
        return False
    engaged = row["engaged_at"] is not None and row["released_at"] is None
    is_older = isinstance(row["generation"], Undecodable) or row["generation"] <= history.generation
    return is_older and not (engaged and history.released is not None)


def restore_latch(connection: sa.Connection) -> None:
    """Write to the latch what only its history knows. The caller has dropped the guards."""
    latch, histories = _latch(connection), _histories(connection)
    nameless = {row["generation"] for scope, row in latch.items() if scope not in histories}
    for scope, history in histories.items():
        row = latch.get(scope)
        if history.engaged is None or not _is_restorable(row, history) or not any(_differences(row, history)):
            continue
        if row is None and history.generation in nameless:  # the row of this stop has lost its scope
            by_generation = kill_switch.c.generation == history.generation
            connection.execute(sa.update(kill_switch).where(by_generation).values(scope=scope, **history.values))
        elif row is None:
            connection.execute(sa.insert(kill_switch).values(scope=scope, **history.values))
        else:
            connection.execute(sa.update(kill_switch).where(kill_switch.c.scope == scope).values(history.values))


# -- id counters -------------------------------------------------------------------------------------------------------

_LAST_ID = 2**53 - 1  # what the CHECK of an id allows: a table is full at that id
_NUMBERED = tuple(name for name, table in Base.metadata.tables.items() if "id" in table.c and table.c.id.identity)
_GIVEN_ELSEWHERE = {
    "action_proposals": "SELECT max(proposal_id) FROM action_events",
    "action_records": f"SELECT max(record_id) FROM action_notes WHERE kind <> '{EventKind.REPORTED_LATE}'",
}
"""Where the ids of prunable rows are found, which must never be given again; each is read from an index."""


def _highest(table: str) -> str:
    """Return the SQL of the highest id that a table holds, or once held."""
    elsewhere = f" UNION ALL {_GIVEN_ELSEWHERE[table]}" if table in _GIVEN_ELSEWHERE else ""
    return f"(SELECT coalesce(max(g.id), 0) FROM (SELECT max(id) AS id FROM {table}{elsewhere}) AS g)"


def _counters(last: Callable[[str], str]) -> sa.TextClause:
    one_each = (f"SELECT '{table}' AS name, {last(table)} AS last, {_highest(table)} AS highest" for table in _NUMBERED)
    return sa.text(" UNION ALL ".join(one_each))


def _autoincrement(table: str) -> str:
    return f"coalesce((SELECT max(seq) FROM sqlite_sequence WHERE name = '{table}'), 0)"


def _sequence(table: str) -> str:
    """Return the SQL of the last id that PostgreSQL has given; NULL if this role may not see it."""
    sequence = f"CAST(pg_get_serial_sequence('{table}', 'id') AS regclass)"
    return (
        f"CASE WHEN has_sequence_privilege({sequence}, 'USAGE, SELECT') "
        f"THEN coalesce(pg_sequence_last_value({sequence}), 0) END"
    )


_AUTOINCREMENT_COUNTERS, _SEQUENCE_COUNTERS = _counters(_autoincrement), _counters(_sequence)


def lagging_ids(connection: sa.Connection) -> list[Discrepancy]:
    """Return the tables whose next id was given already, as after a data-only restore; needs one snapshot."""
    return [
        Discrepancy(
            field=f"{row.name}.id",
            expected=f"a counter at {row.highest} or above",
            found=f"{row.last}",
            mend=MENDED_BY_REPAIR,
        )
        for row in _lagging(connection)
    ]


def _lagging(connection: sa.Connection) -> list[sa.Row[Any]]:
    rows = connection.execute(_AUTOINCREMENT_COUNTERS if is_sqlite(connection) else _SEQUENCE_COUNTERS)
    return [row for row in rows if row.last is not None and row.last < row.highest]


def raise_counters(connection: sa.Connection) -> None:
    """Raise each id counter to the highest id that was given, unless that id is impossibly high."""
    for row in _lagging(connection):
        if row.highest >= _LAST_ID:
            continue
        if is_sqlite(connection):
            connection.execute(_FORGET_COUNTER, {"name": row.name})
            connection.execute(_SET_COUNTER, {"name": row.name, "seq": row.highest})
        else:
            connection.execute(sa.select(sa.func.setval(sa.func.pg_get_serial_sequence(row.name, "id"), row.highest)))


_FORGET_COUNTER = sa.text("DELETE FROM sqlite_sequence WHERE name = :name")
_SET_COUNTER = sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :seq)")
