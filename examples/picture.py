"""Draw the output of the incident program as docs/demo.svg; `make picture` runs it.

The picture is the same after each run: names and paths that a run makes up are replaced, times are left out. Only the
colours are added. Of the history, only the proposals in SHOWN stay. The picture loads no fonts.
"""

import io
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

PROGRAM = Path(__file__).with_name("incident.py")
PICTURE = Path(__file__).parents[1] / "docs" / "demo.svg"
WIDTH = 112
SHOWN = {"26", "28", "29"}
HIDDEN = "Proposals by state\n"  # the counts at the end say more
SUBSTITUTIONS = {
    r"agent-[0-9a-f]{8}": "agent-1",
    r"/\S+/ops\.db": "/tmp/ops.db",  # noqa: S108 - a text
    r"\d\d:\d\d:\d\d\.\d{6} ": "",
    r" \(times are UTC\)": "",
}
ELLIPSIS = "  ..."
COLOURS = {
    r"\bcompleted\b": "green",
    r"\b(failed|broken)\b": "red",
    r"\bcancelled\b": "yellow",
    r"\b(proposed|validated|executing)\b": "cyan",
    r"^  #\d+ \w+|^\$ .*|^[A-Z].*": "bold",
}


def run_program() -> str:
    """Return what the incident program prints."""
    done = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout


def settle(output: str) -> str:
    """Replace what differs between two runs, and drop the counts that only a slow run prints."""
    for pattern, replacement in SUBSTITUTIONS.items():
        output = re.sub(pattern, replacement, output)
    unfinished = r"^\w+ +(\d+)/(?!\1$)\d+\n"
    return re.sub(unfinished, "", output, flags=re.MULTILINE)


def shorten(output: str) -> str:
    """Keep the proposals in SHOWN, and put an ellipsis where something was left out."""
    kept: list[str] = []
    for paragraph in output.rstrip().split("\n\n"):
        proposal = re.match(r"  #(\d+) ", paragraph)
        hidden = paragraph.startswith(HIDDEN) or (proposal is not None and proposal[1] not in SHOWN)
        if not hidden:
            kept.append(paragraph)
        elif kept[-1] != ELLIPSIS:
            kept.append(ELLIPSIS)
    return "\n\n".join(kept)


def draw(output: str) -> str:
    """Return the text of a terminal as SVG that uses the reader's own fonts."""
    text = Text(output)
    for pattern, colour in COLOURS.items():
        for found in re.finditer(pattern, output, re.MULTILINE):
            text.stylize(colour, *found.span())
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(text, no_wrap=True, overflow="ellipsis", crop=True)
    svg = console.export_svg(title="operator-core", unique_id="demo")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def main() -> None:
    """Write the picture."""
    PICTURE.write_text(draw("$ make demo\n" + shorten(settle(run_program()))), encoding="utf-8")
    print(f"wrote {PICTURE.relative_to(Path.cwd()) if PICTURE.is_relative_to(Path.cwd()) else PICTURE}")


if __name__ == "__main__":
    main()
