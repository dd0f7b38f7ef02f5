"""The guards in the database, generated from the table of steps: they are installed, and looked for.

A guard is a trigger (and on PostgreSQL its function). Guards hold against every client, also one that speaks plain SQL
or runs an older version of this library. With them come PostgreSQL's functions through which an operator stops.
"""

from operator_core.db.guards.inspection import inspect, missing_guards
from operator_core.db.guards.install import SEED, Operations, drop_guards, install_guards, statements

__all__ = ["SEED", "Operations", "drop_guards", "inspect", "install_guards", "missing_guards", "statements"]
