"""A real PgBouncer in front of a private server, in transaction mode, and gone with the process that started it.

It is also a plugin of pytest: with `-p tests.support.pgbouncer` every `ledger` on PostgreSQL is reached through one.
"""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from sqlalchemy import event
from sqlalchemy.engine import Engine, make_url

from tests.support import postgres_host, reaper
from tests.support.ledger import DRIVER, Ledger
from tests.support.patience import PATIENCE
from tests.support.postgres import PrivatePostgres

NOTHING_FOUND = "These tests need PgBouncer and found none: install this system's package pgbouncer (Debian has one)."
ROLE_SETTINGS = {
    "default_transaction_isolation": "read committed",
    "timezone": "UTC",
    "lock_timeout": "10s",
    "statement_timeout": "5min",
    "idle_in_transaction_session_timeout": "1min",
}


def program() -> str | None:
    """Return where PgBouncer is; it is often installed where only root looks."""
    return shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))


@dataclass(frozen=True)
class PgBouncer:
    """A running PgBouncer."""

    port: int
    folder: Path
    console_password: str

    def url(self, behind: str, *, says_so: bool = True) -> str:
        """Return the URL of a database of the server, through PgBouncer, which is named in it."""
        url = make_url(behind).set(host="127.0.0.1", port=self.port)
        url = url.update_query_dict({"pgbouncer": "true"}) if says_so else url
        return url.render_as_string(hide_password=False)


@contextlib.contextmanager
def pgbouncer(
    server: PrivatePostgres, passwords: Mapping[str, str] | None = None, **settings: object
) -> Iterator[PgBouncer]:
    """Give a PgBouncer in front of a server.

    Args:
        server: A private server.
        passwords: Those of the roles besides the superuser's.
        settings: For `pgbouncer.ini`.
    """
    found = program()
    if found is None:
        raise RuntimeError(NOTHING_FOUND)
    folder = Path(tempfile.mkdtemp(prefix="operator-core-pgbouncer-", dir=postgres_host.folder_for_servers()))
    account = postgres_host.unprivileged_account()
    (folder / "data").mkdir()
    bouncer = PgBouncer(postgres_host.free_port(), folder, secrets.token_urlsafe(18))
    known = {server.superuser: server.password, "console": bouncer.console_password, **(passwords or {})}
    (folder / "users").write_text("".join(f'"{name}" "{password}"\n' for name, password in known.items()))
    (folder / "ini").write_text(_ini(server, bouncer, settings))
    for path in (folder, folder / "data", folder / "users", folder / "ini"):
        postgres_host.hand_over(path, account)
    with _reaped(folder), (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [found, str(folder / "ini")], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, **account
        )
        try:
            _wait_until_ready(bouncer, process)
            yield bouncer
        finally:
            process.kill()
            process.wait(PATIENCE)


def _ini(server: PrivatePostgres, bouncer: PgBouncer, settings: Mapping[str, object]) -> str:
    lines = {
        "listen_addr": "127.0.0.1",
        "listen_port": bouncer.port,
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": bouncer.folder / "users",
        "admin_users": "console",
        "pidfile": bouncer.folder / "data" / "postmaster.pid",  # where the reaper looks
        "pool_mode": "transaction",
        "max_client_conn": 500,
        "server_idle_timeout": 2,  # a test has a database, and each has a pool of its own
        **settings,
    }
    text = "".join(f"{name} = {value}\n" for name, value in lines.items())
    return f"[databases]\n* = host={server.host} port={server.port}\n[pgbouncer]\n{text}"


@contextlib.contextmanager
def _reaped(folder: Path) -> Iterator[None]:
    """Have PgBouncer ended and its folder removed, also when this process is killed."""
    end, lifeline = os.pipe()
    command = [sys.executable, "-I", "-S", reaper.__file__, str(os.getpid()), str(folder)]
    null = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=end, stdout=null, stderr=null, start_new_session=True)
    os.close(end)
    try:
        yield
    finally:
        os.close(lifeline)
        process.wait(PATIENCE)


def _wait_until_ready(bouncer: PgBouncer, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", bouncer.port), 1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"PgBouncer did not start:\n{(bouncer.folder / 'log').read_text(errors='replace')}")
        time.sleep(0.01)


# -- every ledger through PgBouncer ------------------------------------------------------------------------------------

_POOLED_ROLE = "pooled"


@dataclass(frozen=True)
class PooledLedger(Ledger):
    """A ledger behind PgBouncer; clients that speak plain SQL go to the server itself, as an adversary would."""

    direct: str = ""

    @property
    def dsn(self) -> str:
        """The URL as psycopg wants it, of the server itself."""
        return Ledger(self.direct).dsn


class _Plugin:
    def __init__(self) -> None:
        self._held = contextlib.ExitStack()
        self._bouncer: PgBouncer | None = None
        self._password = secrets.token_urlsafe(18)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Put PgBouncer in front of every ledger that a test is given."""
        made = yield
        if fixturedef.argname != "ledger" or not isinstance(made, Ledger) or made.is_sqlite:
            return made
        pooled = self._pooled(made, request.getfixturevalue("postgres"))
        _, key, _ = fixturedef.cached_result or (None, None, None)
        fixturedef.cached_result = (pooled, key, None)
        return pooled

    def _pooled(self, ledger: Ledger, server: PrivatePostgres) -> PooledLedger:
        if self._bouncer is None:
            self._create_role(server)
            self._bouncer = self._held.enter_context(pgbouncer(server, {_POOLED_ROLE: self._password}))
        url = make_url(str(ledger.target)).set(
            drivername=f"postgresql+{DRIVER}", username=_POOLED_ROLE, password=self._password
        )
        through = self._bouncer.url(url.render_as_string(hide_password=False))
        return PooledLedger(through, direct=str(ledger.target))

    def _create_role(self, server: PrivatePostgres) -> None:
        role = sql.Identifier(_POOLED_ROLE)
        with server._admin() as connection:
            made = sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {}").format(role, self._password)
            connection.execute(made)
            for name, value in ROLE_SETTINGS.items():
                connection.execute(sql.SQL("ALTER ROLE {} SET {} = {}").format(role, sql.Identifier(name), value))

    def pytest_sessionfinish(self) -> None:
        """End PgBouncer."""
        self._held.close()


def _as_a_host_must(_dialect: object, _record: object, _arguments: object, options: dict[str, Any]) -> None:
    """Have the engines that tests make as a host does keep no prepared statements, which a host has to see to."""
    if options.pop("pgbouncer", None) is not None:
        asyncpg = {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
        options.update(asyncpg if "database" in options else {"prepare_threshold": None})


def pytest_configure(config: pytest.Config) -> None:
    """Stand in front of the ledgers of this process."""
    config.pluginmanager.register(_Plugin())
    event.listen(Engine, "do_connect", _as_a_host_must)
