"""The output of the command line: plain text or JSON on standard output, warnings and errors on standard error."""

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Never, Self

from pydantic import BaseModel

from operator_core.actions import KillSwitchStatus, RunningAction, Stop, StopReceipt, StoredProposal
from operator_core.actions.text import hidden_characters, printable
from operator_core.actions.validation import dump_json
from operator_core.cli.streams import write

_MAX_IDS = 20


def print_text(*lines: str) -> None:
    """Print lines for a person; text from outside cannot break them into more lines."""
    write(_shown(lines), sys.stdout)


def print_json(value: Any) -> None:
    """Print one JSON object on one line, in ASCII, so that it passes through any pipe."""
    write(json.dumps(value) + "\n", sys.stdout)


def print_warning(*lines: str) -> None:
    """Print lines for a person on standard error."""
    write("operator-core: " + _shown(lines), sys.stderr)


def _shown(lines: Sequence[str]) -> str:
    return "".join(f"{printable(line)}\n" for line in lines)


def print_error(*lines: str, error: BaseException, as_json: bool, **more: Any) -> None:
    """Print an error for a person on standard error; with `as_json`, also as a JSON object on standard output."""
    print_warning(*lines)
    if as_json:
        print_json({"error": type(error).__name__, "message": "\n".join(lines), **more})


class Progress:
    """A progress bar that appears only on a terminal; a context manager."""

    def __init__(self, what: str) -> None:
        from tqdm import tqdm  # noqa: PLC0415 - few commands need it

        self._bar: tqdm[Never] = tqdm(desc=what, unit=" proposals", disable=_no_stderr() or None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._bar.close()

    def __call__(self, done: int, total: int) -> None:
        """Show how many of how many are done."""
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def say(self, *lines: str) -> None:
        """Print lines for a person, with the bar out of the way."""
        with self._bar.external_write_mode():
            print_text(*lines)


def _no_stderr() -> bool:
    return sys.stderr is None  # pyright: ignore[reportUnnecessaryComparison] - so it is under cron


def proposal_line(proposal: StoredProposal) -> str:
    """Return one proposal as a line."""
    ticket = "-" if proposal.ticket_id is None else proposal.ticket_id
    reason = proposal.reason.partition("\n")[0][:60]
    return (
        f"{proposal.id:>8}  {proposal.status:<9}  {format_time(proposal.status_at)}  ticket {ticket:<8}  "
        f"{proposal.action_name}  ({proposal.proposed_by}: {reason})"
    )


def proposal_lines(proposal: StoredProposal) -> list[str]:
    """Return one proposal with all that a person decides about; characters that do not show are named."""
    parameters = dump_json(proposal.parameters)
    lines = [proposal_line(proposal), f"  reason: {proposal.reason}", f"  parameters: {parameters}"]
    people = f"{proposal.proposed_by} {proposal.on_behalf_of or ''}"
    hidden = hidden_characters(f"{proposal.action_name} {parameters} {people}")
    if hidden:
        lines.append(f"  CAREFUL, these characters do not show as themselves: {', '.join(hidden)}")
    if proposal.on_behalf_of is not None:
        lines.append(f"  on behalf of: {proposal.on_behalf_of}")
    return lines


def to_json(model: BaseModel) -> dict[str, Any]:
    """Return a DTO as JSON values."""
    dumped: dict[str, Any] = model.model_dump(mode="json")
    return dumped


def format_time(at: datetime | None) -> str:
    """Return a time for a person, in UTC."""
    return "-" if at is None else at.strftime("%Y-%m-%d %H:%M:%S UTC")


def format_ids(ids: Sequence[int]) -> str:
    """Return ids as a list that fits on a line."""
    listed = ", ".join(map(str, ids[:_MAX_IDS]))
    return f"{listed} and {len(ids) - _MAX_IDS} more" if len(ids) > _MAX_IDS else listed


def _executing_lines(executing: Sequence[RunningAction]) -> list[str]:
    return [f"still executing: {len(executing)}", *map(_executing_line, executing)]


def _executing_line(running: RunningAction) -> str:
    held = "unleased" if running.lease_expires_at is None else f"lease until {format_time(running.lease_expires_at)}"
    return (
        f"  proposal {running.proposal_id} {running.action_name}, record {running.record_id or '-'}, "
        f"worker {running.worker}, since {format_time(running.since)}, {held}"
    )


def receipt_lines(receipt: StopReceipt) -> list[str]:
    """Return a receipt as text for a person."""
    lines = [
        f"stop {receipt.generation} ({receipt.scope}), engaged {format_time(receipt.engaged_at)}",
        f"cancelled: {len(receipt.cancelled)}" + (f" ({format_ids(receipt.cancelled)})" if receipt.cancelled else ""),
        *_executing_lines(receipt.still_executing),
    ]
    if receipt.not_yet_cancelled:
        lines.append(f"locked by somebody, cannot start either: {format_ids(receipt.not_yet_cancelled)}")
    lines.append(f"new starts refused after {receipt.publish_ms:.0f} ms, all done after {receipt.stop_ms:.0f} ms")
    lines.append(f'to release it: operator-core release --generation {receipt.generation} --reason "..."')
    return lines


def stop_line(stop: Stop) -> str:
    """Return one stop as a line."""
    text = f"stop {stop.generation} ({stop.scope}) since {format_time(stop.engaged_at)} by {stop.by}: "
    text += stop.reason
    if stop.released_at is not None:
        text += f"; released {format_time(stop.released_at)} by {stop.released_by or ''}: "
        text += stop.release_reason or ""
    return text


def status_lines(status: KillSwitchStatus) -> list[str]:
    """Return the status as text for a person."""
    lines = [f"ENGAGED: {stop_line(stop)}" for stop in status.engaged] or ["not engaged"]
    lines += _executing_lines(status.still_executing)
    engaged = {stop.generation for stop in status.engaged}
    lines += [
        f"  stop {answer.generation}: proposal {answer.proposal_id}, worker {answer.worker}: {answer.answer}"
        f" {'for' if answer.at is None else 'after'} {answer.seconds:.1f} s"
        for answer in status.answers
        if answer.generation in engaged or answer.at is None
    ]
    if status.not_yet_cancelled:
        lines.append(f"pending, but can never start: {format_ids(status.not_yet_cancelled)}")
    past = [stop for stop in status.last_stops if stop.generation not in engaged]
    lines += ["last stops:"] * bool(past)
    lines += [f"  {stop_line(stop)}" + ("" if stop.released_at else "; engaged again since") for stop in past]
    command = 'operator-core release --reason "..." --generation'
    lines += [f"to release it: {command} {stop.generation}" for stop in status.engaged]
    return lines
