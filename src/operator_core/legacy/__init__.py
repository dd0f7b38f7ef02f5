"""The import of the raw-SQL predecessor's database: it reads and converts every row, and imports the valid ones."""

from operator_core.legacy.errors import ImportRefusedError, LegacyFileError
from operator_core.legacy.importing import import_legacy
from operator_core.legacy.report import ImportReport, Remark

__all__ = ["ImportRefusedError", "ImportReport", "LegacyFileError", "Remark", "import_legacy"]
