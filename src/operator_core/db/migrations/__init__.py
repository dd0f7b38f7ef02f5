"""The schema's revisions: which one a database is at, and how to migrate it.

The scripts keep their own version table, so that they coexist with a host's Alembic in the same database. Alembic is
imported only when a migration runs.
"""

from operator_core.db.migrations.commands import downgrade, history, upgrade, upgrade_sql
from operator_core.db.migrations.revisions import HEAD, REVISIONS, VERSION_TABLE, scripts
from operator_core.db.migrations.status import SchemaState, SchemaStatus, schema_status

__all__ = [
    "HEAD",
    "REVISIONS",
    "VERSION_TABLE",
    "SchemaState",
    "SchemaStatus",
    "downgrade",
    "history",
    "schema_status",
    "scripts",
    "upgrade",
    "upgrade_sql",
]
