"""Writes the ledgers that are kept of a revision, once, with the code of that revision and before it is released.

Run `PYTHONPATH=. .venv/bin/python tests/migrations/kept/keep.py` in the checkout. It writes `NNNN_sqlite.db.gz`,
`NNNN_postgresql.sql`, and beside each what its tables hold, as `.json`.
"""

import asyncio
import gzip
import json
import subprocess
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from operator_core import actions
from operator_core.actions import ActionProposal, ActionStatus
from operator_core.actions.kill_switch import Scope
from operator_core.db import ActionDB, metadata, migrations, upgrade
from tests.support.ledger import Ledger
from tests.support.postgres import PrivatePostgres

HERE = Path(__file__).parent
NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)
STOPPED = 9  # the ticket that is left under a stop


def proposal(**given: Any) -> ActionProposal:
    values = {"action_name": "restart", "reason": "it hangs — 100 %", "parameters": {"host": 1, "é": [1e16, -0.0]}}
    return ActionProposal(**{**values, "proposed_at": NOON, "proposed_by": "agent", **given})


async def validated(db: Any, **given: Any) -> int:
    made = await db.create_proposal(proposal(**given))
    await db.update_proposal_status(made.id, ActionStatus.VALIDATED, by="ann", reason="looks right")
    return int(made.id)


async def write_0001(db: Any) -> None:
    """Leave a proposal in each state, each outcome that this revision's calls know, and a stop that is engaged."""
    await validated(db)
    open_record = await db.start_execution(await validated(db), by="w1")
    receipt = await db.engage_kill_switch(by="ann", reason="fire")
    await db.acknowledge_stop(open_record.id, by="w1")
    await db.create_proposal(proposal())
    await db.release_kill_switch(by="ann", reason="out", generation=receipt.generation)
    await db.create_proposal(proposal(ticket_id=7))
    await validated(db, ticket_id=7)
    await db.start_execution(await validated(db), by="w1")
    for success in (True, False):
        record = await db.start_execution(await validated(db), by="w2")
        await db.finish_execution(record.id, success=success, result_data={"n": 1.5}, by="w2")
    cancelled = await db.create_proposal(proposal())
    await db.update_proposal_status(cancelled.id, ActionStatus.CANCELLED, by="ann", reason="no")
    await db.engage_kill_switch(by="ann", reason="hall 3", scope=Scope(ticket_id=STOPPED))
    await db.create_proposal(proposal(ticket_id=STOPPED))


async def write_0002(db: Any) -> None:
    """Leave leases, findings, notes, and what may be said of a proposal from this revision on."""
    await db.claim(await validated(db), worker="w3")  # it goes on
    done = await db.claim(await validated(db, valid_until=NOON + timedelta(days=36_500)), worker="w3")
    await done.complete({"moved": 2})
    asked = await db.claim(await validated(db), worker="w4")
    await db.request_cancel(asked.proposal.id, by="ann", reason="wait")
    for finding in (*actions.Resolution, None):
        unknown = await db.claim(await validated(db), worker="w5")
        await unknown.abandon("the line was cut")
        if finding is not None:
            await db.resolve_unknown(unknown.record.id, resolution=finding, by="ann", reason="I looked")
    await db.create_proposal(proposal(retry_of=done.proposal.id), idempotency_key="once")


async def write_0003(db: Any) -> None:
    """Leave events that say when they were recorded, and a prune."""
    await db.prune(NOON - timedelta(days=36_500), by="ann", reason="nothing is that old")
    await db.finish_execution((await db.start_execution(await validated(db), by="w6")).id, success=True, by="w6")


