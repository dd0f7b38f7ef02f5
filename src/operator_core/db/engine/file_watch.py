"""Notices that a SQLite file was replaced or deleted under a live pool: writes would go to the file that is gone."""

from pathlib import Path

from sqlalchemy import event
from sqlalchemy.engine import Engine

from operator_core.actions.errors import DatabaseReplacedError


class FileWatch:
    """Refuses every connection, pooled or new, once the file is no longer the one that was opened first.

    `url` is shown in the error.
    """

    def __init__(self, file: Path, url: str) -> None:
        self._file, self._url = file, url
        self._opened: tuple[int, int] | None = None

    def attach(self, engine: Engine) -> None:
        """Watch the connections of an engine."""
        event.listen(engine, "do_connect", self.compare)  # before SQLite would make a file where there is none
        event.listen(engine, "connect", self._remember)
        event.listen(engine, "checkout", self.compare)
        event.listen(engine, "engine_disposed", self._forget)

    def compare(self, *_: object) -> None:
        """See that the file is the one that was opened first.

        Raises:
            DatabaseReplacedError: It is not.
        """
        if self._opened is not None and self._opened != self._identity():
            raise DatabaseReplacedError(url=self._url, detail="the file was deleted or replaced while it was open")

    def _remember(self, *_: object) -> None:
        self._opened = self._opened or self._identity()

    def _forget(self, *_: object) -> None:
        self._opened = None

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino
