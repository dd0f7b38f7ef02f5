"""What the document about the import says, held against the code."""

import shutil
from pathlib import Path

import pytest

from operator_core.legacy import ImportReport
from operator_core.legacy.source import HIGHEST_ID
from tests.legacy.predecessor import Predecessor
from tests.support.documents import ROOT, blocks, executed, text_of

DOCUMENT = ROOT / "docs" / "import.md"


async def test_the_block_of_the_document_runs(
    tmp_path: Path, sqlite_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.move(sqlite_path, "ops.db")
    Predecessor(Path("old.db")).one_of_each()

    report = (await executed(DOCUMENT, blocks(DOCUMENT, "python")))["report"]

    assert isinstance(report, ImportReport)
    assert report.proposals == 7


def test_the_highest_id_is_the_one_in_the_code() -> None:
    assert f"from 1 to 2^{HIGHEST_ID.bit_length() - 1}," in text_of(DOCUMENT)
