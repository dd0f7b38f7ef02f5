"""A host and the ledger share a database, made by the words of docs/deploy.md."""

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from operator_core.actions import ActionStatus, ConstraintError
from operator_core.db import ActionDB, ActionRepository, migrations, upgrade
from tests.migrations.host_project import BESIDE, project
from tests.support.documents import DEPLOY, blocks
from tests.support.factories import proposal, stored
from tests.support.ledger import DRIVER, Ledger
from tests.support.roles import AFTER_EACH_UPGRADE, APP, APPROVER, OPERATOR, OWNER, ROLES, Deployed, documented
from tests.support.stop_steps import stop

HEADING = "One database for both"
OWN_SCHEMA, SAME_SCHEMA, TICKETS_OWNER, TICKETS_KEY, PROPOSALS_OWNER, PROPOSALS_KEY = documented(HEADING)
SHOP_OWNER, SHOP_APP = "shop_owner", "shop_app"
NOT_OWNER = "42501"


class Shop(Deployed):
    """The database of a shop, with roles of its own beside those of the ledger."""

    def _renamed(self, statement: str) -> str:
        roles = "|".join((*ROLES, SHOP_OWNER, SHOP_APP))
        statement = re.sub(rf"\b({roles})\b", rf"\1_{self.mark}", statement)
        return re.sub(r"\bshop\b", self.database, statement)


@pytest.fixture
def shop(template: Deployed) -> Iterator[Shop]:
    """A shop with a table of its own, and no ledger yet."""
    made = Shop(**{**vars(replace(template)), "database": template.another().database})
    names = [sql.Identifier(made.role(name)) for name in (SHOP_OWNER, SHOP_APP)]
    with made.server._admin() as admin:
        for name in names:
            admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(made.password)))
        admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(made.database), names[0]))
    try:
        made.run(
            ["CREATE TABLE tickets (id bigint PRIMARY KEY)", "GRANT SELECT, INSERT ON tickets TO shop_app"], SHOP_OWNER
        )
        yield made
    finally:
        made.server.drop_database(made.database)
        with made.server._admin() as admin:
            for name in names:
                admin.execute(sql.SQL("DROP OWNED BY {}").format(name))
                admin.execute(sql.SQL("DROP ROLE {}").format(name))


@pytest.fixture
def shared(shop: Shop) -> Shop:
    """The same with a ledger in a schema of its own, and the foreign keys both ways."""
    shop.run(OWN_SCHEMA)
    upgrade(shop.url(OWNER))
    shop.run(AFTER_EACH_UPGRADE, OWNER)
    for statements, role in (
        (TICKETS_OWNER, SHOP_OWNER),
        (TICKETS_KEY, OWNER),
        (PROPOSALS_OWNER, OWNER),
        (PROPOSALS_KEY, SHOP_OWNER),
    ):
        shop.run(statements, role)
    return shop


@pytest.fixture
async def engine(shared: Shop) -> Iterator[AsyncEngine]:
    """The engine of the shop's application."""
    made = create_async_engine(make_url(shared.url(SHOP_APP)).set(drivername=f"postgresql+{DRIVER}"))
    yield made
    await made.dispose()


async def test_the_documented_roles_share_a_database(shared: Shop, engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session, session.begin():
        await session.execute(sa.text("INSERT INTO tickets VALUES (4711)"))
        made = await ActionRepository(session).create_proposal(proposal(ticket_id=4711))

    async with ActionDB(shared.url(APP)) as app, ActionDB(shared.url(OPERATOR)) as operator:
        assert await app.get_proposal(made.id) == made
        receipt = await stop(operator)
        assert await app.verify() == []
    assert receipt.cancelled == (made.id,)
    for role in (OWNER, APP, APPROVER, OPERATOR):
        assert migrations.schema_status(shared.url(role)).state is migrations.SchemaState.UP_TO_DATE


async def test_a_ticket_that_the_shop_does_not_have_is_refused(shared: Shop, engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session, session.begin():
        with pytest.raises(ConstraintError, match="tickets"):
            await ActionRepository(session).create_proposal(proposal(ticket_id=1))

    async with ActionDB(shared.url(APP)) as app:
        assert await app.list_proposals() == []


async def test_a_proposal_that_the_shop_refers_to_is_not_pruned(shared: Shop) -> None:
    async with ActionDB(shared.url(APP)) as app:
        made = await stored(app, ActionStatus.CANCELLED)
        shared.run([f"INSERT INTO public.refunds VALUES (1, {made.id})"], SHOP_OWNER)

        with pytest.raises(ConstraintError, match="refunds"):
            await app.prune(datetime.now(UTC))
        shared.run(["DELETE FROM public.refunds"], SHOP_OWNER)
        assert (await app.prune(datetime.now(UTC))).proposals == 1


def test_another_role_than_the_owner_of_the_ledger_adds_no_foreign_key(shared: Shop) -> None:
    statements = [
        text.replace("fk_", "fk2_").replace("action_proposals\n", "ledger.action_proposals\n") for text in TICKETS_KEY
    ]

    with pytest.raises(psycopg.Error, match="must be owner of table action_proposals"):
        shared.run(statements, SHOP_OWNER)


async def test_the_same_schema_holds_both(shop: Shop) -> None:
    shop.run(SAME_SCHEMA)
    upgrade(shop.url(OWNER))
    shop.run(AFTER_EACH_UPGRADE, OWNER)

    async with ActionDB(shop.url(APP)) as app:
        await stored(app)
        assert await app.verify() == []


async def test_the_grants_work_on_a_ledger_that_has_no_version_table(shop: Shop) -> None:
    shop.run(SAME_SCHEMA)
    upgrade(shop.url(OWNER))
    shop.run([f"DROP TABLE {migrations.VERSION_TABLE}"], OWNER)

    shop.run(AFTER_EACH_UPGRADE, OWNER)

    async with ActionDB(shop.url(APP)) as app:
        await stored(app)


@pytest.mark.parametrize("on", ["sqlite", "postgresql"])
def test_the_documented_migration_takes_the_first_revision_and_goes_back(
    request: pytest.FixtureRequest, tmp_path: Path, on: str
) -> None:
    env, migration = blocks(DEPLOY, "python")
    if on == "sqlite":
        ledger = Ledger(tmp_path / "host.db")
    else:
        server = request.getfixturevalue("postgres")
        ledger = Ledger(server.url(server.create_database()))
    host = project(ledger, tmp_path / "host")
    host.configure(*BESIDE)
    file = host.folder / "migrations" / "versions" / "ledger.py"
    file.write_text(f"revision = 'ledger'\ndown_revision = None\n{migration}")

    host.alembic("upgrade", "head")
    made = migrations.schema_status(ledger.target)
    host.alembic("downgrade", "base")

    assert [part for part in BESIDE if part not in env] == []
    assert (made.revision, migrations.schema_status(ledger.target).revision) == ("0001", None)
    with closing(ledger.connect()) as plain, pytest.raises(Exception, match="kill_switch"):
        plain.execute("SELECT * FROM kill_switch")
