"""A program that is forked ends, writes and fails as one that is started does."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.programs import OPERATOR_CORE, programs


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--version"], 0), (["status", "--url", "x.db"], 1), (["no such command"], 1)]
)
def test_a_forked_program_says_what_a_started_one_says(
    arguments: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-m", "operator_core", *arguments]
    started = subprocess.run(command, capture_output=True, text=True, check=False)

    forked = programs().run(OPERATOR_CORE, arguments)

    assert (forked.returncode, started.returncode) == (code, code)
    assert (forked.stdout, forked.stderr) == (started.stdout, started.stderr)
    assert forked.stdout + forked.stderr


def test_a_forked_program_has_the_environment_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPERATOR_CORE_DATABASE_URL", "nonsense://x")

    forked = programs().run(OPERATOR_CORE, ["status"])

    assert forked.returncode == 1
    assert "works with sqlite and postgresql, not with another database" in forked.stderr
