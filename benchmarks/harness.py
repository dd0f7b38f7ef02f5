"""What the benchmark programs share: a server of their own, medians with their spread, bars, and tables."""

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
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


def arguments(about: str) -> argparse.Namespace:
    """Return the command line: `--quick` and `--json FILE`."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures there")
    return parser.parse_args()


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
