"""The contract about approvals, given and used through the host's engine."""

import asyncio

from operator_core.actions.approvals import Approval, ApprovalRule
from operator_core.actions.errors import ApprovalRefusedError, NotApprovedError
from operator_core.actions.lifecycle import ActionStatus
from operator_core.actions.types import StoredProposal
from operator_core.testing.contract.expectations import expect, refused
from operator_core.testing.contract.harness import Contract, Stage, as_sync_test, gather_all
from operator_core.testing.factories import make_proposal, store_approval_policy, store_proposal

_PERSON = "a person"
_MOMENT = 0.001  # seconds for which an approval counts that has expired when it is looked at


async def _approved(stage: Stage, *rules: ApprovalRule) -> tuple[StoredProposal, Approval]:
    """Return a proposal that a person has approved under a policy, both committed by the host."""
    await store_approval_policy(stage.db, *rules)
    async with stage.session() as (session, repository):
        proposal = await repository.create_proposal(make_proposal())
        approval = await repository.approve(proposal.id, by=_PERSON)
        await session.commit()
    expect(await stage.status_of(proposal.id), ActionStatus.VALIDATED, "an approval that is enough validates")
    return proposal, approval


class ApprovalsContract(Contract):
    """The guarantees about approvals."""

    @as_sync_test
    async def test_nothing_starts_without_the_approvals_that_its_policy_asks_for(self, stage: Stage) -> None:
        """Check it for what is proposed under a policy, and for what was validated before it."""
        validated = await store_proposal(stage.db, ActionStatus.VALIDATED)
        await store_approval_policy(stage.db, ApprovalRule(approvals=2))

        async with stage.session() as (session, repository):
            made = await repository.create_proposal(make_proposal())
            await repository.approve(made.id, by=_PERSON)
            with refused(NotApprovedError, "one of two approvals validates nothing"):
                await repository.update_proposal_status(made.id, ActionStatus.VALIDATED)
            with refused(NotApprovedError, "a policy holds for what was validated before it"):
                await repository.start_execution(validated.id)
            claimed = await repository.claim_next(worker="a worker")
            await session.commit()

        expect(claimed, None, "no claim takes what lacks an approval")
        expect(await stage.status_of(made.id), ActionStatus.PROPOSED, "a refused step changes nothing")
        expect(await stage.status_of(validated.id), ActionStatus.VALIDATED, "a refused start changes nothing")

    @as_sync_test
    async def test_a_start_names_the_approvals_that_it_used(self, stage: Stage) -> None:
        """Check that the event of the start has the policy, its version and the ids of the approvals."""
        proposal, approval = await _approved(stage, ApprovalRule())

        async with stage.session() as (session, repository):
            await repository.start_execution(proposal.id)
            await session.commit()

        events = await stage.observer.get_events(proposal.id)
        (started,) = [event for event in events if event.to_status is ActionStatus.EXECUTING]
        evidence = {"policy": "everything", "version": 1, "approvals": [approval.id]}
        expect(started.data, evidence, "a start names the approvals that it used")

    @as_sync_test
    async def test_a_revoked_approval_lets_nothing_start(self, stage: Stage) -> None:
        """Check that the proposal waits for another approval, and starts with it."""
        proposal, approval = await _approved(stage, ApprovalRule())

        async with stage.session() as (session, repository):
            await repository.revoke(approval.id, by=_PERSON, reason="the contract")
            await session.commit()
            with refused(NotApprovedError, "a revoked approval does not count"):
                await repository.start_execution(proposal.id)
            await session.commit()
            await repository.approve(proposal.id, by="another person")
            await repository.start_execution(proposal.id)
            await session.commit()

        expect(await stage.status_of(proposal.id), ActionStatus.EXECUTING, "another approval lets it start")

    @as_sync_test
    async def test_an_expired_approval_lets_nothing_start(self, stage: Stage) -> None:
        """Check that the database's clock counts, at the start."""
        proposal, _ = await _approved(stage, ApprovalRule())
        await store_approval_policy(stage.db, ApprovalRule(expires_in=_MOMENT))
        await asyncio.sleep(10 * _MOMENT)

        async with stage.session() as (session, repository):
            with refused(NotApprovedError, "an expired approval does not count"):
                await repository.start_execution(proposal.id)
            await session.commit()

        status = await stage.observer.approval_status(proposal.id)
        expect(status.lapsed, 1, "the expired approval is counted as such")

    @as_sync_test
    async def test_of_a_start_and_a_revocation_one_wins(self, stage: Stage) -> None:
        """Check the race in two transactions of the host."""
        proposal, approval = await _approved(stage, ApprovalRule())

        async def start() -> bool:
            async with stage.session() as (session, repository):
                await repository.get_proposal(proposal.id)
                try:
                    await repository.start_execution(proposal.id)
                    await session.commit()
                except NotApprovedError:
                    return False
                return True

        async def revoke() -> bool:
            async with stage.session() as (session, repository):
                await repository.approval_status(proposal.id)
                try:
                    await repository.revoke(approval.id, by=_PERSON, reason="the contract")
                    await session.commit()
                except ApprovalRefusedError:
                    return False
                return True

        started, was_revoked = await gather_all([start(), revoke()])
        expect(started, not was_revoked, "of a start and a revocation one wins, and the other is refused")
