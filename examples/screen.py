"""What the incident program shows: how far it is, counts by state, the history of a ticket."""

import sys
import time
from collections.abc import Mapping, Sequence

from operator_core.actions import ActionEvent, ActionStatus, StoredProposal

WIDTH = 100
QUIET_SECONDS = 5.0


def one_line(value: object, width: int = WIDTH) -> str:
    """Return a value as one line that no control character can leave, cut to the width."""
    text = "".join(char if char.isprintable() else " " for char in str(value))
    return text if len(text) <= width else f"{text[: width - 3]}..."


class Progress:
    """Count steps on one line of a terminal; elsewhere, print now and then and at the end."""

    def __init__(self, label: str, total: int) -> None:
        self._label, self._total, self._done = label, total, 0
        self._live = sys.stdout.isatty()
        self._shown = time.monotonic()
        if not total:
            self._show()

    def step(self, count: int = 1) -> None:
        """Count what was done."""
        self._done += count
        if self._live or self._done == self._total or time.monotonic() - self._shown > QUIET_SECONDS:
            self._show()

    def _show(self) -> None:
        self._shown = time.monotonic()
        start = "\r" if self._live else ""
        end = "" if self._live and self._done < self._total else "\n"
        print(f"{start}{self._label:<10} {self._done}/{self._total}", end=end, flush=True)


def show_counts(title: str, counts: Mapping[ActionStatus, int]) -> None:
    """Print how many proposals are in each state."""
    print(f"\n{title}")
    for status, count in counts.items():
        print(f"  {status.value:<10} {count:>6}")


def show_proposal(proposal: StoredProposal, events: Sequence[ActionEvent]) -> None:
    """Print one proposal and all that happened to it, oldest first."""
    print(f"\n  #{proposal.id} {proposal.action_name} {one_line(proposal.parameters)}")
    for event in events:
        print(f"    {event.at:%H:%M:%S.%f} {event.to_status.value:<10} by {event.by}{detail_of(event)}")


def detail_of(event: ActionEvent) -> str:
    """Say why a step was taken, or what came out of it."""
    if event.reason:
        return f": {one_line(event.reason)}"
    if event.data and event.data.get("result_data"):
        return f": {one_line(event.data['result_data'])}"
    return ""
