"""The checker of histories, on which the races rely, agrees with every legal history and sees every corruption."""

from contextlib import closing
from datetime import timedelta

import pytest

from operator_core.actions import ActionOutcome, ActionStatus, LeaseLostError, Resolution, Scope
from operator_core.actions.types import utc_now
from operator_core.db import ActionDB
from tests.support.factories import stored
from tests.support.history import TABLES, check_history, drop_guards, snapshot
from tests.support.ledger import Ledger

AN_HOUR_AGO = (utc_now() - timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S.%f")
COVERING = "action_name=drain_store"
ENGAGE = (
    (
        'INSERT INTO kill_switch_events (id, generation, scope, change, at, "by", reason) '
        f"VALUES (1000, 2, '{COVERING}', 'engaged', '{AN_HOUR_AGO}', 'ann', 'fire')"
    ),
    (
        "INSERT INTO kill_switch (scope, generation, engaged_at, engaged_by, reason) "
        f"VALUES ('{COVERING}', 2, '{AN_HOUR_AGO}', 'ann', 'fire')"
    ),
)
OF_COMPLETED = "(SELECT id FROM action_proposals WHERE status = 'completed')"

CORRUPTIONS: dict[str, tuple[str, str]] = {
    "a step that is not in the table": (
        (
            f"DELETE FROM action_events WHERE to_status = 'validated' AND proposal_id = {OF_COMPLETED};"
            "UPDATE action_events SET from_status = 'proposed' "
            f"WHERE to_status = 'executing' AND proposal_id = {OF_COMPLETED}"
        ),
        "no legal step: proposed -> executing",
    ),
    "a gap": (
        f"DELETE FROM action_events WHERE to_status = 'validated' AND proposal_id = {OF_COMPLETED}",
        "leaves validated, but it was proposed",
    ),
    "events out of order": (
        f"UPDATE action_events SET id = id + 1000 WHERE to_status = 'validated' AND proposal_id = {OF_COMPLETED}",
        "events out of order",
    ),
    "two starts": (
        (
            'INSERT INTO action_events SELECT id + 1000, proposal_id, from_status, to_status, at, "by", reason, '
            "generation, data, recorded_at FROM action_events "
            f"WHERE to_status = 'executing' AND proposal_id = {OF_COMPLETED}"
        ),
        "became executing 2 times",
    ),
    "a history that does not begin": (
        f"DELETE FROM action_events WHERE to_status = 'proposed' AND proposal_id = {OF_COMPLETED}",
        "leaves proposed, but it was None",
    ),
    "no history": (f"DELETE FROM action_events WHERE proposal_id = {OF_COMPLETED}", "has no event"),
    "another state than the last event's": (
        (
            "UPDATE action_proposals SET status = 'failed', failed_at = completed_at, completed_at = NULL "
            "WHERE status = 'completed'"
        ),
        "its last event",
    ),
    "another person than the last event's": (
        "UPDATE action_proposals SET status_by = 'nobody' WHERE status = 'completed'",
        "its last event",
    ),
    "another time than the event's": (
        f"UPDATE action_proposals SET validated_at = '{AN_HOUR_AGO}' WHERE status = 'completed'",
        "validated_at is",
    ),
    "another proposal than the first event's": (
        "UPDATE action_proposals SET reason = 'another' WHERE status = 'completed'",
        "its first event",
    ),
    "another generation than the first event's": (
        "UPDATE action_proposals SET generation = 7 WHERE status = 'completed'",
        "has generation 7",
    ),
    "an outcome that disagrees with the state": (
        "UPDATE action_records SET outcome = 'failed', success = false WHERE outcome = 'succeeded'",
        "left executing for completed",
    ),
    "a result that disagrees with the closing event": (
        "UPDATE action_records SET error_message = 'altered' WHERE outcome = 'succeeded'",
        "its closing event",
    ),
    "an end without a record": ("DELETE FROM action_records WHERE outcome = 'succeeded'", "but its record is None"),
    "two records": (
        "INSERT INTO action_records SELECT * FROM action_records WHERE outcome = 'succeeded'",
        "has 2 records",
    ),
    "a record of what never started": (
        (
            "UPDATE action_records SET proposal_id = (SELECT id FROM action_proposals WHERE status = 'validated') "
            "WHERE outcome IS NULL"
        ),
        "but never started",
    ),
    "a record of nothing": (
        "UPDATE action_records SET proposal_id = 999 WHERE outcome IS NULL",
        "there is no proposal 999",
    ),
    "an event of nothing": (
        "UPDATE action_events SET proposal_id = 999 WHERE to_status = 'failed'",
        "nothing was ever pruned",
    ),
    "a start in spite of a stop": (
        ";".join((*ENGAGE, "UPDATE action_events SET generation = 2 WHERE to_status = 'executing'")),
        "in spite of stop 2",
    ),
    "a pending proposal that was made under a stop": (
        ";".join((*ENGAGE, "UPDATE action_proposals SET generation = 2 WHERE status = 'validated'")),
        "was made under stop 2",
    ),
    "a note of nothing": (
        "UPDATE action_notes SET record_id = 999 WHERE kind = 'resolved'",
        "its proposal or its record is not there",
    ),
    "a note about another proposal": (
        "UPDATE action_notes SET proposal_id = 1 WHERE kind = 'resolved'",
        "not of 1",
    ),
    "a note in a state that never was": (
        "UPDATE action_notes SET status = 'completed' WHERE kind = 'resolved'",
        "was never completed",
    ),
    "a request that its record does not hold": (
        "UPDATE action_records SET cancel_reason = 'none' WHERE cancel_requested_at IS NOT NULL",
        "note 1 (cancel_requested): it says",
    ),
    "a finding that its record does not hold": (
        "UPDATE action_records SET finding = 'happened' WHERE finding IS NOT NULL",
        "(resolved): it says",
    ),
    "a late report about what still runs": (
        (
            "UPDATE action_notes SET proposal_id = r.proposal_id, record_id = r.id, status = 'executing' "
            "FROM action_records AS r WHERE r.outcome IS NULL AND action_notes.kind = 'reported_late'"
        ),
        "(reported_late): its record is open",
    ),
    "a request without a note": (
        "DELETE FROM action_notes WHERE kind = 'cancel_requested'",
        "0 notes say cancel_requested",
    ),
    "a finding without a note": ("DELETE FROM action_notes WHERE kind = 'resolved'", "0 notes say resolved"),
    "no latch": ("DELETE FROM kill_switch WHERE scope = 'everything'", "the latch row 'everything' is missing"),
    "a latch that was changed behind the events": (
        (
            "UPDATE kill_switch SET engaged_by = 'x', reason = 'x', generation = 5, "
            f"engaged_at = '{AN_HOUR_AGO}' WHERE scope = 'everything'"
        ),
        "latch everything: its row says",
    ),
}


@pytest.fixture
async def _filled(ledger: Ledger) -> None:
    """Fill a ledger with a proposal of each state, a note of each kind, and a stop that has come and gone."""
    async with ActionDB(ledger.target) as db:
        made = {status: await stored(db, status) for status in ActionStatus}
        await db.request_cancel(made[ActionStatus.EXECUTING].id, by="ann", reason="too hot")
        lost = await db.claim((await stored(db, ActionStatus.VALIDATED)).id, worker="w1")
        await db.acknowledge_stop(lost.record.id, outcome=ActionOutcome.UNKNOWN, by="ward")
        with pytest.raises(LeaseLostError):
            await lost.complete()
        await db.resolve_unknown(lost.record.id, resolution=Resolution.PARTLY, by="ann", reason="half full")
        receipt = await db.engage_kill_switch(by="ann", reason="drill", scope=Scope(action_name="other"))
        await db.release_kill_switch(by="bob", reason="over", generation=receipt.generation)


def corrupt(ledger: Ledger, statements: str) -> None:
    """Change what nobody may: without guards, and without the constraints that would still refuse."""
    drop_guards(ledger)
    with closing(ledger.connect()) as connection:
        for table in TABLES:
            connection.execute(f"CREATE TABLE bare AS SELECT * FROM {table}")
            connection.execute(f"DROP TABLE {table}" + ("" if ledger.is_sqlite else " CASCADE"))
            connection.execute(f"ALTER TABLE bare RENAME TO {table}")
        for statement in statements.split(";"):
            assert connection.execute(statement).rowcount > 0


@pytest.mark.usefixtures("_filled")
def test_a_legal_history_is_free_of_contradictions(ledger: Ledger) -> None:
    assert {row["status"] for row in snapshot(ledger).proposals.values()} == set(ActionStatus)
    assert check_history(ledger) == []


@pytest.mark.usefixtures("_filled")
@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_the_checker_sees(ledger: Ledger, corruption: str) -> None:
    statements, complaint = CORRUPTIONS[corruption]
    corrupt(ledger, statements)

    found = check_history(ledger)

    assert any(complaint in text for text in found), found


@pytest.mark.usefixtures("_filled")
def test_a_start_before_a_stop_is_no_contradiction(ledger: Ledger) -> None:
    corrupt(ledger, ";".join(ENGAGE))

    assert check_history(ledger) == []
