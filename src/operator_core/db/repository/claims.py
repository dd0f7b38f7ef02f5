"""The calls of workers: claim under a lease, recover expired leases, and resolve unknown outcomes."""

import math
import time
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from operator_core.actions.errors import (
    ActionError,
    ConstraintError,
    DigestMismatchError,
    InvalidArgumentError,
    RetryTransactionError,
    TransitionNotAllowedError,
    UnreadableRowError,
)
from operator_core.actions.lifecycle import Resolution
from operator_core.actions.types import ActionType, StoredProposal, StoredRecord
from operator_core.actions.validation import check_integer, check_member, check_name, check_seconds, check_text
from operator_core.db.guards.codes import NOT_APPROVED
from operator_core.db.modes import Unit
from operator_core.db.repository.arguments import by_, limit_
from operator_core.db.repository.base import RepositoryBase
from operator_core.db.repository.claim_pointers import ClaimPointers
from operator_core.db.repository.execution import Execution
from operator_core.db.stores import cancellation, executions, kill_switch, leases, proposals, records
from operator_core.db.stores.executions import Claim, Lease, Search
from operator_core.db.stores.reading import Found, require_readable
from operator_core.logs import get_logger

P = ParamSpec("P")
C = TypeVar("C", bound=Claim | None)

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
        held, filters = _lease(worker, lease_seconds, idempotency_key), _filters(action_names, action_types, ticket_id)
        begun = time.monotonic()
        if known := await self._find_claimed(held):
            return known
        try:
            found = await self._claim_next(filters, held)
        except RetryTransactionError:
            if known := await self._find_claimed(held):  # by a concurrent call
                return known
            raise
        if found is not None:
            return self._to_execution(found, begun)
        if known := await self._find_claimed(held):  # by a concurrent call, which held all candidates
            return known
        if await self._run(proposals.expired):
            await self._run(kill_switch.sweep_all)
        return None

    async def _claim_next(self, filters: executions.Filters, held: Lease) -> Claim | None:
        """Claim the oldest, and look for approvals only where the guard has just refused one for the lack of them.

        The guard looks at each start in any case, and what is validated seldom lacks approvals.
        """
        passing, pointers = self._unreadable_rows(), self._claim_pointers
        looks = pointers.looks_for_approvals(filters)
        while True:
            known, after = len(passing.proposals), pointers.after(filters)
            try:
                search = Search(passing.proposals, after, approved=looks)
                found = await self._run_claim(executions.claim_next, filters, held, search)
                if found is not None:
                    pointers.note(filters, after, found)
                    return await self._require_approved(found, held.worker)
                if after is None:
                    return None
                pointers.forget(filters)
                continue  # with what the pointer has passed over
            except RetryTransactionError as error:
                if looks or error.code != NOT_APPROVED:
                    raise
                pointers.note_unapproved(filters)
                looks = True
                continue  # and pass over it
            except DigestMismatchError as error:
                log.error("%s", error, extra={"proposal_id": error.proposal_id})  # noqa: TRY400 - it says it all
                continue  # with the next: this one has failed
            except UnreadableRowError as error:
                if one := await self._claim_readable(error, filters, held):
                    return one
            if len(passing.proposals) == known:
                return None  # another worker has claimed the rest

    async def _claim_readable(
        self, error: UnreadableRowError, filters: executions.Filters, held: Lease
    ) -> Claim | None:
        """Register the proposal that could not be read; if nobody knows which it is, claim one by one."""
        await self._fail_unreadable_claim(error, held)
        if error.id is None:
            return await self._claim_one_by_one(filters, held)
        self._unreadable_rows().add(error)
        return None

    async def _claim_one_by_one(self, filters: executions.Filters, held: Lease) -> Claim | None:
        """Claim by id, oldest first: register each unreadable proposal, and return the first readable claim."""
        for number in await self._run(executions.waiting, filters, self._unreadable_rows().proposals):
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

    async def _find_claimed(self, held: Lease) -> Execution | None:
        """Return the earlier claim of this key, if any; its age is unknown."""
        found = None if held.key is None else await self._run(executions.claimed, held)
        return None if found is None else self._to_execution(found, -math.inf)

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
        """Run a unit that claims; with its own transactions, `ActionDB` undoes the claim of a cancelled caller."""
        return self._run(unit, *args, **kwargs)

    async def _fail_abandoned_claim(self, claim: Claim | None) -> None:
        """Record an abandoned claim as failed: the action never started."""
        if claim is not None:
            with suppress(ActionError):  # then its lease expires
                await self._to_execution(claim, -math.inf).fail("it never began: the claim was cancelled")

    async def recover_expired_leases(self, *, grace_period: float = 0.0, by: str = "system") -> list[StoredRecord]:
        """Fail the executions whose lease expired more than `grace_period` seconds ago, and return their records.

        Their outcome is unknown, and nothing reruns by itself: a person investigates and calls `resolve_unknown`.
        Executions without a lease are left alone. The call also cancels pending proposals that have expired or that a
        stop left. Unreadable records are recovered with the others and reported (see `on_unreadable`); records that the
        database refuses to close are only reported.
        """
        seconds, lost = check_seconds(grace_period, "grace_period"), list[StoredRecord]()
        try:
            while found := await self._recover(seconds, by_(by)):
                lost += found.items
        except ConstraintError:
            lost += await self._recover_one_by_one(seconds, by_(by))
        await self._run(kill_switch.sweep_all)
        if lost:
            self._notify()
        return lost

    async def _recover(self, grace: float, by: str, record_id: int | None = None) -> Found[StoredRecord] | None:
        found = await self._run(leases.recover, grace, by, record_id)
        self._unreadable_rows().readable(found)
        return found if found.items or found.unreadable else None

    async def _recover_one_by_one(self, grace: float, by: str) -> list[StoredRecord]:
        """Recover by id, so that a record that the database refuses to close does not hold up the others."""
        recovered: list[StoredRecord] = []
        last = 0
        while ids := await self._run(leases.expired_ids, grace, last):
            last = ids[-1]
            for number in ids:
                try:
                    found = await self._recover(grace, by, number)
                except ConstraintError as error:
                    self._unreadable_rows().add(await self._diagnose_unclosed(number, error))
                else:
                    recovered += found.items if found else []
        return recovered

    async def _diagnose_unclosed(self, record_id: int, refused: ConstraintError) -> UnreadableRowError:
        try:
            await self._run(records.get, record_id)
        except UnreadableRowError as error:
            return error
        return UnreadableRowError("action_records", record_id, None, f"it was lost, and cannot be closed: {refused}")

    async def list_unresolved(self) -> list[StoredRecord]:
        """Return the records whose outcome is unknown and unresolved, oldest first.

        Unreadable records are skipped and reported: see `on_unreadable`.
        """
        return await self._run_many(leases.unresolved)

    async def resolve_unknown(self, record_id: int, *, resolution: Resolution, by: str, reason: str) -> StoredRecord:
        """Record, once, what a person found out about an execution whose outcome is unknown.

        The outcome stays unknown; the record gains the resolution, and the history an event. To try again, propose the
        action with `retry_of`.

        Raises:
            RecordNotFoundError: There is no such record.
            AlreadyResolvedError: The outcome is known, or it was resolved before.
            UnreadableRowError: The resolution is stored, but something else in the record cannot be read.
        """
        number, found = check_integer(record_id, "record_id"), check_member(resolution, "resolution", Resolution)
        values = (number, found, by_(by), check_text(reason, "reason"))
        return require_readable(await self._run(leases.resolve, *values))

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
