"""What claims remember of the proposals in front: where to begin, and whether some of them lack approvals."""

import time
from collections.abc import Hashable, Mapping, Sequence

from operator_core.db.stores.executions import Claim

POINTER_SECONDS = 1.0
"""How long claims leave out what was in front; then one looks from the beginning again."""

SWEEP_INTERVAL_SECONDS = 10.0
"""How often claims that find nothing look for what has expired; a recovery does so each time."""

_MANY = 32
"""How many validated proposals in front are worth remembering."""


class ClaimPointers:
    """The places from which the claims of one ledger look, one for each filter.

    Proposals that lost their approvals, or that another worker does, stay in front of those that may start. Each claim
    would pass over all of them again.
    """

    def __init__(self) -> None:
        self._places: dict[Hashable, tuple[int, float]] = {}
        self._unapproved: dict[Hashable, float] = {}
        self._sweep_at = 0.0

    def after(self, filters: Mapping[str, Sequence[str] | int]) -> int | None:
        """Return the id behind which to look; None to look at all."""
        place, until = self._places.get(_key(filters), (None, 0.0))
        return place if time.monotonic() < until else None

    def looks_for_approvals(self, filters: Mapping[str, Sequence[str] | int]) -> bool:
        """Return whether the guard refused one a moment ago, because it is short of approvals."""
        return time.monotonic() < self._unapproved.get(_key(filters), 0.0)

    def note_unapproved(self, filters: Mapping[str, Sequence[str] | int]) -> None:
        """Remember that the oldest is short of approvals."""
        self._unapproved[_key(filters)] = time.monotonic() + POINTER_SECONDS

    def note(self, filters: Mapping[str, Sequence[str] | int], after: int | None, claim: Claim) -> None:
        """Remember where a claim that looked at all found its proposal, if much was in front of it."""
        if after is None and claim.in_front >= _MANY:
            self._places[_key(filters)] = (claim.proposal.id - 1, time.monotonic() + POINTER_SECONDS)

    def may_sweep(self) -> bool:
        """Return whether to look for what has expired: claims pass over it, so that once in a while is enough."""
        at = time.monotonic()
        if at < self._sweep_at:
            return False
        self._sweep_at = at + SWEEP_INTERVAL_SECONDS
        return True

    def forget(self, filters: Mapping[str, Sequence[str] | int]) -> None:
        """Look at all again: nothing is left behind the place."""
        self._places.pop(_key(filters), None)


def _key(filters: Mapping[str, Sequence[str] | int]) -> Hashable:
    return tuple((name, value if isinstance(value, int) else tuple(value)) for name, value in sorted(filters.items()))
