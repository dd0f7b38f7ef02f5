"""The repair of a ledger: its guards, what its latch has lost, and its id counters."""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL

from operator_core.db.engine.urls import require_ledger_file, resolve_url
from operator_core.db.guards import drop_guards, install_guards
from operator_core.db.migrations.blocking import run_blocking
from operator_core.db.migrations.status import SchemaStatus, require_revision, schema_status_on
from operator_core.db.stores.kill_switch_verification import raise_counters, restore_latch


def repair(target: Path | str | URL | None = None) -> SchemaStatus:
    """Restore what this version or the ledger's history can restore, and report what remains wrong.

    All of it is one transaction. Triggers and functions are created anew. The latch gets back the stops that only its
    history knows, as after a data-only restore; nothing engaged is released. Id counters are raised to the highest id
    that was given. Blocks, needs the role that owns the tables, and holds locks on them meanwhile.

    Raises:
        SchemaOutOfDateError, SchemaTooNewError: The schema is that of another version.
        DatabaseError: The database cannot be reached or used; nothing was changed.
    """
    url = resolve_url(target)
    require_ledger_file(url)

    def act(connection: sa.Connection) -> SchemaStatus:
        require_revision(connection, url)
        drop_guards(connection)
        restore_latch(connection)
        raise_counters(connection)
        install_guards(connection)
        connection.commit()
        return schema_status_on(connection)

    return run_blocking(url, act)
