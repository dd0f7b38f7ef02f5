"""Run every benchmark program, one after the other, and print one table: what `make bench` does.

`python benchmarks/run.py [--quick] [--json FILE] [NAME ...]` writes the figures to FILE, and a plot of them beside it.
Each program has a process of its own, and what it prints on the way is shown when it fails.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from harness import Figure, Spread, report
from plot import draw

FOLDER = Path(__file__).parent
PROGRAMS = ("jobs", "calls", "joined", "at_once", "bulk", "scale", "imports", "claims", "churn")
RESULT = FOLDER.parent / "build" / "bench.json"


def measure(name: str, *, quick: bool) -> list[Figure]:
    """Run one program and return its figures."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        command = [sys.executable, str(FOLDER / f"{name}.py"), "--json", str(file), *(["--quick"] if quick else [])]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)  # noqa: S603
        if not file.exists():
            raise RuntimeError(f"benchmarks/{name}.py failed:\n{done.stdout}")
        found = json.loads(file.read_text())["figures"]
    print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
    return [Figure(each["name"], Spread(**each["ratio"]), each["bar"], each["at_least"]) for each in found]


def main() -> int:
    """Run what was named, else all, and return 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description="Every figure of this library's speed, beside its bar.")
    parser.add_argument("--quick", action="store_true", help="short rounds, all at once: to see that it runs")
    parser.add_argument("--json", type=Path, default=RESULT, metavar="FILE", help="where the figures go")
    parser.add_argument("names", nargs="*", choices=[[], *PROGRAMS], metavar="NAME", help="which programs; else all")
    given = parser.parse_args()
    with ThreadPoolExecutor(4 if given.quick else 1) as programs:  # what is quick is not for reading the figures
        measured = programs.map(partial(measure, quick=given.quick), given.names or PROGRAMS)
        figures = [figure for found in measured for figure in found]
    given.json.parent.mkdir(parents=True, exist_ok=True)
    draw(figures, given.json.with_suffix(".png"))
    return report(figures, given.json)


if __name__ == "__main__":
    raise SystemExit(main())
