"""Databases at any revision, and everything that they say about their schema."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from textwrap import indent
from typing import TypeVar

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from operator_core.actions import ActionStatus
from operator_core.db import ActionDB, metadata, migrations
from operator_core.db.engine.urls import resolve_url
from operator_core.db.migrations import revisions
from tests.support.factories import stored
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE
from tests.support.plain_sql import LATER, insert, soon

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
PROCESSES = 6
UPGRADE = """
import sys
from pathlib import Path
from operator_core.db import upgrade
from operator_core.db.migrations import revisions
scripts, *targets = sys.argv[1:]
revisions.scripts = lambda: Path(scripts)
for target in targets:
    print("ready", flush=True)
    sys.stdin.readline()
    upgrade(target if "://" in target else Path(target))
"""

_POSTGRESQL_SCHEMA = {
    "column": "SELECT table_name || '.' || column_name, to_jsonb(c) - 'table_catalog' - 'udt_catalog' "
    "FROM information_schema.columns AS c WHERE table_schema = 'public'",
    "constraint": "SELECT conrelid::regclass || '.' || conname, pg_get_constraintdef(oid) || convalidated "
    "FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
    "index": "SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) || i.indisvalid "
    "FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid WHERE c.relnamespace = 'public'::regnamespace",
    "trigger": "SELECT tgname, pg_get_triggerdef(oid) || tgenabled::text FROM pg_trigger WHERE NOT tgisinternal",
    "function": "SELECT proname, pg_get_functiondef(oid) || coalesce(proacl::text, '') FROM pg_proc "
    "WHERE pronamespace = 'public'::regnamespace",
    "sequence": "SELECT sequencename, concat_ws(' ', data_type, min_value, max_value, increment_by, cycle) "
    "FROM pg_sequences WHERE schemaname = 'public'",
    "table": "SELECT relname, concat_ws(' ', relkind::text, relpersistence::text, relrowsecurity, relhasrules) "
    "FROM pg_class WHERE relnamespace = 'public'::regnamespace",
}


def schema_of(ledger: Ledger, *, version_table: bool = True) -> dict[str, str]:
    """Return the definition of every object in a database, by kind and name."""
    found = _sqlite_schema(ledger) if ledger.is_sqlite else _postgresql_schema(ledger)
    return {name: text for name, text in found.items() if version_table or migrations.VERSION_TABLE not in name}


def _sqlite_schema(ledger: Ledger) -> dict[str, str]:
    with closing(ledger.connect()) as plain:
        found = plain.execute("SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_master").fetchall()
        tables = [name.removeprefix("table ") for name, _ in found if name.startswith("table ")]
        texts = {name: _normalised(text) if name.startswith("table") else text for name, text in found}
        for table in tables:
            texts[f"columns {table}"] = repr(plain.execute(f"PRAGMA table_xinfo({table})").fetchall())
            texts[f"options {table}"] = repr(plain.execute(f"PRAGMA table_list({table})").fetchall())
        return texts


def _normalised(statement: str) -> str:
    """Return a CREATE TABLE with its clauses sorted: their order means nothing, and columns are compared apart."""
    head, _, body = " ".join(statement.split()).partition("(")
    clauses, depth = [""], 0
    for letter in body:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            clauses.append("")
        elif depth >= 0:
            clauses[-1] += letter
    return "\n".join([head, *sorted(clause.strip() for clause in clauses), body.rpartition(")")[2]])


def _postgresql_schema(ledger: Ledger) -> dict[str, str]:
    with closing(ledger.connect()) as plain:
        plain.execute("SET search_path = pg_catalog")  # every name is written with its schema
        found = {kind: plain.execute(query).fetchall() for kind, query in _POSTGRESQL_SCHEMA.items()}
    return {f"{kind} {name}": str(text) for kind, rows in found.items() for name, text in rows}


def contents_of(ledger: Ledger) -> dict[str, list[str]]:
    """Return every row of every table in a database, the counters of ids included."""
    with closing(ledger.connect()) as plain:
        if ledger.is_sqlite:
            tables = "SELECT name FROM sqlite_master WHERE type = 'table'"
        else:
            tables = (
                "SELECT relname FROM pg_class WHERE relkind IN ('r', 'S') AND relnamespace = 'public'::regnamespace"
            )
        names = [name for (name,) in plain.execute(tables).fetchall()]
        return {name: sorted(map(repr, plain.execute(f"SELECT * FROM {name}").fetchall())) for name in names}


async def fill(ledger: Ledger) -> None:
    """Store a proposal in each state, and forget the highest ids, which must never be given again."""
    async with ActionDB(ledger.target) as db:
        for status in ActionStatus:
            await stored(db, status)
        await stored(db, ActionStatus.CANCELLED)
    with closing(ledger.connect()) as plain:
        plain.execute(insert("action_prunes", before=soon(), by="ann", reason="old", at=LATER))
        plain.execute("DELETE FROM action_proposals WHERE id = (SELECT max(id) FROM action_proposals)")


async def within(ledger: Ledger, act: Callable[[sa.Connection], T], driver: str | None = None) -> T:
    """Call `act` on a connection of a host's own engine, in a transaction."""
    url = resolve_url(ledger.target)
    engine = create_async_engine(url.set(drivername=driver) if driver else url, poolclass=sa.NullPool)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(act)
    finally:
        await engine.dispose()


