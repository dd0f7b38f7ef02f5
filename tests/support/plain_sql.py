"""Speaks plain SQL to a ledger as an adversary would: statements, and attacks that must be refused."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product

import psycopg
import pytest
import sqlalchemy as sa

from operator_core.actions import TRANSITIONS, ActionOutcome, ActionStatus
from operator_core.actions.lifecycle import INITIAL, OUTCOMES
from operator_core.db import ActionDB, metadata
from operator_core.db.errors import error_code, guard_code
from operator_core.db.guards.codes import CHANGE_REFUSED, MESSAGES
from tests.support.factories import stored
from tests.support.ledger import Ledger

Plain = sqlite3.Connection | psycopg.Connection

LATER = "2030-01-01 00:00:00.000000"
TIMED = tuple(status for status in TRANSITIONS if status is not INITIAL)
CONFLICT_CLAUSES = ("REPLACE", "IGNORE", "FAIL", "ABORT", "ROLLBACK")
REFUSALS = {
    *MESSAGES,
    *("23502", "23503", "23505", "23514"),  # PostgreSQL: not null, foreign key, unique, check
    *("0A000", "428C9", "42501"),  # PostgreSQL: no chosen ids; a referenced table is not truncated alone; no permission
    "SQLITE_FULL",  # there is no higher id
    *(f"SQLITE_CONSTRAINT_{kind}" for kind in ("CHECK", "NOTNULL", "PRIMARYKEY", "UNIQUE", "ROWID")),
}
"""What a refusal may be: anything else, such as a syntax error, would be a mistake of the test."""

NEVER_CHANGES = {CHANGE_REFUSED, "428C9"}
"""How a change of what was recorded is refused; the second is PostgreSQL's own, where it alone gives ids."""

