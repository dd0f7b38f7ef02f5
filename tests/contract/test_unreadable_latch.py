"""A value that cannot be read, in the latch, its events, a running action or a prune, stops no call from working.

The owner of the tables can write such values past the guards. They are shown as placeholders, and `verify` names them.
"""

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import aclosing

import pytest
import sqlalchemy as sa

from operator_core.actions import ActionStatus, Discrepancy, KillSwitchEngagedError, StopReceipt
from operator_core.db import ActionDB
from operator_core.db.migrations.repair import repair
from operator_core.db.schema import kill_switch, kill_switch_events, proposals, prunes, records
from operator_core.db.types import EnumText, JsonText, UtcDateTime
from tests.cli.conftest import run_command
from tests.conftest import ENGINES
from tests.support.factories import running, stored
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE
from tests.support.stop_steps import stop
from tests.support.unreadable import JSON, NO_DATE, NO_JSON, NO_NUMBER, NO_TEXT, NO_TIME, NOT_FINITE, behind_the_guards

UNDECODABLE = "CAST(x'80ff' AS TEXT)"


SQLITE: dict[type[sa.types.TypeEngine[object]], list[str]] = {
    UtcDateTime: NO_TIME,
    JsonText: [*JSON, *NO_JSON],
    EnumText: [*NO_TEXT, "'odd'"],
    sa.Boolean: [UNDECODABLE],
    sa.Float: ["'abc'", "9e999", "x'80'", UNDECODABLE],
    sa.Integer: [*NO_NUMBER, UNDECODABLE],
    sa.Text: NO_TEXT,
}
POSTGRESQL: dict[type[sa.types.TypeEngine[object]], list[str]] = {
    UtcDateTime: NO_DATE,
    JsonText: JSON,
    sa.Float: NOT_FINITE,
    sa.types.TypeEngine: [],
}


TIED_TO_AN_END = {
    *("validated_at", "completed_at", "failed_at", "cancelled_at", "cancel_requested_at"),
    *("lease_seconds", "lease_expires_at", "last_seen_at", "finding_at"),
}
"""The columns that CHECKs of PostgreSQL keep empty while an action is running."""


def unreadable_values(engine: str, column: "sa.Column[object]") -> list[str]:
    """Return the values, in SQL, that a column can hold on an engine and that cannot be read."""
    kinds = SQLITE if engine == "sqlite" else POSTGRESQL
    return next(values for kind, values in kinds.items() if isinstance(column.type, kind))


def every_column(*tables: sa.Table, without: Callable[[str, str], bool] = lambda *_: False) -> pytest.MarkDecorator:
    """Run a test for each column that can hold something unreadable, on each engine, with these values.

    Args:
        tables: Whose columns; an `id` is always a number.
        without: Whether to leave out a column of this name on this engine.
    """
    cases = [
        pytest.param(engine, column, values, id=f"{engine}-{column}")
        for table in tables
        for column in table.columns
        for engine in ENGINES
        if column.name != "id" and (values := unreadable_values(engine, column)) and not without(engine, column.name)
    ]
    return pytest.mark.parametrize(("ledger", "column", "values"), cases, indirect=["ledger"])


def set_column(column: "sa.Column[object]", value: str) -> str:
    """Return the assignment of a value, and of the columns that a CHECK of PostgreSQL ties to it."""
    tied = {"status_at": ["executing_at"], "executing_at": ["status_at"]}.get(column.name, [])
    return ", ".join(f'"{name}" = {value}' for name in [column.name, *tied])


VALIDATED_AGAIN = "status = 'validated', status_at = validated_at, cancelled_at = NULL"


def number_of(differences: list[Discrepancy], column: str) -> int:
    """Return how many differences are about a column."""
    return sum(difference.field.endswith(column) for difference in differences)


