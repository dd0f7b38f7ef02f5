"""What a verification has found, and what a prune has deleted."""

from operator_core.actions.types import FrozenModel, UtcDatetime


class Discrepancy(FrozenModel):
    """One contradiction between the contents of a database and what they are compared with.

    Attributes:
        proposal_id: The proposal that it is about, or None.
        scope: The scope of the latch that it is about, or None. If both are None, it is about the schema.
        field: The column, or `row` if the whole row is missing or has no history; for the schema, the object.
        expected: What the history, or this version of the library, says, as text.
        found: What the table says.
        mend: The command or the statement that repairs it, if there is one.
    """

    proposal_id: int | None = None
    scope: str | None = None
    field: str
    expected: str
    found: str
    mend: str | None = None

    def __str__(self) -> str:
        mend = f": {self.mend}" if self.mend else ""
        if self.proposal_id is None and self.scope is None:
            return f"{self.field}: expected {self.expected}, found {self.found}{mend}"
        subject = f"the latch of {self.scope}" if self.proposal_id is None else f"proposal {self.proposal_id}"
        return f"{subject}, {self.field}: the history says {self.expected}, the table {self.found}{mend}"


class PruneReport(FrozenModel):
    """What a prune has deleted, or would delete.

    Attributes:
        before: The moment before which a proposal must have been finished.
        proposals: The number of proposals, each with its record.
        events: The number of events; 0 if they are kept.
        unresolved: The number of old proposals that stay because their unknown outcome is unresolved.
    """

    before: UtcDatetime
    proposals: int
    events: int
    unresolved: int
