"""The calls about running actions: open and close records, start and finish executions."""

from collections.abc import Sequence
from typing import Any

from operator_core.actions.errors import ConstraintError
from operator_core.actions.types import ActionRecord, ExecutionResult, StoredRecord
from operator_core.actions.validation import check_integer
from operator_core.db.repository.arguments import by_, ending_, outcome_, require_distinct
from operator_core.db.repository.base import RepositoryBase
from operator_core.db.stores import ending_batches, endings, executions, records
from operator_core.db.stores.ending_batches import Ending
from operator_core.db.stores.reading import require_readable


class RecordMixin(RepositoryBase):
    """Records and executions."""

    async def create_record(self, record: ActionRecord) -> StoredRecord:
        """Open the record of a proposal that is executing, and return it with its id.

        Raises:
            AlreadyStoredError: It already has an id or an outcome.
            ProposalNotFoundError: There is no such proposal.
            RecordNotAllowedError: The proposal is not executing, or has a record.
        """
        return await self._run(records.insert, record)

    async def get_record(self, record_id: int) -> StoredRecord | None:
        """Return a record, or None if there is none with this id.

        Raises:
            UnreadableRowError: It cannot be read.
        """
        return await self._run(records.get, check_integer(record_id, "record_id"))

    async def get_records_for_proposal(self, proposal_id: int) -> list[StoredRecord]:
        """Return the records of a proposal, newest first: none or one.

        Raises:
            UnreadableRowError: It cannot be read.
        """
        return await self._run(records.of_proposal, check_integer(proposal_id, "proposal_id"))

    async def update_record(
        self,
        record_id: int,
        success: bool,  # noqa: FBT001 - the oldest way to call it
        error_message: str | None = None,
        result_data: dict[str, Any] | None = None,
    ) -> StoredRecord:
        """Close a record, once; its proposal stays executing until its own step is taken.

        The values of a failure are sanitised where they cannot be stored: recording a failure never fails.

        Raises:
            RecordNotFoundError: There is no such record.
            TransitionNotAllowedError: The record is closed.
            ValueNotStorableError: `result_data` or `error_message` of a success cannot be stored; nothing was changed.
            UnreadableRowError: The record is closed, but something else in it cannot be read.
        """
        outcome = outcome_(success)
        ending = ending_(outcome, error_message, result_data)
        number = check_integer(record_id, "record_id")
        return require_readable(await self._run(records.close, number, outcome, *ending))

    async def start_execution(self, proposal_id: int, *, by: str = "system") -> StoredRecord:
        """Take a validated proposal to `executing` and open its record, in one transaction.

        Raises:
            ProposalNotFoundError, TransitionNotAllowedError, KillSwitchEngagedError, IsolationLevelError,
                UnreadableRowError: As in `update_proposal_status`.
        """
        started = await self._run(executions.start, check_integer(proposal_id, "proposal_id"), by_(by))
        return (await self._require_approved(started, by)).record

    async def finish_execution(
        self,
        record_id: int,
        *,
        success: bool,
        error_message: str | None = None,
        result_data: dict[str, Any] | None = None,
        by: str = "system",
    ) -> StoredRecord:
        """Close a record and take its proposal to completed or failed, in one transaction.

        The values of a failure are sanitised where they cannot be stored: recording a failure never fails.

        Raises:
            RecordNotFoundError: There is no such record.
            TransitionNotAllowedError: The record is closed: another caller was first.
            ValueNotStorableError: `result_data` or `error_message` of a success cannot be stored; nothing was changed.
            UnreadableRowError: The execution is finished, but something else in its record cannot be read.
        """
        outcome = outcome_(success)
        ending = ending_(outcome, error_message, result_data)
        number = check_integer(record_id, "record_id")
        record = await self._run(endings.finish, number, outcome, *ending, by_(by))
        self._notify()
        return require_readable(record)

    async def finish_many(self, results: Sequence[ExecutionResult], *, by: str = "system") -> list[StoredRecord]:
        """Finish all executions or none, as `finish_execution` does, and return the records in the same order.

        Raises:
            RecordNotFoundError, TransitionNotAllowedError, ValueNotStorableError, UnreadableRowError: As in
                `finish_execution`, for the first one that is refused.
            InvalidArgumentError: A record is named twice.
        """
        name = by_(by)
        ends: list[Ending] = []
        for result in results:
            outcome = outcome_(result.success)
            number = check_integer(result.record_id, "record_id")
            ends.append(Ending(number, outcome, *ending_(outcome, result.error_message, result.result_data), name))
        require_distinct([end.record_id for end in ends], "results")
        try:
            finished = await self._run(ending_batches.finish_all, ends)
        except ConstraintError:  # one of them was refused, and a call for each says which one, and why
            finished = await self._run(ending_batches.finish_each, ends)
        self._notify()
        return [require_readable(record) for record in finished]
