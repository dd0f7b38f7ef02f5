"""A real PostgreSQL server for tests: private, unprivileged, and gone with the process that started it."""

import base64
import contextlib
import hashlib
import hmac
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit

import psycopg
from psycopg import sql

from tests.support import reaper
from tests.support.patience import PATIENCE
from tests.support.postgres_host import (
    ENVIRONMENT_URL,
    FOLDER_PREFIX,
    folder_for_servers,
    free_port,
    hand_over,
    run_program,
    server_environment,
    under_a_name,
    unprivileged_account,
    usable_binaries,
)

DEFAULT_SETTINGS: Mapping[str, str] = {
    "fsync": "on",  # tests of durability crash the server
    "shared_buffers": "64MB",
    "max_connections": "200",
    "max_wal_size": "512MB",
    "timezone": "Asia/Kolkata",  # far from UTC, and by a half hour: what forgets about UTC shows
    "lc_messages": "C",
}
_REAPER_SECONDS = 2.0
_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


@dataclass(eq=False, repr=False)
class PrivatePostgres:
    """A running PostgreSQL server, with the means to make databases in it and to crash it."""

    host: str
    port: int
    superuser: str
    password: str
    owned: bool
    version: str = ""
    folder: Path | None = None
    _bin: Path = field(init=False)
    _account: dict[str, Any] = field(init=False)
    _process: subprocess.Popen[bytes] | None = field(init=False, default=None)
    _reaper: subprocess.Popen[bytes] | None = field(init=False, default=None)
    _lifeline: int = field(init=False)
    _databases: set[str] = field(init=False, default_factory=set)
    _pid: int = field(init=False, default_factory=os.getpid)

    @classmethod
    def start(cls, settings: Mapping[str, str] | None = None, *, private: bool = False) -> Self:
        """Return the environment's server; a new one when it names none, for settings, and when private."""
        if (url := os.environ.get(ENVIRONMENT_URL)) and settings is None and not private:
            return cls._existing(url)
        server = cls("127.0.0.1", 0, "postgres", secrets.token_urlsafe(18), owned=True)
        try:
            server._create({**DEFAULT_SETTINGS, **(settings or {})})
        except BaseException:
            server.close()
            raise
        return server

    @classmethod
    def _existing(cls, url: str) -> Self:
        parts = urlsplit(url)
        if not parts.scheme.startswith("postgres") or not parts.hostname:
            raise RuntimeError(f"{ENVIRONMENT_URL} is not like postgresql://user:password@host:port/postgres")
        user, password = unquote(parts.username or "postgres"), unquote(parts.password or "")
        server = cls(parts.hostname, parts.port or 5432, user, password, owned=False)
        server.version = server._ask_version()
        return server

    @property
    def postmaster_pid(self) -> int | None:
        """The process id of the private server while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def url(
        self,
        database: str = "postgres",
        *,
        driver: str = "postgresql+asyncpg",
        user: str | None = None,
        password: str | None = None,
    ) -> str:
        """Return SQLAlchemy's URL of a database, password included."""
        name = quote(self.superuser if user is None else user, safe="")
        secret = quote(self.password if password is None else password, safe="")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{driver}://{name}:{secret}@{host}:{self.port}/{quote(database, safe='')}"

    def dsn(self, database: str = "postgres") -> str:
        """Return the plain libpq URL of a database, password included."""
        return self.url(database, driver="postgresql")

    def create_database(self, template: str | None = None) -> str:
        """Create a database with a fresh name, empty or as a copy of a template, and return its name."""
        name = f"test_{secrets.token_hex(8)}"
        names = (sql.Identifier(name), sql.Identifier(template or "template0"))
        self._execute_when_unused(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
        self._databases.add(name)
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, and end all connections to it."""
        self._execute_when_unused(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        self._databases.discard(name)

    def _execute_when_unused(self, statement: sql.Composed) -> None:
        """Execute a statement that needs a database without connections; PostgreSQL itself waits for five seconds."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with self._admin() as connection:
                    connection.execute(statement)
            except psycopg.errors.ObjectInUse:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def stop(self, mode: str = "fast") -> None:
        """Stop the server in PostgreSQL's mode smart, fast or immediate, and wait until it is gone."""
        if self._process is None:
            raise RuntimeError("This server is not the tests' own: start(private=True) gives one to stop.")
        if self._process.poll() is None:
            self._process.send_signal(_SIGNALS[mode])
        self._process.wait(PATIENCE)

    def crash(self) -> None:
        """Stop the server at once, so that it has to recover from its log when it starts again."""
        self.stop("immediate")

    def restart(self) -> None:
        """Start the server again, on the same data and port; stop it first when it still runs."""
        self.stop()
        self._launch()

    def close(self) -> None:
        """Stop the private server and remove its folder, or drop what was made in an existing one."""
        if os.getpid() != self._pid:
            return  # a forked child only has a copy of this object
        if not self.owned:
            for name in tuple(self._databases):
                self.drop_database(name)
            return
        if self._process is not None:
            self.stop("immediate")
        if self._reaper is not None:
            os.close(self._lifeline)  # the reaper removes the folder, and need not be waited for when that takes long
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._reaper.wait(_REAPER_SECONDS)
            self._reaper.returncode = 0
            self._reaper = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _create(self, settings: Mapping[str, str]) -> None:
        """Make the folder and its reaper first, so that nothing that follows can be left behind."""
        self._account = unprivileged_account()
        self.folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=folder_for_servers()))
        self._start_reaper(self.folder)
        hand_over(self.folder, self._account)
        self._bin = usable_binaries(self.folder, self._account)
        self._initdb(self.folder, settings)
        self._launch_on_free_port()
        self.version = self._ask_version()

    def _start_reaper(self, folder: Path) -> None:
        end, self._lifeline = os.pipe()  # neither end is inherited by a new program
        command = [sys.executable, "-I", "-S", reaper.__file__, str(os.getpid()), str(folder)]
        null = subprocess.DEVNULL
        self._reaper = subprocess.Popen(command, stdin=end, stdout=null, stderr=null, start_new_session=True)
        os.close(end)

    def _initdb(self, folder: Path, settings: Mapping[str, str]) -> None:
        secret = folder / "password"
        secret.write_text(scram_verifier(self.password))
        hand_over(secret, self._account)
        command = [
            *under_a_name(),
            self._bin / "initdb",
            "-D",
            folder / "data",
            "-U",
            self.superuser,
            f"--pwfile={secret}",
        ]
        command += ["--auth-local=trust", "--auth-host=scram-sha-256"]  # the folder is closed to other users
        command += ["--encoding=UTF8", "--locale=C", "--no-sync"]
        done = run_program([str(word) for word in command], folder, self._account)
        if done.returncode:
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")
        secret.unlink()
        self._configure(folder, {"listen_addresses": self.host, **socket_settings(folder), **settings})

    @staticmethod
    def _configure(folder: Path, settings: Mapping[str, str]) -> None:
        """Add settings to those with which the server starts."""
        with (folder / "data" / "postgresql.conf").open("a") as conf:
            for name, value in settings.items():
                quoted = value.replace("'", "''")
                conf.write(f"{name} = '{quoted}'\n")

    def _launch_on_free_port(self) -> None:
        """Start the server on a free port, and on another one when somebody takes that meanwhile."""
        while True:
            self.port = free_port()
            try:
                self._launch()
            except RuntimeError:
                if "Address already in use" not in self.log():
                    raise
            else:
                return

    def _launch(self) -> None:
        """Start the server on its folder and port, and wait until it takes connections."""
        assert self.folder is not None, "only a server with a folder is launched"
        command = [str(self._bin / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port)]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=server_environment(),
                start_new_session=True,  # an interrupt at the terminal is for the tests, not for the server
                **self._account,
            )
        deadline = time.monotonic() + PATIENCE
        while not self._is_ready(self.folder, self._process):
            if time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start in time:\n{self.log()}")
            time.sleep(0.005)

    def _is_ready(self, folder: Path, process: subprocess.Popen[bytes]) -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"PostgreSQL stopped while starting:\n{self.log()}")
        try:
            lines = (folder / "data" / "postmaster.pid").read_text().split("\n")
        except OSError:
            return False
        return lines[0] == str(process.pid) and "".join(lines[7:8]).strip() == "ready"

    def log(self) -> str:
        """Return what the private server has logged since it started last."""
        return "" if self.folder is None else (self.folder / "log").read_text(errors="replace")

    def _admin(self, database: str = "postgres") -> psycopg.Connection[Any]:
        host = self.host if self.folder is None else str(self.folder)  # its socket is faster than TCP
        return psycopg.connect(self.dsn(database), host=host, autocommit=True, connect_timeout=int(PATIENCE))

    def _ask_version(self) -> str:
        with self._admin() as connection:
            return "PostgreSQL " + str(connection.info.parameter_status("server_version")).split()[0]


def scram_verifier(password: str) -> str:
    """Return what PostgreSQL keeps of a password, hashed once: its usual 4096 rounds cost each connection 8 ms."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    parts = [base64.b64encode(part).decode() for part in (salt, stored, hmac.digest(salted, b"Server Key", "sha256"))]
    return "SCRAM-SHA-256$1:{}${}:{}".format(*parts)


def socket_settings(folder: Path) -> dict[str, str]:
    """Return the settings of a server whose socket is in its folder."""
    return {"unix_socket_directories": f'"{folder}"'}  # it is a list, in which a space would be taken away
