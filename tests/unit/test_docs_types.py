"""Every Python block of the documents passes `mypy --strict` and pyright's strict mode, as a reader copies it."""

import re

import pytest

from tests.support.documents import DOCUMENTS, code_blocks
from tests.support.type_checkers import Report, basedpyright, checked, mypy, place, python_blocks

OTHER_LANGUAGES = {"sh", "sql", "text", "mermaid", "yaml", "{eval-rst}"}
SILENCING = re.compile(r"#\s*(type:\s*ignore|(mypy|pyright|basedpyright):)|\bno_type_check\b")


@pytest.fixture(scope="module", params=[mypy, basedpyright], ids=lambda checker: checker.__name__)
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Report:
    """What each type checker says in turn; a cache of its own for each process of pytest-xdist makes it quick."""
    cache = request.config.cache.mkdir(f"documents-{worker_id}")
    return checked(request.param, tmp_path_factory.mktemp("documents"), cache)


def test_every_python_block_passes_the_type_checkers(report: Report) -> None:
    assert not report.faults, "\n".join(report.faults)


def test_a_wrong_statement_behind_any_block_is_found(report: Report) -> None:
    blocks = [place(block.document, block.end) for block in python_blocks()]

    assert blocks
    assert [closing for closing in blocks if closing not in report.control] == []


def test_every_code_block_names_its_language() -> None:
    blocks = [block for document in DOCUMENTS for block in code_blocks(document)]
    unknown = [block for block in blocks if block.language not in {"python", *OTHER_LANGUAGES}]

    assert [(place(block.document, block.line), block.language) for block in unknown] == []


def test_no_block_silences_a_type_checker() -> None:
    assert [place(block.document, block.line) for block in python_blocks() if SILENCING.search(block.text)] == []
