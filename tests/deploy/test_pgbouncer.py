"""What `pgbouncer=True` means for a connection, without a PgBouncer; `tests/soak` puts a real one in front."""

import re
import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from operator_core.actions import ActionStatus, DatabaseUrlError
from operator_core.db import ActionDB, migrations, upgrade
from operator_core.db.engine.postgresql import _ROLE_DEFAULTS, _ROLE_SETTINGS
from operator_core.db.modes import TransactionMode, unit
from operator_core.db.stop.bounded_connection import BoundedConnection
from tests.support.factories import proposal, stored
from tests.support.host import DRIVERS
from tests.support.ledger import Ledger
from tests.support.postgres import PrivatePostgres
from tests.support.stop_steps import stop

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy.md"
SERVER_DRIVERS = [name for name in DRIVERS if name != "sqlite"]


def documented() -> dict[str, str]:
    """Return the settings that docs/deploy.md gives to a role."""
    text = DEPLOY.read_text(encoding="utf-8")
    return dict(re.findall(r"^ALTER ROLE operator_core_app SET (\w+) = '(.+)';$", text, re.MULTILINE))


@pytest.fixture
def role(postgres: PrivatePostgres) -> Iterator[str]:
    """A role without a setting."""
    name = f"bare_{secrets.token_hex(4)}"
    with postgres._admin() as admin:
        made = sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {}")
        admin.execute(made.format(sql.Identifier(name), postgres.password))
        yield name
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def give(postgres: PrivatePostgres, role: str, settings: dict[str, str]) -> None:
    with postgres._admin() as admin:
        for name, value in settings.items():
            admin.execute(
                sql.SQL("ALTER ROLE {} SET {} = {}").format(sql.Identifier(role), sql.Identifier(name), value)
            )


@pytest.fixture(params=SERVER_DRIVERS)
def url(request: pytest.FixtureRequest, postgres_url: str, role: str) -> str:
    """The URL of a ledger as that role, with each driver in turn."""
    named = make_url(postgres_url).set(drivername=DRIVERS[request.param], username=role)
    return named.render_as_string(hide_password=False)


# -- the settings of the role ------------------------------------------------------------------------------------------


def test_the_documented_settings_are_those_that_are_checked():
    assert documented() == _ROLE_SETTINGS


async def test_with_the_documented_settings_it_opens(url: str, role: str, postgres: PrivatePostgres) -> None:
    give(postgres, role, documented())

    async with ActionDB(url, pgbouncer=True) as db:
        made = await db.create_proposal(proposal())

        assert await db.list_proposals() == [made]


@pytest.mark.parametrize("url", ["asyncpg"], indirect=True)
@pytest.mark.parametrize("name", sorted(documented()))
async def test_a_setting_that_the_role_lacks_is_named_with_its_statement(
    url: str, role: str, postgres: PrivatePostgres, name: str
) -> None:
    wrong = {"default_transaction_isolation": "serializable", "timezone": "Asia/Kolkata"}.get(name, "0")
    give(postgres, role, documented() | {name: wrong})

    with pytest.raises(DatabaseUrlError) as caught:
        await ActionDB(url, pgbouncer=True).open()

    told = str(caught.value)
    assert re.findall(r"ALTER ROLE .*?;", told) == [f"ALTER ROLE {role} SET {name} = '{documented()[name]}';"]
    assert postgres.password not in told


WRONG = {
    "datestyle": "German",
    "extra_float_digits": "0",
    "default_transaction_read_only": "on",
    "exit_on_error": "on",
    "quote_all_identifiers": "on",
}


@pytest.mark.parametrize("url", ["asyncpg"], indirect=True)
async def test_a_setting_that_somebody_has_changed_is_named_too(url: str, role: str, postgres: PrivatePostgres) -> None:
    assert set(WRONG) == set(_ROLE_DEFAULTS)
    for name, value in WRONG.items():
        give(postgres, role, documented() | _ROLE_DEFAULTS | {name: value})

        with pytest.raises(DatabaseUrlError, match=f"ALTER ROLE {role} SET {name} = '{_ROLE_DEFAULTS[name]}';"):
            await ActionDB(url, pgbouncer=True).open()


