"""Fixtures of a ledger that was made by the statements of docs/deploy.md."""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import psycopg
import pytest
from psycopg import sql

from operator_core.db import ActionDB, upgrade
from tests.support.postgres import PrivatePostgres
from tests.support.roles import (
    AFTER_EACH_UPGRADE,
    APP,
    APPROVER,
    FOR_EDITORS,
    ONCE,
    OPERATOR,
    OWNER,
    ROLES,
    Deployed,
)


@pytest.fixture(scope="module")
def template(postgres: PrivatePostgres) -> Iterator[Deployed]:
    """The roles and database that the document makes, migrated by the owner."""
    made = Deployed(postgres, f"test_{secrets.token_hex(8)}", secrets.token_hex(4), secrets.token_urlsafe(18))
    names = [sql.Identifier(made.role(name)) for name in ROLES]
    postgres._databases.add(made.database)
    try:
        made.run(ONCE)
        made.run(FOR_EDITORS)
        with postgres._admin() as admin:
            for name in names:
                admin.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, made.password))
        upgrade(made.url(OWNER))
        made.run(AFTER_EACH_UPGRADE, OWNER)
        yield made
    finally:
        for database in (made.database, *made.copies):
            postgres.drop_database(database)
        with postgres._admin() as admin:
            for name in names:
                admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(name))


@pytest.fixture
def deployed(template: Deployed) -> Deployed:
    """A copy of it; the rights on a database itself are not copied."""
    made = template.another(template.database)
    names = map(sql.Identifier, (made.database, made.role(OWNER)))
    with closing(made.connect()) as admin:
        admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(*names))
    made.run([statement for statement in ONCE if " ON DATABASE " in statement])
    return made


@pytest.fixture
def plain(deployed: Deployed) -> Iterator[psycopg.Connection]:
    """A superuser's plain SQL connection."""
    with closing(deployed.connect()) as connection:
        yield connection


@pytest.fixture
async def app(deployed: Deployed) -> AsyncIterator[ActionDB]:
    """The ledger, as the application opens it."""
    async with ActionDB(deployed.url(APP)) as db:
        yield db


@pytest.fixture
async def approver(deployed: Deployed) -> AsyncIterator[ActionDB]:
    """Is the ledger as those open it who approve."""
    async with ActionDB(deployed.url(APPROVER)) as db:
        yield db


@pytest.fixture
async def owner(deployed: Deployed) -> AsyncIterator[ActionDB]:
    """Is the ledger as a deploy opens it."""
    async with ActionDB(deployed.url(OWNER)) as db:
        yield db


@pytest.fixture
async def operator(deployed: Deployed) -> AsyncIterator[ActionDB]:
    """The ledger, as an operator opens it."""
    async with ActionDB(deployed.url(OPERATOR)) as db:
        yield db
