"""Arguments of a wrong type get a clear error that names them, alike on both engines."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from operator_core.actions import ActionRecord, DatabaseUrlError, InvalidArgumentError
from operator_core.db import ActionDB
from tests.support.factories import proposal, running, stored

CALLS = {
    "an id as a text": (lambda db, made: db.get_proposal("1"), "proposal_id is a str; a whole number is wanted"),
    "an id as a fraction": (lambda db, made: db.update_proposal_status(1.5, "validated"), "proposal_id is a float"),
    "an id as a decimal": (lambda db, made: db.get_events(Decimal(1)), "proposal_id is a Decimal"),
    "an id as a truth": (lambda db, made: db.get_record(True), "record_id is a bool"),  # noqa: FBT003
    "a filter as a text": (lambda db, made: db.list_proposals(ticket_id="4"), "ticket_id is a str"),
    "a limit as a fraction": (lambda db, made: db.list_proposals(limit=1.5), "limit is a float"),
    "a state that is none": (lambda db, made: db.list_proposals("done"), "status is 'done'; it is one of proposed"),
    "a dict for a proposal": (lambda db, made: db.create_proposal({}), "proposal is a dict; give an ActionProposal"),
    "a dict for a proposal with a key": (
        lambda db, made: db.create_proposal({}, idempotency_key="k"),
        "proposal is a dict; give an ActionProposal",
    ),
    "a record for a proposal": (
        lambda db, made: db.create_proposal(ActionRecord(proposal_id=1)),
        "proposal is a ActionRecord; give an ActionProposal",
    ),
    "one proposal for many": (lambda db, made: db.create_proposals(proposal()), "is one proposal; give a list"),
    "nobody": (lambda db, made: db.update_proposal_status(made.id, "validated", by=None), "by is a NoneType"),
    "a number for a reason": (lambda db, made: db.cancel_all_pending(reason=5), "reason is a int; a text is wanted"),
    "a wait without end": (
        lambda db, made: db.engage_kill_switch(by="a", reason="b", timeout=float("inf")),
        "timeout is inf",
    ),
    "a wait that is no number": (
        lambda db, made: db.engage_kill_switch(by="a", reason="b", timeout=float("nan")),
        "timeout is nan; seconds from 0 to 86,400 are wanted",
    ),
    "a word for a truth": (
        lambda db, made: db.prune(datetime(2020, 1, 1, tzinfo=UTC), keep_events="no"),
        "keep_events is 'no'; True or False is wanted",
    ),
    "a number for names": (
        lambda db, made: db.claim_next(worker="w", action_names=3),
        "action_names is 3; give a list",
    ),
    "a scope as a dict": (lambda db, made: db.engage_kill_switch(by="a", reason="b", scope={}), "scope is a dict"),
    "a generation as a text": (
        lambda db, made: db.release_kill_switch(by="a", reason="b", generation="1"),
        "generation is a str",
    ),
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_wrong_argument_is_named_and_nothing_changes(db: ActionDB, call: str) -> None:
    made = await stored(db)
    act, message = CALLS[call]

    with pytest.raises(InvalidArgumentError, match=message):
        await act(db, made)

    assert await db.list_proposals() == [made]
    assert (await db.kill_switch_status()).engaged == ()


async def test_a_success_that_is_a_text_is_refused(db: ActionDB) -> None:
    record = await running(db)

    with pytest.raises(InvalidArgumentError, match="success is 'false'; True or False is wanted"):
        await db.finish_execution(record.id, success="false")

    assert (await db.get_record(record.id)).outcome is None


async def test_a_scope_may_be_given_as_its_text(db: ActionDB) -> None:
    receipt = await db.engage_kill_switch(by="ann", reason="fire", scope="ticket_id=7")

    assert str(receipt.scope) == "ticket_id=7"


@pytest.mark.parametrize("target", [5, b"ops.db", create_engine("sqlite://")], ids=["number", "bytes", "sync engine"])
def test_a_target_that_is_none_is_refused(target: object) -> None:
    with pytest.raises(DatabaseUrlError, match="is no target: give a Path, a URL or an AsyncEngine"):
        ActionDB(target)


def test_a_mode_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="migrate is 'chek'; it is 'auto' or 'check'"):
        ActionDB(tmp_path / "ops.db", migrate="chek")
