"""Our revisions in a host's migration: in its transaction, and with `--sql` in its script."""

import re
from typing import Any

import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext

from operator_core.actions.errors import InvalidArgumentError
from operator_core.db.engine.capabilities import is_sqlite
from operator_core.db.guards import SEED, Operations, names
from operator_core.db.migrations import revisions
from operator_core.db.migrations.environment import (
    MIGRATION_LOCK,
    OPTIONS,
    Plan,
    check_foreign_keys,
    keeping_triggers,
    plan,
    require_schema,
)
from operator_core.db.migrations.revisions import VERSION_TABLE
from operator_core.db.migrations.status import current_revision, require_free_names

BASE = "base"
"""Alembic's name for the revision of an empty database."""


def run_within(where: sa.Connection | Operations, start: str, end: str) -> None:
    """Run our revisions from `start` to `end`; see `host.run_revisions`."""
    numbers = [BASE, *revisions.REVISIONS]
    for path, revision in (("start", start), ("end", end)):
        if revision not in numbers:
            known = ", ".join(numbers)
            raise InvalidArgumentError(path=path, reason=f"is {revision!r}; this version of operator-core has {known}")
    steps = plan("upgrade" if numbers.index(start) < numbers.index(end) else "downgrade", end)
    if isinstance(where, sa.Connection):
        _run_on(where, steps, start)
    elif where.get_context().as_sql:
        _write_into(where.get_context(), steps, start)
    else:
        _run_on(where.get_bind(), steps, start)


def _run_on(connection: sa.Connection, steps: Plan, start: str) -> None:
    if is_sqlite(connection):
        with keeping_triggers(connection) as options:
            _require_revision(connection, start)
            MigrationContext.configure(connection, opts={**OPTIONS, **options, "fn": steps}).run_migrations()
            check_foreign_keys(connection)
        return
    MIGRATION_LOCK.acquire(connection, in_transaction=True)
    require_schema(connection)
    _require_revision(connection, start)
    MigrationContext.configure(connection, opts={**OPTIONS, "fn": steps}).run_migrations()


def _write_into(host: MigrationContext, steps: Plan, start: str) -> None:
    options: dict[str, Any] = {**OPTIONS, "fn": steps, "as_sql": True, "literal_binds": True}
    options |= {"output_buffer": host.output_buffer, "starting_rev": None if start == BASE else start}
    named = {"paramstyle": "named"}  # the style of some drivers would double each %
    context = MigrationContext.configure(dialect_name=host.dialect.name, dialect_opts=named, opts=options)
    for statement in () if start == BASE else _adopt(start, host.dialect.name):
        context.impl.static_output(f"{statement};\n")
    context.run_migrations()


def _require_revision(connection: sa.Connection, start: str) -> None:
    """Check that a ledger is at a revision; trust the caller if a host made it without a version table."""
    if start != BASE and not names.has_version(connection):
        require_free_names(connection)
        for statement in _adopt(start, connection.dialect.name):
            connection.execute(sa.text(statement.replace(":", r"\:")))
    found = current_revision(connection) or BASE
    if found != start:
        raise InvalidArgumentError(path="start", reason=f"is {start!r}, and the ledger is at {found!r}")


def _adopt(revision: str, dialect: str) -> list[str]:
    """Return the statements that add a version table, and the latch and guards of its revision, to a host's ledger.

    Its guards may be newer: `install_guards`, called in an older migration of the host, installs the newest guards of
    the code.
    """
    columns = f"version_num VARCHAR(32) NOT NULL, CONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num)"
    row = f"SELECT '{revision}' WHERE NOT EXISTS (SELECT 1 FROM {VERSION_TABLE})"  # noqa: S608
    return [
        f"CREATE TABLE IF NOT EXISTS {VERSION_TABLE} ({columns})",
        f"INSERT INTO {VERSION_TABLE} (version_num) {row}",
        *_drop_guards(revision, dialect),
        SEED,
        *_frozen_guards(revision, dialect),
    ]


def _drop_guards(revision: str, dialect: str) -> list[str]:
    """Return the statements that drop all our triggers, and the functions that a revision does not have.

    The other functions are replaced, so that roles with EXECUTE keep it.
    """
    texts = [text for number in revisions.REVISIONS for text in _frozen_guards(number, dialect)]
    triggers = {found[1]: found[2] for text in texts if (found := _TRIGGER.match(text))}
    if dialect == "sqlite":
        return [f"DROP TRIGGER IF EXISTS {name}" for name in triggers]
    kept = {found[1] for text in _frozen_guards(revision, dialect) if (found := _FUNCTION.match(text))}
    functions = {found[1]: None for text in texts if (found := _FUNCTION.match(text)) and found[1] not in kept}
    drops = [f"DROP TRIGGER IF EXISTS {name} ON {table}" for name, table in triggers.items()]
    return [*drops, *(f"DROP FUNCTION IF EXISTS {name}" for name in functions)]


_TRIGGER = re.compile(r"CREATE TRIGGER (\w+) .*? ON (\w+)", re.DOTALL)
_FUNCTION = re.compile(r"CREATE (?:OR REPLACE )?FUNCTION (\w+)")


def _frozen_guards(revision: str, dialect: str) -> list[str]:
    """Return the guards of a revision, which are those of the last one that changed any."""
    files = sorted((revisions.scripts() / "guards").glob(f"*_{dialect}.sql"))
    (*_, last) = (file for file in files if file.name <= f"{revision}_{dialect}.sql")
    return last.read_text(encoding="utf-8").partition("\n")[2].removesuffix("\n").split("\n-- next\n")
