"""Records what the code of a revision says to its database, before that revision is succeeded.

Run `python tests/migrations/record_calls.py TARGET FILE` with that code, on an empty ledger that it has migrated.
With the word `refused` behind the file, code of revision 0003 was run on an empty ledger at 0004: that records what it
says and raises where the guards ask for approvals, which it does not know.
"""

import asyncio
import json
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from operator_core.actions import ActionError, ActionProposal, ActionRecord, ActionStatus
from operator_core.db import ActionDB
from operator_core.db.errors import guard_code
from tests.support.ledger import Ledger

NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)
spoken: list[dict[str, Any]] = []
_call: list[str] = []


@event.listens_for(sa.engine.Engine, "after_cursor_execute")
def _hear(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
    _keep(statement, parameters)


@event.listens_for(sa.engine.Engine, "handle_error")
def _hear_refusal(context: Any) -> None:
    _keep(context.statement, context.parameters, refused=guard_code(context.original_exception))


def _keep(statement: str, parameters: Any, **more: Any) -> None:
    if _call:
        values = [{"at": value.isoformat()} if isinstance(value, datetime) else value for value in parameters or ()]
        spoken.append({"call": _call[-1], "statement": statement, "parameters": values, **more})


@contextmanager
def recorded(name: str) -> Generator[None]:
    """Keep what is said within the block under the name of a call."""
    _call.append(name)
    yield
    _call.clear()


def proposal(**given: Any) -> ActionProposal:
    return ActionProposal(action_name="restart", reason="it hangs", parameters={"host": 1}, proposed_at=NOON, **given)


async def record(target: Path | str) -> None:
    """Take proposals through everything that the calls of the first revision can do."""
    async with ActionDB(target, migrate="check") as db:
        with recorded("create"):
            await db.create_proposal(proposal(ticket_id=7))
            await db.create_proposals([proposal() for _ in range(5)])
        with recorded("validate"):
            for number in range(1, 6):
                await db.update_proposal_status(number, ActionStatus.VALIDATED, by="ann")
        with recorded("start"):
            await db.start_execution(1, by="w1")
            await db.start_execution(2, by="w1")
        with recorded("finish"):
            await db.finish_execution(1, success=True, result_data={"ok": 1}, by="w1")
            await db.finish_execution(2, success=False, error_message="no route", by="w1")
        with recorded("one by one"):
            await db.update_proposal_status(3, ActionStatus.EXECUTING, by="w2")
            await db.create_record(ActionRecord(proposal_id=3, started_at=NOON))
            await db.update_record(3, True)  # noqa: FBT003 - the oldest way to call it
            await db.update_proposal_status(3, ActionStatus.COMPLETED, by="w2")
        with recorded("look"):
            await db.list_proposals(ActionStatus.VALIDATED, limit=10)
            await db.count_proposals()
            await db.get_events(1)
        with recorded("stop"):
            await db.start_execution(4, by="w1")
            receipt = await db.engage_kill_switch(by="ann", reason="fire")
            await db.stop_requested(4)
            await db.acknowledge_stop(4, by="w1")
            await db.kill_switch_status()
            await db.create_proposal(proposal())
            await db.release_kill_switch(by="ann", reason="out", generation=receipt.generation)
            await db.cancel_all_pending()


async def record_refusals(target: Path | str) -> None:
    """Try each way to validate and to start something that lacks an approval."""
    async with ActionDB(target, migrate="check") as db:
        await db.create_proposals([proposal() for _ in range(6)])
        for number in range(1, 6):
            await db.update_proposal_status(number, ActionStatus.VALIDATED, by="ann")
        with closing(Ledger(target).connect()) as plain:
            # What PostgreSQL's trigger would fill in.
            now = "strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'" if isinstance(target, Path) else "now()"
            plain.execute(
                "INSERT INTO approval_policies (scope, version, at, by, reason) "
                f"VALUES ('everything', 1, {now}, 'ann', 'a person looks')"
            )
        for name, call in {
            "validate": lambda: db.update_proposal_status(6, ActionStatus.VALIDATED, by="ann"),
            "step": lambda: db.update_proposal_status(5, ActionStatus.EXECUTING, by="w1"),
            "start": lambda: db.start_execution(4, by="w1"),
            "claim": lambda: db.claim(3, worker="w1"),
            "claim next": lambda: db.claim_next(worker="w1"),
        }.items():
            with recorded(name):
                try:
                    await call()
                except ActionError as error:
                    spoken.append({"call": name, "raised": type(error).__name__})


def main() -> None:
    """Write one statement a line."""
    target, file, *refused = sys.argv[1:]
    act = record_refusals if refused else record
    asyncio.run(act(target if "://" in target else Path(target)))
    Path(file).write_text("".join(json.dumps(line) + "\n" for line in spoken), encoding="utf-8")


if __name__ == "__main__":
    main()
