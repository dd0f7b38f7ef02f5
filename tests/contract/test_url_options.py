"""What the options of a URL do on a real server, with each driver: several hosts, sockets, settings, passwords."""

import socket
import traceback
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest
from psycopg import sql
from sqlalchemy.engine import URL, make_url

from operator_core.actions import ActionError, DatabaseAccessError, DatabaseUnavailableError, DatabaseUrlError
from operator_core.db import ActionDB
from operator_core.db.modes import TransactionMode, unit
from tests.support.factories import proposal, stored
from tests.support.ledger import Ledger
from tests.support.postgres import PrivatePostgres
from tests.support.postgres_host import free_port
from tests.support.stop_steps import stop

SECRET = "hunter2"  # noqa: S105 - it must not be seen

pytestmark = pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])


@pytest.fixture
def url(postgres_url: str, driver: str) -> URL:
    """The URL of a ledger on a server, with each driver in turn."""
    return make_url(postgres_url).set(drivername=f"postgresql+{driver}")


def text_of(url: URL, hosts: str, options: str = "") -> str:
    """Return the text of a URL with other hosts, and options."""
    return f"{url.drivername}://{url.username}:{quote(url.password or '', safe='')}@{hosts}/{url.database}{options}"


async def ask(target: str | URL, statement: str) -> object:
    """Open a ledger, use it, and return what its session answers to a statement."""
    async with ActionDB(target) as db:
        made = await stored(db)
        assert await db.get_proposal(made.id) == made
        return await db._run(
            unit(TransactionMode.READ)(lambda connection: connection.exec_driver_sql(statement).scalar())
        )


# -- several hosts -----------------------------------------------------------------------------------------------------


@pytest.fixture
def dead() -> str:
    """An address at which nothing listens."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
def silent() -> Iterator[str]:
    """An address at which a silent listener accepts connections."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


async def test_the_first_host_that_answers_is_taken(url: URL, dead: str) -> None:
    both = text_of(url, f"{dead},{url.host}:{url.port}")

    assert await ask(both, "SELECT inet_server_port()") == url.port


async def test_hosts_are_options_as_well(url: URL, dead: str) -> None:
    both = text_of(url, "", f"?host={dead}&host={url.host}:{url.port}&target_session_attrs=read-write")

    assert await ask(both, "SELECT inet_server_port()") == url.port


async def test_a_host_that_says_nothing_does_not_keep_a_stop_from_the_next_one(url: URL, silent: str) -> None:
    async with ActionDB(text_of(url, f"{silent},{url.host}:{url.port}")) as db:
        made = await stored(db)

        receipt = await stop(db, timeout=30.0)

    assert receipt.cancelled == (made.id,)


@pytest.mark.parametrize("wanted", ["primary", "read-write", "any", "prefer-standby"])
async def test_a_primary_is_found(url: URL, dead: str, wanted: str) -> None:
    both = text_of(url, f"{url.host}:{url.port},{dead}", f"?target_session_attrs={wanted}")

    assert await ask(both, "SELECT inet_server_port()") == url.port


async def test_where_no_host_is_wanted_an_error_of_ours_says_so(url: URL, dead: str) -> None:
    both = text_of(url, f"{dead},{url.host}:{url.port}", "?target_session_attrs=standby")

    with pytest.raises(DatabaseUnavailableError):
        await ActionDB(both).open()


async def test_where_no_host_answers_all_are_named(url: URL, dead: str) -> None:
    other = f"127.0.0.1:{free_port()}"

    with pytest.raises(DatabaseUnavailableError, match=rf"{dead},{other}/"):
        await ActionDB(text_of(url, f"{dead},{other}")).open()


async def test_a_server_is_reached_by_the_folder_of_its_socket(url: URL, postgres: PrivatePostgres, dead: str) -> None:
    folder = str(postgres.folder)
    asked = "SELECT inet_server_port() IS NULL"

    assert await ask(text_of(url, "", f"?host={folder}&port={url.port}"), asked)
    assert await ask(text_of(url, quote(folder, safe=""), f"?port={url.port}"), asked)
    dead_port = dead.partition(":")[2]
    assert await ask(text_of(url, "", f"?host=127.0.0.1,{folder}&port={dead_port},{url.port}"), asked)


# -- options -----------------------------------------------------------------------------------------------------------


async def test_the_name_of_the_program_is_that_of_the_url(url: URL) -> None:
    named = url.update_query_dict({"application_name": "night shift"})

    assert await ask(named, "SHOW application_name") == "night shift"


async def test_settings_are_given_to_the_session_beside_ours(url: URL) -> None:
    given = url.update_query_dict({"options": r"-c work_mem=7MB -c my.text=one\ two"})

    asked = "SELECT current_setting('work_mem') || ', ' || current_setting('my.text')"
    assert await ask(given, asked) == "7MB, one two"


async def test_a_schema_is_named_by_the_search_path(url: URL, postgres_url: str) -> None:
    with closing(Ledger(postgres_url).connect()) as plain:
        plain.execute("CREATE SCHEMA other")

    given = url.update_query_dict({"options": "-c search_path=public,other"})

    assert await ask(given, "SHOW search_path") == "public,other"


async def test_a_setting_that_the_server_does_not_know_is_an_error_of_ours(url: URL) -> None:
    with pytest.raises(DatabaseUnavailableError, match="no_such_setting"):
        await ActionDB(url.update_query_dict({"options": "-c no_such_setting=1"})).open()


