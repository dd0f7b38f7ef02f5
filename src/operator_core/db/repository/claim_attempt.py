"""`ClaimAttempt`: what one call to claim has learnt so far, and with it where it looks next."""

from operator_core.actions.errors import RetryTransactionError, UnreadableRowError
from operator_core.db.guards.codes import NOT_APPROVED
from operator_core.db.repository.claim_pointers import ClaimPointers
from operator_core.db.repository.unreadable_rows import UnreadableRows
from operator_core.db.stores.claims import Filters, Search
from operator_core.db.stores.executions import Claim, Lease


class ClaimAttempt:
    """A search that is repeated until it claims something, or nothing is left.

    It looks for approvals only where the guard has just refused a proposal for the lack of them: the guard looks at
    each start in any case, and what is validated seldom lacks any.

    Args:
        pointers: The places of earlier claims.
        passing: The registry of the rows that cannot be read.

    Attributes:
        filters: What the proposals must match.
        held: The lease of the call.
        wanted: How many the call wants.
        limit: How many the next search claims at most; 1 once a statement for more was refused.
    """

    def __init__(
        self,
        filters: Filters,
        held: Lease,
        wanted: int,
        pointers: ClaimPointers,
        passing: UnreadableRows,
    ) -> None:
        self.filters, self.held = filters, held
        self.wanted = self.limit = wanted
        self._pointers, self._passing = pointers, passing
        self._looks = pointers.looks_for_approvals(filters)
        self._known = len(passing.proposals)
        self._after: int | None = None

    @property
    def lease(self) -> Lease:
        """The lease of the next claim: also a single one of many has its own key, so that it is found again."""
        return self.held.of_place(1) if self.limit < self.wanted else self.held

    def next_search(self) -> Search:
        """Return the next search."""
        self._after, self._known = self._pointers.after(self.filters), len(self._passing.proposals)
        return Search(self._passing.proposals, self._after, approved=self._looks, limit=self.limit)

    def note(self, found: Claim) -> None:
        """Remember for later calls where the first claim was found."""
        self._pointers.note(self.filters, self._after, found)

    def may_go_on(self) -> bool:
        """Return whether an empty search left something out, which is looked at next."""
        if self._after is None:
            return False
        self._pointers.forget(self.filters)
        return True

    def learns_from(self, error: RetryTransactionError | UnreadableRowError) -> bool:
        """Return whether the next search passes over what was refused, because it looks for approvals."""
        if self._looks or not isinstance(error, RetryTransactionError) or error.code != NOT_APPROVED:
            return False
        self._pointers.note_unapproved(self.filters)
        self._looks = True
        return True

    @property
    def has_registered(self) -> bool:
        """Whether an unreadable row was registered since the last search, which the next one passes over."""
        return len(self._passing.proposals) > self._known
