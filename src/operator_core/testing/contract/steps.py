"""The contract about steps: the lifecycle, its refusals, its races, and the values that come back."""

from collections import Counter
from datetime import UTC, datetime, timedelta, timezone

from operator_core.actions.errors import TransitionNotAllowedError
from operator_core.actions.lifecycle import ActionStatus
from operator_core.testing.contract.expectations import expect, refused
from operator_core.testing.contract.harness import Contract, Stage, as_sync_test, gather_all
from operator_core.testing.factories import make_proposal, store_proposal

_RACERS = 6


class StepsContract(Contract):
    """The guarantees about the steps of an action."""

    @as_sync_test
    async def test_an_action_goes_from_proposal_to_completion(self, stage: Stage) -> None:
        """Check that each step can be taken in a transaction of the host."""
        async with stage.session() as (session, repository):
            made = await repository.create_proposal(make_proposal())
            number = made.id
            await session.commit()
            await repository.update_proposal_status(number, ActionStatus.VALIDATED)
            await session.commit()
            record = await repository.start_execution(number)
            await session.commit()
            await repository.finish_execution(record.id, success=True)
            await session.commit()

        events = await stage.observer.get_events(number)
        way = [ActionStatus.PROPOSED, ActionStatus.VALIDATED, ActionStatus.EXECUTING, ActionStatus.COMPLETED]
        expect([event.to_status for event in events], way, "the history tells every step")

    @as_sync_test
    async def test_a_forbidden_step_is_refused(self, stage: Stage) -> None:
        """Check that the error is raised, and that nothing has changed."""
        made = await store_proposal(stage.db)

        async with stage.session() as (session, repository):
            with refused(TransitionNotAllowedError, "what was not validated does not start"):
                await repository.start_execution(made.id)
            await session.commit()

        expect(await stage.status_of(made.id), ActionStatus.PROPOSED, "a refused step changes nothing")

    @as_sync_test
    async def test_of_racing_starts_one_wins(self, stage: Stage) -> None:
        """Check the race with transactions that read before they start."""
        made = await store_proposal(stage.db, ActionStatus.VALIDATED)

        async def start() -> str:
            async with stage.session() as (session, repository):
                await repository.get_proposal(made.id)
                try:
                    await repository.start_execution(made.id)
                    await session.commit()
                except TransitionNotAllowedError:
                    return "refused"
                return "started"

        ends = Counter(await gather_all([start() for _ in range(_RACERS)]))
        expect(ends, Counter(started=1, refused=_RACERS - 1), "of racing starts one wins, and the others hear it")

    @as_sync_test
    async def test_what_is_claimed_is_claimed_once(self, stage: Stage) -> None:
        """Check it with workers of which half claim through an `ActionDB`, and half in transactions of the host."""
        made = [await store_proposal(stage.db, ActionStatus.VALIDATED) for _ in range(2 * _RACERS)]
        claimed: list[int | None] = []

        async def claim(worker: str) -> None:
            while (execution := await stage.db.claim_next(worker=worker)) is not None:
                claimed.append(execution.proposal.id)

        async def claim_joined(worker: str) -> None:
            while True:
                async with stage.session() as (session, repository):
                    execution = await repository.claim_next(worker=worker)
                    await session.commit()
                if execution is None:
                    return
                claimed.append(execution.proposal.id)

        joined = [claim_joined(f"joined {number}") for number in range(_RACERS // 2)]
        await gather_all([*joined, *[claim(f"own {number}") for number in range(_RACERS // 2)]])
        expect(sorted(one or 0 for one in claimed), [one.id for one in made], "each is claimed by one worker")

    @as_sync_test
    async def test_times_are_aware_and_come_back(self, stage: Stage) -> None:
        """Check that a time in any zone comes back as the same moment in UTC, as do the database's own times."""
        given = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=5, minutes=30)))
        before = datetime.now(UTC) - timedelta(days=1)

        async with stage.session() as (session, repository):
            made = await repository.create_proposal(make_proposal(proposed_at=given))
            await session.commit()
            found = await repository.get_proposal(made.id)

        expect(found, await stage.observer.get_proposal(made.id), "the host reads what others read")
        expect(found and found.proposed_at, given, "a time comes back")
        dated = (found and found.status_at) or datetime.min.replace(tzinfo=UTC)
        expect(dated.utcoffset(), timedelta(0), "a time comes back in UTC")
        expect(before < dated < before + timedelta(days=2), True, "a time is of today, so its zone is right")  # noqa: FBT003

    @as_sync_test
    async def test_parameters_come_back_equal(self, stage: Stage) -> None:
        """Check that numbers keep their types, and keys their order."""
        given = {"z": [1e16, -0.0, 1, True, 0.1], "a": {"é": "🔥", "none": None}}

        async with stage.session() as (session, repository):
            made = await repository.create_proposal(make_proposal(parameters=given))
            await session.commit()
            found = await repository.get_proposal(made.id)

        expect(repr(found and found.parameters), repr(given), "parameters come back equal")
