"""Draw the output of the demo as docs/demo.svg; `make picture` runs it.

Only the colours are added here, and the picture loads no fonts.
"""

import io
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

PROGRAM = Path(__file__).with_name("demo.py")
PICTURE = Path(__file__).parents[1] / "docs" / "demo.svg"
WIDTH = 108
COLOURS = {
    r"^   ok |\bcompleted\b|every promise held": "green",
    r"^   x |\bSTOPPED\b": "red",
    r"^   \.\. |\bcancelled\b|answers: .*": "yellow",
    r"^\d\. .*|^\$ .*": "bold",
}


def run_program() -> str:
    """Return what the demo prints."""
    done = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout


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
    PICTURE.write_text(draw("$ make demo\n" + run_program().rstrip()), encoding="utf-8")
    print(f"wrote {PICTURE.relative_to(Path.cwd()) if PICTURE.is_relative_to(Path.cwd()) else PICTURE}")


if __name__ == "__main__":
    main()
