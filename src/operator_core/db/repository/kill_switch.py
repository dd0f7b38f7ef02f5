"""The kill switch calls that work in any transaction."""

from operator_core.actions.kill_switch import KillSwitchStatus, StopRequest
from operator_core.actions.lifecycle import ActionOutcome
from operator_core.actions.types import StoredRecord
from operator_core.actions.validation import check_integer, check_member
from operator_core.db.repository.arguments import by_
from operator_core.db.repository.base import RepositoryBase
from operator_core.db.stores import endings, kill_switch_status
from operator_core.db.stores.reading import require_readable


class KillSwitchMixin(RepositoryBase):
    """Kill switch status, and answers to stops."""

    async def kill_switch_status(self) -> KillSwitchStatus:
        """Return the engaged stops with actor, reason and time, what runs, and how each action answered."""
        return await self._run(kill_switch_status.status)

    async def stop_requested(self, record_id: int) -> StopRequest | None:
        """Return what a stop or a person asks of a running action; None while it may go on, or has ended.

        Raises:
            RecordNotFoundError: There is no such record.
        """
        return await self._run(kill_switch_status.request, check_integer(record_id, "record_id"))

    async def acknowledge_stop(
        self, record_id: int, *, outcome: ActionOutcome = ActionOutcome.STOPPED, by: str
    ) -> StoredRecord:
        """Answer a stop or cancel request: `stopped` closes the record and cancels the proposal, in one transaction.

        With `succeeded` or `failed` the execution finishes as usual; the status shows it as `finished anyway`.

        Raises:
            RecordNotFoundError: There is no such record.
            TransitionNotAllowedError: The record is closed, or nothing has asked the action to stop.
        """
        number, ended = check_integer(record_id, "record_id"), check_member(outcome, "outcome", ActionOutcome)
        record = await self._run(endings.finish, number, ended, None, None, by_(by))
        self._notify()
        return require_readable(record)
