"""What `ActionDB` does on a host's engine whose PostgreSQL database begins stricter transactions by default."""

from collections.abc import AsyncIterator
from contextlib import closing

import psycopg
import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from operator_core.actions import ActionOutcome, ActionStatus
from operator_core.db import ActionDB
from tests.support.claims import claimed
from tests.support.factories import running, stored
from tests.support.history import check_history
from tests.support.host import DRIVERS
from tests.support.ledger import Ledger

LEVELS = ["repeatable read", "serializable"]
pytestmark = pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])


@pytest.fixture(params=LEVELS)
async def strict(request: pytest.FixtureRequest, postgres_url: str, driver: str) -> AsyncIterator[ActionDB]:
    """An open `ActionDB` on such an engine."""
    ledger, url = Ledger(postgres_url), make_url(postgres_url)
    with closing(psycopg.connect(ledger.dsn, autocommit=True)) as plain:
        plain.execute(f"ALTER DATABASE \"{url.database}\" SET default_transaction_isolation = '{request.param}'")
    engine = create_async_engine(url.set(drivername=DRIVERS[driver]))
    async with ActionDB(engine) as db:
        yield db
    await engine.dispose()
    assert check_history(ledger) == []


async def test_an_action_is_started(strict: ActionDB) -> None:
    record = await running(strict)

    assert record.outcome is None


async def test_an_action_is_started_by_its_status_alone(strict: ActionDB) -> None:
    made = await stored(strict, ActionStatus.VALIDATED)

    moved = await strict.update_proposal_status(made.id, ActionStatus.EXECUTING)

    assert moved.status is ActionStatus.EXECUTING


async def test_the_next_is_claimed(strict: ActionDB) -> None:
    made = await stored(strict, ActionStatus.VALIDATED)

    execution = await strict.claim_next(worker="w1")

    assert execution.proposal.id == made.id


async def test_one_is_claimed_and_completed(strict: ActionDB) -> None:
    record = await (await claimed(strict)).complete()

    assert record.outcome is ActionOutcome.SUCCEEDED


async def test_an_action_is_finished(strict: ActionDB) -> None:
    record = await running(strict)

    closed = await strict.finish_execution(record.id, success=True)

    assert closed.outcome is ActionOutcome.SUCCEEDED


async def test_a_transaction_starts_an_action(strict: ActionDB) -> None:
    made = await stored(strict, ActionStatus.VALIDATED)

    async with strict.transaction() as tx:
        record = await tx.start_execution(made.id)

    assert record.proposal_id == made.id
