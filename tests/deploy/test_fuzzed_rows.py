"""What the application may write in plain SQL, the library reads back: every column, by every public read."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from operator_core.actions import ActionOutcome, ActionStatus, UnreadableRowError
from operator_core.db import ActionDB, metadata
from operator_core.db.errors import error_code
from tests.cli.conftest import run_command
from tests.support.factories import running, stored
from tests.support.plain_sql import LATER, NEXT_POLICY_VERSION, NOW_ON_SQLITE, engage, release
from tests.support.race_rounds import rounds, seed
from tests.support.roles import APP
from tests.support.unreadable import JSON, NO_DATE, NO_JSON, NO_NUMBER, NO_TEXT, NO_TIME, NOT_FINITE
from tests.support.workbench import Diary, worked

STATEMENTS = rounds(short=1_000, long=20_000)
Plain = sqlite3.Connection | psycopg.Connection

OF_ANY_KIND = [
    *("NULL", "''", "' '", "'x'", "'everything'", "'proposed'", "'unknown'", "'2026-11-28 03:00:00.000000'"),
    *("0", "1", "-1", "7", "4711", "9223372036854775807", "-9223372036854775808", "1e308", "0.1", "true", "false"),
    *(
        "'true'",
        "'1'",
        "'9007199254740993'",
        "'-0'",
        "'1e400'",
        "'{}'",
        "'[]'",
        "'null'",
        """'{"a": [1, -0.0, "x"]}'""",
    ),
    *(f"'0001-01-01 00:00:00{zone}'" for zone in ("", ".000000", "+14:00", "-12:00")),
    *(f"'9999-12-31 23:59:59.999999{zone}'" for zone in ("", "+00:00", "-14:00")),
    *(f"'{text * 300}'" for text in ("x", "ä", "\N{FIRE}")),
    *(f"'a{mark}b'" for mark in ("\n", "\x1b[31m", "\N{RIGHT-TO-LEFT OVERRIDE}", "\x7f", "\N{REPLACEMENT CHARACTER}")),
]
ON_SQLITE = ["x'80ff'", "x''", "'a' || char(0)", "char(0)", "CAST(x'c3' AS TEXT)", "CAST(7 AS TEXT)", "9e999", "-9e999"]
VALUES = {
    True: [*OF_ANY_KIND, *JSON, *NO_JSON, *NO_TEXT, *NO_TIME, *NO_NUMBER, *ON_SQLITE],
    False: [*OF_ANY_KIND, *JSON, *NO_DATE, *NOT_FINITE, r"E'\uFFFF'", r"E'\U0010FFFF'", "'24:00'", "'epoch'", "'now'"],
}
"""Texts of SQL that stand for a value; those of SQLite, and those of PostgreSQL."""


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest) -> Path | str:
    """A migrated, empty ledger: a file, or what the application's role opens."""
    if request.param == "sqlite":
        return request.getfixturevalue("sqlite_path")
    return request.getfixturevalue("deployed").url(APP)


@pytest.fixture
def plain(request: pytest.FixtureRequest, target: Path | str) -> Iterator[Plain]:
    """A client that speaks plain SQL, with the rights of the application."""
    connect = (
        (lambda: sqlite3.connect(target, isolation_level=None))
        if isinstance(target, Path)
        else lambda: request.getfixturevalue("deployed").connect(APP)
    )
    with closing(connect()) as connection:
        yield connection