@every_column(kill_switch, kill_switch_events, without=lambda _, name: name.startswith("release"))
async def test_an_engaged_stop_is_shown_watched_obeyed_and_released(
    ledger: Ledger, column: "sa.Column[object]", values: list[str]
) -> None:
    is_generation, is_scope = column is kill_switch.c.generation, column is kill_switch.c.scope
    async with ActionDB(ledger.target) as db:
        for number, value in enumerate(values, start=1):
            started = await stored(db, ActionStatus.EXECUTING, ticket_id=number)
            validated = await stored(db, ActionStatus.VALIDATED, ticket_id=number)
            receipt = await stop(db, scope=f"ticket_id={number}")
            where = f"generation = {receipt.generation}"
            behind_the_guards(
                ledger,
                f"UPDATE {column.table} SET {set_column(column, value)} WHERE {where}",
                f"UPDATE action_proposals SET {VALIDATED_AGAIN} WHERE id = {validated.id}",
                f"DELETE FROM action_events WHERE proposal_id = {validated.id} AND to_status = 'cancelled'",
            )

            (record,) = await db.get_records_for_proposal(started.id)
            if not is_scope:  # a stop without its scope covers nothing
                with pytest.raises(KillSwitchEngagedError):
                    await db.start_execution(validated.id)
                assert await db.stop_requested(record.id) is not None
            status = await db.kill_switch_status()
            assert len(status.engaged) == 1, value
            assert started.id in {action.proposal_id for action in status.still_executing}
            async with aclosing(db.watch_kill_switch(poll_interval=0.01)) as changes:
                if column.name not in {"generation", "change"}:
                    assert (await anext(changes)).generation == receipt.generation
            assert number_of(await db.verify(), column.name) >= 1, value

            if is_generation or is_scope:  # the stop has lost a name without which it is not released
                await asyncio.to_thread(repair, ledger.target)
            await db.finish_execution(record.id, success=True)
            await db.release_kill_switch(by="ann", reason="over", generation=receipt.generation)
            assert (await db.kill_switch_status()).engaged == ()


@every_column(kill_switch, kill_switch_events)
async def test_a_released_stop_is_shown_and_another_is_released(
    ledger: Ledger, column: "sa.Column[object]", values: list[str]
) -> None:
    async with ActionDB(ledger.target) as db:
        for number, value in enumerate(values, start=1):
            released = await stop(db, scope=f"ticket_id={number}")
            await db.release_kill_switch(by="ann", reason="over", generation=released.generation)
            engaged = await stop(db, scope=f"action_name={number}")
            where = f"generation = {released.generation}"
            if column.table is kill_switch_events:
                where += " AND change = 'engaged'"
            behind_the_guards(ledger, f"UPDATE {column.table} SET {set_column(column, value)} WHERE {where}")

            status = await db.kill_switch_status()
            assert [each.generation for each in status.engaged] == [engaged.generation], value
            assert number_of(await db.verify(), column.name) >= 1, value
            await db.release_kill_switch(by="ann", reason="over", generation=engaged.generation)


@every_column(proposals, records, without=lambda engine, name: engine == "postgresql" and name in TIED_TO_AN_END)
async def test_a_running_action_is_shown_and_its_stop_is_released(
    ledger: Ledger, column: "sa.Column[object]", values: list[str]
) -> None:
    table, key = column.table, "id" if column.table is proposals else "proposal_id"
    async with ActionDB(ledger.target) as db:
        for value in values:
            started = await stored(db, ActionStatus.EXECUTING)
            receipt = await stop(db)
            behind_the_guards(ledger, f"UPDATE {table} SET {set_column(column, value)} WHERE {key} = {started.id}")

            status = await db.kill_switch_status()
            if column.name != "status":
                assert started.id in {action.proposal_id for action in status.still_executing}, value
            async with aclosing(db.watch_kill_switch(poll_interval=0.01)) as changes:
                assert (await anext(changes)).generation == receipt.generation
            assert await db.verify() != [], value
            await db.release_kill_switch(by="ann", reason="over", generation=receipt.generation)
            assert (await db.kill_switch_status()).engaged == ()


async def test_the_lease_of_a_running_action_is_shown(ledger: Ledger) -> None:
    async with ActionDB(ledger.target) as db:
        await stored(db, ActionStatus.VALIDATED)
        execution = await db.claim_next(worker="w")
        assert execution is not None
        for value in NO_TIME if ledger.is_sqlite else NO_DATE:
            behind_the_guards(ledger, f"UPDATE action_records SET last_seen_at = {value}, lease_expires_at = {value}")

            (action,) = (await db.kill_switch_status()).still_executing

            assert action.worker == "w", value
            assert action.lease_expires_at is not None