@pytest.mark.parametrize("url", ["asyncpg"], indirect=True)
async def test_another_timeout_will_do(url: str, role: str, postgres: PrivatePostgres) -> None:
    give(postgres, role, documented() | {"lock_timeout": "1min", "statement_timeout": "1h"})

    async with ActionDB(url, pgbouncer=True) as db:
        assert await db.list_proposals() == []


async def test_the_engine_of_a_host_is_checked_too(url: str) -> None:
    engine = create_async_engine(url)
    try:
        with pytest.raises(DatabaseUrlError, match="ALTER ROLE"):
            await ActionDB(engine, pgbouncer=True).open()
    finally:
        await engine.dispose()


# -- what is said of PgBouncer -----------------------------------------------------------------------------------------


async def test_the_url_says_it_as_the_argument_does(url: str) -> None:
    with pytest.raises(DatabaseUrlError, match="behind PgBouncer"):
        await ActionDB(make_url(url).update_query_dict({"pgbouncer": "true"})).open()


async def test_the_url_may_deny_it(url: str) -> None:
    async with ActionDB(make_url(url).update_query_dict({"pgbouncer": "false"})) as db:
        assert await db.list_proposals() == []


async def test_another_word_in_the_url_is_refused(url: str) -> None:
    with pytest.raises(DatabaseUrlError, match="it is true or false"):
        await ActionDB(make_url(url).update_query_dict({"pgbouncer": "yes"})).open()


def test_there_is_none_in_front_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUrlError, match="PostgreSQL only"):
        ActionDB(tmp_path / "ops.db", pgbouncer=True)


@pytest.mark.parametrize("call", [upgrade, migrations.schema_status], ids=["upgrade", "report"])
def test_the_schema_is_not_looked_after_through_it(postgres_url: str, call) -> None:
    with pytest.raises(DatabaseUrlError, match="Give the URL of the server itself"):
        call(f"{postgres_url}?pgbouncer=true")


async def test_a_ledger_that_is_open_through_it_does_not_migrate(postgres_url: str) -> None:
    with pytest.raises(DatabaseUrlError, match="Give the URL of the server itself"):
        await ActionDB(postgres_url, pgbouncer=True).migrate()


# -- sessions that others get next -------------------------------------------------------------------------------------


@pytest.fixture
async def sharing(url: str, role: str, postgres: PrivatePostgres):
    """An open `ActionDB` that treats its sessions as shared."""
    give(postgres, role, documented())
    async with ActionDB(url, pgbouncer=True) as db:
        yield db


async def test_no_statement_is_left_in_a_session(sharing: ActionDB) -> None:
    made = await stored(sharing, ActionStatus.COMPLETED)
    assert await sharing.get_events(made.id)

    def prepared(connection) -> list[object]:
        return list(connection.exec_driver_sql("SELECT name, statement FROM pg_prepared_statements"))

    assert await sharing._run(unit(TransactionMode.READ)(prepared)) == []


IN_SESSION = (
    "SELECT name, setting FROM pg_settings "
    "WHERE source = 'session' AND name <> 'transaction_isolation'"  # that of the transaction which looks
)


async def test_a_stop_sets_nothing_in_its_session(sharing: ActionDB, monkeypatch) -> None:
    await stored(sharing)
    found: list[dict[str, str]] = []
    close = BoundedConnection.close

    async def look_and_close(self: BoundedConnection) -> None:
        if self._connection is not None:
            rows = await self._connection.exec_driver_sql(IN_SESSION)
            found.append({row.name: row.setting for row in rows})
        await close(self)

    monkeypatch.setattr(BoundedConnection, "close", look_and_close)
    receipt = await stop(sharing)

    assert len(receipt.cancelled) == 1
    assert found
    assert all(settings == {} for settings in found)


@pytest.mark.parametrize("url", ["asyncpg"], indirect=True)
async def test_nobody_listens(sharing: ActionDB, postgres_url: str) -> None:
    async with sharing.notifications() as hint:
        await hint(0.3)
        with closing(psycopg.connect(Ledger(postgres_url).dsn)) as plain:
            listening = plain.execute("SELECT query FROM pg_stat_activity WHERE query LIKE 'LISTEN%'").fetchall()

    assert listening == []