AT = f"'{LATER}'"
COUNTER = "(SELECT max(generation) FROM kill_switch)"
_LEASE = {"worker": "'w'", "lease_seconds": "60", "last_seen_at": AT, "lease_expires_at": AT}
ROWS: list[tuple[str, dict[str, str]]] = [
    (
        "action_proposals",
        {
            **dict.fromkeys(("proposed_by", "status_by", "reason"), "'ann'"),
            **dict.fromkeys(("proposed_at", "status_at"), AT),
            "action_name": "'drain_store'",
            "action_type": "'tool'",
            "parameters": "'{}'",
            "generation": COUNTER,
        },
    ),
    ("action_records", {"started_at": AT}),
    ("action_records", {"started_at": AT, **_LEASE}),
    (
        "action_notes",
        {
            "record_id": "7",
            "kind": "'reported_late'",
            "status": "'completed'",
            "at": AT,
            "by": "'a'",
            "generation": "0",
        },
    ),
    ("action_prunes", {"before": "'2001-01-01 00:00:00.000000'", "by": "'ann'", "reason": "'old'", "at": AT}),
    (
        "action_approvals",
        {
            **dict.fromkeys(("by", "reason", "role"), "'ann'"),
            "decision": "'approved'",
            "kind": "'human'",
            "status": "'proposed'",
            "at": "{now}",
            "generation": COUNTER,
        },
    ),
    ("action_events", {"to_status": "'failed'", "at": AT, "by": "'ann'", "generation": "0"}),
]


def belongs_to_a_proposal(table: str) -> bool:
    """Tell whether the rows of a table belong to a proposal."""
    return "proposal_id" in metadata.tables[table].columns


class Fuzzer:
    """Makes statements that are legal but for a value or two."""

    def __init__(self, values: list[str], choose: random.Random, now: str) -> None:
        self._values, self._choose, self._now = values, choose, now

    def statement(self) -> str:
        """Return an insert or an update with values of any kind."""
        number = self._choose.randint(1, 40)
        makers = [
            self._row,
            self._step,
            self._close,
            self._request,
            self._finding,
            self._stop,
            self._rule,
            self._revoke,
        ]
        return self._choose.choice(makers)(number).replace("{now}", self._now)

    def _spoilt(self, assignments: dict[str, str], table: str) -> dict[str, str]:
        columns = [column.name for column in metadata.tables[table].columns]
        spoilt = {name: self._choose.choice(self._values) for name in self._choose.sample(columns, k=2)}
        return assignments | dict(list(spoilt.items())[: self._choose.randint(0, 2)])

    def _update(self, table: str, assignments: dict[str, str], where: str) -> str:
        changes = ", ".join(f'"{name}" = {value}' for name, value in self._spoilt(assignments, table).items())
        return f"UPDATE {table} SET {changes} WHERE {where}"

    def _row(self, number: int) -> str:
        table, assignments = self._choose.choice([ROWS[0], ROWS[0], ROWS[0], *ROWS])
        spoilt = self._spoilt(
            {"proposal_id": str(number), **assignments} if belongs_to_a_proposal(table) else assignments, table
        )
        names = ", ".join(f'"{name}"' for name in spoilt)
        return f"INSERT INTO {table} ({names}) VALUES ({', '.join(spoilt.values())})"

    def _step(self, number: int) -> str:
        to = self._choose.choice(list(ActionStatus))
        assignments = {"status": f"'{to}'", "status_at": f"'{LATER}'", "status_by": "'ann'", "status_reason": "NULL"}
        if to is not ActionStatus.PROPOSED:
            assignments[f"{to}_at"] = f"'{LATER}'"
        return self._update("action_proposals", assignments, f"id = {number}")

    def _close(self, number: int) -> str:
        outcome = self._choose.choice(list(ActionOutcome))
        success = "true" if outcome is ActionOutcome.SUCCEEDED else "false"
        assignments = {"completed_at": f"'{LATER}'", "outcome": f"'{outcome}'", "success": success}
        return self._update("action_records", assignments, f"id = {number}")

    def _request(self, number: int) -> str:
        assignments = {"cancel_requested_at": f"'{LATER}'", "cancel_requested_by": "'ann'"}
        return self._update("action_records", assignments, f"id = {number}")

    def _finding(self, number: int) -> str:
        assignments = {"finding": "'partly'", "finding_at": f"'{LATER}'", "finding_by": "'ann'"}
        return self._update("action_records", assignments | {"finding_reason": "'seen'"}, f"id = {number}")

    def _rule(self, number: int) -> str:
        scope = self._choose.choice([f"'action_name=a{number}'", "'action_name=none'"])
        assignments = {"scope": scope, "role": self._choose.choice(["''", "'sre'"]), "by": "'ann'", "reason": "'new'"}
        assignments |= {"at": "{now}", "version": NEXT_POLICY_VERSION}
        spoilt = self._spoilt(assignments, "approval_policies")
        if self._choose.random() < 0.5:
            changes = ", ".join(
                f'"{name}" = {value}' for name, value in spoilt.items() if name not in ("scope", "role")
            )
            return f"UPDATE approval_policies SET {changes} WHERE scope = {scope}"
        names = ", ".join(f'"{name}"' for name in spoilt)
        return f"INSERT INTO approval_policies ({names}) VALUES ({', '.join(spoilt.values())})"

    def _revoke(self, number: int) -> str:
        assignments = {**dict(ROWS)["action_approvals"], "decision": "'revoked'", "revokes": str(number)}
        assignments["proposal_id"] = f"(SELECT proposal_id FROM action_approvals WHERE id = {number})"
        spoilt = self._spoilt(assignments, "action_approvals")
        names = ", ".join(f'"{name}"' for name in spoilt)
        return f"INSERT INTO action_approvals ({names}) VALUES ({', '.join(spoilt.values())})"

    def _stop(self, number: int) -> str:
        scope = self._choose.choice([f"ticket_id={number}", "action_name=none", f"proposed_by={number}"])
        if self._choose.random() < 0.5:
            return engage(scope).replace("'ann'", self._choose.choice(["'ann'", *self._values]))
        return release(scope).replace(f"'{LATER}'", self._choose.choice([f"'{LATER}'", *self._values]))


