"""Keeps what a writer announced and acknowledged before it was killed, and compares it with what the ledger holds."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from tests.support.crash_writer import State
from tests.support.ledger import Ledger

NOTHING: State = []


@dataclass
class Book:
    """By ticket: the state that the last call was to lead to, and the one that the last finished call has led to."""

    begun: dict[int, State] = field(default_factory=dict)
    done: dict[int, State] = field(default_factory=dict)
    acknowledged: int = 0

    def note(self, message: dict[str, Any]) -> None:
        """Take down one message of the writer."""
        if "begun" in message:
            self.begun[message["ticket"]] = message["begun"]
        elif "done" in message:
            self.done[message["ticket"]] = message["done"]
            self.acknowledged += 1

    def under_way(self) -> list[int]:
        """Return the tickets whose last call was not acknowledged."""
        return [ticket for ticket, state in self.begun.items() if self.done.get(ticket, NOTHING) != state]

    def contradictions(self, ledger: Ledger) -> Iterator[str]:
        """Yield every ticket that stands neither where it was acknowledged nor where a call under way would lead."""
        found = states(ledger)
        for ticket in found.keys() - self.begun.keys():
            yield f"ticket {ticket} was never announced"
        for ticket, begun in self.begun.items():
            kept, acknowledged = found.get(ticket, NOTHING), self.done.get(ticket, NOTHING)
            if kept not in (acknowledged, begun):
                yield f"ticket {ticket} stands at {kept}: acknowledged was {acknowledged}, under way to {begun}"


def states(ledger: Ledger) -> dict[int, State]:
    """Return how the proposals of each ticket stand."""
    with closing(ledger.connect()) as connection:
        rows = connection.execute(
            "SELECT p.ticket_id, p.status, CASE WHEN r.id IS NULL THEN 'none' ELSE coalesce(r.outcome, 'open') END "
            "FROM action_proposals AS p LEFT JOIN action_records AS r ON r.proposal_id = p.id "
            "WHERE p.ticket_id IS NOT NULL ORDER BY p.id"
        ).fetchall()
    found: dict[int, State] = defaultdict(list)
    for ticket, status, record in rows:
        found[ticket].append([status, record])
    return dict(found)
