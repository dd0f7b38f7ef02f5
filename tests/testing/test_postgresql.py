"""`fresh_postgresql`: a clone of a template that is made once, whoever starts when, and what it says to a mistake."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from operator_core.actions import (
    DatabaseAccessError,
    DatabaseNotFoundError,
    DatabaseUnavailableError,
    DatabaseUrlError,
)
from operator_core.db import ActionDB
from operator_core.db.migrations.status import SchemaState, schema_status
from operator_core.testing import fresh_postgresql, make_proposal, postgresql
from tests.support.patience import PATIENCE
from tests.support.postgres import PrivatePostgres
from tests.support.standby import wait_until
from tests.testing.conftest import PASSWORD, Role

PROCESSES = 5
ONE_OF_MANY = """
import sys
from operator_core.db.migrations import schema_status
from operator_core.testing import fresh_postgresql, postgresql
made, migrate = [], postgresql.upgrade
postgresql.upgrade = lambda url: (made.append(url), migrate(url))
print("ready", flush=True)
sys.stdin.readline()
with fresh_postgresql(sys.argv[1]) as url:
    print(len(made), url.database, schema_status(url).state)
"""


@pytest.fixture
def upgrades(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Count what is migrated."""
    done: list[object] = []
    migrate = postgresql.upgrade

    def upgrade(url: object) -> None:
        done.append(url)
        migrate(url)

    monkeypatch.setattr(postgresql, "upgrade", upgrade)
    return done


# -- fresh databases ---------------------------------------------------------------------------------------------------


def test_it_is_migrated_and_gone_after_the_block(role: Role):
    with fresh_postgresql(role.url()) as url:
        assert schema_status(url).state is SchemaState.UP_TO_DATE
        assert url.database in role.databases()

    assert url.database not in role.databases()


async def test_it_can_be_used_within_an_event_loop(role: Role):
    async with fresh_postgresql(role.url()) as url, ActionDB(url) as db:
        made = await db.create_proposal(make_proposal())

    assert (made.id, role.databases()) == (1, role.templates())


def test_what_is_written_to_one_is_not_in_the_next(role: Role):
    async def propose() -> int | None:
        async with fresh_postgresql(role.url()) as url, ActionDB(url) as db:
            return (await db.create_proposal(make_proposal())).id

    assert [asyncio.run(propose()) for _ in range(2)] == [1, 1]


def test_two_at_once_are_two_databases(role: Role):
    with fresh_postgresql(role.url()) as one, fresh_postgresql(role.url()) as two:
        assert one.database != two.database


def test_the_url_leads_there_with_password_and_driver_and_hides_the_password(role: Role):
    with fresh_postgresql(make_url(role.url()).set(drivername="postgresql+psycopg")) as url:
        assert (url.drivername, url.password, url.username) == ("postgresql+psycopg", PASSWORD, role.name)
        assert PASSWORD not in f"{url} {url!r}"


def test_a_connection_that_is_still_open_does_not_hold_up_the_end(role: Role):
    async def leave_open() -> None:
        async with fresh_postgresql(role.url()) as url:
            db = await ActionDB(url).open()
            await db.create_proposal(make_proposal())
        with suppress(Exception):
            await db.close()

    asyncio.run(leave_open())

    assert role.databases() == role.templates()


LASTING_AUTOVACUUM = {
    "autovacuum_naptime": "1s",
    "autovacuum_vacuum_threshold": "1",
    "autovacuum_vacuum_cost_delay": "100ms",
    "autovacuum_vacuum_cost_limit": "1",
}


@pytest.fixture(scope="module")
def vacuumed() -> Iterator[Role]:
    """A role on a server whose autovacuum comes at once, and stays."""
    with PrivatePostgres.start(LASTING_AUTOVACUUM) as server:
        role = Role("tester", server)
        role.execute(f"CREATE ROLE tester LOGIN PASSWORD '{PASSWORD}' CREATEDB")
        yield role


def wait_for_autovacuum(role: Role, database: str | None) -> None:
    """Give autovacuum something to do in a database, and wait until it is there."""
    with psycopg.connect(role.postgres.dsn(str(database)), autocommit=True) as superuser:
        superuser.execute("CREATE TABLE dead AS SELECT repeat('x', 1000) FROM generate_series(1, 10000)")
        superuser.execute("DELETE FROM dead")
    wait_until(role.postgres, f"SELECT 1 FROM pg_stat_progress_vacuum WHERE datname = '{database}'")


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_autovacuum_at_work_does_not_hold_up_the_end(vacuumed: Role, driver: str):
    with fresh_postgresql(make_url(vacuumed.url()).set(drivername=f"postgresql+{driver}")) as url:
        wait_for_autovacuum(vacuumed, url.database)

    assert vacuumed.databases() == vacuumed.templates()


def test_autovacuum_beside_a_connection_that_is_still_open_does_not_either(vacuumed: Role):
    with (
        fresh_postgresql(vacuumed.url()) as url,
        psycopg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False)),
    ):
        wait_for_autovacuum(vacuumed, url.database)

    assert vacuumed.databases() == vacuumed.templates()


def test_a_session_that_the_role_may_not_end_is_waited_for_and_then_named(vacuumed: Role, monkeypatch):
    monkeypatch.setattr(postgresql, "_UNUSED_WAIT_SECONDS", 0.0)
    fresh = fresh_postgresql(vacuumed.url())
    url = fresh.__enter__()

    with (
        psycopg.connect(vacuumed.postgres.dsn(str(url.database))),
        pytest.raises(DatabaseAccessError, match="may not disconnect"),
    ):
        fresh.__exit__()

    vacuumed.postgres.drop_database(str(url.database))


