"""Programs in processes of their own, forked from one that has imported them: an import costs a second of CPU.

Run as a program, it is that process: it reads one command a line, forks, and writes the exit code at the end.
Tests of signals, of closed streams and of the start of a program start it themselves.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

from tests.support.patience import PATIENCE

ROOT = Path(__file__).parents[2]
OPERATOR_CORE, ELSEWHERE = PROGRAMS = ("operator_core.__main__", "tests.support.elsewhere")


class Programs:
    """The test's side of the forking process, which runs one program at a time."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.support.programs"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._lock = Lock()

    def run(self, module: str, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run the `main` of a module as `python -m` does, with this process's folder and environment."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        command: dict[str, Any] = {"module": module, "arguments": arguments, "environment": dict(os.environ)}
        command["folder"] = str(Path.cwd())
        with self._lock, tempfile.TemporaryDirectory() as folder:
            streams = [Path(folder, name) for name in ("out", "err")]
            self._process.stdin.write(json.dumps({**command, "streams": [str(path) for path in streams]}) + "\n")
            self._process.stdin.flush()
            code = int(self._process.stdout.readline())
            out, err = (path.read_text() for path in streams)
        return subprocess.CompletedProcess([module, *arguments], code, out, err)

    def close(self) -> None:
        """End the forking process."""
        self._process.communicate()


@cache
def programs() -> Programs:
    """Return the programs of this process."""
    started = Programs()
    atexit.register(started.close)
    return started


def _run(command: dict[str, Any]) -> int:
    """Become the program in a forked child, and return its exit code."""
    signal.alarm(int(PATIENCE))  # it never outlives its test by much
    for number, path in zip((0, 1, 2), (os.devnull, *command["streams"]), strict=True):
        opened = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(command["folder"])
    os.environ.clear()
    os.environ.update(command["environment"])
    sys.argv = [command["module"], *command["arguments"]]
    try:
        return int(sys.modules[command["module"]].main() or 0)
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:  # noqa: BLE001 - the process ends
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        return 1


def main() -> None:
    """Serve until standard input is closed."""
    for module in PROGRAMS:
        import_module(module)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = _run(json.loads(line))
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
