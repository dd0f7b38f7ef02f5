"""The distinction between a ledger's objects and a host's objects with the same names."""

import sqlalchemy as sa

from operator_core.db.guards import postgresql, sqlite
from operator_core.db.schema import Base, sql_list

VERSION_TABLE = "operator_core_version"
_TABLES = Base.metadata.tables
_CORE = frozenset({"action_proposals", "action_events", "kill_switch"})
"""The tables that every ledger has, even one that a host has made at an older revision."""


def has_version(connection: sa.Connection) -> bool:
    """Return whether our migrations have a version table in a database."""
    found = VERSION_ON_SQLITE if connection.dialect.name == "sqlite" else _VERSION_ON_POSTGRESQL
    return connection.execute(found).first() is not None


def taken_names(connection: sa.Connection) -> tuple[str, ...]:
    """Return the foreign objects with names that a ledger needs, each with its kind: `view kill_switch`.

    For databases without a revision; in a database with one, the names are ours.
    """
    query = _NAMES_ON_SQLITE if connection.dialect.name == "sqlite" else _NAMES_ON_POSTGRESQL
    found = connection.execute(query).all()
    ours = {row.name.lower() for row in found if row.kind == "table" and _is_ours(row.name.lower(), row.columns)}
    names = _TABLES.keys() - ours if ours >= _CORE else None  # in a ledger only a table can be foreign
    return tuple(
        sorted(
            f"{row.kind} {row.name}"
            for row in found
            if (names is None or row.name.lower() in names)
            and (row.kind, row.name.lower(), row.columns) != ("table", VERSION_TABLE, "version_num")
        )
    )


def _is_ours(table: str, columns: str) -> bool:
    """Return whether a table has the columns of every revision of ours; later revisions add only optional ones."""
    model = _TABLES.get(table)
    if model is None:
        return False
    required = {column.name for column in model.columns if not column.nullable and column.server_default is None}
    return required <= set((columns or "").split(","))


def _relations() -> list[str]:
    parts = [part for table in _TABLES.values() for part in (*table.indexes, *table.constraints)]
    named = [part for part in parts if isinstance(part, sa.Index | sa.UniqueConstraint | sa.PrimaryKeyConstraint)]
    return [*_TABLES, VERSION_TABLE, *(str(part.name) for part in named)]


_RELATIONS = sql_list(_relations())
VERSION_ON_SQLITE = sa.text(f"SELECT 1 FROM pragma_table_info('{VERSION_TABLE}') WHERE name = 'version_num'")
_VERSION_ON_POSTGRESQL = sa.text(
    f"SELECT 1 FROM pg_catalog.pg_attribute WHERE attrelid = to_regclass('{VERSION_TABLE}') "
    "AND attname = 'version_num' AND NOT attisdropped"
)
_NAMES_ON_SQLITE = sa.text(
    "SELECT type AS kind, name, (SELECT group_concat(c.name) FROM pragma_table_info(m.name) AS c) AS columns "
    f"FROM sqlite_master AS m WHERE (type <> 'trigger' AND lower(name) IN ({_RELATIONS})) "
    f"OR (type = 'trigger' AND lower(name) IN ({sql_list(sqlite.triggers())}))"
)
_KINDS = {
    "r": "table",
    "p": "table",
    "f": "foreign table",
    "v": "view",
    "m": "materialized view",
    "S": "sequence",
    "i": "index",
    "I": "index",
    "c": "type",
}
_CASES = " ".join(f"WHEN '{letter}' THEN '{kind}'" for letter, kind in _KINDS.items())
_NAMES_ON_POSTGRESQL = sa.text(
    f"SELECT CASE c.relkind {_CASES} ELSE 'relation' END AS kind, c.relname::text AS name, "
    "(SELECT string_agg(a.attname, ',') FROM pg_catalog.pg_attribute AS a "
    "WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns "
    "FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
    f"WHERE n.nspname = current_schema() AND c.relname IN ({_RELATIONS}) "
    "UNION ALL SELECT 'type', t.typname::text, NULL FROM pg_catalog.pg_type AS t "
    "JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace "
    f"WHERE n.nspname = current_schema() AND t.typrelid = 0 AND t.typname IN ({_RELATIONS}) "
    "UNION ALL SELECT 'function', p.proname::text, NULL FROM pg_catalog.pg_proc AS p "
    "JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace WHERE n.nspname = current_schema() "
    f"AND p.proname IN ({sql_list([*postgresql.functions(), *postgresql.other_functions()])})"
)
