"""The rows that an import makes of old ones, before they are in the ledger."""

from operator_core.actions.types import Integer, StoredProposal, StoredRecord


class ImportedProposal(StoredProposal):
    """A proposal with its old id; the ledger assigns the generation."""

    generation: int = 0


class ImportedRecord(StoredRecord):
    """A record with its old id, or without one if the old file has no record of the execution."""

    id: Integer | None = None  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleVariableOverride]
