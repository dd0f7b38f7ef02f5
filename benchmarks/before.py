"""Compare a claim with the code of the revision before: without a policy, with one approval, and behind 5,000 others.

Run it with `make bench-before`, or as `python benchmarks/before.py [--quick] [--json FILE]`. The code of the commit
before the newest revision of the schema is checked out of git into a folder of its own. Each contender is a process
with its own code and its own ledger, and they take turns in each round.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness import Figure, Times, alternate, arguments, multiples, report, start_server

ROOT = Path(__file__).resolve().parents[1]
ROUNDS, CLAIMS, IN_FRONT = 31, 100, 5_000
QUICK = (5, 20, 200)


@dataclass(frozen=True)
class Contender:
    """One process that claims: its code, the approvals of each proposal, and what waits unapproved in front."""

    code: Path
    approvals: int = 0
    in_front: int = 0


def check_out_before(folder: Path) -> str:
    """Write the source of the commit before the newest revision into a folder, and return that commit."""
    newest = max((ROOT / "alembic" / "versions").glob("*.py"))
    added = _git("log", "--diff-filter=A", "--format=%H", "--", str(newest)).split()
    commit = _git("rev-parse", "--short", f"{added[-1]}^").strip()
    archive = subprocess.run(["git", "archive", commit, "src"], cwd=ROOT, stdout=PIPE, check=True).stdout  # noqa: S603, S607
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)  # noqa: S603, S607
    return commit


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, stdout=PIPE, text=True, check=True).stdout  # noqa: S603, S607


@asynccontextmanager
async def running(contender: Contender, url: str) -> AsyncIterator[Process]:
    """Start the process of a contender on a new ledger, with the schema of its own code."""
    environment = {**os.environ, "PYTHONPATH": str(contender.code), "OPERATOR_CORE_DATABASE_URL": url}
    upgrade = (sys.executable, "-m", "operator_core", "db", "upgrade")
    subprocess.run(upgrade, env=environment, stdout=subprocess.DEVNULL, check=True)  # noqa: ASYNC221, S603 - nothing else runs
    program = (str(ROOT / "benchmarks" / "claimer.py"), url, str(contender.approvals), str(contender.in_front))
    process = await asyncio.create_subprocess_exec(sys.executable, *program, env=environment, stdin=PIPE, stdout=PIPE)
    try:
        await answer(process)
        yield process
    finally:
        assert process.stdin is not None  # noqa: S101 - it was asked for
        process.stdin.close()
        await process.wait()


async def answer(process: Process) -> str:
    """Return the next line of a process."""
    assert process.stdout is not None  # noqa: S101 - it was asked for
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError("a process of the benchmark ended; its own output says why")
    return line.decode().strip()


async def round_of(process: Process, claims: int) -> float:
    """Return the seconds that the claims of a round took."""
    assert process.stdin is not None  # noqa: S101 - it was asked for
    process.stdin.write(b"%d\n" % claims)
    await process.stdin.drain()
    return float(await answer(process))


async def measure(new_url: Callable[[], str], before: Path, rounds: int, claims: int, in_front: int) -> Times:
    """Return the seconds of each contender."""
    now = ROOT / "src"
    contenders = {
        "before": Contender(before),
        "no policy": Contender(now),
        "one approval": Contender(now, 1),
        "behind others": Contender(now, 1, in_front),
    }
    async with AsyncExitStack() as stack:
        processes = {
            name: await stack.enter_async_context(running(contender, new_url()))
            for name, contender in contenders.items()
        }
        return await alternate({name: partial(round_of, one, claims) for name, one in processes.items()}, rounds)


def main() -> int:
    """Print the figures of both engines."""
    given = arguments("What a claim costs beside the code of the revision before.")
    rounds, claims, in_front = QUICK if given.quick else (ROUNDS, CLAIMS, IN_FRONT)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        print(f"before is the code of {check_out_before(Path(folder))}")
        files = (f"sqlite+aiosqlite:///{folder}/{number}.db" for number in range(4))
        server = start_server()
        try:
            databases: dict[str, Callable[[], str]] = {
                "SQLite": partial(next, files),
                "PostgreSQL": lambda: server.url(server.create_database()),
            }
            for engine, new_url in databases.items():
                times = asyncio.run(measure(new_url, Path(folder) / "src", rounds, claims, in_front))
                figures += [
                    Figure(f"{engine} claim: no policy / before", multiples(times, "no policy", "before"), 1.05),
                    Figure(f"{engine} claim: one approval / before", multiples(times, "one approval", "before"), 1.15),
                    Figure(
                        f"{engine} claim: one approval, {in_front:,} unapproved in front / none in front",
                        multiples(times, "behind others", "one approval"),
                    ),
                ]
        finally:
            server.close()
    return report(figures, given.json)


if __name__ == "__main__":
    raise SystemExit(main())
