"""The contract about the host's transactions: what joins them, and what they leave behind."""

import asyncio
from contextlib import suppress

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from operator_core.actions.errors import TransitionNotAllowedError
from operator_core.actions.lifecycle import ActionStatus
from operator_core.db.errors import guard_code
from operator_core.db.guards.codes import CHANGE_REFUSED
from operator_core.testing.contract.expectations import expect, refused
from operator_core.testing.contract.harness import INSERT_NOTE, Contract, Stage, as_sync_test
from operator_core.testing.factories import make_proposal, store_proposal

_CANCELLATION_DELAYS = 24


class TransactionsContract(Contract):
    """The guarantees about transactions, and about every connection of the engine."""

    @as_sync_test
    async def test_a_commit_keeps_both(self, stage: Stage) -> None:
        """Check that the host's own row and the proposal are kept, and that neither is visible before the commit."""
        async with stage.session() as (session, repository):
            made = await repository.create_proposal(make_proposal())
            await session.execute(sa.text(INSERT_NOTE.format(made.id)))
            expect(await stage.status_of(made.id), None, "nobody sees it before the commit")
            await session.commit()

        expect(await stage.status_of(made.id), ActionStatus.PROPOSED, "a commit keeps the proposal")
        expect(await stage.notes(), 1, "a commit keeps the host's row")

    @as_sync_test
    async def test_a_rollback_drops_both(self, stage: Stage) -> None:
        """Check that the host's own row and the proposal are dropped, and that no lock is left."""
        async with stage.session() as (session, repository):
            made = await repository.create_proposal(make_proposal())
            await session.execute(sa.text(INSERT_NOTE.format(made.id)))
            await session.rollback()

        expect(await stage.status_of(made.id), None, "a rollback drops the proposal")
        await store_proposal(stage.observer)  # fails if it has to wait for a leftover lock
        expect(await stage.notes(), 0, "a rollback drops the host's row")

    @as_sync_test
    async def test_the_transaction_goes_on_after_a_refusal(self, stage: Stage) -> None:
        """Check that changes before and after a refused step are kept."""
        other = await store_proposal(stage.db)

        async with stage.session() as (session, repository):
            first = await repository.create_proposal(make_proposal())
            await session.execute(sa.text(INSERT_NOTE.format(first.id)))
            with refused(TransitionNotAllowedError, "what was not validated does not start"):
                await repository.start_execution(other.id)
            second = await repository.create_proposal(make_proposal())
            await session.commit()

        found = [await stage.status_of(one.id) for one in (first, second)]
        expect(found, [ActionStatus.PROPOSED] * 2, "what was proposed before and after a refusal is kept")
        expect(await stage.notes(), 1, "what the host wrote before a refusal is kept")

    @as_sync_test
    async def test_a_look_does_not_wait_for_a_writer(self, stage: Stage) -> None:
        """Check that a reader gets an answer while another client writes."""
        async with stage.observer.transaction() as tx:
            await tx.create_proposal(make_proposal())

            expect(await stage.db.list_proposals(), [], "a look sees what is committed, and waits for nobody")

    @as_sync_test
    async def test_foreign_keys_hold_in_every_connection(self, stage: Stage) -> None:
        """Check that a row of the host that refers to no proposal is refused."""
        async with stage.connections() as connections:
            for connection in connections:
                with refused(IntegrityError, "foreign keys are on in every connection"):
                    await connection.execute(sa.text(INSERT_NOTE.format(4711)))
                await connection.rollback()

    @as_sync_test
    async def test_guards_hold_in_every_connection(self, stage: Stage) -> None:
        """Check that a proposal never changes, even through plain SQL on this engine."""
        made = await store_proposal(stage.db)
        change = sa.text("UPDATE action_proposals SET reason = 'another' WHERE id = :id")

        async with stage.connections() as connections:
            for connection in connections:
                said = None
                try:
                    await connection.execute(change, {"id": made.id})
                except DBAPIError as error:
                    said = guard_code(error)
                await connection.rollback()
                expect(said, CHANGE_REFUSED, "the guards hold in every connection")

    @as_sync_test
    async def test_a_cancelled_call_leaves_no_lock(self, stage: Stage) -> None:
        """Check after cancellations at many different moments that others can write at once."""

        async def work() -> None:
            await store_proposal(stage.db, ActionStatus.VALIDATED)
            async with stage.db.transaction() as tx:
                await store_proposal(tx)
                await asyncio.Event().wait()  # for ever: by now it is cancelled inside the transaction

        for moment in range(_CANCELLATION_DELAYS):
            task = asyncio.create_task(work())
            await asyncio.sleep(moment * 0.001)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task  # any other error is raised
            await store_proposal(stage.observer)  # fails if it has to wait for a leftover lock
