"""Compare calls with the code of an earlier commit; claims also with approvals, and behind 5,000 that lack theirs.

Run it with `make bench-before`, or as `python benchmarks/before.py [--quick] [--json FILE] [--commit COMMIT]`. The code
of that commit, by default the last one before the newest revision of the schema, is taken out of git into a folder of
its own. Each contender is a process with its own code and its own ledger, and they take turns in each round.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness import Figure, Times, alternate, multiples, parser_of, report, start_server

ROOT = Path(__file__).resolve().parents[1]
ROUNDS, CALLS, IN_FRONT = 31, 100, 5_000
QUICK = (5, 20, 200)
COSTLY = {"lifecycle": 4, "open": 20}
"""How many calls of the others take as long as one of these."""

NO_POLICY_BAR, ONE_APPROVAL_BAR = 1.05, 1.15


@dataclass(frozen=True)
class Contender:
    """One process that claims: its code, the approvals of each proposal, and what waits unapproved in front."""

    code: Path
    approvals: int = 0
    in_front: int = 0


def before_newest_revision() -> str:
    """Return the commit before the one that added the newest revision of the schema."""
    newest = max((ROOT / "alembic" / "versions").glob("*.py"))
    added = _git("log", "--diff-filter=A", "--format=%H", "--", str(newest)).split()
    return f"{added[-1]}^"


def take_out(commit: str, folder: Path) -> None:
    """Write the source of a commit into a folder."""
    archive = subprocess.run(["git", "archive", commit, "src", "alembic"], cwd=ROOT, stdout=PIPE, check=True).stdout  # noqa: S603, S607
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)  # noqa: S603, S607


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, stdout=PIPE, text=True, check=True).stdout  # noqa: S603, S607


@asynccontextmanager
async def running(contender: Contender, url: str) -> AsyncIterator[Process]:
    """Start the process of a contender on a new ledger, with the schema of its own code."""
    environment = {**os.environ, "PYTHONPATH": str(contender.code), "OPERATOR_CORE_DATABASE_URL": url}
    upgrade = (sys.executable, "-m", "operator_core", "db", "upgrade")
    subprocess.run(upgrade, env=environment, stdout=subprocess.DEVNULL, check=True)  # noqa: ASYNC221, S603 - nothing else runs
    program = (str(ROOT / "benchmarks" / "caller.py"), url, str(contender.approvals), str(contender.in_front))
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


async def round_of(process: Process, call: str, count: int) -> float:
    """Return the seconds that the calls of a round took."""
    assert process.stdin is not None  # noqa: S101 - it was asked for
    process.stdin.write(f"{call} {count}\n".encode())
    await process.stdin.drain()
    return float(await answer(process))


async def measure(new_url: Callable[[], str], before: Path, size: tuple[int, int, int]) -> dict[str, Times]:
    """Return the seconds of each contender, for each kind of call."""
    rounds, calls, in_front = size
    now = ROOT / "src"
    contenders = {
        "before": Contender(before),
        "now": Contender(now),
        "one approval": Contender(now, 1),
        "behind others": Contender(now, 1, in_front),
    }
    async with AsyncExitStack() as stack:
        processes = {
            name: await stack.enter_async_context(running(contender, new_url()))
            for name, contender in contenders.items()
        }
        times: dict[str, Times] = {}
        for call in ("claim", "lifecycle", "get", "list", "open"):
            names = processes if call == "claim" else ("before", "now")
            count = max(1, calls // COSTLY.get(call, 1))
            times[call] = await alternate(
                {name: partial(round_of, processes[name], call, count) for name in names}, rounds
            )
        return times


def figures_of(engine: str, times: dict[str, Times], in_front: int) -> Iterator[Figure]:
    """Yield the ratios of one engine."""
    for call, taken in times.items():
        yield Figure(f"{engine} {call}: now / before", multiples(taken, "now", "before"), NO_POLICY_BAR)
    claims = times["claim"]
    approved = multiples(claims, "one approval", "before")
    yield Figure(f"{engine} claim: one approval / before", approved, ONE_APPROVAL_BAR)
    behind = multiples(claims, "behind others", "one approval")
    yield Figure(f"{engine} claim: behind {in_front:,} that lack theirs / behind none", behind)


def main() -> int:
    """Print the figures of both engines."""
    parser = parser_of("What calls cost beside the code of an earlier commit.")
    parser.add_argument("--commit", default=before_newest_revision(), help="the commit to compare with")
    given = parser.parse_args()
    size = QUICK if given.quick else (ROUNDS, CALLS, IN_FRONT)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        take_out(given.commit, Path(folder))
        files = (f"sqlite+aiosqlite:///{folder}/{number}.db" for number in range(4))
        server = start_server()
        try:
            databases: dict[str, Callable[[], str]] = {
                "SQLite": partial(next, files),
                "PostgreSQL": lambda: server.url(server.create_database()),
            }
            for engine, new_url in databases.items():
                times = asyncio.run(measure(new_url, Path(folder) / "src", size))
                figures += figures_of(engine, times, size[2])
        finally:
            server.close()
    return report(figures, given.json)


if __name__ == "__main__":
    raise SystemExit(main())
