"""What an import tells: a remark for each row that was not taken over as it stood, and the sum of all."""

from collections.abc import Mapping
from typing import Any

from operator_core.actions.types import FrozenModel

PROPOSALS, RECORDS = "action_proposals", "action_records"


class Remark(FrozenModel):
    """What was noticed about one row of the predecessor.

    Attributes:
        table: `action_proposals` or `action_records`.
        id: As it stands in the row; a number, unless the row is broken.
        text: What was noticed.
        aside: True where the row was put aside; otherwise it was imported, with what the text says.
    """

    table: str
    id: Any
    text: str
    aside: bool

    def __str__(self) -> str:
        kind = self.table.removeprefix("action_").removesuffix("s")
        return f"{'put aside: ' if self.aside else ''}{kind} {self.id} {self.text}"


class ImportReport(FrozenModel):
    """What an import has done, or with `dry_run` would have done.

    Attributes:
        proposals: How many were imported.
        records: How many were imported, those included that were made for what was executing without one.
        already: How many proposals the ledger held already, identical.
        pending: How many of all these are proposed or validated: they may still be started.
        unknown: How many of all these were executing, and are failed with an unknown outcome now.
        put_aside: How many rows cannot be true.
        aside_file: Where those rows are; None where there are none, or nothing was written.
        ignored: The columns that the ledger does not have, by table.
        dry_run: Whether nothing was written.
    """

    proposals: int
    records: int
    already: int
    pending: int
    unknown: int
    put_aside: int
    aside_file: str | None
    ignored: Mapping[str, tuple[str, ...]]
    dry_run: bool
