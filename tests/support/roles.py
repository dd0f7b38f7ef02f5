"""The roles of docs/deploy.md, made by its own words on a real server, and what the tests of them share."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg

from operator_core.db import ActionDB, metadata
from operator_core.db.migrations.revisions import VERSION_TABLE
from tests.support.factories import running
from tests.support.ledger import Ledger
from tests.support.postgres import PrivatePostgres

ROOT = Path(__file__).parents[2]
OWNER, APP = "operator_core_owner", "operator_core_app"
APPROVER, EDITOR, OPERATOR = "operator_core_approver", "operator_core_editor", "operator_core_operator"
ROLES = (OWNER, APP, APPROVER, EDITOR, OPERATOR)
TABLES = (*metadata.tables, VERSION_TABLE)
NO_PRIVILEGE = "42501"


def documented(heading: str) -> list[list[str]]:
    """Return the statements of each SQL block under a heading of docs/deploy.md, lines for psql among them."""
    text = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^```sql\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [re.findall(r"^(?:\\[^\n]*|DO \$\$.*?\$\$;|[^\\]*?;)$", block, re.MULTILINE | re.DOTALL) for block in found]


ONCE, AFTER_EACH_UPGRADE, FOR_EDITORS, BY_HAND, TO_TERMINATE = documented("Roles")
(SETTINGS,) = documented("PgBouncer")


@dataclass
class Deployed:
    """A ledger with the roles of the document, under names of its own: roles belong to the whole server."""

    server: PrivatePostgres
    database: str
    mark: str
    password: str
    copies: set[str] = field(default_factory=set)

    def another(self, template: str | None = None) -> "Deployed":
        """Return another database for the same roles: empty, or a copy."""
        name = self.server.create_database(template)
        self.copies.add(name)
        return replace(self, database=name)

    def role(self, name: str) -> str:
        return f"{name}_{self.mark}"

    def url(self, name: str) -> str:
        return self.server.url(self.database, user=self.role(name), password=self.password)

    def connect(self, name: str | None = None) -> psycopg.Connection:
        """Return a client that speaks plain SQL as a role, or as a superuser."""
        url = self.server.url(self.database) if name is None else self.url(name)
        return psycopg.connect(Ledger(url).dsn, autocommit=True)

    def run(self, statements: list[str], name: str | None = None) -> list[tuple]:
        """Run documented statements as a role, or as a superuser, and return the rows of the last one."""
        with closing(psycopg.connect(self.server.dsn(), autocommit=True) if name is None else self.connect(name)) as to:
            for statement in statements:
                if statement.startswith("\\connect "):
                    return self._run_within(statements[statements.index(statement) + 1 :])
                done = to.execute(self._renamed(statement))
        return done.fetchall() if done.description else []

    def _run_within(self, statements: list[str]) -> list[tuple]:
        with closing(self.connect()) as to:
            for statement in statements:
                to.execute(self._renamed(statement))
        return []

    def _renamed(self, statement: str) -> str:
        statement = re.sub(rf"\b({'|'.join(ROLES)})\b", rf"\1_{self.mark}", statement)
        return re.sub(r"\bledger\b", self.database, statement)


# -- what the tests of them share -------------------------------------------------------------------------------------

Call = Callable[[ActionDB, psycopg.Connection], Awaitable[object]]


async def finished(db: ActionDB, **given: bool) -> object:
    record = await running(db)
    return await db.finish_execution(record.id, **{"success": True, **given})


def refusal(connection: psycopg.Connection, statement: str) -> str | None:
    """Return the SQLSTATE with which a statement is refused, or None where it is not."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)
    except psycopg.Error as error:
        return error.sqlstate
    return None


async def command(url: str, *words: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "operator_core", *words, "--url", url, stdout=-1, stderr=subprocess.STDOUT
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()
