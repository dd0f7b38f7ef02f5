"""The calls of workers: claim under a lease, recover expired leases, and resolve unknown outcomes."""

import math
import time
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from operator_core.actions.errors import (
    ActionError,
    DigestMismatchError,
    InvalidArgumentError,
    RetryTransactionError,
    TransitionNotAllowedError,
    UnreadableRowError,
)
from operator_core.actions.types import ActionType, StoredProposal
from operator_core.actions.validation import check_integer, check_member, check_name, check_seconds, check_text
from operator_core.db.modes import Unit
from operator_core.db.repository.arguments import by_, flag_, limit_
from operator_core.db.repository.base import RepositoryBase
from operator_core.db.repository.claim_attempt import ClaimAttempt
from operator_core.db.repository.claim_pointers import ClaimPointers
from operator_core.db.repository.execution import Execution
from operator_core.db.stores import cancellation, claims, executions, kill_switch, proposals
from operator_core.db.stores.claims import MAX_CLAIMS, Filters
from operator_core.db.stores.executions import Claim, Lease
from operator_core.db.stores.reading import require_readable
from operator_core.logs import get_logger

P = ParamSpec("P")
C = TypeVar("C", Claim, list[Claim])

log = get_logger("operator_core")


class ClaimMixin(RepositoryBase):
    """Claims, leases and their recovery."""

    _claim_pointers: ClaimPointers

    async def claim_next(
        self,
        *,
        worker: str,
        lease_seconds: float = 60.0,
        action_names: Sequence[str] | None = None,
        action_types: Sequence[ActionType] | None = None,
        ticket_id: int | None = None,
        idempotency_key: str | None = None,
    ) -> Execution | None:
        """Start and return the oldest validated proposal that matches all filters and may start, or None.

        Concurrent workers get different proposals. Proposals that a stop blocks, or that have expired, are skipped.
        Unreadable proposals are skipped and reported (see `on_unreadable`), and are left out from then on.

        Args:
            worker: The worker's name, unique among all that run at the same time.
            lease_seconds: Seconds for which the lease holds without a heartbeat.
            action_names: Match any of these names.
            action_types: Match any of these types.
            ticket_id: Match this ticket.
            idempotency_key: A repeated call with the same key returns the earlier claim if it still runs, so a worker
                that missed the answer can simply repeat the call. If the caller is cancelled while claiming, the claim
                is recorded as failed; the action never started.

        Raises:
            IsolationLevelError: A host's transaction is not READ COMMITTED.
        """
        held = _lease(worker, lease_seconds, idempotency_key)
        claimed = await self._search(_filters(action_names, action_types, ticket_id), held, 1)
        return claimed[0] if claimed else None

    async def claim_many(
        self,
        limit: int,
        *,
        worker: str,
        lease_seconds: float = 60.0,
        action_names: Sequence[str] | None = None,
        action_types: Sequence[ActionType] | None = None,
        ticket_id: int | None = None,
        idempotency_key: str | None = None,
        first_attempt: bool = False,
    ) -> list[Execution]:
        """Start and return up to `limit` proposals, oldest first, in one statement if no guard refuses any of them.

        Each is claimed as by `claim_next`, under a lease and a fence of its own. It may return fewer than there are:
        none is returned only if there is none.

        Args:
            limit: How many at most; no call claims more than 1,000.
            worker: As in `claim_next`, like all the others.
            lease_seconds: Seconds for which each lease holds without a heartbeat.
            action_names: Match any of these names.
            action_types: Match any of these types.
            ticket_id: Match this ticket.
            idempotency_key: A repeated call with the same key and limit returns what the earlier one claimed and what
                still runs of it. If the caller is cancelled while claiming, all are recorded as failed; none has
                started.
            first_attempt: Whether no earlier call can have used the key, so that nothing need be looked for under it.

        Raises:
            IsolationLevelError: A host's transaction is not READ COMMITTED.
        """
        wanted = check_integer(limit, "limit")
        if wanted < 1:
            raise InvalidArgumentError(path="limit", reason=f"is {wanted}; 1 or more")
        held = _lease(worker, lease_seconds, idempotency_key)
        if wanted > 1 and held.key is not None:
            check_name(f"{held.key}/{MAX_CLAIMS}", "idempotency_key")
        filters = _filters(action_names, action_types, ticket_id)
        first = flag_(first_attempt, "first_attempt")
        return await self._search(filters, held, min(wanted, MAX_CLAIMS), first_attempt=first)

    async def _search(
        self, filters: Filters, held: Lease, limit: int, *, first_attempt: bool = False
    ) -> list[Execution]:
        """Claim the oldest, up to `limit` of them in one statement.

        What an earlier call has claimed under the key is looked for only where the key is taken, or nothing else is
        left.
        """
        begun = time.monotonic()
        attempt = ClaimAttempt(filters, held, limit, self._claim_pointers, self._unreadable_rows())
        while True:
            claim = claims.claim_next if attempt.limit == 1 else claims.claim_many
            try:
                found = await self._run_claim(claim, filters, attempt.lease, attempt.next_search())
            except (RetryTransactionError, UnreadableRowError) as error:
                claimed = await self._after_refusal(error, attempt)
                if claimed is not None:
                    return claimed
                continue
            if found:
                attempt.note(found[0])
                if approved := await self._all_approved(found, held.worker):
                    return [self._to_execution(one, begun) for one in approved]
            elif not attempt.may_go_on():
                earlier = [] if first_attempt else await self._find_claimed(held, limit)
                return earlier or await self._find_nothing()

    async def _after_refusal(
        self, error: RetryTransactionError | UnreadableRowError, attempt: ClaimAttempt
    ) -> list[Execution] | None:
        """Return what is claimed all the same; None if another attempt may claim more than this one.

        One refusal refuses all that a statement claims: then one is claimed at a time, which finds out why.
        """
        if attempt.learns_from(error):
            return None
        if isinstance(error, RetryTransactionError) or attempt.limit > 1:
            if earlier := await self._find_claimed(attempt.held, attempt.wanted):  # by a call whose answer was lost
                return earlier
            if attempt.limit == 1:
                raise error
            attempt.limit = 1
            return None
        one = await self._claim_readable(error, attempt.filters, attempt.lease)
        if one is not None:
            return [self._to_execution(one, -math.inf)]
        return None if attempt.has_registered else []  # another worker has claimed the rest

    async def _find_nothing(self) -> list[Execution]:
        """Return nothing, and now and then cancel what can never be claimed."""
        if self._claim_pointers.may_sweep():
            expired = await self._run(proposals.expired)
            if expired:
                await self._run(kill_switch.sweep_all)
        return []

    async def _all_approved(self, found: list[Claim], worker: str) -> list[Claim]:
        """Return the claims of what was approved; the records of all others are closed as failed."""
        approved: list[Claim] = []
        for claim in found:
            try:
                approved.append(await self._require_approved(claim, worker))
            except DigestMismatchError as error:
                log.error("%s", error, extra={"proposal_id": error.proposal_id})  # noqa: TRY400 - it says it all
        return approved

    async def _claim_readable(self, error: UnreadableRowError, filters: Filters, held: Lease) -> Claim | None:
        """Register the proposal that could not be read; if nobody knows which it is, claim one by one."""
        await self._fail_unreadable_claim(error, held)
        if error.id is None:
            return await self._claim_one_by_one(filters, held)
        self._unreadable_rows().add(error)
        return None

    async def _claim_one_by_one(self, filters: Filters, held: Lease) -> Claim | None:
        """Claim by id, oldest first: register each unreadable proposal, and return the first readable claim."""
        for number in await self._run(claims.waiting, filters, self._unreadable_rows().proposals):
            try:
                return await self._claim_one(number, held)
            except UnreadableRowError as error:
                self._unreadable_rows().add(error)
            except (TransitionNotAllowedError, DigestMismatchError):
                continue  # it was claimed, cancelled or stopped meanwhile
        return None

    async def _claim_one(self, proposal_id: int, held: Lease) -> Claim:
        try:
            return await self._require_approved(await self._run_claim(executions.claim, proposal_id, held), held.worker)
        except UnreadableRowError as error:
            await self._fail_unreadable_claim(error, held)
            raise

    async def _fail_unreadable_claim(self, error: UnreadableRowError, held: Lease) -> None:
        """Record an unreadable claim as failed, if a missing guard has let it through."""
        await self._run(executions.fail_unreadable_claim, error, held.worker)

    def _to_execution(self, claim: Claim, begun: float) -> Execution:
        return Execution(self, claim, started_at=begun)

    async def _find_claimed(self, held: Lease, limit: int) -> list[Execution]:
        """Return the earlier claims under a key that still run; their age is unknown.

        Raises:
            UnreadableRowError: There are some, but none that can be read.
        """
        if held.key is None:
            return []
        found = await self._run(claims.claimed, held, limit)
        if found.unreadable and not found.items:
            raise found.unreadable[0]
        return [self._to_execution(claim, -math.inf) for claim in found.items]

    async def claim(self, proposal_id: int, *, worker: str, lease_seconds: float = 60.0) -> Execution:
        """Start one validated proposal under a lease of `lease_seconds`.

        Raises:
            ProposalNotFoundError, TransitionNotAllowedError, KillSwitchEngagedError, ProposalExpiredError,
                NotApprovedError, IsolationLevelError, UnreadableRowError: The proposal cannot be started.
            DigestMismatchError: What was approved is not what the ledger holds; the record is closed as failed.
        """
        number, held = check_integer(proposal_id, "proposal_id"), _lease(worker, lease_seconds, None)
        begun = time.monotonic()
        return self._to_execution(await self._claim_one(number, held), begun)

    def _run_claim(self, unit: Unit[P, C], *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, C]:
        """Run a unit that claims; with its own transactions, `ActionDB` undoes the claims of a cancelled caller."""
        return self._run(unit, *args, **kwargs)

    async def _fail_abandoned_claims(self, abandoned: Claim | list[Claim]) -> None:
        """Record abandoned claims as failed: their actions never started."""
        for claim in abandoned if isinstance(abandoned, list) else [abandoned]:
            with suppress(ActionError):  # then its lease expires
                await self._to_execution(claim, -math.inf).fail("it never began: the claim was cancelled")

    async def request_cancel(self, proposal_id: int, *, by: str, reason: str) -> StoredProposal:
        """Cancel a pending proposal at once; ask an executing one to stop, which its execution answers.

        Repeated requests change nothing: the first one stays.

        Raises:
            ProposalNotFoundError: There is no such proposal.
            TransitionNotAllowedError: It is finished, or runs without a record, so that nothing can be asked to stop.
            UnreadableRowError: It was cancelled, or asked to stop, but cannot be read.
        """
        number = check_integer(proposal_id, "proposal_id")
        reason = check_text(reason, "reason")
        proposal = await self._run(cancellation.request, number, by_(by), reason)
        self._notify()
        return require_readable(proposal)

    async def lock_proposed(
        self, action_names: Sequence[str], *, limit: int = 20, after_id: int = 0
    ) -> list[StoredProposal]:
        """Lock and return the oldest unvalidated proposals with these names, for use in `ActionDB.transaction`.

        Only those with an id above `after_id` are returned, so that a caller can go on where it was. Until the
        transaction ends, this call returns them to no other caller. Unreadable proposals are skipped and
        reported (see `on_unreadable`), and are left out from then on.
        """
        names, rows = _filters(action_names, None, None)["action_name"], limit_(limit) or 1
        above = check_integer(after_id, "after_id")
        passing = self._unreadable_rows()
        while True:
            found = await self._run(proposals.lock_proposed, names, rows, above, passing.proposals)
            taken = passing.readable(found)
            if taken or not found.unreadable:
                return taken


def _lease(worker: str, seconds: float, key: str | None) -> Lease:
    if check_seconds(seconds, "lease_seconds") <= 0:
        raise InvalidArgumentError(path="lease_seconds", reason="is 0; give three times the seconds between heartbeats")
    key = None if key is None else check_name(key, "idempotency_key")
    return Lease(check_name(worker, "worker"), float(seconds), key)


def _filters(
    action_names: Sequence[str] | None, action_types: Sequence[ActionType] | None, ticket_id: int | None
) -> dict[str, Any]:
    filters: dict[str, Any] = {}
    for path, values in (("action_names", action_names), ("action_types", action_types)):
        if isinstance(values, str):
            raise InvalidArgumentError(path=path, reason=f"is one text; give a list: [{values!r}]")
        if values is not None and not isinstance(values, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - as elsewhere
            raise InvalidArgumentError(path=path, reason=f"is {values!r}; give a list")
    if action_names is not None:
        filters["action_name"] = [check_text(name, "action_names") for name in action_names]
    if action_types is not None:
        filters["action_type"] = [check_member(kind, "action_types", ActionType) for kind in action_types]
    if ticket_id is not None:
        filters["ticket_id"] = check_integer(ticket_id, "ticket_id")
    return filters
