"""A stop whose scope has never matched a proposal is engaged, with a warning that suggests similar values."""

import asyncio
from typing import Any

import pytest

from operator_core.actions import ActionStatus, ActionType, Scope, StopUnconfirmedError
from operator_core.db import ActionDB
from operator_core.db.stop import unmatched_scope
from operator_core.db.stores import scope_values
from tests.cli.conftest import run_command
from tests.support.factories import running, stored
from tests.support.hostile import HOSTILE
from tests.support.ledger import Ledger


async def engaged(db: ActionDB, scope: str) -> tuple[str | None, tuple[str, ...]]:
    receipt = await db.engage_kill_switch(by="ann", reason="fire", scope=scope)
    assert scope in [str(stop.scope) for stop in (await db.kill_switch_status()).engaged]
    return receipt.scope_warning, receipt.similar_values


@pytest.mark.parametrize(
    ("scope", "warning", "similar"),
    [
        (
            "action_name=drain_stor",
            "no proposal has ever had action_name 'drain_stor'; did you mean 'drain_store'?",
            ("drain_store",),
        ),
        ("proposed_by=agnet", "no proposal has ever had proposed_by 'agnet'; did you mean 'agent'?", ("agent",)),
        ("ticket_id=7312", "no proposal has ever had ticket_id 7312; did you mean '731'?", ("731",)),
        ("action_type=subject", "no proposal has ever had action_type 'subject'", ()),
        ("action_name=zzz", "no proposal has ever had action_name 'zzz'", ()),
    ],
)
async def test_a_scope_that_has_never_matched_gets_a_warning(
    db: ActionDB, scope: str, warning: str, similar: tuple[str, ...]
) -> None:
    await stored(db, ActionStatus.COMPLETED, proposed_by="agent", ticket_id=731, action_type=ActionType.TOOL)

    assert await engaged(db, scope) == (warning, similar)


async def test_at_most_three_similar_values_come_the_closest_first(db: ActionDB) -> None:
    for name in ("drain_stores", "drain_store", "drain_store_4", "drain_shop", "page"):
        await stored(db, action_name=name)

    _, similar = await engaged(db, "action_name=drain_stor")

    assert similar == ("drain_store", "drain_stores", "drain_store_4")


@pytest.mark.parametrize("status", [ActionStatus.PROPOSED, ActionStatus.COMPLETED, ActionStatus.CANCELLED])
async def test_a_scope_that_has_matched_gets_no_warning(db: ActionDB, status: ActionStatus) -> None:
    await stored(db, status)

    assert await engaged(db, "action_name=drain_store") == (None, ())


async def test_the_scope_of_a_running_action_gets_no_warning(db: ActionDB) -> None:
    await running(db)

    assert await engaged(db, "action_name=drain_store") == (None, ())


async def test_a_stop_of_everything_gets_no_warning(db: ActionDB) -> None:
    assert await engaged(db, "everything") == (None, ())


async def test_an_empty_ledger_has_no_similar_values(db: ActionDB) -> None:
    assert await engaged(db, "action_name=x") == ("no proposal has ever had action_name 'x'", ())


async def test_the_warning_says_if_only_the_newest_proposals_were_searched(
    db: ActionDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scope_values, "MAX_PROPOSALS", 2)
    await stored(db, ActionStatus.COMPLETED, action_name="drain_stor")
    for _ in range(2):
        await stored(db, ActionStatus.COMPLETED)

    warning, _ = await engaged(db, "action_name=drain_stor")

    assert warning == "none of the last 2 proposals has action_name 'drain_stor'; did you mean 'drain_store'?"


async def test_the_hostile_name_of_an_action_is_escaped_in_the_warning(db: ActionDB) -> None:
    await stored(db, ActionStatus.COMPLETED, action_name=f"drain{HOSTILE[:3]}")

    warning, similar = await engaged(db, "action_name=drain")

    assert similar == (f"drain{HOSTILE[:3]}",)
    assert warning is not None
    assert warning.isprintable()


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("odd"), TimeoutError()])
async def test_a_search_that_fails_leaves_the_receipt_as_it_is(
    db: ActionDB, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr(scope_values, "unmatched_values", broken)

    assert await engaged(db, "action_name=x") == (None, ())


async def test_a_search_that_never_ends_is_abandoned(db: ActionDB, monkeypatch: pytest.MonkeyPatch) -> None:
    async def endless(*_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(unmatched_scope, "_SEARCH_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(unmatched_scope, "_search", endless)

    assert await engaged(db, "action_name=x") == (None, ())


async def test_an_unconfirmed_stop_carries_the_warning_in_its_receipt(db: ActionDB, ledger: Ledger) -> None:
    connection = ledger.connect()
    connection.execute(
        "DROP TRIGGER operator_core_proposals_update" + ("" if ledger.is_sqlite else " ON action_proposals")
    )
    connection.close()

    with pytest.raises(StopUnconfirmedError) as caught:
        await db.engage_kill_switch(by="ann", reason="fire", scope=Scope(action_name="x"))

    assert caught.value.receipt.scope_warning == "no proposal has ever had action_name 'x'"


@pytest.mark.parametrize("as_json", [False, True])
async def test_the_command_warns_on_standard_error_and_stops(db: ActionDB, ledger: Ledger, as_json: bool) -> None:
    await stored(db, ActionStatus.COMPLETED)

    ran = run_command(
        "stop", "--reason", "fire", "--scope", "action_name=drain_stor", "--url", str(ledger.target),
        *["--json"] * as_json,
    )  # fmt: skip

    assert ran.code == 0
    assert "no proposal has ever had action_name 'drain_stor'; did you mean 'drain_store'?\n" in ran.err
    assert "this stop is engaged nevertheless: stop 1 (action_name=drain_stor)" in ran.err
    assert not as_json or ran.json["similar_values"] == ["drain_store"]
    assert [str(stop.scope) for stop in (await db.kill_switch_status()).engaged] == ["action_name=drain_stor"]
