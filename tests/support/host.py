"""A host: a program with an engine and a table of its own in the database that holds the ledger."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from operator_core.actions import ActionRecord, ActionStatus, StoredProposal
from operator_core.db import ActionDB, ActionRepository, configure_engine
from tests.support.factories import proposal, running
from tests.support.ledger import Ledger

DRIVERS = {"sqlite": "sqlite+aiosqlite", "asyncpg": "postgresql+asyncpg", "psycopg": "postgresql+psycopg"}


class HostBase(DeclarativeBase):
    """The host's own metadata."""


class TicketRow(HostBase):
    """A table of the host."""

    __tablename__ = "host_tickets"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(sa.Text, unique=True)


@dataclass
class Host:
    """A host with an engine and a table of its own in the database of the ledger, and a second way to look at both."""

    engine: AsyncEngine
    db: ActionDB
    ledger: Ledger

    async def titles(self) -> list[str]:
        """Return what another connection sees of the host's table."""
        connection = self.ledger.connect()
        try:
            return [row[0] for row in connection.execute("SELECT title FROM host_tickets ORDER BY id").fetchall()]
        finally:
            connection.close()

    async def seen(self) -> tuple[list[str], list[StoredProposal]]:
        """Return what other connections see of both."""
        return await self.titles(), await self.db.list_proposals()


def engine_of(ledger: Ledger, driver: str) -> AsyncEngine:
    """Return a plain engine, as a host makes it."""
    if ledger.is_sqlite:
        return create_async_engine(f"sqlite+aiosqlite:///{ledger.target}")
    return create_async_engine(make_url(str(ledger.target)).set(drivername=DRIVERS[driver]))


@asynccontextmanager
async def hosted(ledger: Ledger, driver: str) -> AsyncIterator[Host]:
    """Configure a host's engine, create its table, and dispose of the engine in the end."""
    engine = configure_engine(engine_of(ledger, driver))
    try:
        async with ActionDB(ledger.target) as db:
            async with engine.begin() as connection:
                await connection.run_sync(HostBase.metadata.create_all)
            yield Host(engine, db, ledger)
    finally:
        await engine.dispose()


async def every_call(repository: ActionRepository) -> None:
    """Call every method of the repository once, with success."""
    made = await repository.create_proposal(proposal())
    await repository.update_proposal_status(made.id, ActionStatus.VALIDATED)
    await repository.update_proposal_status(made.id, ActionStatus.EXECUTING)
    opened = await repository.create_record(ActionRecord(proposal_id=made.id))
    await repository.update_record(opened.id, success=True)
    other = await running(repository)
    await repository.finish_execution(other.id, success=False, error_message="no", result_data={"n": 1})
    await repository.create_proposals([proposal(), proposal()])
    assert await repository.cancel_all_pending() == 2
    assert await repository.get_proposal(made.id) is not None
    assert await repository.get_record(opened.id) is not None
    assert len(await repository.get_records_for_proposal(made.id)) == 1
    assert len(await repository.get_events(other.proposal_id)) == 4
    assert len(await repository.list_proposals()) == 4
    assert len([one async for one in repository.iter_proposals(chunk_size=3)]) == 4
    assert (await repository.count_proposals())[ActionStatus.CANCELLED] == 2
