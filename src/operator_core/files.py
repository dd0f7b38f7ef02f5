"""A new file that appears at its path only once it is complete."""

import os
import secrets
from pathlib import Path
from typing import Self


class NewFile:
    """A text file that is written under a temporary name in the same folder, and deleted unless it is published.

    Only its owner can read it: it holds what a ledger holds.
    """

    def __init__(self, path: Path) -> None:
        """Create the file under its temporary name.

        Raises:
            OSError: It cannot be created there.
        """
        self.path = path
        self.part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        self._stream = os.fdopen(os.open(self.part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.discard()

    def write(self, text: str) -> None:
        """Append a text."""
        self._stream.write(text)

    def complete(self) -> None:
        """Write everything to the disk."""
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def publish(self) -> None:
        """Complete the file and move it to its path; a file that is there is replaced."""
        self.complete()
        self.part.replace(self.path)

    def discard(self) -> None:
        """Delete what was not published."""
        self._stream.close()
        self.part.unlink(missing_ok=True)
