"""Measure what imports cost in a fresh interpreter, and a stop from the command line from its start to its exit.

Run it with `make bench`, or as `python benchmarks/imports.py [--quick] [--json FILE]`. An import is timed within the
interpreter, so that its start, which is the same for both sides, does not dampen the ratio. A stop is timed as a whole
process, beside a whole process that does nothing but the imports.
"""

import asyncio
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from harness import Figure, alternate, arguments, multiples, report, timed

from operator_core.db import ActionDB

ROUNDS = 15
QUICK_ROUNDS = 2

PYDANTIC = "import pydantic"
USED = "from pydantic import AwareDatetime, BaseModel, model_validator"
ACTIONS = "import operator_core.actions"
PARTS = "import pydantic, sqlalchemy.ext.asyncio, sqlalchemy.orm, aiosqlite"
DB = "import operator_core.db"
NO_ALEMBIC = "import sys, operator_core.db; assert not any(name.startswith('alembic') for name in sys.modules)"


def run(*arguments_: str) -> str:
    """Run this interpreter, and return what it has printed."""
    done = subprocess.run([sys.executable, *arguments_], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


async def importing(statement: str) -> float:
    """Return how many seconds a statement takes in an interpreter that has imported nothing yet."""
    program = f"import time; started = time.perf_counter(); {statement}; print(time.perf_counter() - started)"
    return float(run("-c", program))


async def stop(file: Path) -> None:
    """Stop everything from the command line."""
    run("-m", "operator_core", "stop", "--by", "bench", "--reason", "measured", "--url", f"sqlite:///{file}")


async def alone() -> None:
    """Do nothing but the imports."""
    run("-c", PARTS)


async def compare(file: Path, rounds: int) -> list[Figure]:
    """Return all figures."""
    async with ActionDB(file):
        pass
    run("-c", NO_ALEMBIC)
    statements = {"pydantic": PYDANTIC, "used": USED, "actions": ACTIONS, "parts": PARTS, "db": DB}
    times = await alternate({name: partial(importing, text) for name, text in statements.items()}, rounds)
    stops = await alternate({"stop": partial(timed, partial(stop, file)), "alone": partial(timed, alone)}, rounds)
    return [
        Figure("import operator_core.actions / import pydantic", multiples(times, "actions", "pydantic"), 1.2),
        Figure("import operator_core.actions / the names of pydantic it uses", multiples(times, "actions", "used")),
        Figure("import operator_core.db / its four parts", multiples(times, "db", "parts"), 1.2),
        Figure("SQLite: operator-core stop to exit / the imports alone", multiples(stops, "stop", "alone"), 1.5),
    ]


def main() -> int:
    """Measure, print the ratios, and return 1 where a bar is missed."""
    given = arguments("Imports, and a stop from the command line.")
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(compare(Path(folder) / "ops.db", QUICK_ROUNDS if given.quick else ROUNDS))
    return report(figures, given.json)


if __name__ == "__main__":
    raise SystemExit(main())
