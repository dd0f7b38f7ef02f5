"""Writes the catalog of PostgreSQL that `db check` expects, from a database that the migrations have made.

Run `PYTHONPATH=. .venv/bin/python tests/migrations/freeze_catalog.py` in the checkout, after a change of a revision or
of a guard. SQLite needs none: there the metadata says what is expected.
"""

from pathlib import Path

from operator_core.db import guards, upgrade
from operator_core.db.engine.urls import resolve_url
from operator_core.db.guards import postgresql_catalog, postgresql_inspection
from operator_core.db.migrations.blocking import run_blocking
from tests.support.postgres import PrivatePostgres


def catalog_of(url: str) -> str:
    """Return the text of the file for a migrated database."""
    (faults, guards_), schema = run_blocking(
        resolve_url(url),
        lambda connection: (postgresql_catalog.read_guards(connection), postgresql_catalog.read_schema(connection)),
    )
    assert faults == []
    return postgresql_inspection.frozen({**guards_, **schema})


def main() -> None:
    """Write the file beside the code that reads it."""
    with PrivatePostgres.start() as server:
        url = server.url(server.create_database())
        upgrade(url)
        file = Path(guards.__file__).parent / postgresql_inspection.CATALOG
        file.write_text(catalog_of(url), encoding="utf-8")


if __name__ == "__main__":
    main()
