"""The async border: `ActionRepository` joins a host's transaction; `ActionDB` is the same class with its own.

No SQL stands here. Every method names one function of a store; only `_run` knows who owns the transaction.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from operator_core.actions.errors import OwnTransactionsError, ValueNotStorableError
from operator_core.actions.lifecycle import ActionOutcome, ActionStatus
from operator_core.actions.stops import KillSwitchStatus, Scope, Stop, StopReceipt, StopRequest
from operator_core.actions.types import ActionEvent, ActionProposal, ActionRecord, ActionType
from operator_core.actions.values import (
    MAX_RESULT_BYTES,
    check_integer,
    check_member,
    check_name,
    check_object,
    check_text,
    sanitise_object,
    sanitise_text,
)
from operator_core.db import executions, history, proposals, records, stop_status, transitions
from operator_core.db.joined import run_joined
from operator_core.db.units import Kind

P = ParamSpec("P")
T = TypeVar("T")
Unit = Callable[Concatenate[sa.Connection, P], T]


class ActionRepository:
    """Works in the transaction of a host's session: flushes, and leaves begin, commit, rollback and close to the host.

    After an expected refusal the session is usable. What is started counts only at the host's commit: no side effect
    before it. A host's SQLite engine must have been passed to `configure_engine`.

    Every method raises, besides what it names: `DatabaseUnavailableError` and its kin when the database cannot be
    worked with, `RetryTransactionError` when the transaction must be run again, and `SchemaError` when the database
    is not one that this version keeps its promises on.
    """

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def _run(self, kind: Kind, unit: Unit[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await run_joined(self._session, kind, unit, *args, **kwargs)

    # -- proposals -----------------------------------------------------------------------------------------------------

    async def create_proposal(self, proposal: ActionProposal) -> ActionProposal:
        """Store a proposal and return it with its id; under a stop that covers it, it comes back cancelled.

        Raises:
            NotNewError: It has an id already, or a status other than proposed.
            ValueNotStorableError: A value was let in unchecked, by `model_copy(update=...)`.
        """
        return await self._run(Kind.WRITE, proposals.insert, proposal)

    async def create_proposals(self, proposals_: Sequence[ActionProposal]) -> list[ActionProposal]:
        """Store all proposals or none, and return them in the same order with their ids.

        Raises:
            NotNewError, ValueNotStorableError: As `create_proposal`.
        """
        if isinstance(proposals_, ActionProposal):
            raise ValueNotStorableError(path="proposals", why="is one proposal; give a list, or call create_proposal")
        return await self._run(Kind.TRANSACTION, proposals.insert_many, list(proposals_))

    async def get_proposal(self, proposal_id: int) -> ActionProposal | None:
        """Return a proposal, or None where there is none with this id."""
        return await self._run(Kind.READ, proposals.get, check_integer(proposal_id, "proposal_id"))

    async def list_proposals(
        self,
        status: ActionStatus | None = None,
        *,
        ticket_id: int | None = None,
        action_name: str | None = None,
        action_type: ActionType | None = None,
        proposed_by: str | None = None,
        before_id: int | None = None,
        limit: int | None = None,
    ) -> list[ActionProposal]:
        """Return the proposals that match all filters, newest first by id; all of them without a `limit`.

        For the next page, pass the id of the last proposal of this one as `before_id`.
        """
        filters = _filters(status, ticket_id, action_name, action_type, proposed_by)
        before = None if before_id is None else check_integer(before_id, "before_id")
        return await self._run(Kind.READ, proposals.list_, filters, before, _limit(limit))

    async def iter_proposals(
        self,
        status: ActionStatus | None = None,
        *,
        ticket_id: int | None = None,
        action_name: str | None = None,
        action_type: ActionType | None = None,
        proposed_by: str | None = None,
        chunk_size: int = 500,
    ) -> AsyncIterator[ActionProposal]:
        """Iterate over the proposals that match all filters, newest first by id, holding `chunk_size` at a time.

        Each chunk is read on its own: nothing is locked in between, and what is proposed meanwhile is not seen.
        """
        filters = _filters(status, ticket_id, action_name, action_type, proposed_by)
        size, before_id = _limit(chunk_size, "chunk_size"), None
        while True:
            chunk = await self._run(Kind.READ, proposals.list_, filters, before_id, size)
            for proposal in chunk:
                yield proposal
            if len(chunk) < chunk_size:
                return
            before_id = chunk[-1].id

    async def count_proposals(
        self,
        status: ActionStatus | None = None,
        *,
        ticket_id: int | None = None,
        action_name: str | None = None,
        action_type: ActionType | None = None,
        proposed_by: str | None = None,
    ) -> dict[ActionStatus, int]:
        """Return how many proposals match all filters, for each of the six states."""
        filters = _filters(status, ticket_id, action_name, action_type, proposed_by)
        return await self._run(Kind.READ, proposals.count, filters)

    async def update_proposal_status(
        self, proposal_id: int, status: ActionStatus, *, by: str = "system", reason: str | None = None
    ) -> ActionProposal:
        """Take one step of the lifecycle; of callers at the same moment exactly one succeeds.

        Raises:
            ProposalNotFoundError: There is no such proposal.
            TransitionNotAllowedError: The table of steps forbids it, somebody else was first, or the record does not
                say what the step out of `executing` needs.
            KillSwitchEngagedError: A stop bars the step to `executing`.
            IsolationLevelError: The step to `executing` was tried outside READ COMMITTED.
        """
        number, wanted = check_integer(proposal_id, "proposal_id"), check_member(status, "status", ActionStatus)
        return await self._run(Kind.WRITE, transitions.step, number, wanted, _by(by), _reason(reason))

    async def cancel_all_pending(self, *, by: str = "system", reason: str | None = None) -> int:
        """Cancel all that is proposed or validated at this moment, in one transaction, and return their exact number.

        Touches nothing that is executing or finished, and stops nothing that is proposed later: for that, engage the
        kill switch.
        """
        return await self._run(Kind.WRITE, proposals.cancel_pending, _by(by), _reason(reason))

    # -- records and executions ----------------------------------------------------------------------------------------

    async def create_record(self, record: ActionRecord) -> ActionRecord:
        """Open the record of a proposal that is executing, and return it with its id.

        Raises:
            NotNewError: It has an id already, or says how it ended.
            ProposalNotFoundError: There is no such proposal.
            RecordNotAllowedError: The proposal is not executing, or has a record.
        """
        return await self._run(Kind.WRITE, records.insert, record)

    async def get_record(self, record_id: int) -> ActionRecord | None:
        """Return a record, or None where there is none with this id."""
        return await self._run(Kind.READ, records.get, check_integer(record_id, "record_id"))

    async def get_records_for_proposal(self, proposal_id: int) -> list[ActionRecord]:
        """Return the records of a proposal, newest first: none or one."""
        return await self._run(Kind.READ, records.of_proposal, check_integer(proposal_id, "proposal_id"))

    async def update_record(
        self,
        record_id: int,
        success: bool,  # noqa: FBT001 - the oldest way to call it
        error_message: str | None = None,
        result_data: dict[str, Any] | None = None,
    ) -> ActionRecord:
        """Close a record, once; its proposal goes on executing until its own step is taken.

        For a failure, what cannot be stored is made storable: recording a failure never fails.

        Raises:
            RecordNotFoundError: There is no such record.
            TransitionNotAllowedError: The record is closed.
            ValueNotStorableError: `result_data` or `error_message` of a success; nothing was changed.
        """
        outcome = _outcome(success)
        ending = _ending(outcome, error_message, result_data)
        return await self._run(Kind.WRITE, records.close, check_integer(record_id, "record_id"), outcome, *ending)

    async def start_execution(self, proposal_id: int, *, by: str = "system") -> ActionRecord:
        """Take a validated proposal to `executing` and open its record, in one transaction.

        Raises:
            ProposalNotFoundError, TransitionNotAllowedError, KillSwitchEngagedError, IsolationLevelError: As
                `update_proposal_status`.
        """
        return await self._run(Kind.TRANSACTION, executions.start, check_integer(proposal_id, "proposal_id"), _by(by))

    async def finish_execution(
        self,
        record_id: int,
        *,
        success: bool,
        error_message: str | None = None,
        result_data: dict[str, Any] | None = None,
        by: str = "system",
    ) -> ActionRecord:
        """Close a record and take its proposal to completed or failed, in one transaction.

        For a failure, what cannot be stored is made storable: recording a failure never fails.

        Raises:
            RecordNotFoundError: There is no such record.
            TransitionNotAllowedError: The record is closed: somebody else was first.
            ValueNotStorableError: `result_data` or `error_message` of a success; nothing was changed.
        """
        outcome = _outcome(success)
        ending = _ending(outcome, error_message, result_data)
        number = check_integer(record_id, "record_id")
        return await self._run(Kind.TRANSACTION, executions.finish, number, outcome, *ending, _by(by))

    # -- kill switch ---------------------------------------------------------------------------------------------------

    async def engage_kill_switch(
        self, *, by: str, reason: str, scope: Scope | None = None, wait: float = 5.0, terminate: bool = False
    ) -> StopReceipt:
        """Refuse: a stop that waits for a host's commit is none.

        Raises:
            OwnTransactionsError: Always; `ActionDB` engages.
        """
        raise OwnTransactionsError(call="engage_kill_switch")

    async def release_kill_switch(self, *, by: str, reason: str, generation: int) -> Stop:
        """Refuse: a release belongs to one person, not to a host's transaction.

        Raises:
            OwnTransactionsError: Always; `ActionDB` releases.
        """
        raise OwnTransactionsError(call="release_kill_switch")

    async def kill_switch_status(self) -> KillSwitchStatus:
        """Return what is engaged, by whom, why and since when; what runs, and who has answered a stop or is silent."""
        return await self._run(Kind.SNAPSHOT, stop_status.status)

    async def stop_requested(self, record_id: int) -> StopRequest | None:
        """Return what a running action is asked by a stop or by a person; None when it may go on, or has ended.

        Raises:
            RecordNotFoundError: There is no such record.
        """
        return await self._run(Kind.SNAPSHOT, stop_status.request, check_integer(record_id, "record_id"))

    async def acknowledge_stop(
        self, record_id: int, *, outcome: ActionOutcome = ActionOutcome.STOPPED, by: str
    ) -> ActionRecord:
        """Answer a stop or cancel request: `stopped` closes the record and cancels the proposal, in one transaction.

        With `succeeded` or `failed` it finishes as usual, which the status shows as `finished anyway`.

        Raises:
            RecordNotFoundError: There is no such record.
            TransitionNotAllowedError: The record is closed, or nobody asked the action to stop.
        """
        number, ended = check_integer(record_id, "record_id"), check_member(outcome, "outcome", ActionOutcome)
        return await self._run(Kind.TRANSACTION, executions.finish, number, ended, None, None, _by(by))

    # -- history -------------------------------------------------------------------------------------------------------

    async def get_events(self, proposal_id: int) -> list[ActionEvent]:
        """Return what happened to a proposal, oldest first; empty where there is no such proposal."""
        return await self._run(Kind.READ, history.of_proposal, check_integer(proposal_id, "proposal_id"))


def _by(by: str) -> str:
    return check_name(by, "by")


def _reason(reason: str | None) -> str | None:
    return None if reason is None else check_text(reason, "reason")


def _limit(limit: int | None, path: str = "limit") -> int | None:
    if limit is not None and check_integer(limit, path) < 1:
        raise ValueNotStorableError(path=path, why=f"is {limit}; ask for 1 or more")
    return limit


def _filters(
    status: ActionStatus | None,
    ticket_id: int | None,
    action_name: str | None,
    action_type: ActionType | None,
    proposed_by: str | None,
) -> dict[str, Any]:
    return {
        "status": None if status is None else check_member(status, "status", ActionStatus),
        "ticket_id": None if ticket_id is None else check_integer(ticket_id, "ticket_id"),
        "action_name": None if action_name is None else check_text(action_name, "action_name"),
        "action_type": None if action_type is None else check_member(action_type, "action_type", ActionType),
        "proposed_by": None if proposed_by is None else check_text(proposed_by, "proposed_by"),
    }


def _outcome(success: bool) -> ActionOutcome:  # noqa: FBT001 - it is the value itself
    if not isinstance(success, bool):  # pyright: ignore[reportUnnecessaryIsInstance] - "false" is true
        raise ValueNotStorableError(path="success", why=f"is {success!a}; True or False is wanted")
    return ActionOutcome.SUCCEEDED if success else ActionOutcome.FAILED


def _ending(
    outcome: ActionOutcome, error_message: str | None, result_data: dict[str, Any] | None
) -> tuple[str | None, dict[str, Any] | None]:
    """Return error and result as they are stored: checked for a success, made storable for anything else."""
    if outcome is not ActionOutcome.SUCCEEDED:
        return (None if error_message is None else sanitise_text(error_message)), sanitise_object(result_data)
    if result_data is not None:
        result_data = check_object(result_data, "result_data", largest=MAX_RESULT_BYTES)
    return (None if error_message is None else check_text(error_message, "error_message")), result_data
