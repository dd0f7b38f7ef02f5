"""Real agent actions as the predecessor would have kept them, where the folder with them is present."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from operator_core.actions import ActionOutcome
from operator_core.db import ActionDB
from tests.legacy.conftest import Import
from tests.legacy.predecessor import Predecessor

REAL = Path(__file__).parents[3] / "shared" / "data" / "agent_tool_calls.jsonl"

pytestmark = pytest.mark.skipif(not REAL.exists(), reason="the real agent calls are not kept in the repository")


def keep(old: Predecessor, calls: list[dict[str, Any]]) -> None:
    """Insert calls, one a minute, each with its outcome: JSON objects as they are, all else as an error."""
    at = datetime(2024, 5, 15, 10)  # noqa: DTZ001 - the predecessor kept local times
    for call in calls:
        at += timedelta(minutes=1)
        result = call["outcome"] or "null"
        good = result.startswith("{")
        old.run(
            "completed" if good else "failed",
            ticket_id=call["ticket_id"],
            action_name=call["call"]["function"]["name"],
            parameters=call["call"]["function"]["arguments"],
            reason=call["reason"],
            proposed_at=at.isoformat(),
            validated_at=at.isoformat(),
            record={
                "started_at": at.isoformat(),
                "completed_at": at.isoformat(),
                "result_data": result if good else None,
                "error_message": None if good else result,
            },
        )


async def test_real_actions_come_over_as_they_were(old: Predecessor, take_over: Import, db: ActionDB) -> None:
    calls = [json.loads(line) for line in REAL.read_text(encoding="utf-8").splitlines()][:120]
    keep(old, calls)

    report = await take_over()

    assert (report.proposals, report.rejected) == (len(calls), 0)
    found = list(reversed(await db.list_proposals(limit=None)))
    assert [one.parameters for one in found] == [json.loads(call["call"]["function"]["arguments"]) for call in calls]
    assert [one.reason for one in found] == [call["reason"] for call in calls]
    assert await db.verify() == []


async def test_real_results_come_over_as_they_were(old: Predecessor, take_over: Import, db: ActionDB) -> None:
    calls = [json.loads(line) for line in REAL.read_text(encoding="utf-8").splitlines()][:40]
    keep(old, calls)

    await take_over()

    for number, call in enumerate(calls, 1):
        (record,) = await db.get_records_for_proposal(number)
        good = record.outcome is ActionOutcome.SUCCEEDED
        assert (json.dumps(record.result_data) if good else record.error_message or "null") == (
            json.dumps(json.loads(call["outcome"])) if good else call["outcome"] or "null"
        )
