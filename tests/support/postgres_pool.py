"""Databases that are reset and lent again: PostgreSQL takes longer to create one than most tests take to run.

A database is lent again only if its last user left nothing but rows in the tables of the template: the server counts
each change of a catalog. Any other one stays behind, and the template is cloned once more.
"""

from collections import deque
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import psycopg
from psycopg import sql

from tests.support.postgres import PrivatePostgres

_COUNTS_EXACTLY_SINCE = 150000
"""Older servers count in a process of its own, which lags behind and may miss something."""
_MOST_BYTES = 4 * 1024 * 1024
"""The size of the tables beyond which a database is not worth resetting."""

_RELATIONS = "FROM pg_class WHERE (relnamespace >= 16384 OR relnamespace = 'public'::regnamespace) AND relkind"
_LEFTOVERS = f"""
SELECT
    (SELECT count(*) FROM pg_stat_activity WHERE datid = d.oid AND pid <> pg_backend_pid()
        AND backend_type <> 'autovacuum worker')
    + (SELECT count(*) FROM pg_prepared_xacts WHERE database = d.datname)
    + (SELECT count(*) FROM pg_replication_slots WHERE database = d.datname)
    + (SELECT count(*) FROM pg_db_role_setting WHERE setdatabase = d.oid)
    + (SELECT (sum(pg_total_relation_size(oid)) > {_MOST_BYTES})::int {_RELATIONS} = 'r')
    + (SELECT sum(pg_stat_get_tuples_inserted(oid) + pg_stat_get_tuples_updated(oid) + pg_stat_get_tuples_deleted(oid))
        FROM pg_class WHERE relkind = 'r' AND NOT relisshared AND relnamespace = 'pg_catalog'::regnamespace),
    -- What changes when the database is altered, or when the counts begin anew.
    (SELECT concat_ws(' ', d.oid, d.xmin, pg_stat_get_db_stat_reset_time(d.oid), backend_start)
        FROM pg_stat_activity WHERE backend_type = 'checkpointer')
FROM pg_database AS d WHERE d.datname = current_database()
"""
_STATEMENTS = f"""
SELECT format('DELETE FROM %s', oid::regclass) {_RELATIONS} = 'r'
UNION ALL SELECT format('SELECT setval(%L, %s, false)', oid::regclass, s.seqstart)
FROM pg_sequence AS s JOIN (SELECT oid {_RELATIONS} = 'S') AS c ON c.oid = s.seqrelid
"""
_TABLES = f"SELECT oid::regclass::text {_RELATIONS} = 'r'"
_COPY = """
SELECT format('INSERT INTO %1$s OVERRIDING SYSTEM VALUE SELECT * FROM jsonb_populate_recordset(NULL::%1$s, %2$L)',
              tableoid::regclass, jsonb_agg(r)) FROM {} AS r GROUP BY tableoid
"""


@dataclass
class PostgresPool:
    """Copies of one template, each lent to one test at a time."""

    server: PrivatePostgres
    template: str
    _returned: deque[tuple[str, str]] = field(default_factory=deque)
    _lent: dict[str, str] = field(default_factory=dict)

    def take(self) -> str:
        """Return the name of a database that is like the template."""
        while len(self._returned) > 1:  # the sessions of the last user may still be ending
            name, identity = self._returned.popleft()
            if self._reset(name, identity):
                self._lent[name] = identity
                return name
        name = self.server.create_database(self.template)
        with self.server._admin(name) as connection:
            leftovers, identity = _look(connection)
        if not leftovers:
            self._lent[name] = identity
        return name

    def give_back(self, name: str) -> None:
        """Take a database back, whatever has become of it."""
        if name in self._lent:
            self._returned.append((name, self._lent.pop(name)))

    def _reset(self, name: str, identity: str) -> bool:
        """Return the rows of a database to those of the template, unless more than rows may have changed."""
        try:
            with self.server._admin(name) as connection:
                if _look(connection) != (0, identity):
                    return False
                connection.execute(self._statements)
        except psycopg.Error:  # it was dropped, renamed or damaged
            return False
        return True

    @cached_property
    def _statements(self) -> str:
        """The statements of a reset, which run in one transaction, and past the triggers."""
        with self.server._admin(self.template) as connection:
            statements = [row[0] for row in connection.execute(_STATEMENTS)]
            for (table,) in connection.execute(_TABLES).fetchall():
                statements += [row[0] for row in connection.execute(sql.SQL(_COPY).format(sql.SQL(table)))]
        return "; ".join(["SET session_replication_role = replica", *statements])


def _look(connection: psycopg.Connection[Any]) -> tuple[int, str]:
    """Return how much in a database is not as its template had it, and its identity."""
    found = connection.execute(_LEFTOVERS).fetchone()
    assert found is not None, "the database that answers is in pg_database"
    return int(found[0]) + (connection.info.server_version < _COUNTS_EXACTLY_SINCE), found[1]
