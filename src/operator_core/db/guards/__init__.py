"""The guards in the database, generated from the transition table, with their installation and inspection.

A guard is a trigger (and on PostgreSQL its function). Guards hold against every client, including plain SQL and older
versions of this library. PostgreSQL's functions for an operator's stop come with them.
"""

from operator_core.db.guards.inspection import inspect, missing_guards
from operator_core.db.guards.install import SEED, Operations, drop_guards, install_guards, statements

__all__ = ["SEED", "Operations", "drop_guards", "inspect", "install_guards", "missing_guards", "statements"]
