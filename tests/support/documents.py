"""The documents of the project: their text, their code blocks, and running those in Python."""

import ast
import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

ROOT = Path(__file__).parents[2]
README, DEPLOY = ROOT / "README.md", ROOT / "docs" / "deploy.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_FENCE = re.compile(r"[\s>]*(?:`{3,}|~{3,})")
_SAVED_AS = re.compile(r"Save this as `([\w.]+)`:$")


@dataclass(frozen=True)
class Block:
    """A code block: its text, the line where that begins in the document, and the file that a reader saves it as.

    The language is what stands behind three backticks. An opening line of another form is taken whole.
    """

    document: Path
    language: str
    line: int
    text: str
    saved_as: str | None

    @property
    def end(self) -> int:
        """The line that closes the block."""
        return self.line + self.text.count("\n")


def text_of(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def code_blocks(document: Path) -> list[Block]:
    """Return every fenced block of a document, in its order."""
    lines = text_of(document).splitlines()
    fences = [number for number, line in enumerate(lines) if _FENCE.match(line)]
    found = []
    for opening, closing in zip(fences[::2], fences[1::2], strict=True):
        saved_as = _SAVED_AS.search(lines[opening - 2])
        found.append(
            Block(
                document,
                language=lines[opening].removeprefix("```"),
                line=opening + 2,
                text="".join(f"{line}\n" for line in lines[opening + 1 : closing]),
                saved_as=saved_as[1] if saved_as else None,
            )
        )
    return found


def blocks(document: Path, language: str) -> list[str]:
    return [block.text for block in code_blocks(document) if block.language == language]


def section(document: Path, heading: str) -> str:
    return text_of(document).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def compiled(block: str, document: Path) -> CodeType:
    return compile(block, document.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


async def executed(document: Path, python_blocks: Sequence[str]) -> dict[str, object]:
    """Run blocks one after the other in one namespace, as a reader pastes them, and return the namespace."""
    namespace: dict[str, object] = {}
    for block in python_blocks:
        result = eval(compiled(block, document), namespace)  # noqa: S307 - the documents are ours
        if inspect.iscoroutine(result):
            await result
    return namespace
