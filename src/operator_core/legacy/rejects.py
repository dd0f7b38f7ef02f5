"""The file of the rejected rows: JSON lines, each with the exact row and the reason."""

import filecmp
import json
import math
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from operator_core.files import NewFile
from operator_core.legacy.errors import ImportRefusedError
from operator_core.legacy.report import ImportNote
from operator_core.legacy.source import LegacyRow, special_kind


def to_lossless_json(value: object) -> object:
    """Return a SQLite value as lossless JSON: bytes that are not UTF-8 become lone surrogates (PEP 383)."""
    match value:
        case bytes():
            return {"blob": value.hex()}
        case float() if not math.isfinite(value):
            return {"real": str(value)}
        case _:
            return value


class RejectsFile:
    """A file of rejected rows, which appears only once it is complete; an existing file is never changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: NewFile | None = None
        self._is_published = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._file is not None:
            self._file.discard()

    def add(self, row: LegacyRow, note: ImportNote) -> None:
        """Write one row."""
        values = {name: to_lossless_json(value) for name, value in row.items()}
        with self._writable():
            if self._file is None:
                self._require_file()
                self._file = NewFile(self._path)
            self._file.write(json.dumps({"table": note.table, "reason": note.text, "row": values}) + "\n")

    def _require_file(self) -> None:
        with suppress(FileNotFoundError):
            if kind := special_kind(self._path.stat().st_mode):
                problem = f"{self._path} is {kind}, not a file; name a new file with --rejects"
                raise ImportRefusedError(problem=problem)

    def publish(self) -> Path | None:
        """Move the file to its place, and return its path; None if no row was rejected.

        Raises:
            ImportRefusedError: Another file is there.
        """
        if self._file is None:
            return None
        with self._writable():
            self._file.complete()
            if not self._path.exists():
                self._file.publish()
                self._is_published = True
            elif not filecmp.cmp(self._file.part, self._path, shallow=False):
                problem = f"{self._path} is there already with other rows; move it away, or name another with --rejects"
                raise ImportRefusedError(problem=problem)
        return self._path

    def delete(self) -> None:
        """Delete the file, unless it was there before: nothing was imported."""
        if self._is_published:
            self._path.unlink(missing_ok=True)

    @contextmanager
    def _writable(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            problem = f"{self._path} cannot be written ({error.strerror}); name another with --rejects"
            raise ImportRefusedError(problem=problem) from error
