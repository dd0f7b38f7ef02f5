"""The calls about approvals: decide about a proposal, see what is missing, and state the policies."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from operator_core.actions.approvals import (
    Approval,
    ApprovalPolicy,
    ApprovalRule,
    ApprovalStatus,
    ApproverKind,
    PendingApproval,
    check_approval_seconds,
    check_policy_scope,
    check_rules,
)
from operator_core.actions.errors import ConstraintError, DatabaseError, ProposalNotFoundError
from operator_core.actions.kill_switch import Scope
from operator_core.actions.types import StoredProposal, check_digest
from operator_core.actions.validation import (
    MAX_PARAMETERS_BYTES,
    check_exact_name,
    check_integer,
    check_member,
    check_name,
    check_object,
    check_why,
)
from operator_core.db.repository.arguments import limit_, reason_, require_distinct
from operator_core.db.repository.base import RepositoryBase
from operator_core.db.stores import approval_batches, approval_status, approvals, policies, proposals, scope_values
from operator_core.db.stores.approvals import NewDecision
from operator_core.logs import get_logger

log = get_logger("operator_core")

_OLDER_PROGRAMS = (
    "the policy for %s is in force, and programs older than revision 0004 have connections: %d. They start nothing "
    "that is not approved, but their workers look for work without a pause, and what is approved waits behind what is "
    "not. Replace them"
)


class ParameterCheck(Protocol):
    """What knows whether the parameters of an action fit: an `ActionRegistry`."""

    def check(self, name: str, parameters: dict[str, Any]) -> object:
        """Raise an error if they do not fit."""
        ...


class ApprovalMixin(RepositoryBase):
    """Approvals and policies."""

    async def approve(
        self,
        proposal_id: int,
        *,
        by: str,
        kind: ApproverKind | str = ApproverKind.HUMAN,
        role: str | None = None,
        reason: str | None = None,
        digest: str | None = None,
        expires_in: float | None = None,
        registry: ParameterCheck | None = None,
    ) -> Approval:
        """Record that somebody says yes to a pending proposal, and return the approval.

        With it the proposal is validated, if it then has all that its policy asks for; without a policy one approval by
        a person or a program is enough. Approving twice counts once.

        Args:
            proposal_id: The id of the proposal.
            by: The approver's name, as your own login knows it; `Anna` and `anna` are two.
            kind: `human`, `agent` for a model, or `system` for a program that follows a stated rule.
            role: The capacity in which they approve, such as `security`.
            reason: The reason, if there is more to say.
            digest: The `digest` of the proposal that was shown, to make sure that this is what is approved.
            expires_in: Seconds after which the approval stops counting; a policy may shorten it.
            registry: The registry of the actions: what does not fit its model is refused.

        Raises:
            ProposalNotFoundError: There is no such proposal.
            ApprovalRefusedError: It is not pending any more.
            SelfApprovalError: The policy asks for somebody else than the proposer, or the person in `on_behalf_of`.
            DigestMismatchError: The ledger holds something else than what was shown.
            KillSwitchEngagedError, ProposalExpiredError: It can never start, so no approval can help it.
        """
        number = check_integer(proposal_id, "proposal_id")
        decision = _decision(by, kind, role, reason_(reason), digest)
        if expires_in is not None:
            decision = replace(decision, lasting=check_approval_seconds(expires_in, "expires_in"))
        if registry is not None:
            proposal = await self._run(proposals.get, number)
            if proposal is None:
                raise ProposalNotFoundError(proposal_id=number)
            registry.check(proposal.action_name, proposal.parameters)
        approval = await self._run(approvals.approve, number, decision)
        self._notify()
        return approval

    async def approve_many(
        self,
        proposals_: Sequence[StoredProposal | int],
        *,
        by: str,
        kind: ApproverKind | str = ApproverKind.HUMAN,
        role: str | None = None,
        reason: str | None = None,
        expires_in: float | None = None,
    ) -> list[Approval]:
        """Approve all proposals or none, as `approve` does, and return the approvals in the same order.

        Args:
            proposals_: The proposals as they were shown, or their ids: then what the ledger holds is approved. Should a
                proposal ever differ from what was shown, it does not start.
            by: As in `approve`, like all the others.
            kind: `human`, `agent` or `system`.
            role: The capacity in which they approve.
            reason: The reason, if there is more to say.
            expires_in: Seconds after which the approvals stop counting.

        Raises:
            ProposalNotFoundError, ApprovalRefusedError, SelfApprovalError, KillSwitchEngagedError,
                ProposalExpiredError: As in `approve`, for the first one that is refused; nothing was recorded.
            InvalidArgumentError: A proposal is named twice.
        """
        given = list(proposals_)
        ids = [one.id if isinstance(one, StoredProposal) else check_integer(one, "proposals") for one in given]
        require_distinct(ids, "proposals")
        decision = _decision(by, kind, role, reason_(reason), None)
        if expires_in is not None:
            decision = replace(decision, lasting=check_approval_seconds(expires_in, "expires_in"))
        approved = await self._approve_all(given, decision)
        self._notify()
        return approved

    async def _approve_all(self, given: Sequence[StoredProposal | int], decision: NewDecision) -> list[Approval]:
        shown = [one for one in given if isinstance(one, StoredProposal)]
        if shown and len(shown) == len(given):
            with suppress(ConstraintError):  # one of them was refused, and a call for each says which one, and why
                return await self._run(approval_batches.approve_together, shown, decision)
        return await self._run(approval_batches.approve_each, given, decision)

    async def reject(
        self,
        proposal_id: int,
        *,
        by: str,
        reason: str,
        kind: ApproverKind | str = ApproverKind.HUMAN,
        role: str | None = None,
        digest: str | None = None,
    ) -> Approval:
        """Record that somebody says no to a pending proposal, and cancel it.

        Raises:
            ProposalNotFoundError, ApprovalRefusedError, DigestMismatchError: As in `approve`.
        """
        number, why = check_integer(proposal_id, "proposal_id"), check_why(reason)
        rejection = await self._run(approvals.reject, number, _decision(by, kind, role, why, digest))
        self._notify()
        return rejection

    async def revoke(
        self,
        approval_id: int,
        *,
        by: str,
        reason: str,
        kind: ApproverKind | str = ApproverKind.HUMAN,
        role: str | None = None,
    ) -> Approval:
        """Take back an approval of a proposal that has not started, with all that its approver had given before.

        If the proposal then lacks an approval, it waits for another one.

        Raises:
            ApprovalNotFoundError: There is no such approval.
            ApprovalRefusedError: Its proposal has started or ended, or it was revoked before. What runs is asked to
                stop by `request_cancel`.
        """
        number, why = check_integer(approval_id, "approval_id"), check_why(reason)
        revocation = await self._run(approvals.revoke, number, _decision(by, kind, role, why, None))
        self._notify()
        return revocation

    async def supersede(self, proposal_id: int, *, parameters: dict[str, Any], by: str, reason: str) -> StoredProposal:
        """Reject a pending proposal in favour of one with other parameters, and return the new one.

        The editor is its proposer: where four eyes are asked for, somebody else approves it.

        Raises:
            ProposalNotFoundError, ApprovalRefusedError: As in `approve`; nothing was changed.
            ValueNotStorableError: The parameters cannot be stored.
        """
        number, name = check_integer(proposal_id, "proposal_id"), check_exact_name(by, "by")
        checked = check_object(parameters, "parameters", largest=MAX_PARAMETERS_BYTES)
        new = await self._run(approvals.supersede, number, checked, name, check_why(reason))
        self._notify()
        return new

    async def approval_status(self, proposal_id: int) -> ApprovalStatus:
        """Return what a proposal needs, has and lacks, until when that holds, and all decisions about it.

        Raises:
            ProposalNotFoundError: There is no such proposal.
            UnreadableRowError: It, or a decision about it, cannot be read.
        """
        return await self._run(approval_status.status, check_integer(proposal_id, "proposal_id"))

    async def list_pending_approvals(
        self, role: str | None = None, *, before_id: int | None = None, limit: int | None = None
    ) -> list[PendingApproval]:
        """Return the proposals that wait for a person, newest first, each with what is missing.

        Without a policy a proposal waits until somebody or a worker validates it. With `role`, only those that an
        approval in this role would move forward. For the next page, pass the last id of this page as `before_id`.
        Unreadable proposals are skipped and reported: see `on_unreadable`.
        """
        capacity = None if role is None else check_name(role, "role")
        before = None if before_id is None else check_integer(before_id, "before_id")
        return await self._run_many(approval_status.pending, capacity, before, limit_(limit))

    async def approval_policies(self) -> list[ApprovalPolicy]:
        """Return the policies in force, by scope."""
        return await self._run(approval_status.policies)

    async def _wait_for_starts(self, policy: ApprovalPolicy) -> None:
        """Wait for the starts that began before a policy, if the commit was ours."""

    async def set_approval_policy(
        self, scope: Scope | str, rules: Sequence[ApprovalRule], *, by: str, reason: str
    ) -> ApprovalPolicy:
        """Replace the policy of a scope, and return it; an empty list takes it away.

        It holds for everything that has not started, also for what is validated already. In a host's transaction it
        holds from the commit on, and a start that is open at that moment may still commit; `ActionDB` waits for those.
        A warning in the log says if no proposal has ever had the name of the scope, but some have a similar one.
        Another says how many connections programs have that know no approvals: they start nothing that is not approved,
        but their workers do not work well beside a policy.

        Args:
            scope: `everything`, or `action_name=NAME`, whose policy wins over the one for everything.
            rules: Rules that must all hold, at most one for each role.
            by: The name of the person or program that states it.
            reason: The reason, which the history keeps.

        Raises:
            InvalidArgumentError: The scope is another one, or the rules contradict each other.
            PolicyUnconfirmedError: It is in force, but a start that was under way did not end in time.
        """
        name, why = check_exact_name(by, "by"), check_why(reason)
        policy = await self._run(policies.set_policy, check_policy_scope(scope), check_rules(rules), name, why)
        await self._wait_for_starts(policy)
        if policy.rules:
            with suppress(DatabaseError):  # it is in force, and a failed search must not suggest otherwise
                await self._warn_about(policy)
        return policy

    async def _warn_about(self, policy: ApprovalPolicy) -> None:
        """Warn if a name looks mistyped, or if programs are connected that know no policies."""
        scope = Scope.parse(policy.scope)
        unmatched = None if scope.field is None else await self._run(scope_values.unmatched_values, scope)
        if unmatched is not None and unmatched.similar:  # without one, it may be a new action
            log.warning("the policy for %s is in force, but %s", policy.scope, unmatched.warning)
        older = await self._run(approval_status.older_connections)
        if older:
            log.warning(_OLDER_PROGRAMS, policy.scope, older)


def _decision(
    by: str, kind: ApproverKind | str, role: str | None, reason: str | None, digest: str | None
) -> NewDecision:
    return NewDecision(
        by=check_exact_name(by, "by"),
        kind=check_member(kind, "kind", ApproverKind),
        role=None if role is None else check_exact_name(role, "role"),
        reason=reason,
        digest=None if digest is None else check_digest(digest),
    )
