"""Takes over the database of the raw-SQL predecessor: reads it, judges every row, and imports what can be true."""

from operator_core.legacy.errors import ImportRefusedError, LegacyFileError
from operator_core.legacy.importing import import_legacy
from operator_core.legacy.report import ImportReport, Remark

__all__ = ["ImportRefusedError", "ImportReport", "LegacyFileError", "Remark", "import_legacy"]
