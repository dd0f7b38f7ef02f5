"""How the statements of workers find their rows among very many on each engine: by the index that was made for them."""

import os
import re
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from operator_core.actions import ActionType
from operator_core.db import configure_engine
from operator_core.db.guards.approval_conditions import STANDS, ApprovalConditions
from operator_core.db.stores import approval_status, claims, leases, proposals
from operator_core.db.stores.executions import Lease
from tests.support.history import drop_guards
from tests.support.ledger import Ledger

ROWS = 100_000 if os.environ.get("OPERATOR_CORE_LONG") else 5_000
LEASE = Lease("w1", 60.0, "k")
# A long history, and behind it as many that wait; of what has run, a little still does, and a little ended unknown.
FILL = (
    (
        "INSERT INTO action_proposals (action_name, action_type, parameters, reason, status, proposed_at, proposed_by, "
        "generation, status_at, status_by, validated_at, executing_at, completed_at, valid_until, idempotency_key) "
        "SELECT 'name ' || n % 50, 'tool', '{{}}', 'hot', {status}, {at}, 'agent', 0, {at}, 'system', {at}, "
        "CASE WHEN n <= {rows} THEN {at} END, CASE WHEN n <= {rows} AND n % 500 <> 0 THEN {at} END, "
        "CASE WHEN n % 7 = 0 THEN {later} END, CASE WHEN n % 3 = 0 THEN 'key ' || n END FROM {numbers}"
    ),
    (
        "INSERT INTO action_records (proposal_id, started_at, completed_at, success, outcome, worker, lease_seconds, "
        "last_seen_at, lease_expires_at) SELECT id, {at}, CASE WHEN id % 500 <> 0 THEN {at} END, "
        "CASE WHEN id % 500 <> 0 THEN id % 1000 <> 5 END, "
        "CASE WHEN id % 1000 = 5 THEN 'unknown' WHEN id % 500 <> 0 THEN 'succeeded' END, 'w1', 60, {at}, {at} "
        "FROM action_proposals WHERE id <= {rows}"
    ),
)
STATUS = f"CASE WHEN n > {ROWS} THEN 'validated' WHEN n % 500 = 0 THEN 'executing' ELSE 'completed' END"
LITERALS = {
    "rows": str(ROWS),
    "status": STATUS,
    "at": "'2026-01-02 03:04:05.000000'",
    "later": "'2090-01-01 00:00:00.000000'",
}

WAITING = ("ix_action_proposals_validated", "ix_action_proposals_open (status=?)")
"""Both hold nothing but what waits, in the order of the ids: SQLite takes either."""

CALLS: dict[str, tuple[Callable[[sa.Connection], Any], str | tuple[str, ...]]] = {
    "the next claim": (lambda c: claims.claim_next(c, {}, LEASE), WAITING),
    "the next claim of some names": (
        lambda c: claims.claim_next(c, {"action_name": ["name 7", "name 8"], "action_type": [ActionType.TOOL]}, LEASE),
        WAITING,
    ),
    "a claim that is repeated": (lambda c: claims.claimed(c, LEASE, 1), "uq_action_records_worker"),
    "the recovery": (lambda c: leases.recover(c, 0.0, "ward"), "uq_action_records_worker"),
    "what is unsettled": (leases.unresolved, "ix_action_records_unsettled"),
    "what has expired": (proposals.expired, "ix_action_proposals_valid_until"),
    "the sweep of what has expired": (proposals.cancel_expired, "ix_action_proposals_valid_until"),
    "an idempotency key": (
        lambda c: c.execute(proposals._OF_KEY, {"idempotency_key": "key 3"}).all(),
        "uq_action_proposals_idempotency_key",
    ),
}


def fill(ledger: Ledger) -> None:
    """Put very many rows into a ledger without its guards, and have the engine count them."""
    numbers = f"generate_series(1, {2 * ROWS}) AS n"
    if ledger.is_sqlite:
        numbers = (
            f"(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {2 * ROWS}) SELECT n FROM s)"
        )
    drop_guards(ledger)
    with closing(ledger.connect()) as plain:
        for statement in FILL:
            plain.execute(_cast(statement.format(numbers=numbers, **LITERALS), ledger))
        plain.execute("ANALYZE")