async def write_0004(db: Any) -> None:
    """Leave policies, one of them taken away, each kind of decision, and starts that used approvals."""
    security = actions.ApprovalRule(role="security", four_eyes="principal", humans_only=False, expires_in=3e7)
    both = [actions.ApprovalRule(approvals=2), security]
    await db.set_approval_policy("action_name=reboot", both, by="ann", reason="two people, one of security")
    await db.set_approval_policy("action_name=wipe", both, by="ann", reason="the same")
    await db.set_approval_policy("action_name=wipe", [security], by="ann", reason="one is enough")
    await db.set_approval_policy("action_name=drill", [actions.ApprovalRule()], by="ann", reason="a trial")
    await db.set_approval_policy("action_name=drill", [], by="ann", reason="over")
    started, revoked, rejected, replaced, waiting = [
        (await db.create_proposal(proposal(action_name="reboot", on_behalf_of="carl"))).id for _ in range(5)
    ]
    for number in (started, revoked):
        first = await db.approve(number, by="bob", reason="it hangs — I looked", expires_in=1e7)
        await db.approve(number, by="dora", kind="system", role="security")
        await db.approve(number, by="emil", role="sre", digest=(await db.get_proposal(number)).digest)
    await db.revoke(first.id, by="ann", reason="bob looked at another host")
    await (await db.claim(started, worker="w7")).complete({"up": True})
    await db.reject(rejected, by="ann", reason="not today")
    await db.supersede(replaced, parameters={"host": 2}, by="ann", reason="the other one")
    await db.approve(waiting, by="bob")


WRITERS: dict[str, Callable[[Any], Awaitable[None]]] = {
    "0001": write_0001,
    "0002": write_0002,
    "0003": write_0003,
    "0004": write_0004,
}


async def write(target: Path | str) -> None:
    async with ActionDB(target) as db:
        for revision in migrations.REVISIONS:
            await WRITERS[revision](db)


def read(ledger: Ledger, columns: dict[str, list[str]]) -> dict[str, list[list[Any]]]:
    """Return the columns of all rows, oldest first, as JSON keeps them."""
    with closing(ledger.connect()) as plain:
        rows = {
            table: plain.execute(f"SELECT {', '.join(map(quoted, names))} FROM {table} ORDER BY 1").fetchall()
            for table, names in columns.items()
        }
    return {table: [list(map(kept_value, row)) for row in found] for table, found in rows.items()}


def quoted(name: str) -> str:
    return f'"{name}"'


def kept_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return json.dumps(value) if isinstance(value, dict) else value


def write_json(ledger: Ledger, file: Path) -> None:
    columns = {name: [column.name for column in table.columns] for name, table in metadata.tables.items()}
    text = json.dumps({"columns": columns, "rows": read(ledger, columns)}, indent=1, ensure_ascii=False)
    file.write_text(text + "\n", encoding="utf-8")


def keep_sqlite(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file, whole = Path(folder) / "ledger.db", Path(folder) / "whole.db"
        asyncio.run(write(file))
        write_json(Ledger(file), HERE / f"{name}.json")
        with closing(Ledger(file).connect()) as plain:
            plain.execute(f"VACUUM INTO '{whole}'")
        (HERE / f"{name}.db.gz").write_bytes(gzip.compress(whole.read_bytes(), mtime=0))


def keep_postgresql(name: str) -> None:
    with PrivatePostgres.start(private=True) as server:
        database = server.create_database()
        upgrade(server.url(database))
        asyncio.run(write(server.url(database)))
        write_json(Ledger(server.url(database)), HERE / f"{name}.json")
        line = [str(server._bin / "pg_dump"), "--no-owner", "--inserts", "--dbname", server.dsn(database)]
        dumped = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    # Settings that older servers do not know, and commands of psql.
    lines = [line for line in dumped.splitlines() if not line.startswith(("SET ", "\\", "--"))]
    (HERE / f"{name}.sql").write_text("\n".join(line for line in lines if line) + "\n", encoding="utf-8")


if __name__ == "__main__":
    keep_sqlite(f"{migrations.HEAD}_sqlite")
    keep_postgresql(f"{migrations.HEAD}_postgresql")
