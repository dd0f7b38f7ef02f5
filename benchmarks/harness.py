"""What the benchmark programs share: a server, alternating rounds, medians with their spread, bars and tables.

A figure is a ratio of two things that were measured in the same round, so that a slow moment of the machine hits both.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the server of the tests is lent to the benchmarks

from tests.support.postgres import PrivatePostgres

SERVER_SETTINGS: Mapping[str, str] = {
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",  # no checkpoint falls into some rounds and not into others
    "checkpoint_timeout": "1h",
    "max_connections": "100",
}


@dataclass(frozen=True)
class Spread:
    """The median of some figures, with the quartiles around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> "Spread":
        """Return the spread of at least three figures."""
        low, median, high = statistics.quantiles(figures, n=4, method="inclusive")
        return cls(median, low, high)

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Figure:
    """One ratio with its bar; it is missed only when the favourable quartile is on the wrong side of the bar."""

    name: str
    ratio: Spread
    bar: float | None = None
    at_least: bool = False

    @property
    def missed(self) -> bool:
        """Whether even the favourable quartile misses the bar."""
        if self.bar is None:
            return False
        return self.ratio.high < self.bar if self.at_least else self.ratio.low > self.bar

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """The name, the ratio, the bar and the verdict."""
        if self.bar is None:
            return (self.name, str(self.ratio), "", "for information")
        sign = ">=" if self.at_least else "<="
        return (self.name, str(self.ratio), f"{sign} {self.bar}", "MISSED" if self.missed else "met")


Work = Callable[[], Awaitable[object]]
Times = dict[str, list[float]]
"""The seconds of each contender, one for each round."""


async def timed(work: Work) -> float:
    """Return how many seconds a piece of work took."""
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


async def alternate(contenders: Mapping[str, Callable[[], Awaitable[float]]], rounds: int) -> Times:
    """Let each contender measure itself in each round, who comes first in turn; the round before the first warms up."""
    names = list(contenders)
    times: Times = {name: [] for name in names}
    for number in range(rounds + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            seconds = await contenders[name]()
            if number:
                times[name].append(seconds)
    return times


def multiples(times: Times, of: str, base: str) -> Spread:
    """Return what one contender took as a multiple of another, round by round."""
    return Spread.of([taken / least for taken, least in zip(times[of], times[base], strict=True)])


def parser_of(about: str) -> argparse.ArgumentParser:
    """Return a parser of the options of every program: `--quick` and `--json FILE`."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures there")
    return parser


def arguments(about: str) -> argparse.Namespace:
    """Return the command line of a program that has no other options."""
    return parser_of(about).parse_args()


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells in columns, the first row underlined."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def report(figures: Sequence[Figure], file: Path | None, **more: Any) -> int:
    """Print the ratios beside their bars, write all to a file where one is wanted, and return the exit code."""
    head = ("ratio", "median [p25, p75]", "bar", "")
    print("\n" + table([head, *(figure.cells for figure in figures)]))
    if file is not None:
        found = [{**asdict(figure), "missed": figure.missed} for figure in figures]
        file.write_text(json.dumps({"figures": found, **more}, indent=2) + "\n")
    return int(any(figure.missed for figure in figures))


def start_server(settings: Mapping[str, str] | None = None) -> PrivatePostgres:
    """Start a private server that waits for its disk, as one in production does."""
    return PrivatePostgres.start({**SERVER_SETTINGS, **(settings or {})}, private=True)
