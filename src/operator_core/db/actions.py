"""The async border: who owns the transaction, and the calls that a user makes; no SQL stands here."""

from operator_core.db.repository.action_db import ActionDB
from operator_core.db.repository.action_repository import ActionRepository
from operator_core.db.repository.execution import Execution

__all__ = ["ActionDB", "ActionRepository", "Execution"]
