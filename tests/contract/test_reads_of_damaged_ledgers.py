"""Rows are taken away behind the guards: every read still answers."""

from collections.abc import Awaitable, Callable
from contextlib import closing, suppress

import pytest

from operator_core.actions import ActionStatus, ApprovalRule, RecordNotFoundError
from operator_core.db import ActionDB
from operator_core.db.stores import kill_switch_status
from tests.support.factories import running, stored
from tests.support.history import TABLES, drop_guards
from tests.support.ledger import Ledger
from tests.support.stop_steps import stop

DAMAGE = {
    "the row of everything": "DELETE FROM kill_switch WHERE scope = 'everything'",
    "the latch": "DELETE FROM kill_switch",
    "the history of the latch": "DELETE FROM kill_switch_events",
    "engages": "DELETE FROM kill_switch_events WHERE change = 'engaged'",
    "records": "DELETE FROM action_records",
    "events": "DELETE FROM action_events",
    "first events": "DELETE FROM action_events WHERE from_status IS NULL",
    "starts": "DELETE FROM action_events WHERE to_status = 'executing'",
    "proposals": "DELETE FROM action_proposals",
    "notes": "DELETE FROM action_notes",
    "decisions": "DELETE FROM action_approvals",
    "policies": "DELETE FROM approval_policies",
    "the history of the policies": "DELETE FROM approval_policy_events",
    "everything": "; ".join(f"DELETE FROM {table}" for table in TABLES),
}


def damaged(ledger: Ledger, damage: str) -> None:
    """Take rows away, with foreign keys and guards off, as a client does that owns the database."""
    drop_guards(ledger)
    with closing(ledger.connect()) as plain:
        if ledger.is_sqlite:
            plain.executescript(DAMAGE[damage])
        else:
            plain.execute("SET session_replication_role = replica")
            plain.execute(DAMAGE[damage])


async def asked(db: ActionDB) -> None:
    """Ask for every record whether it is to stop; there may be none of this number."""
    for number in range(1, 9):
        with suppress(RecordNotFoundError):
            await db.stop_requested(number)


READS: dict[str, Callable[[ActionDB], Awaitable[object]]] = {
    "list": lambda db: db.list_proposals(),
    "count": lambda db: db.count_proposals(),
    "get": lambda db: db.get_proposal(1),
    "record": lambda db: db.get_record(1),
    "records": lambda db: db.get_records_for_proposal(1),
    "events": lambda db: db.get_events(1),
    "status": lambda db: db.kill_switch_status(),
    "unsettled": lambda db: db.list_unresolved(),
    "verify": lambda db: db.verify(),
    "recover": lambda db: db.recover_expired_leases(),
    "claim": lambda db: db.claim_next(worker="w", action_names=["nothing"]),
    "asked": asked,
    "watch": lambda db: db._run(kill_switch_status.changes_so_far),
    "proposed": lambda db: db.lock_proposed(["nothing"]),
    "pending": lambda db: db.list_pending_approvals(),
    "policies": lambda db: db.approval_policies(),
}


async def filled(db: ActionDB) -> None:
    """Leave proposals in each state, one that runs, a cancel request, and stops, one of them released."""
    for status in ActionStatus:
        await stored(db, status)
    record = await running(db)
    await db.request_cancel(record.proposal_id, by="ann", reason="wrong store")
    await db.set_approval_policy("action_name=fill_store", [ApprovalRule()], by="ann", reason="by the book")
    filling = await stored(db, action_name="fill_store")
    await db.approve(filling.id, by="bob")
    await db.start_execution(filling.id)
    receipt = await stop(db)
    await db.release_kill_switch(by="ann", reason="out", generation=receipt.generation)
    await stop(db, scope="ticket_id=7")


@pytest.mark.parametrize("damage", DAMAGE)
async def test_every_read_answers_when_rows_are_gone(db: ActionDB, ledger: Ledger, damage: str) -> None:
    await filled(db)
    damaged(ledger, damage)

    for read in READS.values():
        await read(db)
    [event async for event in db.iter_events()]
    [proposal async for proposal in db.iter_proposals()]

    assert await db.verify() != []