REFUSALS = ("SQLITE_CONSTRAINT", "SQLITE_ERROR", "SQLITE_MISMATCH", "22", "23", "42", "OC", "54")
"""What the code begins with by which an engine refuses a value, a type, a right or a row."""


def is_accepted(plain: Plain, statement: str) -> bool:
    """Run a statement, and tell whether it changed a row; whatever refuses it must say why."""
    try:
        return plain.execute(statement).rowcount > 0
    except (sqlite3.Error, psycopg.Error) as error:
        if not (error_code(error) or "").startswith(REFUSALS):
            raise
    return False


async def read_everything(db: ActionDB) -> None:
    """Make every public call that only reads."""
    proposals = await db.list_proposals(limit=1_000)
    assert len(proposals) == sum((await db.count_proposals()).values())
    assert [found async for found in db.iter_proposals()] == proposals
    for proposal in proposals:
        number = proposal.id
        assert await db.get_proposal(number) == proposal
        assert await db.get_events(number)
        for record in await db.get_records_for_proposal(number):
            assert await db.get_record(record.id) == record
            await db.stop_requested(record.id)
        assert (await db.approval_status(number)).proposal_id == number
    assert [event async for event in db.iter_events()]
    await db.list_unresolved()
    await db.kill_switch_status()
    await db.approval_policies()
    for waiting in await db.list_pending_approvals():
        assert waiting.approval == await db.approval_status(waiting.proposal.id)


async def test_whatever_is_let_in_is_read_back_by_every_read_by_recovery_and_by_a_worker(
    target: Path | str, plain: Plain
) -> None:
    chosen = seed()
    is_sqlite = isinstance(plain, sqlite3.Connection)
    fuzzer = Fuzzer(VALUES[is_sqlite], random.Random(chosen), NOW_ON_SQLITE if is_sqlite else "now()")
    unreadable: list[UnreadableRowError] = []
    async with ActionDB(target, on_unreadable=unreadable.append) as db:
        for status in 5 * list(ActionStatus):
            await stored(db, status)
        for _ in range(10):
            await running(db)
        accepted = [statement for _ in range(STATEMENTS) if is_accepted(plain, statement := fuzzer.statement())]
        print(f"fuzz {'sqlite' if is_sqlite else 'postgresql'}: seed {chosen}, {len(accepted)} of {STATEMENTS} let in")

        await read_everything(db)
        differences = await db.verify()
        await db.recover_expired_leases()
        await worked(db, Diary())
        await read_everything(db)
    exported = run_command("export", "--url", str(target))

    assert (differences, unreadable) == ([], [])
    assert exported.code == 0, exported.err
    assert len(accepted) > STATEMENTS // 20
