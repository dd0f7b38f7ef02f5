"""A PostgreSQL server that follows another one: to kill the primary and promote the standby."""

import os
import secrets
import signal
import tempfile
import time
from pathlib import Path
from typing import Self

from tests.support import postgres_host
from tests.support.patience import PATIENCE
from tests.support.postgres import PrivatePostgres, socket_settings


class Standby(PrivatePostgres):
    """A hot standby of a private server, on this machine."""

    @classmethod
    def follow(cls, primary: PrivatePostgres) -> Self:
        """Copy a primary, start the copy as its standby, and return it when the primary streams to it."""
        standby = cls(primary.host, 0, primary.superuser, primary.password, owned=True)
        try:
            standby._copy(primary)
            wait_until(primary, "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'")
        except BaseException:
            standby.close()
            raise
        return standby

    def promote(self) -> None:
        """Make this standby a primary, and return when it takes writes."""
        with self._admin() as connection:
            assert connection.execute(f"SELECT pg_promote(true, {PATIENCE:.0f})").fetchone() == (True,), self.log()

    def catch_up(self, primary: PrivatePostgres) -> None:
        """Return when all that the primary has written until now is here."""
        with primary._admin() as connection:
            (position,) = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone() or ("",)
        wait_until(self, f"SELECT 1 WHERE pg_last_wal_replay_lsn() >= '{position}'")

    def stop_receiving(self) -> None:
        """Receive nothing more from the primary, as behind a network that is cut."""
        configure(self, primary_conninfo="")
        wait_until(self, "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_stat_wal_receiver)")

    def _copy(self, primary: PrivatePostgres) -> None:
        assert primary.folder is not None, "only a private server is followed"
        self._account = primary._account
        self.folder = Path(tempfile.mkdtemp(prefix=postgres_host.FOLDER_PREFIX, dir=postgres_host.folder_for_servers()))
        self._start_reaper(self.folder)
        postgres_host.hand_over(self.folder, self._account)
        self._bin = postgres_host.usable_binaries(self.folder, self._account)  # the primary's may go with the primary
        if not (self._bin / "pg_basebackup").exists():
            raise RuntimeError(f"{self._bin} has no pg_basebackup, and a standby is made with it: install one that has")
        command = [self._bin / "pg_basebackup", "-D", self.folder / "data", "-h", primary.folder, "-p", primary.port]
        command += ["-U", self.superuser, "--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--no-password"]
        done = postgres_host.run_program([str(word) for word in command], self.folder, self._account)
        if done.returncode:
            raise RuntimeError(f"pg_basebackup failed:\n{done.stdout}{done.stderr}")
        name = {"cluster_name": f"standby_{secrets.token_hex(4)}"}
        self._configure(self.folder, socket_settings(self.folder) | name)
        self._launch_on_free_port()
        self.version = self._ask_version()


def kill(server: PrivatePostgres) -> None:
    """Kill the server as `kill -9` does, and return when nothing of it writes any more: what it began ends with it."""
    assert server._process is not None
    begun = [process.parent for process in Path("/proc").glob("[0-9]*/stat") if _parent(process) == server._process.pid]
    server._process.kill()
    server._process.wait(PATIENCE)
    for process in begun:
        give_up = time.monotonic() + PATIENCE
        while process.exists():
            assert time.monotonic() < give_up, f"process {process.name} outlives its server"
            time.sleep(0.005)


def _parent(file: Path) -> int | None:
    try:
        return int(file.read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def freeze(server: PrivatePostgres) -> None:
    """Stop the receiver of a standby as SIGSTOP does: its connection stays, and it answers nothing."""
    with server._admin() as connection:
        found = connection.execute("SELECT pid FROM pg_stat_wal_receiver").fetchone()
    assert found is not None, "the standby receives nothing"
    os.kill(found[0], signal.SIGSTOP)


def configure(server: PrivatePostgres, **settings: str) -> None:
    """Change settings of a server that runs, and return when they hold."""
    with server._admin() as connection:
        for name, value in settings.items():
            connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        connection.execute("SELECT pg_reload_conf()")
    for name, value in settings.items():
        wait_until(server, f"SELECT 1 WHERE current_setting('{name}') = '{value}'")


def wait_until(server: PrivatePostgres, query: str) -> None:
    """Wait until a query returns a row."""
    give_up = time.monotonic() + PATIENCE
    with server._admin() as connection:
        while not connection.execute(query).fetchall():
            assert time.monotonic() < give_up, f"never came about: {query}"
            time.sleep(0.005)
