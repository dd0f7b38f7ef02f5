"""Where claims begin to look: behind a long row of proposals that may not start."""

import time
from collections.abc import Hashable, Mapping, Sequence

from operator_core.db.stores.executions import Claim

POINTER_SECONDS = 1.0
"""How long claims leave out what was in front; then one looks from the beginning again."""

_MANY = 32
"""How many validated proposals in front are worth remembering."""


class ClaimPointers:
    """The places from which the claims of one ledger look, one for each filter.

    Proposals that lost their approvals, or that another worker does, stay in front of those that may start. Each claim
    would pass over all of them again.
    """

    def __init__(self) -> None:
        self._places: dict[Hashable, tuple[int, float]] = {}

    def after(self, filters: Mapping[str, Sequence[str] | int]) -> int | None:
        """Return the id behind which to look; None to look at all."""
        place, until = self._places.get(_key(filters), (None, 0.0))
        return place if time.monotonic() < until else None

    def note(self, filters: Mapping[str, Sequence[str] | int], claim: Claim) -> None:
        """Remember where a claim that looked at all found its proposal, if much was in front of it."""
        if claim.in_front >= _MANY:
            self._places[_key(filters)] = (claim.proposal.id - 1, time.monotonic() + POINTER_SECONDS)

    def forget(self, filters: Mapping[str, Sequence[str] | int]) -> None:
        """Look at all again: nothing is left behind the place."""
        self._places.pop(_key(filters), None)


def _key(filters: Mapping[str, Sequence[str] | int]) -> Hashable:
    return tuple((name, value if isinstance(value, int) else tuple(value)) for name, value in sorted(filters.items()))
