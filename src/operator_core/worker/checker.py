"""The check of what was proposed, before any person is asked about it."""

import logging
import time

from operator_core.actions import (
    ActionError,
    ActionStatus,
    ApproverKind,
    DatabaseAccessError,
    RetryTransactionError,
    StoredProposal,
)
from operator_core.actions.approvals import ApprovalPolicy, covering_policy
from operator_core.db import ActionDB, ActionRepository
from operator_core.logs import get_logger
from operator_core.worker.registry import ActionRegistry
from operator_core.worker.report import WorkerReport

log = get_logger("operator_core.worker")

BATCH = 20
"""How many proposals are checked in one transaction."""

RECHECK_SECONDS = 60.0
"""How often everything that still waits is checked again: another worker may have died over it."""

_OWN_REASON = "registered with auto_approve"
_POLICY_REASON = "the policy asks nobody"


class ProposalChecker:
    """The check of proposals by a worker: what does not fit is cancelled, and what needs nobody is validated.

    The rest waits for a person. Each proposal is checked once, in the order of the ids.

    Args:
        db: The ledger.
        registry: The actions that are checked; all others are left alone.
        report: The report that counts them.
        worker: The name of the worker.
    """

    def __init__(self, db: ActionDB, registry: ActionRegistry, report: WorkerReport, worker: str) -> None:
        self._db, self._registry, self._report, self._worker = db, registry, report, worker
        self._checked, self._began_at = 0, time.monotonic()
        self._may_approve = True

    async def check_some(self) -> bool:
        """Check the next proposals; return whether there were any."""
        if time.monotonic() - self._began_at >= RECHECK_SECONDS:
            self._checked, self._began_at = 0, time.monotonic()
        newest = await self._db.list_proposals(ActionStatus.PROPOSED, limit=1)
        if not newest or newest[0].id <= self._checked:
            return False
        outcomes = await self._check_batch()
        if not outcomes:
            self._checked = newest[0].id
        for proposal, status, problems in outcomes:
            self._count(proposal, status, problems)
        return bool(outcomes)

    async def _check_batch(self) -> list[tuple[StoredProposal, ActionStatus, str | None]]:
        outcomes: list[tuple[StoredProposal, ActionStatus, str | None]] = []
        async with self._db.transaction() as tx:
            proposals = await tx.lock_proposed(self._registry.names, limit=BATCH, after_id=self._checked)
            policies = await tx.approval_policies() if proposals else []
            for proposal in proposals:
                problems = self._registry[proposal.action_name].problems(proposal.parameters)
                try:
                    status = await self._decide(tx, proposal, problems, policies)
                except RetryTransactionError:
                    raise
                except ActionError as error:  # another caller was first, or no guard permits it
                    log.debug("proposal %s is left alone: %s", proposal.id, error)
                    status = ActionStatus.PROPOSED
                outcomes.append((proposal, status, problems))
        if proposals:
            self._checked = proposals[-1].id
        return outcomes

    async def _decide(
        self, tx: ActionRepository, proposal: StoredProposal, problems: str | None, policies: list[ApprovalPolicy]
    ) -> ActionStatus:
        """Take the step that needs no person; return the state of the proposal."""
        if problems is not None:
            reason = f"the parameters do not fit: {problems}"
            return await self._step(tx, proposal, ActionStatus.CANCELLED, reason)
        policy = covering_policy(policies, proposal.action_name)
        if policy is not None and not any(rule.approvals for rule in policy.rules):
            return await self._step(tx, proposal, ActionStatus.VALIDATED, _POLICY_REASON)
        if not self._registry[proposal.action_name].auto_approve:
            return ActionStatus.PROPOSED
        if self._may_approve:
            try:
                await tx.approve(proposal.id, by=self._worker, kind=ApproverKind.SYSTEM, reason=_OWN_REASON)
            except DatabaseAccessError:  # its login may not decide: without a policy, its step is enough
                self._may_approve = False
            else:
                return (await tx.approval_status(proposal.id)).status
        return await self._step(tx, proposal, ActionStatus.VALIDATED, _OWN_REASON)

    async def _step(
        self, tx: ActionRepository, proposal: StoredProposal, status: ActionStatus, reason: str
    ) -> ActionStatus:
        return (await tx.update_proposal_status(proposal.id, status, by=self._worker, reason=reason)).status

    def _count(self, proposal: StoredProposal, status: ActionStatus, problems: str | None) -> None:
        level, text = logging.INFO, "waits for a person's approval"
        if status is ActionStatus.VALIDATED:
            self._report.validated += 1
            text = "is approved"
        elif problems is not None and status is ActionStatus.CANCELLED:
            self._report.rejected += 1
            level, text = logging.WARNING, f"is refused: {problems}"
        extra = {"worker": self._worker, "proposal_id": proposal.id, "action_name": proposal.action_name}
        log.log(level, "proposal %s (%s) %s", proposal.id, proposal.action_name, text, extra=extra)
