"""The notification of other processes, which goes through the pool like any call."""

import sqlalchemy as sa

from operator_core.db.engine.listeners import ANNOUNCE
from operator_core.db.modes import TransactionMode, unit


@unit(TransactionMode.READ)  # it may be given up at any moment, like a read
def announce(connection: sa.Connection, sender: str) -> None:
    """Notify the processes that listen on a PostgreSQL server: something in the ledger has changed."""
    connection.execute(ANNOUNCE, {"sender": sender})
