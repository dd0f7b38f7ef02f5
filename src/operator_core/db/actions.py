"""The oldest import path of the async API, which lives in `operator_core.db.repository`."""

from operator_core.db.repository.action_db import ActionDB
from operator_core.db.repository.action_ledger import ActionLedger
from operator_core.db.repository.action_repository import ActionRepository
from operator_core.db.repository.execution import Execution

__all__ = ["ActionDB", "ActionLedger", "ActionRepository", "Execution"]