def test_a_block_that_raises_leaves_no_database(role: Role):
    with pytest.raises(ZeroDivisionError), fresh_postgresql(role.url()):
        _ = 1 / 0

    assert role.databases() == role.templates()


@pytest.mark.parametrize("milliseconds", [0, 5, 20, 40, 80])
async def test_a_task_that_is_cancelled_while_it_enters_leaves_no_database(role: Role, milliseconds: int):
    with fresh_postgresql(role.url()):
        pass

    async def enter() -> None:
        async with fresh_postgresql(role.url()):
            await asyncio.Event().wait()

    task = asyncio.create_task(enter())
    await asyncio.sleep(milliseconds / 1000)
    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()
    assert role.databases() == role.templates()


# -- the template ------------------------------------------------------------------------------------------------------


def test_the_template_is_migrated_once_and_stays(role: Role, upgrades):
    for _ in range(3):
        with fresh_postgresql(role.url()):
            pass

    assert (len(upgrades), len(role.templates())) == (1, 1)


def test_of_processes_that_start_at_once_one_makes_the_template(role: Role):
    command = [sys.executable, "-c", ONE_OF_MANY, role.url()]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(PROCESSES)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * PROCESSES

    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate(timeout=5 * PATIENCE)[0].split(maxsplit=2) for process in processes]

    assert sorted(made for made, _, _ in told) == ["0"] * (PROCESSES - 1) + ["1"]
    assert len({database for _, database, _ in told}) == PROCESSES
    assert {standing.strip() for _, _, standing in told} == {"up to date"}
    assert (role.databases(), len(role.templates())) == (role.templates(), 1)


def test_a_template_that_somebody_dropped_is_made_again(role: Role, upgrades):
    with fresh_postgresql(role.url()):
        role.execute(f"DROP DATABASE {role.templates()[0]}")

    with fresh_postgresql(role.url()) as url:
        assert schema_status(url).state is SchemaState.UP_TO_DATE

    assert len(upgrades) == 2


def test_the_template_of_another_revision_is_replaced(role: Role, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patched:
        patched.setattr(postgresql, "_version", lambda: "0001_deadbeef")
        with fresh_postgresql(role.url()):
            (old,) = role.templates()

    with fresh_postgresql(role.url()):
        (new,) = role.templates()

    assert (old.endswith("0001_deadbeef"), old != new) == (True, True)


def test_the_version_of_a_template_changes_with_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before = postgresql._version()
    (tmp_path / "0001_ledger.py").write_text("another one")
    postgresql._version.cache_clear()
    monkeypatch.setattr(postgresql, "scripts", lambda: tmp_path)

    after = postgresql._version()

    postgresql._version.cache_clear()
    assert after != before
    assert re.fullmatch(r"\d{4}_[0-9a-f]{8}", after)


def test_a_template_that_is_half_made_is_never_cloned(role: Role, monkeypatch: pytest.MonkeyPatch):
    def fail(url: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(postgresql, "upgrade", fail)
        with pytest.raises(RuntimeError, match="killed"):
            fresh_postgresql(role.url()).__enter__()
    (half,) = role.databases()

    with fresh_postgresql(role.url()) as url:
        assert schema_status(url).state is SchemaState.UP_TO_DATE

    assert half.endswith("_building")
    assert half not in role.databases()


def test_roles_and_databases_do_not_share_a_template(role: Role, make_role):
    other = make_role("CREATEDB")
    role.execute(f"CREATE DATABASE {role.name} OWNER {role.name}")

    with fresh_postgresql(role.url()), fresh_postgresql(other.url()), fresh_postgresql(role.url(role.name)):
        pass

    assert (len(role.templates()), len(other.templates())) == (2, 1)


# -- mistakes ----------------------------------------------------------------------------------------------------------


def test_a_role_that_may_not_create_databases_hears_what_to_do(make_role):
    role = make_role("NOCREATEDB")

    with pytest.raises(DatabaseAccessError, match=f"ALTER ROLE {role.name} CREATEDB") as caught:
        fresh_postgresql(role.url()).__enter__()

    assert PASSWORD not in str(caught.value)


def test_a_role_that_lost_the_permission_hears_it_too(role: Role):
    with fresh_postgresql(role.url()):
        role.execute(f"ALTER ROLE {role.name} NOCREATEDB")

    with pytest.raises(DatabaseAccessError, match="may not create databases"):
        fresh_postgresql(role.url()).__enter__()


def test_a_wrong_password_is_told_without_it(role: Role):
    with pytest.raises(DatabaseAccessError) as caught:
        fresh_postgresql(role.url(password="wrong-one")).__enter__()  # noqa: S106 - that is the point

    assert "wrong-one" not in str(caught.value)


def test_a_database_that_does_not_exist_is_named(role: Role):
    with pytest.raises(DatabaseNotFoundError, match="no_such_database"):
        fresh_postgresql(role.url("no_such_database")).__enter__()


def test_a_server_that_does_not_answer_is_named():
    with pytest.raises(DatabaseUnavailableError, match=r"127\.0\.0\.1:1/postgres"):
        fresh_postgresql("postgresql://tester@127.0.0.1:1/postgres").__enter__()


@pytest.mark.parametrize("url", ["sqlite:///ops.db", Path("ops.db")])
def test_a_file_is_no_server(url):
    with pytest.raises(DatabaseUrlError, match="fresh_sqlite"):
        fresh_postgresql(url)


def test_what_is_no_url_is_told_at_once():
    with pytest.raises(DatabaseUrlError, match="is not a database URL"):
        fresh_postgresql("localhost")
