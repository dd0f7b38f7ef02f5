"""The calls about proposals: create, look, and take a step."""

from collections.abc import AsyncIterator, Sequence

from operator_core.actions.errors import InvalidArgumentError, UnreadableRowError
from operator_core.actions.lifecycle import ActionStatus
from operator_core.actions.types import ActionProposal, ActionType, StoredProposal
from operator_core.actions.validation import check_integer, check_member, check_name
from operator_core.db.repository.arguments import by_, filters_, limit_, reason_
from operator_core.db.repository.base import RepositoryBase
from operator_core.db.stores import proposals, transitions
from operator_core.db.stores.mapping import require_type
from operator_core.db.stores.reading import require_readable


class ProposalMixin(RepositoryBase):
    """Is what `ActionRepository` and `ActionDB` offer here."""

    async def create_proposal(self, proposal: ActionProposal, *, idempotency_key: str | None = None) -> StoredProposal:
        """Store a proposal and return it with its id; under a stop that covers it, it comes back cancelled.

        A second call with the same `idempotency_key` stores nothing and returns the first proposal, marked as
        `repeated`: a caller that was cut off from the answer can simply repeat.

        Raises:
            IdempotencyKeyError: The first proposal of the key has other content.
            NotRetryableError: `retry_of` names a proposal that is not finished.
            AlreadyStoredError: It has an id already, or a status other than proposed.
            ValueNotStorableError: A value was let in unchecked, by `model_copy(update=...)`.
        """
        require_type(proposal, ActionProposal, "proposal")
        if idempotency_key is not None:
            proposal = proposal.model_copy(update={"idempotency_key": check_name(idempotency_key, "idempotency_key")})
        if proposal.idempotency_key is None:
            stored = await self._run(proposals.insert, proposal)
        else:
            stored = await self._run(proposals.insert_idempotent, proposal)
        self._notify()
        return stored

    async def create_proposals(self, proposals_: Sequence[ActionProposal]) -> list[StoredProposal]:
        """Store all proposals or none, and return them in the same order with their ids.

        Raises:
            AlreadyStoredError, ValueNotStorableError, NotRetryableError: As `create_proposal`.
            InvalidArgumentError: A proposal has an idempotency key, which works only with `create_proposal`.
        """
        if isinstance(proposals_, ActionProposal):
            raise InvalidArgumentError(path="proposals", reason="is one proposal; give a list, or call create_proposal")
        given = list(proposals_)
        if any(getattr(proposal, "idempotency_key", None) is not None for proposal in given):
            raise InvalidArgumentError(path="idempotency_key", reason="works with create_proposal only")
        stored = await self._run(proposals.insert_many, given)
        self._notify()
        return stored

    async def get_proposal(self, proposal_id: int) -> StoredProposal | None:
        """Return a proposal, or None where there is none with this id.

        Raises:
            UnreadableRowError: It cannot be read.
        """
        return await self._run(proposals.get, check_integer(proposal_id, "proposal_id"))

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
    ) -> list[StoredProposal]:
        """Return the proposals that match all filters, newest first by id; all of them without a `limit`.

        For the next page, pass the id of the last proposal of this one as `before_id`. What cannot be read is passed
        over and reported: see `on_unreadable`.
        """
        filters = filters_(status, ticket_id, action_name, action_type, proposed_by)
        before = None if before_id is None else check_integer(before_id, "before_id")
        return await self._run_many(proposals.list_, filters, before, limit_(limit))

    async def iter_proposals(
        self,
        status: ActionStatus | None = None,
        *,
        ticket_id: int | None = None,
        action_name: str | None = None,
        action_type: ActionType | None = None,
        proposed_by: str | None = None,
        chunk_size: int = 500,
    ) -> AsyncIterator[StoredProposal]:
        """Iterate over the proposals that match all filters, newest first by id, holding `chunk_size` at a time.

        Each chunk is read on its own: nothing is locked in between, and what is proposed meanwhile is not seen.
        """
        filters = filters_(status, ticket_id, action_name, action_type, proposed_by)
        size, before_id = limit_(chunk_size, "chunk_size"), None
        while True:
            chunk = await self._run_many(proposals.list_, filters, before_id, size)
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
        filters = filters_(status, ticket_id, action_name, action_type, proposed_by)
        return await self._run(proposals.count, filters)

    async def update_proposal_status(
        self, proposal_id: int, status: ActionStatus, *, by: str = "system", reason: str | None = None
    ) -> StoredProposal:
        """Take one step of the lifecycle; of callers at the same moment exactly one succeeds.

        Raises:
            ProposalNotFoundError: There is no such proposal.
            TransitionNotAllowedError: The table of steps forbids it, somebody else was first, or the record does not
                say what the step out of `executing` needs.
            KillSwitchEngagedError: A stop bars the step to `executing`.
            IsolationLevelError: The step to `executing` was tried outside READ COMMITTED.
            UnreadableRowError: The proposal cannot be read, so it is not validated and does not start. Any other step
                is taken, and the error says so.
        """
        number, wanted = check_integer(proposal_id, "proposal_id"), check_member(status, "status", ActionStatus)
        try:
            stepped = await self._run(transitions.transition, number, wanted, by_(by), reason_(reason))
        except UnreadableRowError as error:
            self._unreadable_rows().add(error)
            raise
        self._notify()
        return require_readable(stepped)

    async def cancel_all_pending(self, *, by: str = "system", reason: str | None = None) -> int:
        """Cancel all that is proposed or validated at this moment, in one transaction, and return their exact number.

        Touches nothing that is executing or finished, and stops nothing that is proposed later: for that, engage the
        kill switch.
        """
        cancelled = await self._run(proposals.cancel_pending, by_(by), reason_(reason))
        self._notify()
        return cancelled
