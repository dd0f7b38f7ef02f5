"""The async border: who owns the transaction, and the calls that a user makes; no SQL stands here."""

from operator_core.db.actions.execution import Execution
from operator_core.db.actions.owned import ActionDB
from operator_core.db.actions.repository import ActionRepository

__all__ = ["ActionDB", "ActionRepository", "Execution"]