APPROVALS = (
    (
        'INSERT INTO action_approvals (proposal_id, decision, status, "by", kind, at, generation) '
        "SELECT id, 'approved', 'proposed', 'anna', 'human', {at}, 0 FROM action_proposals"
    ),
    (
        'INSERT INTO action_approvals (proposal_id, decision, status, "by", kind, reason, at, revokes, generation) '
        "SELECT proposal_id, 'revoked', 'validated', 'bob', 'human', 'wrong store', {at}, id, 0 FROM action_approvals "
        "WHERE id % 3 = 0"
    ),
    (
        'INSERT INTO approval_policies (scope, role, approvals, four_eyes, humans_only, in_force, version, at, "by", '
        "reason) SELECT 'action_name=name ' || n, '', 1 + n % 2, 'proposer', true, true, n + 1, {at}, 'ops', 'a rule' "
        "FROM {numbers} WHERE n < 50"
    ),
)


def fill_approvals(ledger: Ledger) -> None:
    """Have each proposal approved, every third approval taken back, and a policy for each name, after `fill`."""
    numbers = "(SELECT id AS n FROM action_proposals)"
    with closing(ledger.connect()) as plain:
        for statement in APPROVALS:
            plain.execute(_cast(statement.format(numbers=numbers, **LITERALS), ledger))
        plain.execute("ANALYZE")


def _short(connection: sa.Connection) -> Any:
    """Ask what the guard of a step asks about one proposal."""
    condition = ApprovalConditions(connection.dialect.name, "p").short
    return connection.execute(sa.text(f"SELECT {condition} FROM action_proposals AS p WHERE p.id = 7")).all()


APPROVAL_CALLS: dict[str, Callable[[sa.Connection], Any]] = {
    "the next claim": CALLS["the next claim"][0],
    "the next claim of some names": CALLS["the next claim of some names"][0],
    "the guard of a step": _short,
    "where one approval stands": lambda c: approval_status.status(c, 7),
    "what waits for a person": lambda c: approval_status.pending(c, None, None, 50),
    "a revocation": lambda c: c.execute(_STANDS).all(),
}
_STANDS = sa.text(f"SELECT d.id FROM action_approvals AS d WHERE d.id = 7 AND {STANDS}")


@pytest.mark.parametrize("name", APPROVAL_CALLS)
async def test_approvals_are_found_by_their_proposal_among_very_many(ledger: Ledger, name: str) -> None:
    fill(ledger)
    fill_approvals(ledger)

    found = await plans(ledger, APPROVAL_CALLS[name])

    assert "ix_action_approvals_proposal_id" in found, found
    assert re.findall(r"(?:Seq Scan on|SCAN) (?:action_approvals|[dvr])\b(?! USING)", found) == [], found


def _cast(statement: str, ledger: Ledger) -> str:
    if ledger.is_sqlite:
        return statement
    for literal in (LITERALS["at"], LITERALS["later"]):
        statement = statement.replace(literal, f"timestamptz {literal[:-1]}+00'")
    return statement.replace("'{}'", "json '{}'")


async def plans(ledger: Ledger, call: Callable[[sa.Connection], Any]) -> str:
    """Return the plans of all statements of a call, which is rolled back."""
    engine = configure_engine(
        create_async_engine(f"sqlite+aiosqlite:///{ledger.target}" if ledger.is_sqlite else str(ledger.target))
    )
    told: list[str] = []

    def explain(conn: sa.Connection, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("EXPLAIN"):
            return
        prefix = "EXPLAIN QUERY PLAN" if ledger.is_sqlite else "EXPLAIN"
        told.extend(str(row) for row in conn.exec_driver_sql(f"{prefix} {statement}", parameters))

    def run(connection: sa.Connection) -> None:
        sa.event.listen(connection, "before_cursor_execute", explain)
        call(connection)

    async with engine.connect() as connection:
        await connection.run_sync(run)
        await connection.rollback()
    await engine.dispose()
    return "\n".join(told)


@pytest.mark.parametrize("name", CALLS)
async def test_a_statement_finds_its_rows_by_its_index(ledger: Ledger, name: str) -> None:
    call, index = CALLS[name]
    fill(ledger)

    found = await plans(ledger, call)

    assert any(each in found for each in ((index,) if isinstance(index, str) else index)), found
    assert "Seq Scan on action_proposals" not in found


async def test_a_claim_walks_past_nothing_that_has_run(ledger: Ledger) -> None:
    """Where the engine counted when all were waiting, every index in the order of the ids looked alike to it."""
    fill(ledger)
    call, index = CALLS["the next claim"]
    with closing(ledger.connect()) as plain:
        plain.execute("DELETE FROM action_records")
        plain.execute(f"DELETE FROM action_proposals WHERE id <= {ROWS}")
        plain.execute("ANALYZE")

    found = await plans(ledger, call)

    assert any(each in found for each in index), found
