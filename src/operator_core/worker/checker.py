"""The check of what was proposed, before any person is asked about it."""

import logging
import time
from collections.abc import Sequence

from operator_core.actions import (
    ActionError,
    ActionStatus,
    ApproverKind,
    DatabaseAccessError,
    RetryTransactionError,
    StoredProposal,
    UnreadableRowError,
)
from operator_core.actions.approval_evaluation import asks_nobody, covering_policy
from operator_core.actions.approvals import ApprovalPolicy, Decision
from operator_core.db import ActionDB, ActionRepository
from operator_core.logs import get_logger
from operator_core.worker.registry import ActionRegistry
from operator_core.worker.report import WorkerReport

log = get_logger("operator_core.worker")

BATCH = 100
"""How many proposals are checked in one transaction."""

RECHECK_SECONDS = 60.0
"""How often everything that still waits is checked again: another worker may have died over it."""

LATE_COMMIT_SECONDS = 2.0
"""How soon after the newest proposals those around them are checked again: a lower id may be committed later."""

_OWN_REASON = "registered with auto_approve"
_POLICY_REASON = "the policy asks nobody"


class ProposalChecker:
    """The check of proposals by a worker: what does not fit is cancelled, and what needs nobody is validated.

    The rest waits for a person. Proposals are checked in the order of the ids, and seldom more than twice.

    Args:
        db: The ledger.
        registry: The actions that are checked; all others are left alone.
        report: The report that counts them.
        worker: The name of the worker.
    """

    def __init__(self, db: ActionDB, registry: ActionRegistry, report: WorkerReport, worker: str) -> None:
        self._db, self._registry, self._report, self._worker = db, registry, report, worker
        self._checked: int = 0
        self._checked_twice: int = 0
        self._began_at = self._checked_at = time.monotonic()
        self._waiting: set[int] = set()
        self._waited: set[int] = set()
        self._may_approve = True

    async def check_some(self) -> bool:
        """Check the next proposals; return whether there were any."""
        self._go_back()
        newest = await self._db.list_proposals(ActionStatus.PROPOSED, limit=1)
        if not newest or newest[0].id <= self._checked:
            return False
        outcomes = await self._check_batch()
        if not outcomes:
            self._checked, self._checked_at = newest[0].id, time.monotonic()
        for proposal, status, problems in outcomes:
            self._count(proposal, status, problems)
        return bool(outcomes)

    def _go_back(self) -> None:
        """Begin again where another proposal may have appeared among those that were checked."""
        at, highest = time.monotonic(), max(self._checked, self._checked_twice)
        if at - self._began_at >= RECHECK_SECONDS:
            self._checked, self._checked_twice, self._began_at = 0, highest, at
            self._waiting, self._waited = set(), self._waiting
        elif self._checked > self._checked_twice and at - self._checked_at >= LATE_COMMIT_SECONDS:
            self._checked, self._checked_twice = self._checked_twice, highest

    async def _check_batch(self) -> list[tuple[StoredProposal, ActionStatus, str | None]]:
        outcomes: list[tuple[StoredProposal, ActionStatus, str | None]] = []
        async with self._db.transaction() as tx:
            proposals = await tx.lock_proposed(self._registry.names, limit=BATCH, after_id=self._checked)
            policies = await self._policies(tx) if proposals else []
            problems = {one.id: self._registry[one.action_name].problems(one.parameters) for one in proposals}
            fitting = [one for one in proposals if problems[one.id] is None]
            together = await self._validate_together(tx, fitting, policies)
            for proposal in proposals:
                status = ActionStatus.VALIDATED
                if proposal.id not in together:
                    status = await self._decide_alone(tx, proposal, problems[proposal.id], policies)
                outcomes.append((proposal, status, problems[proposal.id]))
        if proposals:
            self._checked, self._checked_at = proposals[-1].id, time.monotonic()
        return outcomes

    async def _validate_together(
        self, tx: ActionRepository, fitting: Sequence[StoredProposal], policies: list[ApprovalPolicy]
    ) -> set[int]:
        """Validate what needs nobody, and return the ids; where one was refused, its whole batch is left out."""
        unasked: list[StoredProposal] = []
        own: list[StoredProposal] = []
        for proposal in fitting:
            policy = covering_policy(policies, proposal.action_name)
            if policy is not None and asks_nobody(policy):
                unasked.append(proposal)
            elif policy is None and self._registry[proposal.action_name].auto_approve:
                own.append(proposal)
        validated: set[int] = set()
        for act, batch in ((self._approve_own, own), (self._validate_unasked, unasked)):
            try:
                await act(tx, batch)
            except RetryTransactionError:
                raise
            except ActionError as error:
                log.debug("proposals are checked one by one: %s", error)
            else:
                validated |= {one.id for one in batch}
        return validated

    async def _approve_own(self, tx: ActionRepository, own: Sequence[StoredProposal]) -> None:
        if self._may_approve and own:
            try:
                await tx.approve_many(own, by=self._worker, kind=ApproverKind.SYSTEM, reason=_OWN_REASON)
            except DatabaseAccessError:  # its login may not decide: without a policy, its step is enough
                self._may_approve = False
            else:
                return
        if own:
            await tx.validate_many([one.id for one in own], by=self._worker, reason=_OWN_REASON)

    async def _validate_unasked(self, tx: ActionRepository, unasked: Sequence[StoredProposal]) -> None:
        if unasked:
            await tx.validate_many([one.id for one in unasked], by=self._worker, reason=_POLICY_REASON)

    async def _decide_alone(
        self, tx: ActionRepository, proposal: StoredProposal, problems: str | None, policies: list[ApprovalPolicy]
    ) -> ActionStatus:
        try:
            return await self._decide(tx, proposal, problems, policies)
        except RetryTransactionError:
            raise
        except ActionError as error:  # another caller was first, or no guard permits it
            log.debug("proposal %s is left alone: %s", proposal.id, error)
            return ActionStatus.PROPOSED

    @staticmethod
    async def _policies(tx: ActionRepository) -> list[ApprovalPolicy]:
        try:
            return await tx.approval_policies()
        except UnreadableRowError as error:  # the guards read it all the same, and refuse what it forbids
            log.warning("%s", error)
            return []

    async def _decide(
        self, tx: ActionRepository, proposal: StoredProposal, problems: str | None, policies: list[ApprovalPolicy]
    ) -> ActionStatus:
        """Take the step that needs no person; return the state of the proposal."""
        if problems is not None:
            reason = f"the parameters do not fit: {problems}"
            return await self._step(tx, proposal, ActionStatus.CANCELLED, reason)
        policy = covering_policy(policies, proposal.action_name)
        if policy is not None and asks_nobody(policy):
            return await self._step(tx, proposal, ActionStatus.VALIDATED, _POLICY_REASON)
        if not self._registry[proposal.action_name].auto_approve or not await self._would_count(tx, proposal, policy):
            return ActionStatus.PROPOSED
        if self._may_approve:
            try:
                await tx.approve(proposal.id, by=self._worker, kind=ApproverKind.SYSTEM, reason=_OWN_REASON)
            except DatabaseAccessError:  # its login may not decide: without a policy, its step is enough
                self._may_approve = False
            else:
                return (await tx.approval_status(proposal.id)).status
        return await self._step(tx, proposal, ActionStatus.VALIDATED, _OWN_REASON)

    @staticmethod
    async def _would_count(tx: ActionRepository, proposal: StoredProposal, policy: ApprovalPolicy | None) -> bool:
        """Return whether an approval by a worker would bring the proposal further.

        All workers together give one, and none again after a person has revoked it.
        """
        if policy is None:
            return True
        if not any(rule.approvals and not rule.humans_only and rule.role is None for rule in policy.rules):
            return False
        decisions = (await tx.approval_status(proposal.id)).decisions
        return not any(d.decision is Decision.APPROVED and d.kind is ApproverKind.SYSTEM for d in decisions)

    async def _step(
        self, tx: ActionRepository, proposal: StoredProposal, status: ActionStatus, reason: str
    ) -> ActionStatus:
        return (await tx.update_proposal_status(proposal.id, status, by=self._worker, reason=reason)).status

    def _count(self, proposal: StoredProposal, status: ActionStatus, problems: str | None) -> None:
        if status is ActionStatus.PROPOSED:
            known = proposal.id in self._waiting or proposal.id in self._waited
            self._waiting.add(proposal.id)
            if known:
                return
        level, text = logging.INFO, "waits for a person's approval"
        if status is ActionStatus.VALIDATED:
            self._report.validated += 1
            text = "is approved"
        elif problems is not None and status is ActionStatus.CANCELLED:
            self._report.rejected += 1
            level, text = logging.WARNING, f"is refused: {problems}"
        extra = {"worker": self._worker, "proposal_id": proposal.id, "action_name": proposal.action_name}
        log.log(level, "proposal %s (%s) %s", proposal.id, proposal.action_name, text, extra=extra)
