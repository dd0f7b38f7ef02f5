"""The quickstart, typed in as by a reader: its files are saved, its commands run, and their output is compared."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.documents import ROOT, blocks, code_blocks, section, text_of
from tests.support.environment import DATABASE_URL
from tests.support.postgres import PrivatePostgres

QUICKSTART = ROOT / "docs" / "quickstart.md"
POSTGRESQL = "The same on PostgreSQL"
MAX_LINES = 130


def programs() -> dict[str, str]:
    """Return the text of each file that the reader saves, by its name."""
    return {block.saved_as: block.text for block in code_blocks(QUICKSTART) if block.saved_as}


def commands(text: str) -> list[str]:
    """Return the lines of the shell blocks, but for the installation."""
    found = "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)).splitlines()
    return [line for line in found if not line.startswith("pip install")]


def commands_on_sqlite() -> list[str]:
    return commands(text_of(QUICKSTART).partition(f"\n## {POSTGRESQL}\n")[0])


def commands_on_postgresql(url: str) -> list[str]:
    """Return the commands for PostgreSQL, then all others again."""
    export = re.compile(rf"(?<=^export {DATABASE_URL}=)\S+")
    lines = [export.sub(shlex.quote(url), line) for line in commands(section(QUICKSTART, POSTGRESQL))]
    assert f"export {DATABASE_URL}={shlex.quote(url)}" in lines
    return [*lines, *commands_on_sqlite()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds the saved files, and the commands `python` and `operator-core` in `bin`."""
    for name, text in programs().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "bin").mkdir()
    for name, arguments in {"python": "", "operator-core": "-m operator_core "}.items():
        command = tmp_path / "bin" / name
        command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments}"$@"\n', encoding="utf-8")
        command.chmod(0o755)
    return tmp_path


def typed(lines: list[str], folder: Path) -> str:
    """Run the lines in one shell, which ends at the first failure; return what was printed."""
    environment = {**os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    shell = ["/bin/sh", "-e", "-c", "\n".join(lines)]
    done = subprocess.run(shell, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_python_block_is_a_file_that_the_reader_saves():
    assert list(programs().values()) == blocks(QUICKSTART, "python")


def test_every_command_on_sqlite_runs_and_prints_what_is_shown(folder):
    printed = typed(commands_on_sqlite(), folder)

    assert [shown for shown in blocks(QUICKSTART, "text") if shown not in printed] == []
    assert (folder / "ops.db").exists()


def test_every_command_runs_and_prints_the_same_on_postgresql(folder, postgres: PrivatePostgres):
    url = postgres.dsn(postgres.create_database())

    printed = typed(commands_on_postgresql(url), folder)

    assert [shown for shown in blocks(QUICKSTART, "text") if shown not in printed] == []
    assert not (folder / "ops.db").exists()


def test_the_quickstart_is_short():
    assert len(text_of(QUICKSTART).splitlines()) <= MAX_LINES
