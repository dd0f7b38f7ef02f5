"""The Python of the documents in the hands of type checkers.

A module holds the blocks that build upon each other, each on the lines that it has in its document, so the line of an
error is a line of the document. If blocks await outside of a function, the whole module becomes one coroutine function.
"""

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.documents import DEPLOY, DOCUMENTS, README, ROOT, Block, code_blocks

FILES_OF_THEIR_OWN = {README: 1, DEPLOY: 2}
"""How many of a document's first blocks are files of their own, besides those that say as what to save them."""

_WRONG = "len(0)"
_COROUTINE = "async def main() -> None:"
_VARIABLES_BECOME_LOCAL = "# pyright: reportUnusedVariable=false"
_PYRIGHT_SETTINGS = {"typeCheckingMode": "strict", "reportUnreachable": "error"}


@dataclass(frozen=True)
class Module:
    """Blocks that build upon each other, under the name that they are checked as."""

    name: str
    blocks: Sequence[Block]

    def text(self, behind_each_block: str = "") -> str:
        """Return the blocks at their lines, with a statement on the line that closes each of them."""
        lines = [""] * self.blocks[-1].end
        for block in self.blocks:
            lines[block.line - 1 : block.end] = [*block.text.splitlines(), behind_each_block]
        if self._awaits():
            lines = [line and f"    {line}" for line in lines]
            lines[0], lines[self.blocks[0].line - 2] = _VARIABLES_BECOME_LOCAL, _COROUTINE
        return "\n".join(lines) + "\n"

    def _awaits(self) -> bool:
        try:
            compile("".join(block.text for block in self.blocks), self.name, "exec")
        except SyntaxError:  # 'await' outside function
            return True
        return False


@dataclass(frozen=True, order=True)
class Fault:
    """What a checker says of a line of a module."""

    module: str
    line: int
    message: str


@dataclass(frozen=True)
class Report:
    """What a checker says of the documents, and behind which blocks it sees a wrong statement."""

    faults: Sequence[str]
    control: set[str]


def python_blocks() -> list[Block]:
    return [block for document in DOCUMENTS for block in code_blocks(document) if block.language == "python"]


def place(document: Path, line: int) -> str:
    return f"{document.relative_to(ROOT).as_posix()}:{line}"


def modules() -> list[Module]:
    """Return the modules: each file of its own, and the other blocks of each document."""
    grouped: dict[str, list[Block]] = defaultdict(list)
    passed: dict[Path, int] = defaultdict(int)
    for block in python_blocks():
        name = re.sub(r"\W", "_", block.document.relative_to(ROOT).with_suffix("").as_posix())
        passed[block.document] += 1
        if block.saved_as:
            name = Path(block.saved_as).stem
        elif passed[block.document] <= FILES_OF_THEIR_OWN.get(block.document, 0):
            name += f"_{passed[block.document]}"
        grouped[name].append(block)
    return [Module(name, blocks) for name, blocks in grouped.items()]


def checked(checker: Callable[[Path, Path], Iterable[Fault]], folder: Path, cache: Path) -> Report:
    """Have a checker read each module, and a copy of it that is wrong behind each block."""
    originals: dict[str, Path] = {}
    copies: dict[str, Path] = {}
    for module in modules():
        for documents, name, wrong in ((originals, module.name, ""), (copies, f"wrong_{module.name}", _WRONG)):
            documents[name] = module.blocks[0].document
            (folder / f"{name}.py").write_text(module.text(wrong), encoding="utf-8")
    faults = sorted(set(checker(folder, cache)))
    return Report(
        [f"{place(originals[f.module], f.line)}: {f.message}" for f in faults if f.module not in copies],
        {place(copies[f.module], f.line) for f in faults if f.module in copies},
    )


def mypy(folder: Path, cache: Path) -> Iterator[Fault]:
    files = sorted(path.name for path in folder.glob("*.py"))
    options = ["--strict", "--warn-unreachable", "--config-file=", "--output=json", f"--cache-dir={cache}"]
    for line in _output_of("mypy", [*options, *files], folder).splitlines():
        fault = json.loads(line)
        yield Fault(Path(fault["file"]).stem, fault["line"], f"{fault['message']} [{fault['code']}]")


def basedpyright(folder: Path, _: Path) -> Iterator[Fault]:
    (folder / "pyrightconfig.json").write_text(json.dumps(_PYRIGHT_SETTINGS), encoding="utf-8")
    report = json.loads(_output_of("basedpyright", ["--outputjson", "--pythonpath", sys.executable], folder))
    for fault in report["generalDiagnostics"]:
        line = fault["range"]["start"]["line"] + 1
        yield Fault(Path(fault["file"]).stem, line, f"{fault['message']} [{fault.get('rule')}]")


def _output_of(checker: str, arguments: Sequence[str], folder: Path) -> str:
    command = [sys.executable, "-m", checker, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return done.stdout
