"""The conversion of the predecessor's rows: valid ones become a proposal and its record as the ledger stores them.

A proposal and its records stay together: if one of these rows is invalid, all of them are rejected.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from itertools import pairwise
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError

from operator_core.actions.lifecycle import OUTCOMES, ActionOutcome, ActionStatus, states_possibly_visited
from operator_core.actions.types import cause_of
from operator_core.legacy import timestamps
from operator_core.legacy.report import PROPOSALS, RECORDS, ImportNote
from operator_core.legacy.rows import ImportedProposal, ImportedRecord
from operator_core.legacy.source import HIGHEST_ID, LegacyRow, ProposalGroup

BY = "import"
UNKNOWN = "it was executing when it was imported: nobody knows how it ended"
NOBODY = "unknown"
_UTC = ("created_at", "updated_at")
_PASSED = {status: states_possibly_visited(status) for status in ActionStatus}

T = TypeVar("T")
_Converted = tuple[ImportedProposal, ImportedRecord | None]
_Convert = Callable[[LegacyRow, LegacyRow | None], _Converted]


class _RejectedRowError(Exception):
    """A row cannot be true, or cannot be stored unchanged; `reason` completes the sentence about it."""

    def __init__(self, row: LegacyRow, reason: str) -> None:
        super().__init__(reason)
        self.row, self.reason = row, reason


@dataclass(frozen=True)
class Conversion:
    """The result of converting a group: a proposal and its record, or rejected rows, each with the reason.

    `size` is the number of characters of JSON in the old rows.
    """

    proposal: ImportedProposal | None = None
    record: ImportedRecord | None = None
    rejected: tuple[tuple[LegacyRow, ImportNote], ...] = ()
    notes: tuple[ImportNote, ...] = ()
    size: int = 0


def convert(group: ProposalGroup, zone: tzinfo, duplicate_ids: Collection[int] = ()) -> Conversion:
    """Convert a group, and return the result.

    Args:
        group: A proposal with its records.
        zone: The zone of the local times.
        duplicate_ids: The ids that more than one record of the file has.
    """
    converter = _Converter(group, zone, duplicate_ids)
    try:
        proposal, record = converter.convert()
    except _RejectedRowError as rejection:
        return Conversion(rejected=tuple(_rejected_rows(group, rejection)))
    texts = [group.proposals[0]["parameters"], *(row["result_data"] for row in group.records)]
    return Conversion(proposal, record, notes=tuple(converter.notes), size=sum(len(text or "") for text in texts))


def _rejected_rows(group: ProposalGroup, rejection: _RejectedRowError) -> list[tuple[LegacyRow, ImportNote]]:
    kind = "proposal" if _is_among(rejection.row, group.proposals) else "record"
    accompanying = f"goes with {kind} {_named(rejection.row['id'])}, which is rejected"
    rows = [(PROPOSALS, row) for row in group.proposals] + [(RECORDS, row) for row in group.records]
    reasons = [rejection.reason if row is rejection.row else accompanying for _, row in rows]
    return [
        (row, ImportNote(table=table, id=_named(row["id"]), text=reason, rejected=True))
        for (table, row), reason in zip(rows, reasons, strict=True)
    ]


def _is_among(row: LegacyRow, rows: Collection[LegacyRow]) -> bool:
    return any(one is row for one in rows)


def _named(number: object) -> object:
    """Return an id in a displayable form, which is also JSON."""
    return number if number is None or isinstance(number, int) else f"{number!a:.80}"


@dataclass(frozen=True)
class _Run:
    """When an action ran, and how it ended."""

    started: datetime
    ended: datetime
    outcome: ActionOutcome
    reason: str | None


@dataclass
class _Converter:
    group: ProposalGroup
    zone: tzinfo
    duplicate_ids: Collection[int]
    notes: list[ImportNote] = field(default_factory=list[ImportNote])

    def convert(self) -> _Converted:
        """Return both rows as the ledger will store them.

        Raises:
            _RejectedRowError: One of the rows cannot be true.
        """
        if not self.group.proposals:
            self._orphan()
        old, *others = self.group.proposals
        self._number(old, "id")
        if others:
            raise _RejectedRowError(old, f"is there {len(others) + 1} times")
        if len(self.group.records) > 1:
            numbers = ", ".join(str(_named(row["id"])) for row in self.group.records)
            raise _RejectedRowError(old, f"has more than one record ({numbers}), and so more than one outcome")
        record = self.group.records[0] if self.group.records else None
        if record is not None and self._number(record, "id") in self.duplicate_ids:
            raise _RejectedRowError(record, "has an id that another record has too")
        status = self._member(old, ActionStatus, "status")
        by_status: dict[ActionStatus, _Convert] = {
            ActionStatus.PROPOSED: self._proposed,
            ActionStatus.VALIDATED: self._validated,
            ActionStatus.EXECUTING: self._executing,
            ActionStatus.COMPLETED: self._finished,
            ActionStatus.FAILED: self._finished,
            ActionStatus.CANCELLED: self._cancelled,
        }
        return by_status[status](old, record)

    def _orphan(self) -> NoReturn:
        row = self.group.records[0]
        raise _RejectedRowError(row, f"belongs to proposal {_named(row['proposal_id'])}, which is not there")

    # -- states --------------------------------------------------------------------------------------------------------

    def _proposed(self, old: LegacyRow, record: LegacyRow | None) -> _Converted:
        self._without_record(old, record)
        return self._proposal(old, ActionStatus.PROPOSED, {}), None

    def _validated(self, old: LegacyRow, record: LegacyRow | None) -> _Converted:
        self._without_record(old, record)
        validated = self._time_of(old, "validated_at", (old, "updated_at"))
        return self._proposal(old, ActionStatus.VALIDATED, {"validated_at": validated}), None

    def _cancelled(self, old: LegacyRow, record: LegacyRow | None) -> _Converted:
        self._without_record(old, record)
        steps = {"validated_at": self._time_of(old, "validated_at")} if old["validated_at"] is not None else {}
        steps["cancelled_at"] = self._time_of(old, "cancelled_at", (old, "updated_at"))
        return self._proposal(old, ActionStatus.CANCELLED, steps), None

    def _without_record(self, old: LegacyRow, record: LegacyRow | None) -> None:
        if record is not None:
            raise _RejectedRowError(old, f"is {old['status']}, but has record {record['id']}: it was started")

    def _finished(self, old: LegacyRow, record: LegacyRow | None) -> _Converted:
        status = ActionStatus(old["status"])
        if record is None:
            raise _RejectedRowError(
                old, f"is {status}, but has no record: nothing says when it was started, or how it ended"
            )
        outcome = self._outcome(record)
        if outcome not in OUTCOMES[status]:
            raise _RejectedRowError(old, f"is {status}, but record {record['id']} says {outcome}")
        started = self._time_of(record, "started_at", (record, "created_at"))
        ended = self._time_of(record, "completed_at", (old, "updated_at"))
        reason = None
        if outcome is ActionOutcome.UNKNOWN:
            reason = "its record did not say how it ended when it was imported"
            self._add_note(record, "has no success: it is failed, outcome unknown")
        return self._executed(old, record, _Run(started, ended, outcome, reason))

    def _executing(self, old: LegacyRow, record: LegacyRow | None) -> _Converted:
        if record is None:
            started = ended = self._time_of(old, "updated_at")
            self._add_note(old, f"has no record: one is made, begun and ended at its updated_at, {started}")
        else:
            if self._outcome(record) is not ActionOutcome.UNKNOWN:
                raise _RejectedRowError(old, f"is executing, but record {record['id']} says {self._outcome(record)}")
            started = self._time_of(record, "started_at", (record, "created_at"))
            ended = self._last_heard_of(old, record, started)
        self._add_note(old, "was executing: it is failed, outcome unknown")
        return self._executed(old, record, _Run(started, ended, ActionOutcome.UNKNOWN, UNKNOWN))

    def _last_heard_of(self, old: LegacyRow, record: LegacyRow, started: datetime) -> datetime:
        if record["completed_at"] is not None:
            return self._time_of(record, "completed_at")
        return max(started, self._time_of(old, "updated_at")) if old["updated_at"] is not None else started

    # -- rows ----------------------------------------------------------------------------------------------------------

    def _executed(self, old: LegacyRow, record: LegacyRow | None, ran: _Run) -> _Converted:
        status = next(status for status, outcomes in OUTCOMES.items() if ran.outcome in outcomes)
        if old["validated_at"] is None:
            self._add_note(old, f"has no validated_at: its start, {ran.started}, stands for it")
        validated = ran.started if old["validated_at"] is None else self._time_of(old, "validated_at")
        steps = {"validated_at": validated, "executing_at": ran.started, f"{status}_at": ran.ended}
        proposal = self._proposal(old, status, steps, ran.reason)
        error = None if record is None else record["error_message"]
        values = {
            "id": None if record is None else record["id"],
            "proposal_id": old["id"],
            "started_at": ran.started,
            "completed_at": ran.ended,
            "success": ran.outcome is ActionOutcome.SUCCEEDED,
            "outcome": ran.outcome,
            "error_message": ran.reason if error is None else error,
            "result_data": None if record is None else self._json(record, "result_data"),
        }
        return proposal, self._checked(record or old, lambda: ImportedRecord.model_validate(values))

    def _proposal(
        self, old: LegacyRow, status: ActionStatus, steps: Mapping[str, datetime], reason: str | None = None
    ) -> ImportedProposal:
        for stamped in (ActionStatus.VALIDATED, ActionStatus.CANCELLED):
            if stamped not in _PASSED[status] and old[f"{stamped}_at"] is not None:
                raise _RejectedRowError(old, f"is {old['status']}, but has a {stamped}_at")
        proposed = self._time_of(old, "proposed_at", (old, "created_at"))
        self._in_order(old, {"proposed_at": proposed, **steps})
        proposed_by = self._default(old, "proposed_by", NOBODY)
        values = {
            "id": old["id"],
            "ticket_id": old["ticket_id"],
            "action_name": old["action_name"],
            "action_type": old["action_type"],
            "parameters": self._default(old, "parameters", {}, self._json),
            "reason": self._default(old, "reason", ""),
            "proposed_at": proposed,
            "proposed_by": proposed_by,
            "status": status,
            "status_at": [proposed, *steps.values()][-1],
            "status_by": BY if steps else proposed_by,
            "status_reason": reason,
            **steps,
        }
        return self._checked(old, lambda: ImportedProposal.model_validate(values))

    def _in_order(self, old: LegacyRow, steps: Mapping[str, datetime]) -> None:
        names = list(steps)
        for earlier, later in pairwise(names):
            if steps[later] < steps[earlier]:
                self._add_note(old, f"has times that run backwards: {later} {steps[later]} before {steps[earlier]}")

    def _checked(self, row: LegacyRow, made: Callable[[], T]) -> T:
        try:
            return made()
        except ValidationError as error:
            raise _RejectedRowError(row, f"has a value that no ledger holds: {cause_of(error)}") from error

    # -- values --------------------------------------------------------------------------------------------------------

    def _add_note(self, row: LegacyRow, text: str) -> None:
        table = PROPOSALS if _is_among(row, self.group.proposals) else RECORDS
        self.notes.append(ImportNote(table=table, id=row["id"], text=text, rejected=False))

    def _number(self, row: LegacyRow, column: str) -> int:
        number = row[column]
        if not isinstance(number, int) or not 1 <= number <= HIGHEST_ID:
            raise _RejectedRowError(row, f"has the {column} {_named(number)}; ids count from 1 to {HIGHEST_ID}")
        return number

    def _member(self, row: LegacyRow, enum: type[ActionStatus], column: str) -> ActionStatus:
        if row[column] not in list(enum):
            raise _RejectedRowError(row, f"has the {column} {row[column]!a:.80}, which is none of {', '.join(enum)}")
        return enum(row[column])

    def _outcome(self, record: LegacyRow) -> ActionOutcome:
        outcomes = {None: ActionOutcome.UNKNOWN, 0: ActionOutcome.FAILED, 1: ActionOutcome.SUCCEEDED}
        success = record["success"]
        if success is not None and (not isinstance(success, int) or success not in outcomes):
            raise _RejectedRowError(record, f"has the success {success!a:.80}; it is 0, 1 or NULL")
        return outcomes[success]

    def _default(
        self, row: LegacyRow, column: str, default: Any, read: Callable[[LegacyRow, str], Any] | None = None
    ) -> Any:
        if row[column] is None:
            self._add_note(row, f"has no {column}: {json.dumps(default)} stands for it")
            return default
        return row[column] if read is None else read(row, column)

    def _json(self, row: LegacyRow, column: str) -> Any:
        text = row[column]
        if text is None:
            return None
        if not isinstance(text, str):
            raise _RejectedRowError(row, f"has a {column} that is no text but a {type(text).__name__}")
        try:
            return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise _RejectedRowError(row, f"has broken JSON in {column}: {error}") from error

    def _time_of(self, row: LegacyRow, column: str, *others: tuple[LegacyRow, str]) -> datetime:
        """Return the time in a column, or the first available alternative, with a note."""
        for found, name in ((row, column), *others):
            if found.get(name) is not None:
                at = self._aware(found, name)
                if name != column:
                    self._add_note(row, f"has no {column}: {name}, {at}, stands for it")
                return at
        raise _RejectedRowError(row, f"has no {' and no '.join([column, *(name for _, name in others)])}")

    def _aware(self, row: LegacyRow, column: str) -> datetime:
        try:
            if column in _UTC:
                return timestamps.utc(row[column])
            at, twice = timestamps.local(row[column], self.zone)
        except ValueError as error:
            raise _RejectedRowError(row, f"has a {column} that {error}") from error
        if twice:
            self._add_note(row, f"has a {column}, {row[column]}, that came twice in {self.zone}: the first is taken")
        return at


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice in one object")
    return found
