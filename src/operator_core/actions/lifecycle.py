"""The states of an action, and the one transition table from which everything else about states is derived."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType


class ActionStatus(StrEnum):
    """The state of a proposal in its lifecycle."""

    PROPOSED = "proposed"
    VALIDATED = "validated"
    EXECUTING = "executing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ActionOutcome(StrEnum):
    """The outcome of an execution; an open record has none."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


class Resolution(StrEnum):
    """What a person found out about an execution of unknown outcome."""

    HAPPENED = "happened"
    DID_NOT_HAPPEN = "did not happen"
    PARTLY = "partly"

    @classmethod
    def _missing_(cls, value: object) -> "Resolution | None":
        """Accept `did_not_happen` too, for places where a space would need quotes."""
        text = str(value).replace("_", " ")
        return next((finding for finding in cls if finding.value == text), None)


TRANSITIONS: Mapping[ActionStatus, tuple[ActionStatus, ...]] = MappingProxyType(
    {
        # An agent proposed it. It is checked and approved, or cancelled by a person, a check or a stop.
        ActionStatus.PROPOSED: (ActionStatus.VALIDATED, ActionStatus.CANCELLED),
        # It may run. It is started, or cancelled by a person or a stop.
        ActionStatus.VALIDATED: (ActionStatus.EXECUTING, ActionStatus.CANCELLED),
        # It runs. It succeeds or fails, or its worker answers a stop or a cancel request.
        ActionStatus.EXECUTING: (ActionStatus.COMPLETED, ActionStatus.FAILED, ActionStatus.CANCELLED),
        # Final: a retry is a new proposal.
        ActionStatus.COMPLETED: (),
        ActionStatus.FAILED: (),
        ActionStatus.CANCELLED: (),
    }
)

OUTCOMES: Mapping[ActionStatus, tuple[ActionOutcome, ...]] = MappingProxyType(
    {
        ActionStatus.COMPLETED: (ActionOutcome.SUCCEEDED,),
        ActionStatus.FAILED: (ActionOutcome.FAILED, ActionOutcome.UNKNOWN),
        ActionStatus.CANCELLED: (ActionOutcome.STOPPED,),
    }
)
"""The outcomes that a closed record may have when its proposal leaves `executing` for a state."""

INITIAL = ActionStatus.PROPOSED
TERMINAL = tuple(status for status, targets in TRANSITIONS.items() if not targets)
STEP_PAIRS = tuple((source, target) for source, targets in TRANSITIONS.items() for target in targets)


def source_states(target: ActionStatus) -> tuple[ActionStatus, ...]:
    """Return the states from which a single step leads to `target`."""
    return tuple(source for source, reached in STEP_PAIRS if reached is target)


def _paths(target: ActionStatus, walked: tuple[ActionStatus, ...] = (INITIAL,)) -> Iterator[set[ActionStatus]]:
    if walked[-1] is target:
        yield set(walked)
    for following in TRANSITIONS[walked[-1]]:
        yield from _paths(target, (*walked, following))


def states_always_visited(status: ActionStatus) -> set[ActionStatus]:
    """Return the states, its own included, that every proposal in `status` has been in."""
    first, *others = _paths(status)
    return first.intersection(*others)


def states_possibly_visited(status: ActionStatus) -> set[ActionStatus]:
    """Return the states, its own included, that a proposal in `status` may have been in."""
    first, *others = _paths(status)
    return first.union(*others)


PENDING = tuple(
    status
    for status in TRANSITIONS
    if status not in TERMINAL and ActionStatus.EXECUTING not in states_possibly_visited(status)
)
"""The states that are neither started nor final: a stop sweeps them."""


def mermaid() -> str:
    """Return the transition table as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2", f"    [*] --> {INITIAL}"]
    lines += [f"    {source} --> {target}" for source, target in STEP_PAIRS]
    lines += [f"    {status} --> [*]" for status in TERMINAL]
    return "\n".join(lines)
