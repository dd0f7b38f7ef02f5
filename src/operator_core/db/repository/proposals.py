"""The calls about proposals: create, read, and take a step."""

from collections.abc import AsyncIterator, Sequence
from typing import Unpack

from operator_core.actions.errors import ConstraintError, InvalidArgumentError, UnreadableRowError
from operator_core.actions.lifecycle import ActionStatus
from operator_core.actions.types import ActionProposal, StoredProposal
from operator_core.actions.validation import check_integer, check_member, check_name
from operator_core.db.repository.arguments import ProposalFilters, by_, filters_, limit_, reason_, require_distinct
from operator_core.db.repository.base import RepositoryBase
from operator_core.db.stores import approved_digest, proposals, transitions
from operator_core.db.stores.mapping import require_type
from operator_core.db.stores.reading import require_readable


class ProposalMixin(RepositoryBase):
    """Proposals and their steps."""

    async def create_proposal(self, proposal: ActionProposal, *, idempotency_key: str | None = None) -> StoredProposal:
        """Store a proposal and return it with its id; if a stop covers it, it is stored as cancelled.

        A second call with the same `idempotency_key` stores nothing and returns the first proposal, marked as
        `repeated`, so a caller that missed the answer can simply repeat the call.

        Raises:
            IdempotencyKeyError: The first proposal of the key has other content.
            NotRetryableError: `retry_of` names a proposal that is not finished.
            AlreadyStoredError: It already has an id, or a status other than proposed.
            ValueNotStorableError: `model_copy(update=...)` let in an unchecked value.
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
            AlreadyStoredError, ValueNotStorableError, NotRetryableError: As in `create_proposal`.
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

    async def validate_many(
        self, proposal_ids: Sequence[int], *, by: str = "system", reason: str | None = None
    ) -> None:
        """Take all proposals to `validated` or none, as `update_proposal_status` does.

        Raises:
            ProposalNotFoundError, TransitionNotAllowedError, NotApprovedError: As in `update_proposal_status`, for the
                first one that is refused; no step was taken.
            InvalidArgumentError: A proposal is named twice.
        """
        ids = [check_integer(number, "proposal_ids") for number in proposal_ids]
        require_distinct(ids, "proposal_ids")
        step = (ids, by_(by), reason_(reason))
        try:
            await self._run(transitions.validate_together, *step)
        except ConstraintError:  # one of them was refused, and a step for each says which one, and why
            await self._run(transitions.validate_each, *step)
        self._notify()

    async def get_proposal(self, proposal_id: int) -> StoredProposal | None:
        """Return a proposal, or None if there is none with this id.

        Raises:
            UnreadableRowError: It cannot be read.
        """
        return await self._run(proposals.get, check_integer(proposal_id, "proposal_id"))

    async def list_proposals(
        self,
        status: ActionStatus | None = None,
        *,
        before_id: int | None = None,
        limit: int | None = None,
        **filters: Unpack[ProposalFilters],
    ) -> list[StoredProposal]:
        """Return the proposals that match all filters, newest first by id; all of them without a `limit`.

        The filters are those of `ProposalFilters`: `ticket_id`, `action_name`, `action_type` and `proposed_by`.
        For the next page, pass the last id of this page as `before_id`. Unreadable proposals are skipped and reported:
        see `on_unreadable`.
        """
        matching = filters_(status, **filters)
        before = None if before_id is None else check_integer(before_id, "before_id")
        return await self._run_many(proposals.list_, matching, before, limit_(limit))

    async def iter_proposals(
        self,
        status: ActionStatus | None = None,
        *,
        chunk_size: int = 500,
        **filters: Unpack[ProposalFilters],
    ) -> AsyncIterator[StoredProposal]:
        """Iterate over the proposals that match all filters, newest first by id, in chunks of `chunk_size`.

        Each chunk is read on its own: nothing is locked in between, and new proposals are not seen.
        """
        matching = filters_(status, **filters)
        size, before_id = limit_(chunk_size, "chunk_size"), None
        while True:
            chunk = await self._run_many(proposals.list_, matching, before_id, size)
            for proposal in chunk:
                yield proposal
            if len(chunk) < chunk_size:
                return
            before_id = chunk[-1].id

    async def count_proposals(
        self, status: ActionStatus | None = None, **filters: Unpack[ProposalFilters]
    ) -> dict[ActionStatus, int]:
        """Return how many proposals match all filters, for each of the six states."""
        matching = filters_(status, **filters)
        return await self._run(proposals.count, matching)

    async def update_proposal_status(
        self, proposal_id: int, status: ActionStatus, *, by: str = "system", reason: str | None = None
    ) -> StoredProposal:
        """Take one step of the lifecycle; of concurrent callers exactly one succeeds.

        Raises:
            ProposalNotFoundError: There is no such proposal.
            TransitionNotAllowedError: The transition table forbids the step, another caller was first, or the record
                does not hold what a step out of `executing` requires.
            KillSwitchEngagedError: A stop blocks the step to `executing`.
            DigestMismatchError: What was approved is not what the ledger holds; the proposal stays `validated`.
            IsolationLevelError: The step to `executing` was tried outside READ COMMITTED.
            UnreadableRowError: The proposal cannot be read, so it is neither validated nor started. Any other step is
                taken, and the error says so.
        """
        number, wanted = check_integer(proposal_id, "proposal_id"), check_member(status, "status", ActionStatus)
        if wanted is ActionStatus.EXECUTING:
            await self._run(approved_digest.require_approved_digest, number)
        try:
            stepped = await self._run(transitions.transition, number, wanted, by_(by), reason_(reason))
        except UnreadableRowError as error:
            self._unreadable_rows().add(error)
            raise
        self._notify()
        return require_readable(stepped)

    async def cancel_all_pending(self, *, by: str = "system", reason: str | None = None) -> int:
        """Cancel all proposals that are proposed or validated now, in one transaction, and return their number.

        Executing and finished proposals are left alone, and later proposals are not stopped: for that, engage the kill
        switch.
        """
        cancelled = await self._run(proposals.cancel_pending, by_(by), reason_(reason))
        self._notify()
        return cancelled
