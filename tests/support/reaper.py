"""Stop a private PostgreSQL server and remove its folder once the process that started it is gone."""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

_HAS_PROC = Path("/proc/self/cmdline").exists()
_POLL_SECONDS = 0.2
_QUIT_SECONDS = 10.0
_GIVE_UP_SECONDS = 60.0


def command_line(pid: int) -> str:
    """Return the command line of a process; empty when it is gone or only waits to be collected."""
    if not _HAS_PROC:
        command = ["ps", "-o", "command=", "-p", str(pid)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def server_pid(folder: Path) -> int | None:
    """Return the process id of the server that runs in a folder, and never that of another process."""
    try:
        pid = int((folder / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None
    # A server in single-user mode (inside initdb) writes its id negated; a stale id may be another's by now.
    return pid if pid > 0 and str(folder) in command_line(pid) else None


def wait_for_end_of(parent: int, pipe: int) -> None:
    """Return when the parent is gone: its end of the pipe is closed, or this process has a new parent.

    The pipe tells at once. The parent's id tells also when a forked child keeps the pipe open.
    """
    while os.getppid() == parent:
        if select.select([pipe], [], [], _POLL_SECONDS)[0]:
            return


def stop(folder: Path, pid: int) -> None:
    """Stop the server of a folder at once, and wait until it is gone."""
    deadline = time.monotonic() + _QUIT_SECONDS
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGQUIT)
        while str(folder) in command_line(pid):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)


def reap(folder: Path) -> None:
    """Stop the server of a folder and remove the folder, also while initdb still writes to it."""
    deadline = time.monotonic() + _GIVE_UP_SECONDS
    while folder.exists() and time.monotonic() < deadline:
        pid = server_pid(folder)
        if pid is not None:
            stop(folder, pid)
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            time.sleep(0.05)


def main() -> None:
    """Serve `reaper.py PARENT_PID FOLDER`; standard input is the reading end of the parent's pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    wait_for_end_of(int(sys.argv[1]), sys.stdin.fileno())
    reap(Path(sys.argv[2]))


if __name__ == "__main__":
    main()
