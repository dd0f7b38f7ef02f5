"""docs/sql.md in the hands of a reader: its statements, run as they stand there, and a list of those that were not."""

import re
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

Client = sqlite3.Connection | psycopg.Connection
Row = tuple[object, ...]

PAGE = Path(__file__).parents[2] / "docs" / "sql.md"
ENGINES = {"SQLite:": "sqlite", "PostgreSQL:": "postgresql"}
_HEADING_OR_BLOCK = re.compile(r"^## ([^\n]+)$|^([^\n]*)\n```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CONSTRAINT_TRIGGER = 1811
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")


def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading, row by row, without backticks."""
    section = page().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def blocks(engine: str) -> dict[tuple[str, int], list[str]]:
    """Return the statements of each block for an engine, by heading and by place among its blocks there.

    The line above a block names its engine; a block without such a line is for both.
    """
    found: dict[tuple[str, int], list[str]] = {}
    heading, place = "", 0
    for match in _HEADING_OR_BLOCK.finditer(page()):
        if match[1]:
            heading, place = match[1], 0
            continue
        label, text = match[2], match[3]
        assert label in {"", *ENGINES}, f"a block for an unknown engine: {label}"
        if ENGINES.get(label, engine) == engine:
            found[heading, place] = [f"{statement.strip()};" for statement in text.split(";") if statement.strip()]
            place += 1
    return found


def numbered(statement: str) -> str:
    """Return a statement with `$1`, `$2` and so on for its parameters, as PREPARE and most drivers want it."""
    names = list(dict.fromkeys(_PARAMETER.findall(statement)))
    return _PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}", statement)


@dataclass
class Reader:
    """Somebody who works by the page alone.

    Attributes:
        engine: `sqlite` or `postgresql`.
        clients: The connections for all sections, under "", and for those with a connection of their own.
        executed: Heading, block and place of every statement that was run.
    """

    engine: str
    clients: Mapping[str, Client]
    executed: set[tuple[str, int, int]] = field(default_factory=set)

    def connect(self) -> None:
        """Give every connection the settings of the page."""
        for client in self.clients.values():
            self._run(client, "Connect", 0, {})

    def follow(self, heading: str, *, block: int = 0, without: str | None = None, **values: object) -> list[Row]:
        """Run a block, and return the rows of all its statements.

        What a statement returns is given to the following ones as values, by the names of the columns.

        Args:
            heading: The section of the block.
            block: Its place among the blocks of that section for this engine.
            without: A pattern; statements that match it are left out.
            **values: The parameters.
        """
        client = self.clients.get(heading, self.clients[""])
        try:
            return self._run(client, heading, block, values, without)
        except (sqlite3.Error, psycopg.Error):
            client.rollback()
            raise

    def refusal(self, heading: str, **values: object) -> str | None:
        """Return the code with which a block is refused, or None."""
        return self._code_of(lambda: self.follow(heading, **values))

    def refusal_of(self, statement: str, **values: object) -> str | None:
        """Return the code with which a statement that is not on the page is refused, or None."""
        return self._code_of(lambda: self._execute(self.clients[""], statement, values))

    def left(self) -> list[str]:
        """Return the statements of the page that were not executed."""
        return [
            f"{heading}: {statement}"
            for (heading, block), statements in blocks(self.engine).items()
            for place, statement in enumerate(statements)
            if (heading, block, place) not in self.executed
        ]

    def _code_of(self, run: Callable[[], object]) -> str | None:
        """Read the code from the error as the page says."""
        try:
            run()
        except psycopg.Error as error:
            return error.sqlstate
        except sqlite3.Error as error:
            by_guard = error.sqlite_errorcode == _CONSTRAINT_TRIGGER
            return str(error).partition(":")[0] if by_guard else error.sqlite_errorname
        return None

    def _run(
        self, client: Client, heading: str, block: int, values: Mapping[str, object], without: str | None = None
    ) -> list[Row]:
        found: list[Row] = []
        known = dict(values)
        for place, statement in enumerate(blocks(self.engine)[heading, block]):
            if without is not None and re.search(without, statement):
                continue
            cursor = self._execute(client, statement, known)
            if cursor.description is not None:
                rows = cursor.fetchall()
                names = [column[0] for column in cursor.description]
                known = {**dict(zip(names, rows[0], strict=True)), **known} if rows else known
                found += rows
            self.executed.add((heading, block, place))
        return found

    def _execute(self, client: Client, statement: str, values: Mapping[str, object]) -> sqlite3.Cursor | psycopg.Cursor:
        given = {name: values[name] for name in _PARAMETER.findall(statement)}
        if isinstance(client, sqlite3.Connection):
            return client.execute(statement, given)
        return client.execute(_PARAMETER.sub(r"%(\1)s", statement.replace("%", "%%")), given)
