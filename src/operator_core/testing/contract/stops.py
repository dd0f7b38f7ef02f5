"""The contract about the kill switch, engaged through the host's engine."""

from operator_core.actions.errors import TransitionNotAllowedError
from operator_core.actions.lifecycle import PENDING, ActionStatus
from operator_core.actions.types import StoredProposal
from operator_core.testing.contract.expectations import expect, refused
from operator_core.testing.contract.harness import Contract, Stage, as_sync_test
from operator_core.testing.factories import make_proposal, store_proposal


async def _in_each_state(stage: Stage) -> dict[ActionStatus, StoredProposal]:
    """Return a proposal in each state, brought there and committed by the host."""
    async with stage.session() as (session, repository):
        made = {status: await store_proposal(repository, status) for status in ActionStatus}
        await session.commit()
    return made


class StopsContract(Contract):
    """The guarantees about a stop."""

    @as_sync_test
    async def test_a_stop_cancels_what_is_pending(self, stage: Stage) -> None:
        """Check that the receipt lists what was cancelled, and what still runs."""
        made = await _in_each_state(stage)

        receipt = await stage.db.engage_kill_switch(by="a test", reason="the contract")

        cancelled = sorted(made[status].id for status in PENDING)
        expect(list(receipt.cancelled), cancelled, "the receipt lists what was pending")
        running = [one.proposal_id for one in receipt.still_executing]
        expect(running, [made[ActionStatus.EXECUTING].id], "the receipt lists what runs")
        expect([await stage.status_of(one) for one in cancelled], [ActionStatus.CANCELLED] * len(PENDING), "it is so")

    @as_sync_test
    async def test_nothing_starts_after_a_stop_and_a_release_revives_nothing(self, stage: Stage) -> None:
        """Check that earlier proposals never start, neither under the stop nor after it, and that later ones do."""
        validated = (await _in_each_state(stage))[ActionStatus.VALIDATED].id
        receipt = await stage.db.engage_kill_switch(by="a test", reason="the contract")

        async with stage.session() as (session, repository):
            with refused(TransitionNotAllowedError, "nothing starts under a stop"):
                await repository.start_execution(validated)
            await session.commit()
            await stage.db.release_kill_switch(by="a test", reason="it is over", generation=receipt.generation)
            with refused(TransitionNotAllowedError, "a release revives nothing"):
                await repository.start_execution(validated)
            after = await store_proposal(repository, ActionStatus.EXECUTING)
            await session.commit()

        expect(await stage.status_of(after.id), ActionStatus.EXECUTING, "what is proposed after a release may start")

    @as_sync_test
    async def test_what_is_proposed_under_a_stop_is_kept_cancelled(self, stage: Stage) -> None:
        """Check that the proposal is neither dropped nor pending."""
        await stage.db.engage_kill_switch(by="a test", reason="the contract")

        async with stage.session() as (session, repository):
            made = await repository.create_proposal(make_proposal())
            await session.commit()

        expect(made.status, ActionStatus.CANCELLED, "what is proposed under a stop comes back cancelled")
        expect(await stage.status_of(made.id), ActionStatus.CANCELLED, "and is kept so")