@every_column(prunes)
async def test_verify_names_a_prune_that_cannot_be_read(
    ledger: Ledger, column: "sa.Column[object]", values: list[str]
) -> None:
    time = "'2020-01-01 00:00:00.000000'" if ledger.is_sqlite else "'2020-01-01 00:00:00+00'"
    async with ActionDB(ledger.target) as db:
        await stored(db, ActionStatus.COMPLETED)
        await stop(db)
        for value in values:
            row = {"before": time, "by": "'ann'", "reason": "'old'", "at": time, column.name: value}
            names = ", ".join(f'"{name}"' for name in row)
            behind_the_guards(ledger, f"INSERT INTO action_prunes ({names}) VALUES ({', '.join(row.values())})")

        assert number_of(await db.verify(), f".{column.name}") == len(values)
        assert len((await db.kill_switch_status()).engaged) == 1
        assert [event async for event in db.iter_events()] != []


@every_column(kill_switch)
async def test_the_repair_restores_the_value_from_the_events(
    ledger: Ledger, column: "sa.Column[object]", values: list[str]
) -> None:
    async with ActionDB(ledger.target) as db:
        for number, value in enumerate(values, start=1):
            receipt = await stop(db, scope=f"ticket_id={number}")
            if column.name.startswith("release"):
                await db.release_kill_switch(by="ann", reason="over", generation=receipt.generation)
            where = f"scope = 'ticket_id={number}'"
            behind_the_guards(ledger, f"UPDATE kill_switch SET {set_column(column, value)} WHERE {where}")
            assert await db.verify() != [], value

            await asyncio.to_thread(repair, ledger.target)

            assert await db.verify() == [], value


async def damaged(db: ActionDB, ledger: Ledger) -> StopReceipt:
    """Engage a stop over a running action, and make unreadable whatever an engine lets be unreadable."""
    await running(db)
    receipt = await stop(db)
    times, moment = ("'soon'", "'soon'") if ledger.is_sqlite else ("'infinity'", "'-infinity'")
    by = f', "by" = {UNDECODABLE}, reason = {UNDECODABLE}' if ledger.is_sqlite else ""
    engaged_by = by.replace('"by"', "engaged_by")
    named = f", action_name = {UNDECODABLE}, status_by = {UNDECODABLE}" if ledger.is_sqlite else ""
    behind_the_guards(
        ledger,
        f"UPDATE kill_switch SET engaged_at = {times}{engaged_by} WHERE generation = {receipt.generation}",
        f"UPDATE kill_switch_events SET at = {moment}{by} WHERE generation = {receipt.generation}",
        f"UPDATE action_proposals SET status_at = {times}, executing_at = {times}{named}",
        f"INSERT INTO action_prunes (before, \"by\", reason, at) VALUES ({times}, 'ann', 'old', {moment})",
    )
    return receipt


@pytest.mark.parametrize("as_json", [False, True])
async def test_the_commands_show_and_release_the_stop(db: ActionDB, ledger: Ledger, as_json: bool) -> None:
    receipt = await damaged(db, ledger)
    options = ["--url", str(ledger.target), *["--json"] * as_json]

    status, verify = run_command("status", *options), run_command("verify", *options)
    released = run_command("release", "--reason", "over", "--generation", str(receipt.generation), *options)
    after = run_command("status", *options)

    assert [ran.code for ran in (status, verify, released, after)] == [0, 1, 0, 0]
    assert "Traceback" not in status.err + verify.err + released.err + after.err
    if as_json:
        assert [each["generation"] for each in status.json["engaged"]] == [receipt.generation]
        assert {"engaged_at", "event 1.at"} <= {difference["field"] for difference in verify.json}
        assert after.json["engaged"] == []
    else:
        assert f"ENGAGED: stop {receipt.generation} (everything) since 1970-01-01" in status.out
        assert ("(cannot be read)" in status.out) == ledger.is_sqlite
        assert "action_prunes 1.before: expected a value that can be read" in verify.out
        assert released.out.startswith(f"RELEASED: stop {receipt.generation} (everything)")


async def test_the_command_that_watches_shows_the_stop_and_its_release(db: ActionDB, ledger: Ledger) -> None:
    receipt = await damaged(db, ledger)
    watching = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "operator_core", "status", "--watch", "--url", str(ledger.target),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert watching.stdout is not None

    async with asyncio.timeout(PATIENCE):
        first = await watching.stdout.readline()
        while b"to release it" not in await watching.stdout.readline():
            pass
        await asyncio.sleep(1)  # beyond the first look of the watch
        await db.release_kill_switch(by="ann", reason="over", generation=receipt.generation)
        while b"not engaged" not in await watching.stdout.readline():
            pass
        watching.send_signal(signal.SIGINT)
        _, errors = await watching.communicate()

    assert first.startswith(b"ENGAGED")
    assert b"Traceback" not in errors
