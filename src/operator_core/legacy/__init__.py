"""The import of the raw-SQL predecessor's database: it reads and converts every row, and imports the valid ones."""

from operator_core.legacy.errors import ImportRefusedError, LegacyFileError
from operator_core.legacy.importing import import_legacy
from operator_core.legacy.report import ImportNote, ImportReport

__all__ = ["ImportNote", "ImportRefusedError", "ImportReport", "LegacyFileError", "import_legacy"]
