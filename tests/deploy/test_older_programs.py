"""Programs that know no approvals are seen by the name of their connections before a policy is stated."""

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg
import pytest

from operator_core.actions import ApprovalRule
from operator_core.db import ActionDB, migrations
from operator_core.db.engine.postgresql import APPLICATION_NAME, UNNUMBERED_APPLICATION_NAME
from tests.support.ledger import Ledger
from tests.support.plain_sql import on_postgresql, on_sqlite
from tests.support.roles import command, documented

((QUERY,),) = documented("Zero downtime")
ONE = [ApprovalRule()]


@contextmanager
def older(ledger: Ledger, name: str = UNNUMBERED_APPLICATION_NAME) -> Iterator[int]:
    """A connection such as the code of revision 0003 opens; its process on the server."""
    with closing(psycopg.connect(ledger.dsn, autocommit=True, application_name=name)) as connection:
        yield connection.info.backend_pid


async def warnings_of(db: ActionDB, caplog: pytest.LogCaptureFixture, rules: list[ApprovalRule]) -> list[str]:
    """Return what is logged while a policy is set."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "operator_core"):
        await db.set_approval_policy("everything", rules, by="ann", reason="a person looks")
    return [record.getMessage() for record in caplog.records if record.name == "operator_core"]


def test_the_name_of_our_connections_says_the_revision_that_this_code_was_written_for():
    assert f"{UNNUMBERED_APPLICATION_NAME}/{migrations.HEAD}" == APPLICATION_NAME


def asked(ledger: Ledger, query: str) -> list[tuple]:
    with closing(ledger.connect()) as plain:
        return plain.execute(query).fetchall()


@on_postgresql
async def test_our_connections_have_this_name(db, ledger):
    query = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = current_database()"

    assert (APPLICATION_NAME,) in asked(ledger, query)
    assert asked(ledger, QUERY) == []


@on_postgresql
async def test_a_policy_beside_older_programs_warns_and_says_how_many_connections_they_have(db, ledger, caplog):
    with older(ledger) as one, older(ledger) as other:
        (warning,) = await warnings_of(db, caplog, ONE)
        found = asked(ledger, QUERY)

    assert "older than revision 0004 have connections: 2." in warning
    assert {row[0] for row in found} == {one, other}
    assert [policy.scope for policy in await db.approval_policies()] == ["everything"]


@on_postgresql
async def test_the_command_warns_too(ledger):
    with older(ledger):
        words = ("policy", "set", "everything", "--approvals", "1", "--reason", "a person looks")
        code, said = await command(str(ledger.target), *words)

    assert (code, "have connections: 1." in said) == (0, True)


@on_postgresql
async def test_a_policy_that_a_transaction_states_warns_too(db, ledger, caplog):
    with older(ledger), caplog.at_level(logging.WARNING, "operator_core"):
        async with db.transaction() as tx:
            await tx.set_approval_policy("everything", ONE, by="ann", reason="a person looks")

    assert "have connections: 1." in caplog.text


@on_postgresql
async def test_nothing_is_said_beside_programs_of_this_version_or_of_others(db, ledger, caplog):
    with older(ledger, APPLICATION_NAME), older(ledger, "psql"), older(ledger, "operator_core/0005"):
        assert await warnings_of(db, caplog, ONE) == []


@on_postgresql
async def test_nothing_is_said_about_another_database(db, postgres, caplog):
    with older(Ledger(postgres.url(postgres.create_database()))):
        assert await warnings_of(db, caplog, ONE) == []


@on_postgresql
async def test_nothing_is_said_when_a_policy_is_taken_away(db, ledger, caplog):
    await warnings_of(db, caplog, ONE)

    with older(ledger):
        assert await warnings_of(db, caplog, []) == []


@on_sqlite
async def test_on_sqlite_nobody_can_be_seen(db, caplog):
    assert await warnings_of(db, caplog, ONE) == []
