"""What the document about the import says, held against the code."""

import ast
import inspect
import re
import shutil
from pathlib import Path

import pytest

from operator_core.legacy import ImportReport
from operator_core.legacy.source import HIGHEST_ID
from tests.legacy.predecessor import Predecessor

DOCUMENT = Path(__file__).parents[2] / "docs" / "import.md"


async def test_the_block_of_the_document_runs(
    tmp_path: Path, sqlite_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.move(sqlite_path, "ops.db")
    Predecessor(Path("old.db")).one_of_each()
    (block,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    code = compile(block, DOCUMENT.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    told: dict[str, object] = {}

    running = eval(code, told)  # noqa: S307 - the document is ours
    assert inspect.iscoroutine(running)
    await running

    assert isinstance(told["report"], ImportReport)
    assert told["report"].proposals == 7


def test_the_highest_id_is_the_one_in_the_code() -> None:
    assert f"from 1 to 2^{HIGHEST_ID.bit_length() - 1}," in DOCUMENT.read_text(encoding="utf-8")
