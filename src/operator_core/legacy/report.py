"""The report of an import: a note for each row that was not imported unchanged, and the totals."""

from collections.abc import Mapping
from typing import Any

from operator_core.actions.types import FrozenModel

PROPOSALS, RECORDS = "action_proposals", "action_records"


class ImportNote(FrozenModel):
    """A note about one row of the predecessor.

    Attributes:
        table: `action_proposals` or `action_records`.
        id: The id in the row; a number, unless the row is broken.
        text: The content of the note.
        rejected: True if the row was rejected; otherwise it was imported, with the change that the text describes.
    """

    table: str
    id: Any
    text: str
    rejected: bool

    def __str__(self) -> str:
        kind = self.table.removeprefix("action_").removesuffix("s")
        return f"{'rejected: ' if self.rejected else ''}{kind} {self.id} {self.text}"


class ImportReport(FrozenModel):
    """What an import has done, or with `dry_run` would have done.

    Attributes:
        proposals: The number of imported proposals.
        records: The number of imported records, including those made for executing proposals without one.
        already: The number of proposals that the ledger already held, identical.
        pending: The number of all these that are proposed or validated: they may still be started, where
            no policy asks for approvals.
        unknown: The number of all these that are failed with an unknown outcome: they were executing, or their record
            did not say how they ended.
        rejected: The number of rejected rows.
        rejects_file: The file of those rows; None if there are none, or nothing was written.
        ignored: The columns that the ledger does not have, by table.
        dry_run: Whether nothing was written.
    """

    proposals: int
    records: int
    already: int
    pending: int
    unknown: int
    rejected: int
    rejects_file: str | None
    ignored: Mapping[str, tuple[str, ...]]
    dry_run: bool
