"""Stand in for the live systems: every action of the catalogue, done by answering what was recorded."""

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from calls import Call
from catalogue import ACTIONS
from operator_core.actions import StoredProposal
from operator_core.db import Execution
from operator_core.worker import ActionRegistry


class RefusedError(Exception):
    """The system has answered with an error."""


class RecordedSystem:
    """Answer the same call as it was answered when it was recorded, the first time first."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self._answers: defaultdict[str, deque[str]] = defaultdict(deque)
        for call in calls:
            if call.outcome is not None:
                self._answers[_key(call.proposal)].append(call.outcome)

    async def act(self, _parameters: BaseModel, execution: Execution) -> dict[str, Any]:
        """Do one action, after a moment; another run that shares the ledger may have proposed it."""
        await asyncio.sleep(0.002)
        answers = self._answers[_key(execution.proposal)]
        if not answers:
            message = "nothing was recorded for this call"
            raise RefusedError(message)
        answer = answers.popleft() if len(answers) > 1 else answers[0]
        if answer.startswith("Error"):
            raise RefusedError(answer)
        return to_result(answer)


def _key(proposal: StoredProposal) -> str:
    return json.dumps([proposal.ticket_id, proposal.action_name, proposal.parameters])


def to_result(answer: str) -> dict[str, Any]:
    """Return what a system answered as a JSON object; what no record can hold, the worker makes storable."""
    try:
        result = json.loads(answer)
    except (ValueError, RecursionError):
        return {"text": answer}
    return result if isinstance(result, dict) else {"value": result}


def make_registry(calls: Iterable[Call]) -> ActionRegistry:
    """Register each action of the catalogue under its name, with its model."""
    system, registry = RecordedSystem(calls), ActionRegistry()
    for name, model in ACTIONS.items():
        registry.add(name, system.act, model)
    return registry
