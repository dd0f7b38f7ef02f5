"""Forks children from a process that has imported everything already, so that a child, and its death, costs little.

Run as a program it is that process: it reads one command a line, forks, and says when the children are gone. A child
says what it has to say on the same pipe, one short JSON object a line.
"""

import asyncio
import json
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Self

from tests.support.patience import PATIENCE

ROOT = Path(__file__).parents[2]
_ATOMIC_BYTES = 4096  # of a write to a pipe

Message = dict[str, Any]
Job = Callable[["Child"], Coroutine[Any, Any, None]]


class Child:
    """What a job knows: which of the children it is, what it was given, and how to speak and to wait for the others."""

    def __init__(self, index: int, given: Message, barrier: Any) -> None:
        self.index, self.given, self._barrier = index, given, barrier

    def say(self, **message: Any) -> None:
        """Tell the test something, whole and at once."""
        line = json.dumps({"child": self.index, **message}).encode() + b"\n"
        assert len(line) <= _ATOMIC_BYTES
        os.write(1, line)

    def meet(self) -> None:
        """Wait until all children have come here."""
        self._barrier.wait(PATIENCE)


class Nursery:
    """The test's side of the forking process."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.support.race_nursery"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=PATIENCE)  # closes its input, which ends it

    def fork(self, job: str, count: int = 1, **given: Any) -> list[int]:
        """Start children with a job of `race_jobs`, and return their process ids."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"job": job, "count": count, "given": given}).encode() + b"\n")
        self._process.stdin.flush()
        first = next(self.messages())
        return [int(pid) for pid in first["forked"]]

    def messages(self, until: float | None = None) -> Iterator[Message]:
        """Iterate over what the children say, until all of them are gone or the clock of `time.monotonic` says so."""
        while True:
            line, found, rest = self._received.partition(b"\n")
            if found:
                self._received = rest
                message = json.loads(line)
                if "gone" in message:
                    yield message
                    return
                yield message
            elif not self._receive(until):
                return

    def _receive(self, until: float | None) -> bool:
        assert self._process.stdout is not None
        pipe, wait = self._process.stdout.fileno(), PATIENCE if until is None else max(0.0, until - time.monotonic())
        if not select.select([pipe], [], [], wait)[0]:
            assert until is not None, "the children say nothing and do not end"
            return False
        received = os.read(pipe, 65536)
        assert received, "the nursery is gone"
        self._received += received
        return True


def _child(job: Job, child: Child) -> None:
    """Do the job in a process that ends here, whatever happens."""
    code = 1
    signal.alarm(int(2 * PATIENCE))  # a child never outlives its test by much
    try:
        asyncio.run(job(child))
        code = 0
    except BaseException:  # noqa: BLE001 - the process ends
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    finally:
        sys.stderr.flush()
        os._exit(code)


def _serve(jobs: dict[str, Job], command: Message) -> None:
    count = command["count"]
    barrier = multiprocessing.get_context("fork").Barrier(count)
    gate, opener = os.pipe()
    pids = []
    for index in range(count):
        pid = os.fork()
        if pid == 0:
            os.close(opener)
            os.read(gate, 1)  # until the test knows whom it has started
            _child(jobs[command["job"]], Child(index, command["given"], barrier))
        pids.append(pid)
    os.write(1, json.dumps({"forked": pids}).encode() + b"\n")
    os.close(opener)
    os.close(gate)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    os.write(1, json.dumps({"gone": statuses}).encode() + b"\n")


def main() -> None:
    """Serve until standard input is closed."""
    from tests.support.race_jobs import JOBS  # noqa: PLC0415 - what is imported here is what children need not import

    for line in sys.stdin:
        _serve(JOBS, json.loads(line))


if __name__ == "__main__":
    main()
