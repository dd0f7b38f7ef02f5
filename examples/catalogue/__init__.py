"""The actions that agents may propose, by name."""

from pydantic import ValidationError

from catalogue import airline, cluster
from catalogue.base import Action
from operator_core.actions import ActionType

ACTIONS: dict[str, type[Action]] = cluster.ACTIONS | airline.ACTIONS


def type_of(name: str) -> ActionType:
    """Return what kind of action `name` is; one that nobody knows counts as a tool."""
    return ACTIONS[name].action_type if name in ACTIONS else ActionType.TOOL


def explain(error: ValidationError) -> str:
    """Put all that Pydantic found wrong into one line."""
    return "; ".join(
        ": ".join(filter(None, [".".join(map(str, detail["loc"])), detail["msg"]]))
        for detail in error.errors(include_url=False, include_context=False, include_input=False)
    )
