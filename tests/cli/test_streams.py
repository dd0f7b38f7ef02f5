"""Standard streams that are closed, broken or full change no exit code: a stop under cron is a stop."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from operator_core.actions import ActionStatus
from operator_core.db import ActionDB
from tests.cli.conftest import Ran
from tests.support.factories import stored

FULL, GONE = "/dev/full", "a pipe that nobody reads"
FORMS: dict[str, dict[int, str | None]] = {
    "no input": {0: None},
    "no output": {1: None},
    "no errors": {2: None},
    "none at all": {0: None, 1: None, 2: None},
    "a full disk": {1: FULL, 2: FULL},
    "a reader that is gone": {1: GONE, 2: GONE},
}
ASCII = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def python(streams: dict[int, str | None], *arguments: str, **env: str) -> Ran:
    """Run Python with these standard streams closed, or given to something that takes nothing."""
    reading, gone = os.pipe()
    os.close(reading)
    full = os.open(FULL, os.O_WRONLY)

    def prepare() -> None:
        for number, where in streams.items():
            if where is None:
                os.close(number)
            else:
                os.dup2(full if where == FULL else gone, number)

    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True, text=True, check=False, timeout=300, env=os.environ | env, preexec_fn=prepare,
        )  # fmt: skip
    finally:
        os.close(gone)
        os.close(full)
    return Ran(done.returncode, done.stdout, done.stderr)


def command(form: str, *arguments: str, **env: str) -> Ran:
    """Run the command with its standard streams as the form says."""
    return python(FORMS[form], "-m", "operator_core", *arguments, **env)


async def _prepare(file: Path) -> None:
    async with ActionDB(file) as db:
        await stored(db)
        await stored(db, ActionStatus.FAILED, reason="Störung \u202e")


@pytest.fixture
def file(sqlite_path: Path) -> Path:
    """A ledger with something in it."""
    asyncio.run(_prepare(sqlite_path))
    return sqlite_path


async def _engaged(file: Path) -> int:
    async with ActionDB(file) as db:
        return len((await db.kill_switch_status()).engaged)


@pytest.mark.parametrize("form", FORMS)
def test_a_stop_is_engaged_and_says_so_by_its_exit_code(file: Path, form: str) -> None:
    ran = command(form, "stop", "--reason", "fire", "--url", str(file))

    assert ran.code == 0, ran.err
    assert "Traceback" not in ran.err + ran.out
    assert asyncio.run(_engaged(file)) == 1


@pytest.mark.parametrize("form", ["none at all", "a full disk"])
def test_a_stop_that_fails_says_so_by_its_exit_code(tmp_path: Path, form: str) -> None:
    ran = command(form, "stop", "--reason", "fire", "--url", str(tmp_path / "mistyped.db"))

    assert ran.code == 1


LINES = {
    "status": 0, "list": 0, "show 2": 0, "show 99": 1, "cancel 1 --reason x": 0, "verify": 0, "unknown": 0,
    "recover": 0,
    "release --reason x --generation 1": 1, "db current": 0, "db check": 0, "prune --before 2000-01-01 --dry-run": 0,
    "db history": 0, "--version": 0, "--help": 0, "stop --raeson x": 1, "worker no_such_module": 1,
    "drill --proposals 6": 0,
}  # fmt: skip
EACH_IN_A_FORK = """
import os, sys
from operator_core.cli.main import main
codes = []
for line in sys.argv[2:]:
    child = os.fork()
    if not child:
        sys.exit(main(line.split()))
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
open(sys.argv[1], "w").write(repr(codes))
"""


@pytest.mark.parametrize("form", ["none at all", "a full disk", "a reader that is gone"])
def test_every_command_returns_what_it_always_does(file: Path, tmp_path: Path, form: str) -> None:
    answer = tmp_path / "codes"

    python(FORMS[form], "-c", EACH_IN_A_FORK, str(answer), *LINES, OPERATOR_CORE_DATABASE_URL=str(file))

    assert answer.read_text() == repr(list(LINES.values()))


@pytest.mark.parametrize("where", [None, FULL, GONE], ids=["closed", "full", "gone"])
@pytest.mark.parametrize("line", ["export", "db upgrade --sql"])
def test_a_command_whose_output_is_its_result_fails_where_nobody_takes_it(
    file: Path, where: str | None, line: str
) -> None:
    ran = python({1: where}, "-m", "operator_core", *line.split(), "--url", str(file))

    assert ran.code == 1
    assert "standard output" in ran.err
    assert "Traceback" not in ran.err


def test_a_copy_in_a_file_needs_no_standard_stream(file: Path, tmp_path: Path) -> None:
    ran = command("none at all", "export", "--url", str(file), "--output", str(tmp_path / "copy.jsonl"))

    assert ran.code == 0
    assert len((tmp_path / "copy.jsonl").read_text().splitlines()) == 5


def test_a_terminal_that_knows_only_ascii_shows_the_rest_escaped(file: Path) -> None:
    shown = python({}, "-m", "operator_core", "show", "2", "--url", str(file), **ASCII)
    stopped = python({}, "-m", "operator_core", "stop", "--reason", "St\udcf6rung", "--url", str(file), **ASCII)

    assert (shown.code, stopped.code) == (0, 0), shown.err + stopped.err
    assert r"reason: St\xf6rung \u202e" in shown.out


def test_no_file_that_is_opened_takes_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    program = (
        "from operator_core.cli import streams; streams.occupy_missing(); import sys; "
        "f = open(sys.argv[1], 'w'); f.write(str(f.fileno()))"
    )

    python(FORMS["none at all"], "-c", program, str(tmp_path / "number"))

    assert int((tmp_path / "number").read_text()) > 2
