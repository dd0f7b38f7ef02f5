"""A database is lent to a second test only if the first one cannot be noticed there."""

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from operator_core.db import metadata
from tests.support.plain_sql import contents
from tests.support.postgres import PrivatePostgres
from tests.support.postgres_pool import PostgresPool


@pytest.fixture
def pool(postgres: PrivatePostgres, postgres_template: str) -> Iterator[PostgresPool]:
    """A pool of its own, in which one database waits for its second user."""
    pool = PostgresPool(postgres, postgres_template)
    names = [pool.take(), pool.take()]
    yield pool
    for name in names:
        postgres.drop_database(name)


def lend_again(pool: PostgresPool, *statements: str, keep_open: bool = False) -> tuple[str, str]:
    """Run statements in a database and return it; return its name, and that of the next one."""
    first, second = pool._lent
    with closing(psycopg.connect(pool.server.dsn(first), autocommit=True)) as connection:
        for statement in statements:
            connection.execute(statement)
        if not keep_open:
            connection.close()
        pool.give_back(first)
        pool.give_back(second)
        taken = pool.take()
    return first, taken


def connect(pool: PostgresPool, name: str) -> psycopg.Connection:
    return psycopg.connect(pool.server.dsn(name), autocommit=True)


INSERT = """
    INSERT INTO action_proposals (action_type, action_name, parameters, reason)
    VALUES ('tool', 'a', '{}', 'r') RETURNING id, status
"""
STOP = "SELECT operator_core_engage('everything', 'anna', 'a drill')"


def test_a_database_with_nothing_but_rows_is_lent_again_without_them(pool: PostgresPool, postgres_template: str):
    first, taken = lend_again(pool, INSERT, STOP, INSERT)
    assert taken == first
    with connect(pool, taken) as used, connect(pool, postgres_template) as template:
        assert contents(used) == contents(template)
        assert contents(used).keys() == metadata.tables.keys()
        assert used.execute(INSERT).fetchone() == (1, "proposed")


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE other ()",
        "CREATE TABLE other (); DROP TABLE other",
        "ALTER TABLE action_proposals DISABLE TRIGGER ALL",
        "ALTER TABLE action_proposals ALTER reason SET STATISTICS 7",
        "SET session_replication_role = replica; TRUNCATE action_notes",
        "GRANT SELECT ON action_notes TO PUBLIC",
        "REVOKE ALL ON FUNCTION pg_catalog.version() FROM PUBLIC",
        "COMMENT ON TABLE action_notes IS 'x'",
        "ANALYZE kill_switch",
        "SELECT lo_create(0)",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET lock_timeout = 7', current_database()); END $$",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 7', current_database()); END $$",
        "SELECT pg_stat_reset()",
    ],
)
def test_a_database_of_which_more_has_changed_is_not_lent_again(pool: PostgresPool, statement: str):
    first, taken = lend_again(pool, statement)
    assert taken != first
    pool.server.drop_database(taken)


def test_a_database_with_a_session_is_not_lent_again(pool: PostgresPool):
    first, taken = lend_again(pool, "SELECT 1", keep_open=True)
    assert taken != first
    pool.server.drop_database(taken)


def test_a_database_that_is_gone_is_not_lent_again(pool: PostgresPool):
    first, second = pool._lent
    pool.server.drop_database(first)
    pool.give_back(first)
    pool.give_back(second)
    taken = pool.take()
    assert taken not in (first, second)
    pool.server.drop_database(taken)


def test_the_last_database_to_come_back_is_not_lent_next(pool: PostgresPool):
    first, second = pool._lent
    pool.give_back(first)
    taken = pool.take()
    assert taken not in (first, second)
    pool.server.drop_database(taken)