on_sqlite = pytest.mark.parametrize("ledger", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("ledger", ["postgresql"], indirect=True)


def rows(plain: Plain, query: str) -> list[tuple]:
    return plain.execute(query).fetchall()


def contents(plain: Plain) -> dict[str, list[str]]:
    """Return every row of every table of the ledger."""
    return {name: sorted(map(repr, rows(plain, f"SELECT * FROM {name}"))) for name in metadata.tables}


def _refusal(error: BaseException, statement: str) -> str:
    code = guard_code(error) or error_code(error)
    assert code in REFUSALS, f"{error}: {statement}"
    return code


def attempt(plain: Plain, statement: str) -> bool:
    """Run a statement that may be refused, and tell whether it changed something."""
    try:
        return plain.execute(statement).rowcount > 0
    except (sqlite3.Error, psycopg.Error) as error:
        _refusal(error, statement)
        return False


def attack(plain: Plain, statement: str) -> str:
    """Run a statement that must be refused and must change nothing, and return the code of the refusal."""
    before = contents(plain)
    try:
        plain.execute(statement)
    except (sqlite3.Error, psycopg.Error) as error:
        code = _refusal(error, statement)
    else:
        pytest.fail(f"not refused: {statement}")
    assert contents(plain) == before, statement
    return code


# -- statements --------------------------------------------------------------------------------------------------------


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else f"'{value}'"


def insert(table: str, **values: object) -> str:
    names = ", ".join(f'"{name}"' for name in values)
    return f"INSERT INTO {table} ({names}) VALUES ({', '.join(map(_literal, values.values()))})"


def new(**values: object) -> str:
    """Return the insert of a proposal."""
    given = {"action_name": "drain_store", "action_type": "tool", "parameters": "{}", "reason": "hot", "generation": 0}
    who = {"proposed_at": LATER, "proposed_by": "mallory", "status_at": LATER, "status_by": "mallory"}
    return insert("action_proposals", **{**given, **who, **values})


def step(number: int | None, target: ActionStatus, verb: str = "UPDATE", **others: str) -> str:
    """Return the update that takes a step in full, as the library's does, with `others` set besides."""
    values = {"status": f"'{target}'", "status_at": f"'{LATER}'", "status_by": "'mallory'", "status_reason": "NULL"}
    values |= {f"{target}_at": f"'{LATER}'"} if target is not INITIAL else {}
    changes = ", ".join(f"{name} = {value}" for name, value in {**values, **others}.items())
    return f"{verb} action_proposals SET {changes} WHERE id = {number}"


def step_alone(number: int | None, target: ActionStatus) -> str:
    """Return the update of the status alone."""
    return f"UPDATE action_proposals SET status = '{target}' WHERE id = {number}"


def close(number: int | None, outcome: ActionOutcome) -> str:
    """Return the update that closes the record of a proposal."""
    success = "true" if outcome is ActionOutcome.SUCCEEDED else "false"
    changes = f"completed_at = '{LATER}', outcome = '{outcome}', success = {success}"
    return f"UPDATE action_records SET {changes} WHERE proposal_id = {number}"


def ask_to_stop(number: int | None) -> str:
    changes = f"cancel_requested_at = '{LATER}', cancel_requested_by = 'ann'"
    return f"UPDATE action_records SET {changes} WHERE proposal_id = {number}"


def soon() -> str:
    """Return a moment after everything that a test has done, in every zone, and not too late for a prune."""
    return f"{datetime.now(UTC) + timedelta(hours=12):%Y-%m-%d %H:%M:%S.%f}"


def prune(before: str | None = None) -> str:
    return insert("action_prunes", before=before or soon(), by="ann", reason="old", at=LATER)


def engage(scope: str = "everything") -> str:
    counter = "(SELECT max(generation) + 1 FROM kill_switch)"
    if scope != "everything":
        columns = "(scope, generation, engaged_at, engaged_by, reason)"
        return f"INSERT INTO kill_switch {columns} SELECT '{scope}', {counter}, '{LATER}', 'ann', 'smoke'"
    stop = f"generation = {counter}, engaged_at = '{LATER}', engaged_by = 'ann', reason = 'smoke'"
    clear = "released_at = NULL, released_by = NULL, release_reason = NULL"
    return f"UPDATE kill_switch SET {stop}, {clear} WHERE scope = '{scope}'"


def release(scope: str = "everything") -> str:
    changes = f"released_at = '{LATER}', released_by = 'ann', release_reason = 'over'"
    return f"UPDATE kill_switch SET {changes} WHERE scope = '{scope}'"


NOW_ON_SQLITE = "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


def decide(plain: Plain, number: int | None, decision: str = "approved", **others: str) -> str:
    """Return the insert of a decision; `others` are SQL expressions that replace or add columns."""
    values = {
        "proposal_id": str(number),
        "decision": f"'{decision}'",
        "by": "'mallory'",
        "kind": "'human'",
        "reason": "'because'",
    }
    values |= {
        "status": f"coalesce((SELECT status FROM action_proposals WHERE id = {number}), 'proposed')",
        "at": NOW_ON_SQLITE if isinstance(plain, sqlite3.Connection) else "now()",
        "generation": "(SELECT max(generation) FROM kill_switch)",
        **others,
    }
    names = ", ".join(f'"{name}"' for name in values)
    return f"INSERT INTO action_approvals ({names}) SELECT {', '.join(values.values())}"


NEXT_POLICY_VERSION = "(SELECT coalesce(max(version), 0) + 1 FROM approval_policy_events)"


def rule(plain: Plain, scope: str = "action_name=drain_store", role: str = "", **others: str) -> str:
    """Return the insert of a rule of a policy; `others` are SQL expressions that replace or add columns."""
    values = {"scope": f"'{scope}'", "role": f"'{role}'", "by": "'mallory'", "reason": "'because'"}
    values |= {
        "at": NOW_ON_SQLITE if isinstance(plain, sqlite3.Connection) else "now()",
        "version": NEXT_POLICY_VERSION,
        **others,
    }
    names = ", ".join(f'"{name}"' for name in values)
    return f"INSERT INTO approval_policies ({names}) SELECT {', '.join(values.values())}"


def change_rule(plain: Plain, where: str = "true", **changes: str) -> str:
    """Return the update of rules, each under the next version."""
    at = NOW_ON_SQLITE if isinstance(plain, sqlite3.Connection) else "now()"
    values = {"at": at, "version": NEXT_POLICY_VERSION, **changes}
    changed = ", ".join(f'"{name}" = {value}' for name, value in values.items())
    return f"UPDATE approval_policies SET {changed} WHERE {where}"


def another_value(column: sa.Column) -> str:
    """Return a value that fits into a column and that no test stores there."""
    if column.name == "status":
        return "'cancelled'"
    kind = getattr(column.type, "impl", column.type)
    if isinstance(kind, sa.Integer):
        return "4712"
    given = {
        sa.Float: "4712.5",
        sa.Boolean: "true",
        sa.DateTime: "'2031-01-01 00:00:00.000000'",
        sa.JSON: """'{"store": 5}'""",
    }
    return next((text for python, text in given.items() if isinstance(kind, python)), "'workflow'")


# -- forbidden statements ----------------------------------------------------------------------------------------------

# For each table: its key, and a change that nobody may make.
_FORBIDDEN = {
    "action_proposals": ("id", "reason = 'none'"),
    "action_records": ("id", f"started_at = '{LATER}'"),
    "action_events": ("id", "\"by\" = 'bob'"),
    "action_notes": ("id", "\"by\" = 'bob'"),
    "action_prunes": ("id", f"before = '{LATER}'"),
    "kill_switch": ("scope", f"generation = 0, released_at = '{LATER}', released_by = 'bob', release_reason = 'none'"),
    "kill_switch_events": ("id", "\"by\" = 'bob'"),
    "action_approvals": ("id", "\"by\" = 'bob'"),
    "approval_policies": ("version", "role = 'moved'"),
    "approval_policy_events": ("id", "\"by\" = 'bob'"),
}


def _forbidden_on_sqlite(table: str, key: str, change: str) -> Iterator[str]:
    yield f"INSERT INTO {table} SELECT * FROM {table} WHERE true ON CONFLICT ({key}) DO UPDATE SET {change}"
    yield f"INSERT INTO {table} SELECT * FROM {table} WHERE true ON CONFLICT DO NOTHING"
    for clause in CONFLICT_CLAUSES:
        yield f"UPDATE OR {clause} {table} SET {change}"
        yield f"INSERT OR {clause} INTO {table} SELECT * FROM {table}"
    yield f"REPLACE INTO {table} SELECT * FROM {table}"
    for alias in ("rowid", "_rowid_", "oid") if key == "id" else ():
        yield f"UPDATE {table} SET {alias} = {alias} + 1000"
        yield f"UPDATE OR REPLACE {table} SET {alias} = (SELECT max({alias}) FROM {table}) + 1"
        yield f"UPDATE {table} SET {alias} = -{alias}"
    yield f"UPDATE main.{table} SET {change} FROM {table} AS u WHERE {table}.{key} = u.{key}"
    yield f"WITH w AS (SELECT {key} FROM {table}) DELETE FROM {table} WHERE {key} IN w RETURNING {key}"


def _forbidden_on_postgresql(table: str, key: str, change: str) -> Iterator[str]:
    yield f"INSERT INTO {table} SELECT * FROM {table} ON CONFLICT ({key}) DO UPDATE SET {change}"
    merge = f"MERGE INTO {table} USING (SELECT 1) AS s ON true WHEN MATCHED THEN"
    yield f"{merge} UPDATE SET {change}"
    yield f"{merge} DELETE"
    yield f"WITH w AS (UPDATE {table} SET {change} RETURNING 1) SELECT count(*) FROM w"
    yield f"WITH w AS (DELETE FROM {table} RETURNING *) INSERT INTO {table} SELECT * FROM w"
    every = ", ".join(metadata.tables)
    for named, option in product((table, f"ONLY {table}", every), ("", "CASCADE", "RESTART IDENTITY CASCADE")):
        yield f"TRUNCATE {named} {option}"


def forbidden(table: str, ledger: Ledger) -> list[str]:
    """Return many ways to rewrite or remove the rows of a table that `filled` has filled; all must be refused."""
    key, change = _FORBIDDEN[table]
    forms = _forbidden_on_sqlite if ledger.is_sqlite else _forbidden_on_postgresql
    return [f"UPDATE {table} SET {change}", f"DELETE FROM {table}", *forms(table, key, change)]


# -- ledgers -----------------------------------------------------------------------------------------------------------


async def ready(db: ActionDB, plain: Plain, source: ActionStatus, target: ActionStatus) -> int:
    """Return the id of a proposal in `source` for which the step to `target` is legal, its record closed in accord."""
    made = await stored(db, source)
    if source is ActionStatus.EXECUTING and target in OUTCOMES:
        plain.execute(ask_to_stop(made.id))
        plain.execute(close(made.id, OUTCOMES[target][0]))
    assert made.id is not None
    return made.id


async def filled(db: ActionDB, plain: Plain) -> dict[ActionStatus, int]:
    """Put rows into every table, and return the id of a proposal in each state."""
    made = {status: (await stored(db, status)).id for status in TRANSITIONS}
    plain.execute(ask_to_stop(made[ActionStatus.EXECUTING]))
    decided = (decide(plain, made[ActionStatus.PROPOSED]), rule(plain, "action_name=nothing", "sre"))
    for statement in (*decided, prune("2001-01-01 00:00:00.000000"), engage(), release(), engage("ticket_id=4711")):
        plain.execute(statement)
    return made
