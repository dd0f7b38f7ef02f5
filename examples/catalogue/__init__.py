"""The actions that agents may propose, by name, and the check that every proposal has to pass."""

import json
from typing import Any

from pydantic import ValidationError

from catalogue import airline, cluster
from catalogue.base import Action
from operator_core.actions import ActionType

ACTIONS: dict[str, type[Action]] = cluster.ACTIONS | airline.ACTIONS


def type_of(name: str) -> ActionType:
    """Return what kind of action `name` is; one that nobody knows counts as a tool."""
    return ACTIONS[name].action_type if name in ACTIONS else ActionType.TOOL


def find_flaw(name: str, parameters: dict[str, Any]) -> str | None:
    """Say why an action must not run, or None when its model accepts the parameters."""
    if name not in ACTIONS:
        return "no such action"
    try:
        ACTIONS[name].model_validate_json(json.dumps(parameters))
    except ValidationError as error:
        return f"invalid arguments: {explain(error)}"
    return None


def explain(error: ValidationError) -> str:
    """Put all that Pydantic found wrong into one line."""
    return "; ".join(
        ": ".join(filter(None, [".".join(map(str, detail["loc"])), detail["msg"]]))
        for detail in error.errors(include_url=False, include_context=False, include_input=False)
    )
