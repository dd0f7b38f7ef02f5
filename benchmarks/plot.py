"""Draws the figures of a run: how far each is from its bar."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from harness import Figure
from matplotlib import pyplot as plt

mpl.use("Agg")
_ROW_INCHES = 0.24


def draw(figures: Sequence[Figure], file: Path) -> None:
    """Write a picture: each figure as a part of its bar, its quartiles as a line; what is right of 1 misses it."""
    barred = [figure for figure in figures if figure.bar is not None][::-1]
    picture, axes = plt.subplots(figsize=(11, 1.2 + _ROW_INCHES * len(barred)), layout="constrained")
    for row, figure in enumerate(barred):
        low, median, high = parts(figure)
        colour = "tab:red" if figure.missed else "tab:blue"
        axes.plot([low, high], [row, row], color=colour, linewidth=1.5)
        axes.plot([median], [row], "o", color=colour, markersize=4)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks(range(len(barred)), [f"{figure.name}  ({figure.cells[2]})" for figure in barred], fontsize=7)
    axes.set_ylim(-0.7, len(barred) - 0.3)
    axes.set_xlabel("part of the bar: median, and from the 25th to the 75th percentile; up to 1 meets it")
    axes.grid(axis="x", which="both", alpha=0.25)
    picture.savefig(file, dpi=130)
    plt.close(picture)


def parts(figure: Figure) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper one as parts of the bar, so that less is better."""
    ratio, bar = figure.ratio, figure.bar or 1.0
    if figure.at_least:
        return bar / ratio.high, bar / ratio.median, bar / ratio.low
    return ratio.low / bar, ratio.median / bar, ratio.high / bar
