"""The errors of an import."""

from dataclasses import dataclass

from operator_core.actions.errors import ActionError


@dataclass(eq=False)
class LegacyFileError(ActionError):
    """The file is not a database of the predecessor, or cannot be read."""

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path} cannot be imported: {self.problem}"


@dataclass(eq=False)
class ImportRefusedError(ActionError):
    """The whole import was refused, and nothing of it was kept; `conflicts` names the rows in the way."""

    problem: str
    conflicts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "; ".join([self.problem, *self.conflicts])
