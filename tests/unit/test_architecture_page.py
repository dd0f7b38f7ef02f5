"""The page about the architecture, compared with the layers in pyproject.toml and with the files of the repository."""

import re
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ROOTS = (ROOT, ROOT / "src" / "operator_core")
MAX_LINES = 130


def layers(container: str) -> list[str]:
    """Return the layers of a package, top first, as import-linter is given them."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    contracts = tools["importlinter"]["contracts"]
    (found,) = (contract["layers"] for contract in contracts if contract.get("containers") == [container])
    return found


def picture() -> str:
    """Return the flowchart of the page, in Mermaid."""
    (diagram,) = re.findall(r"^```mermaid\n(flowchart .*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return diagram


def nodes() -> dict[str, str]:
    """Return the label of each node, in the order of the picture."""
    return dict(re.findall(r'(\w+)\["([^"]+)"\]', picture()))


def changes() -> list[list[str]]:
    """Return the cells of each row of the table of changes."""
    rows = [line for line in PAGE.partition("\n## Where to change what\n")[2].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]


def files(text: str) -> list[str]:
    """Return the paths among the words in backticks."""
    return [span for span in re.findall(r"`([^`]+)`", text) if "/" in span or span.endswith((".toml", ".txt", ".md"))]


def exists(file: str) -> bool:
    return any((root / file).exists() for root in ROOTS)


def test_the_layers_in_the_picture_are_those_of_pyproject_toml() -> None:
    top, inner = layers("operator_core"), layers("operator_core.db")
    below = top.index("db") + 1

    assert list(nodes().values()) == [*top[:below], *inner, *top[below:]]


@pytest.mark.parametrize("container", ["operator_core", "operator_core.db"])
def test_each_layer_in_the_picture_points_to_the_next_one(container: str) -> None:
    arrows = re.findall(r"(\w+)(?:\[[^\]]+\])? --> (\w+)", picture())
    names = list(nodes())
    inner = names[names.index("db") + 1 :][: len(layers("operator_core.db"))]
    chain = inner if container == "operator_core.db" else [name for name in names if name not in inner]

    assert [arrow for arrow in arrows if set(arrow) <= set(chain)] == list(pairwise(chain))


def test_the_table_has_ten_changes() -> None:
    assert len(changes()) == 10


@pytest.mark.parametrize("change", changes(), ids=lambda change: change[0])
def test_every_file_of_a_change_exists(change: list[str]) -> None:
    named = files(change[1])

    assert named
    assert [file for file in named if not exists(file)] == []


def test_every_file_that_the_page_names_exists() -> None:
    prose = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)

    assert [file for file in files(prose) if not exists(file)] == []


def test_every_store_and_module_that_a_diagram_names_exists() -> None:
    named = re.findall(r"participant \w+ as (\S+\.py)", PAGE)

    assert named
    assert [file for file in named if not exists(f"db/{file}")] == []


def test_the_page_is_short() -> None:
    assert len(PAGE.splitlines()) <= MAX_LINES
