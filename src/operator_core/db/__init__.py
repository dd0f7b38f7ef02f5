"""The ledger on SQLite or PostgreSQL."""

from operator_core.db.actions import ActionDB, ActionLedger, ActionRepository, Execution
from operator_core.db.engine.factory import configure_engine
from operator_core.db.guards import install_guards
from operator_core.db.migrations.commands import downgrade, upgrade
from operator_core.db.repository.arguments import ProposalFilters
from operator_core.db.schema import Base

metadata = Base.metadata

__all__ = [
    "ActionDB",
    "ActionLedger",
    "ActionRepository",
    "Base",
    "Execution",
    "ProposalFilters",
    "configure_engine",
    "downgrade",
    "install_guards",
    "metadata",
    "upgrade",
]