def create_from_models(connection: sa.Connection) -> None:
    metadata.create_all(connection)


def add_revision(monkeypatch: pytest.MonkeyPatch, folder: Path, upgrade: str, downgrade: str = "pass") -> Path:
    """Let the code know a revision after its last, in a copy of the scripts; return their folder."""
    scripts = Path(
        shutil.copytree(migrations.scripts(), folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    )
    number = next_revision()
    head = f"revision = {number!r}\ndown_revision = {migrations.HEAD!r}\n"
    body = f"def upgrade():\n{indent(upgrade, '    ')}\n\ndef downgrade():\n{indent(downgrade, '    ')}\n"
    (scripts / "versions" / f"{number}_next.py").write_text(
        f"import sqlalchemy as sa\nfrom alembic import op\n{head}{body}"
    )
    known = (*migrations.REVISIONS, number)
    for module in (revisions, migrations):
        monkeypatch.setattr(module, "REVISIONS", known)
        monkeypatch.setattr(module, "HEAD", number)
        monkeypatch.setattr(module, "scripts", lambda: scripts)
    return scripts


def next_revision(steps: int = 1) -> str:
    return f"{int(migrations.REVISIONS[-1]) + steps:04d}"


def version_of(ledger: Ledger) -> str | None:
    """Return the revision that a database is at, or None where it has no version table."""
    if f"table {migrations.VERSION_TABLE}" not in " ".join(schema_of(ledger)):
        return None
    with closing(ledger.connect()) as plain:
        ((version,),) = plain.execute(f"SELECT version_num FROM {migrations.VERSION_TABLE}").fetchall()
    return version


def set_version(ledger: Ledger, revision: str) -> None:
    with closing(ledger.connect()) as plain:
        plain.execute(f"UPDATE {migrations.VERSION_TABLE} SET version_num = '{revision}'")


def upgrade_at_once(scripts: Path, *ledgers: Ledger) -> list[str]:
    """Let many processes upgrade each ledger in the same moment, and return what went wrong in each process."""
    line = [sys.executable, "-c", UPGRADE, str(scripts), *(str(ledger.target) for ledger in ledgers)]
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=ROOT) for _ in range(PROCESSES)
    ]
    with ExitStack() as stack:
        for process in started:
            stack.enter_context(process)
            stack.callback(process.kill)
        for _ in ledgers:
            for process in started:
                process.stdout.readline()
            for process in started:
                with suppress(BrokenPipeError):
                    process.stdin.write("go\n")
                    process.stdin.flush()
        ended = [(process.communicate(timeout=5 * PATIENCE)[1], process.returncode) for process in started]
    return [f"exit {code}: {errors}" for errors, code in ended if code]
