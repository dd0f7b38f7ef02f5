"""Read an agent's tool calls, one JSON object a line, into proposals for the incident program."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from catalogue import explain, type_of
from operator_core.actions import ActionProposal

KEPT_CHARACTERS = 10_000


class Function(BaseModel):
    """Be what an agent calls, with the arguments as it wrote them: text that should be JSON."""

    model_config = ConfigDict(strict=True)

    name: str = Field(min_length=1)
    arguments: str


class ToolCall(BaseModel):
    """Be one tool call in the OpenAI format."""

    model_config = ConfigDict(strict=True)

    id: str
    type: Literal["function"]
    function: Function


class Line(BaseModel):
    """Be one line of the file; `outcome` is what the system answered, None where the run ended first."""

    model_config = ConfigDict(strict=True)

    ticket_id: int | None
    call: ToolCall
    reason: str
    outcome: str | None


@dataclass(frozen=True)
class Call:
    """Be a call that can be proposed; `flaw` says why its arguments already failed to parse."""

    proposal: ActionProposal
    outcome: str | None
    flaw: str | None


@dataclass(frozen=True)
class BrokenLine:
    """Be a line that holds no call at all."""

    number: int
    why: str


@dataclass(frozen=True)
class Transcript:
    """What a file holds: as many lines as calls and broken lines together."""

    lines: int
    calls: list[Call]
    broken: list[BrokenLine]


def read_transcript(path: Path, *, proposed_by: str) -> Transcript:
    """Turn every line that is not blank into a call or a broken line."""
    lines = 0
    calls: list[Call] = []
    broken: list[BrokenLine] = []
    with path.open("rb") as file:
        for number, line in enumerate(map(bytes.strip, file), start=1):
            if not line:
                continue
            lines += 1
            try:
                calls.append(to_call(Line.model_validate_json(line), proposed_by))
            except ValidationError as error:
                broken.append(BrokenLine(number, explain(error)))
    return Transcript(lines, calls, broken)


def to_call(line: Line, proposed_by: str) -> Call:
    """Make a proposal of a line; arguments that cannot be its parameters are kept as text."""
    text = line.call.function.arguments
    parameters, flaw = parse_arguments(text)
    try:
        proposal = to_proposal(line, parameters, proposed_by)
    except ValidationError as error:
        flaw = flaw or f"arguments cannot be stored: {explain(error)}"
        proposal = to_proposal(line, {"unparsed": ascii(text)[:KEPT_CHARACTERS]}, proposed_by)
    return Call(proposal, line.outcome, flaw)


def parse_arguments(text: str) -> tuple[dict[str, Any], str | None]:
    """Return the arguments, or the text as it came and what is wrong with it."""
    try:
        arguments = json.loads(text)
    except (ValueError, RecursionError) as error:
        return {"unparsed": text}, f"arguments are not JSON: {error}"
    if not isinstance(arguments, dict):
        return {"unparsed": text}, "arguments are not a JSON object"
    return arguments, None


def to_proposal(line: Line, parameters: dict[str, Any], proposed_by: str) -> ActionProposal:
    """Say what the agent wants to do, and why, in the library's words."""
    name = line.call.function.name
    return ActionProposal(
        ticket_id=line.ticket_id,
        action_name=name,
        action_type=type_of(name),
        parameters=parameters,
        reason=line.reason,
        proposed_by=proposed_by,
    )
