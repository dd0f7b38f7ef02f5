"""Records the statements that the library sends for each call, so that a baseline never runs another text."""

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from baselines import Sql
from operator_core.actions import ActionProposal, ActionStatus
from operator_core.db import ActionDB


async def recorded(target: str) -> Sql:
    """Return the texts of each call, from a scratch ledger."""
    sent: list[str] = []
    found: dict[str, list[str]] = {}

    def keep(_connection: Any, _cursor: Any, sql: str, *_others: Any) -> None:
        sent.append(sql)

    def take(name: str) -> None:
        found[name] = list(sent)
        sent.clear()

    proposal = ActionProposal(action_name="drain_store", reason="store 4 is hot")
    async with ActionDB(target) as db:
        event.listen(Engine, "before_cursor_execute", keep)
        try:
            made = await db.create_proposal(proposal)
            take("create")
            await db.get_proposal(made.id)
            take("get")
            await db.list_proposals(limit=50)
            take("page")
            await db.update_proposal_status(made.id, ActionStatus.VALIDATED)
            take("validate")
            record = await db.start_execution(made.id)
            take("start")
            await db.finish_execution(record.id, success=True)
            take("finish")
            await db.cancel_all_pending()
            take("cancel")
        finally:
            event.remove(Engine, "before_cursor_execute", keep)
    return found