OPTIONS = {
    "asyncpg": [
        "statement_cache_size=0",
        "prepared_statement_cache_size=0&max_cached_statement_lifetime=0&max_cacheable_statement_size=10",
        "timeout=30&command_timeout=60",
        "connect_timeout=30",
        "sslmode=disable",
        "ssl=prefer",
        "channel_binding=prefer&gssencmode=disable&client_encoding=utf8",
        "ssl_min_protocol_version=TLSv1.2",
        "pgbouncer=false",
    ],
    "psycopg": [
        "prepare_threshold=0",
        "prepare_threshold=none",
        "connect_timeout=30",
        "sslmode=disable&gssencmode=disable",
        "hostaddr=127.0.0.1",
        "keepalives=1&keepalives_idle=30&keepalives_interval=5&keepalives_count=3&tcp_user_timeout=10000",
        "require_auth=scram-sha-256&channel_binding=prefer",
        "load_balance_hosts=random",
        "client_encoding=utf-8",
        "pgbouncer=false",
    ],
}


async def test_the_options_of_a_driver_are_taken(url: URL, driver: str) -> None:
    for options in OPTIONS[driver]:
        assert await ask(text_of(url, f"{url.host}:{url.port}", f"?{options}"), "SELECT 1") == 1, options


async def test_an_option_that_this_server_cannot_obey_is_an_error_of_ours(url: URL, driver: str) -> None:
    with pytest.raises(DatabaseUnavailableError) as caught:
        await ActionDB(url.update_query_dict({"sslmode": "require"})).open()  # it has no certificate

    assert str(url.password) not in "".join(traceback.format_exception(caught.value))


# -- passwords and the environment -------------------------------------------------------------------------------------


@pytest.fixture
def passfile(url: URL, tmp_path: Path) -> Path:
    """A file that holds the password."""
    file = tmp_path / "pgpass"
    password = str(url.password).replace("\\", "\\\\").replace(":", "\\:")
    file.write_text(f"*:*:*:{url.username}:{password}\n")
    file.chmod(0o600)
    return file


async def test_a_password_is_read_from_a_file(url: URL, passfile: Path) -> None:
    without = url._replace(password=None).update_query_dict({"passfile": str(passfile)})

    assert await ask(without, "SELECT 1") == 1


async def test_a_password_is_an_option(url: URL) -> None:
    given = url._replace(username=None, password=None).update_query_dict(
        {"user": url.username, "password": url.password}
    )

    assert await ask(given, "SELECT 1") == 1


async def test_the_environment_says_what_the_url_leaves_out(url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PGHOST": url.host,
        "PGPORT": url.port,
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database,
    }.items():
        monkeypatch.setenv(name, str(value))

    assert await ask(f"{url.drivername}://", "SELECT current_database()") == url.database


@pytest.mark.parametrize("name", ["PGPORT", "PGSSLMODE", "PGTARGETSESSIONATTRS"])
async def test_what_nobody_can_read_in_the_environment_is_an_error_of_ours(
    url: URL, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, SECRET)

    with pytest.raises(ActionError) as caught:
        await ActionDB(url._replace(port=None)).open()

    assert not isinstance(caught.value.__cause__, ValueError | TypeError)


async def test_a_service_is_psycopgs(url: URL, driver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "services"
    file.write_text(
        f"[mine]\nhost={url.host}\nport={url.port}\nuser={url.username}\npassword={url.password}\ndbname={url.database}\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    target = f"{url.drivername}://?service=mine"

    if driver == "asyncpg":
        with pytest.raises(DatabaseUrlError, match=r"service .* postgresql\+psycopg:// obeys it"):
            ActionDB(target)
    else:
        assert await ask(target, "SELECT current_database()") == url.database


async def test_a_wrong_password_is_an_error_that_does_not_repeat_it(
    url: URL, postgres: PrivatePostgres, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")

    with pytest.raises(DatabaseAccessError) as caught:
        await ActionDB(url.set(password=SECRET)).open()

    assert SECRET not in "".join(traceback.format_exception(caught.value)) + caplog.text


async def test_names_with_every_sign_are_quoted(url: URL, postgres: PrivatePostgres) -> None:
    """Quotes, spaces, slashes, percent signs and letters that are not ASCII reach the server as they are."""
    name, password = 'o\'Brien "x"/@:%ü\\', "p'a \\s\"s/@:%=&?#ü\n"
    with postgres._admin() as admin:
        role = sql.Identifier(name)
        admin.execute(sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {}").format(role, password))
    try:
        user, secret = quote(name, safe=""), quote(password, safe="")
        target = f"{url.drivername}://{user}:{secret}@{url.host}:{url.port}/{url.database}"

        assert await ask(target, "SELECT session_user::text") == name
    finally:
        with postgres._admin() as admin:
            admin.execute(sql.SQL("DROP ROLE {}").format(role))


async def test_a_database_of_any_name_is_reached(url: URL, postgres: PrivatePostgres) -> None:
    name = 'd b/"x"@:%ü'
    with postgres._admin() as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(str(url.database)))
        )
    postgres._databases.add(name)
    try:
        async with ActionDB(
            text_of(url, f"{url.host}:{url.port}").rpartition("/")[0] + f"/{quote(name, safe='')}"
        ) as db:
            made = await db.create_proposal(proposal())
            assert await db.list_proposals() == [made]
    finally:
        postgres.drop_database(name)
