"""Factories for tests, with a default for everything that a test does not care about."""

from typing import Any

from operator_core.actions import ActionStatus, StoredRecord
from operator_core.db import ActionDB, ActionRepository
from operator_core.testing import make_proposal as proposal
from operator_core.testing import store_proposal as stored

__all__ = ["proposal", "running", "stored"]


async def running(db: ActionDB | ActionRepository, **given: Any) -> StoredRecord:
    """Return the open record of a proposal that is executing."""
    made = await stored(db, ActionStatus.VALIDATED, **given)
    return await db.start_execution(made.id)
